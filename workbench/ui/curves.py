"""The training curves: the total and every term of the loss, on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_POINTS = 400
_FEW = 20
_GREY = "#8c959f"
"""Readable on light and dark, because a Gradio plot does not know which one it stands on."""


def loss_curves(records: Sequence[dict[str, Any]]) -> Any:
    """A plotly figure over optimizer steps, thinned to a few hundred points, or None before the first record.

    The phase change is a dotted line.
    """
    if not records:
        return None
    import plotly.graph_objects as go

    thinned = records[:: max(1, len(records) // _POINTS)]
    steps = [record.get("step") for record in thinned]
    mode = "lines+markers" if len(thinned) < _FEW else "lines"
    figure = go.Figure()
    figure.add_scatter(
        x=steps, y=[record.get("loss") for record in thinned], name="total", line={"width": 3}, mode=mode
    )
    for term in sorted({name for record in thinned for name in record.get("terms", {})}):
        figure.add_scatter(x=steps, y=[record.get("terms", {}).get(term) for record in thinned], name=term, mode=mode)
    begun = next((record.get("step") for record in records if record.get("phase") == 2), None)
    if begun is not None:
        figure.add_vline(x=begun, line={"dash": "dot", "color": _GREY}, annotation_text="actions join")
    figure.update_layout(
        height=380,
        margin={"l": 60, "r": 10, "t": 30, "b": 40},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": _GREY, "family": "system-ui, sans-serif", "size": 11},
        hovermode="x unified",
        xaxis={"title": "optimizer step", "gridcolor": "rgba(140,149,159,.25)"},
        yaxis={"title": "loss term, unweighted", "type": "log", "gridcolor": "rgba(140,149,159,.25)"},
    )
    return figure
