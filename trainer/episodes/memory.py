"""A recording as an episode, without any file: exact float depth, for recorders and tests."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from jaxtyping import Float

from .base import StreamEpisode
from .content import content_hash, recording_arrays, recording_meta
from .episode import View
from .recording import Recording
from .recording_check import check_recording
from .schema import StreamKind
from .streams import ArrayStream, Stream


class MemoryEpisode(StreamEpisode):
    """Implements `Episode` over a `Recording`; depth is the recorder's own, not rounded to 0.1 mm."""

    def __init__(self, recording: Recording, name: str = "memory#0") -> None:
        check_recording(recording)
        super().__init__(name, recording_meta(recording), content_hash(recording))
        self._recording = recording

    def stream(self, view: View, kind: StreamKind) -> Stream:
        """Frames by index; depth is float metres here."""
        self._check(view, kind)
        return ArrayStream(getattr(self._recording.views[view], kind))

    def _metres(self, stored: np.ndarray) -> Float[np.ndarray, "*s"]:
        return stored.astype(np.float32)

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        return recording_arrays(self._recording)
