"""The report of one inspected episode: a single HTML file that opens offline, in light and in dark, without scripts."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from trainer.episodes.episode import Episode, View
from trainer.metrics.catalog import BASELINE, skill

from ..attention import FLOW_PATH, RESAMPLER_PATH
from ..charts.labels import HEADLINES, label_of
from ..charts.panels import PEAK_LIFT, ClipScales, Panel, attention_overlay, future_panels, now_panels
from ..charts.tables import point_rows
from ..charts.tracks import labelled_panel, tracks_panel
from ..familiar import assumed, corrected
from ..foresight import REMARKS, Foresight
from ..pseudo import label_badges
from .figures import attention_svg, timeline_svg
from .numbers import SummaryRow

MOMENTS = 6
WORST_POINTS = 5
OPEN_ROWS = 10  # a longer list of what failed is folded


def report_html(
    episode: Episode,
    foresights: Sequence[Foresight],
    rows: Sequence[SummaryRow],
    scales: ClipScales,
    facts: dict[str, Any],
    unreadable: Mapping[int, str],
) -> str:
    """The whole page.

    Args:
        episode: The inspected episode.
        foresights: Its predictions, in order of time.
        rows: The summary of their numbers.
        scales: Fixed colour ranges of the clip.
        facts: Provenance (`numbers.provenance`).
        unreadable: The steps that could not be predicted, each with the reason.
    """
    names = [name for name in HEADLINES if any(row.name == name for row in rows)]
    title = escape(episode.info.instruction)
    parts = [
        _header(episode, foresights, facts),
        _unreadable(unreadable),
        "<h2>Numbers</h2>",
        _summary_table(rows),
        "<h2>Error over time</h2>",
        "<p class=quiet>Solid: predicted. Dotted: the trivial baseline of that figure. Gaps: no value there.</p>",
        timeline_svg(foresights, names, episode.info.length) or "<p>No figure has a value in this episode.</p>",
        "<h2>Attention of the action to the flow</h2>",
        "<p class=quiet>Mass that the action query puts on the FLOW tokens of its frame, as a multiple of what it "
        "would put there if it looked evenly at everything it may see (1, white). Fixed range 0 to 4.</p>",
        attention_svg(foresights, episode.info.length) or "<p>This policy has no FLOW tokens.</p>",
        f"<h2>{len(moments := chosen_moments(foresights))} moments</h2>",
        f"<p class=quiet>Depth on one range for the whole clip, taken from {escape(scales.origin)}; future panels show "
        f"{foresights[0].future_step - foresights[0].step} control steps ahead.</p>",
        f"<p class=quiet>Attention overlays, full colour at {PEAK_LIFT:g} times the even share. Through the flow: "
        f"{escape(FLOW_PATH)}. Through the resampler: {escape(RESAMPLER_PATH)}.</p>",
        *(_moment(episode, foresight, why, scales) for foresight, why in moments),
        _provenance(facts),
    ]
    style = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Foresight: {title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{style}</style></head><body>'
        + "\n".join(parts)
        + "</body></html>\n"
    )


def chosen_moments(foresights: Sequence[Foresight]) -> list[tuple[Foresight, str]]:
    """A few times worth a look, each with the reason: the lowest skill of every headline figure, then even spacing."""
    reasons: dict[int, str] = {}
    for name in HEADLINES:
        skills = [
            skill(name, f.metrics.get(name, math.nan), f.metrics.get(name + BASELINE, math.nan)) for f in foresights
        ]
        if not all(math.isnan(value) for value in skills):
            reasons.setdefault(int(np.nanargmin(skills)), f"lowest skill of {label_of(name)}")
    for index in np.linspace(0, len(foresights) - 1, MOMENTS).round().astype(int):
        if len(reasons) >= MOMENTS:
            break
        reasons.setdefault(int(index), "evenly spaced")
    return [(foresights[index], reasons[index]) for index in sorted(reasons)]


def _header(episode: Episode, foresights: Sequence[Foresight], facts: dict[str, Any]) -> str:
    info, checkpoint = episode.info, facts["checkpoint"]
    depth = f"{info.depth_origin} depth, {info.depth_scale}" if info.depth_origin else "no true depth"
    badges = [
        info.source,
        f"{info.length} control steps at {info.control_hz:g} Hz",
        f"{len(foresights)} of them predicted",
        f"outcome: {info.outcome or 'unknown'}",
        "views: " + ", ".join(info.views),
        depth,
        "exact 3D flow" if info.has_exact_flow else "no exact flow",
        *label_badges(episode),
        f"{checkpoint['preset']} policy, {checkpoint['weights']} weights",
        *assumed(info),
        *corrected(info),
        *facts["unfamiliar"],
    ]
    marks = "".join(f'<span class="badge">{escape(text)}</span>' for text in badges)
    where = f"{facts['episode']['name']} with checkpoint {checkpoint['name']}"
    about = [REMARKS[name] for foresight in foresights[:1] for name in foresight.remarks]
    notes = "".join(f"<p class=quiet>{escape(note)}</p>" for note in (*about, *info.notes))
    title = f"“{escape(info.instruction)}”" if info.instruction else "no instruction"
    return f"<h1>{title}</h1><p class=quiet>{escape(where)}</p><p>{marks}</p>{notes}"


def _unreadable(unreadable: Mapping[int, str]) -> str:
    """The steps that are missing from everything below, named one by one: a gap must not look like a short episode."""
    if not unreadable:
        return ""
    lines = [[str(step), escape(reason)] for step, reason in unreadable.items()]
    head = f"{len(lines)} {'step' if len(lines) == 1 else 'steps'} could not be predicted"
    opened = " open" if len(lines) <= OPEN_ROWS else ""
    return f'<details class="failed"{opened}><summary>{head}</summary>{_table(["step", "why"], lines)}</details>'


def _summary_table(rows: Sequence[SummaryRow]) -> str:
    """Headline figures first, the rest folded away."""
    first = [row for name in HEADLINES for row in rows if row.name == name]
    rest = [row for row in rows if row.name not in HEADLINES]
    note = (
        "<p class=quiet>Means over the steps that have a value. Skill: share of the baseline's error that is gone.</p>"
    )
    folded = f"<details><summary>All {len(rows)} figures</summary>{_table_of(rest)}</details>" if rest else ""
    return note + _table_of(first) + folded


def _table_of(rows: Sequence[SummaryRow]) -> str:
    head = ("figure", "unit", "predicted", "baseline", "skill", "steps", "baseline is")
    body = [
        (
            f'<span title="{escape(row.definition)}">{escape(row.label)}</span>',
            escape(row.unit),
            _number(row.value),
            _number(row.baseline),
            _number(row.skill),
            str(row.n),
            f'<span class="quiet">{escape(row.baseline_definition)}</span>',
        )
        for row in rows
    ]
    return _table(head, body)


def _moment(episode: Episode, foresight: Foresight, why: str, scales: ClipScales) -> str:
    parts = [f'<h3 id="t{foresight.step}">t {foresight.step} <span class="quiet">· {escape(why)}</span></h3>']
    for view in scales.depth:
        bars = scales.depth[view].bar_html() + scales.error[view].bar_html()
        parts.append(f'<div class="quiet">{view}, now</div>{_figures(now_panels(foresight, view, scales))}')
        ahead = f"{view}, at t {foresight.future_step}"
        parts.append(f'<div class="quiet">{ahead}</div>{_figures(future_panels(foresight, view, scales))}')
        parts.append(f'<div class="bars">{bars}</div>')
    followed = [labelled_panel(episode, foresight.step, view) for view in scales.depth]
    parts.append(
        _figures([tracks_panel(foresight), *(panel for panel in followed if panel is not None), *_overlays(foresight)])
    )
    rows = point_rows(foresight, limit=WORST_POINTS)
    if rows:
        head = ("worst points", "compared at t", "px", "mm lateral", "mm along the ray", "mm moved", "visible")
        body = [
            (
                f"point {row.point}",
                str(row.step),
                _number(row.px),
                _number(row.lateral_mm),
                f"{row.along_mm:+.3g}",
                _number(row.moved_mm),
                "yes" if row.visible else "no",
            )
            for row in rows
        ]
        parts.append(_table(head, body))
    return "".join(parts)


def _overlays(foresight: Foresight) -> list[Panel]:
    """The attention maps over the images they belong to, each with the share of all attention that it spreads out."""
    attention = foresight.attention
    on_flow = float(attention.to_flow.mean())
    maps: list[tuple[View, str, np.ndarray, float]] = []
    if attention.has_flow:
        maps.append(("static", "flow", attention.through_flow, on_flow))
    for view, weight in attention.through_resampler.items():
        maps.append((view, "resampler", weight, float(weight.sum())))
    panels: list[Panel] = []
    for view, path, weight, mass in maps:
        image = attention_overlay(foresight.views[view].rgb, weight).image
        note = f"{100 * mass:.0f} % of the action's attention"
        panels.append(
            Panel(key=f"{view}.{path}", title=f"{view}: attention through the {path}", image=image, note=note)
        )
    return panels


def _figures(panels: Iterable[Panel]) -> str:
    cells: list[str] = []
    for panel in panels:
        if panel.image is None:
            picture = f'<div class="none">{escape(panel.note)}</div>'
        else:
            picture = f'<img alt="{escape(panel.title)}" src="{_data_uri(panel.image, exact=panel.scale is not None)}">'
        note = f"<br>{escape(panel.note)}" if panel.note and panel.image is not None else ""
        cells.append(f"<figure>{picture}<figcaption>{escape(panel.title)}{note}</figcaption></figure>")
    return f'<div class="row">{"".join(cells)}</div>'


def _data_uri(image: np.ndarray, *, exact: bool) -> str:
    """A picture inside the page: lossless where a colour is a value, else JPEG."""
    from PIL import Image

    buffer = io.BytesIO()
    if exact:
        Image.fromarray(image).save(buffer, "PNG")
    else:
        Image.fromarray(image).save(buffer, "JPEG", quality=90)
    kind = "png" if exact else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _provenance(facts: dict[str, Any]) -> str:
    lines = [
        f"episode sha256 <code>{facts['episode']['sha256']}</code>",
        f"checkpoint sha256 <code>{facts['checkpoint']['sha256']}</code>",
        "versions " + escape(", ".join(f"{name} {version}" for name, version in facts["versions"].items())),
        "the same numbers as data: <code>metrics.json</code>, <code>numbers.csv</code>; arrays: "
        "<code>predictions.safetensors</code>; 3D: <code>episode.rrd</code>, opened by <code>rerun episode.rrd</code>",
    ]
    return "<h2>Where this comes from</h2><ul>" + "".join(f"<li>{line}</li>" for line in lines) + "</ul>"


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    top = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in body)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'


def _number(value: float | None) -> str:
    """Three significant digits, never in powers of ten."""
    if value is None or not math.isfinite(value):
        return "-"
    digits = 2 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 5)}f}"
