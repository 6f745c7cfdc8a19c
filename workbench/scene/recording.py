"""One episode as a Rerun recording: the truth at once, predictions as they are made, all on the timeline "step".

The page opens `EpisodeScene.opening()` (cameras, images, true cloud, tool path of the whole clip, and the blueprint)
and then feeds `EpisodeScene.predicted(foresight)` to the same recording: both carry the same application and recording
id, so the viewer merges them. Every scene has its own stream and its own random recording id: nothing is shared between
visitors and rerun's global recording is never used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.episodes.episode import Episode

from ..foresight import Foresight

APPLICATION_ID = "foresight-workbench"
TIMELINE = "step"


class EpisodeScene:
    """The 3D scene of one episode for one visitor or one file.

    Args:
        episode: Read lazily; only `opening` decodes it.
    """

    def __init__(self, episode: Episode) -> None:
        self.recording_id = ""

    def opening(self) -> bytes:
        """.rrd bytes of everything that needs no prediction, with the blueprint."""
        raise NotImplementedError

    def predicted(self, foresight: Foresight) -> bytes:
        """.rrd bytes that add one predicted step to the recording that `opening` began."""
        raise NotImplementedError


def picked_point(foresight: Foresight, entity_path: str, instance_id: int) -> int | None:
    """The row (index into the point axis) of a click in the viewer, None for a click on anything but a track.

    Args:
        foresight: The prediction at the viewer's time.
        entity_path: `entity_path` of the viewer's selection event.
        instance_id: `instance_id` of the same event.
    """
    raise NotImplementedError


def write_rrd(path: Path, episode: Episode, foresights: Sequence[Foresight]) -> None:
    """The whole episode with its predictions as one file."""
    raise NotImplementedError
