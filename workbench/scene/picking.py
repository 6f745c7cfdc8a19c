"""What a click in the 3D viewer means, and how much of the truth is drawn. Does not import rerun: answers are cheap."""

from __future__ import annotations

import numpy as np
from jaxtyping import Integer

from trainer.episodes.episode import View

from ..charts.track_style import shown_tracks
from ..foresight import Foresight

FLOW_VIEW: View = "static"
POINTS = "/world/flow/points"
ATTENTION = "/world/flow/attention"
PREDICTED = "/world/flow/predicted"
TRUE = "/world/flow/true"


def picked_point(foresight: Foresight, entity_path: str, instance_id: int) -> int | None:
    """The row (index into the point axis) of a click in the viewer, None for a click on anything but a track.

    Args:
        foresight: The prediction at the viewer's time.
        entity_path: `entity_path` of the viewer's selection event.
        instance_id: `instance_id` of the same event.
    """
    if entity_path in (POINTS, ATTENTION):
        rows = np.arange(len(foresight.flow.moving))
    elif entity_path in (PREDICTED, TRUE):
        rows = _lines(foresight)
    else:
        return None
    return int(rows[instance_id]) if 0 <= instance_id < len(rows) else None


def line_count(foresight: Foresight) -> int:
    """How many tracks have a line in 3D; none where intrinsics or the depth that they start from are not known."""
    return len(_lines(foresight))


def _lines(foresight: Foresight) -> Integer[np.ndarray, " q"]:
    seen = foresight.views[FLOW_VIEW]
    if seen.K is None or not np.isfinite(foresight.flow.uvz[:, 0, 2]).all():
        return np.arange(0)
    return shown_tracks(foresight.flow, seen.K)
