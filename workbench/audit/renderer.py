"""What made the images: a renderer, or a camera and a codec. Policies notice the difference; people hardly do.

Pixels of a still scene are bit for bit equal in rendered frames and never all equal in a camera's. Where a source says
that it was rendered and its pixels tremble, or says nothing, the audit does. Which engine it was cannot be told from
images alone: it is named where the source is a simulator's data set, each of which is drawn by one engine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.episodes.episode import View

from .answers import Answer, checked, sentence, unchecked
from .finding import Finding, Kind
from .measured import Measured
from .pictures import still_pixels

_PAIRS = 8
_RENDERED, _CAMERA = 0.4, 0.25  # share of bit-equal pixels between frames
_QUIET = 0.8  # grey levels of noise that a renderer stays below
_ENGINES = {"calvin": "PyBullet", "libero": "MuJoCo", "robosuite": "MuJoCo", "robomimic": "MuJoCo"}
"""Of the simulators that data sets are named after."""


@dataclass(frozen=True, kw_only=True)
class Still:
    """The static view from frame to frame.

    Attributes:
        equal: Share of pixels that are bit for bit the same, the median over pairs.
        noise: Standard deviation of a grey level of pixels that hardly change, both frames' noise divided by √2; None
            where every pixel changes.
    """

    equal: float
    noise: float | None

    @property
    def is_rendered(self) -> bool:
        """Whether it looks as a renderer leaves it."""
        return self.equal > _RENDERED and self.noise is not None and self.noise < _QUIET

    def __str__(self) -> str:
        noise = "none of them nearly so" if self.noise is None else f"noise {self.noise:.2f} grey levels"
        return f"{100 * self.equal:.0f} % of the pixels equal from frame to frame, {noise}"


def check_renderer(measured: Measured) -> list[Answer]:
    """Whether the images look as the source says they were made."""
    kind, where, info = Kind.RENDERER, "static.rgb", measured.episode.info
    if "static" not in info.views or len(measured.steps) < 3:
        return [unchecked(kind, where, "no static view, or too few images")]
    still = stillness(measured, "static")
    said = str(still)
    by = info.renderer or engine_of(info.source)
    answers: list[Answer] = [checked(kind, where, said if by is None else f"{said}; drawn by {by}, says the source")]
    if info.renderer is not None and still.equal < _CAMERA:
        picture = still_pixels(measured, "static")
        answers.append(
            Finding(
                kind=kind,
                where=where,
                severity="warning",
                confidence=min(0.95, 0.6 + (_CAMERA - still.equal)),
                title="The images are not what the renderer made",
                detail=f"The source says {info.renderer}, whose still pixels do not change; here {said}.",
                fix="Look for a lossy codec, added noise or another camera between the renderer and this file.",
                evidence=picture.image,
                caption=picture.caption,
            )
        )
    elif info.renderer is None:
        answers.append(
            Finding(
                kind=kind,
                where=where,
                severity="note",
                confidence=0.6,
                title=_title(still.is_rendered, by),
                detail=sentence(said),
                fix="Evaluate a policy with what made its training images.",
            )
        )
    return answers


def engine_of(source: str) -> str | None:
    """The engine that draws a source, as in `EpisodeInfo.source`; None where its name does not say."""
    return next((engine for name, engine in _ENGINES.items() if name in source.lower()), None)


def _title(still: bool, engine: str | None) -> str:
    if engine is None:
        like = "rendered, by an unknown engine" if still else "like a camera's or a lossy codec's"
        return f"No renderer is recorded; the images look {like}"
    if still:
        return f"The images are rendered, by {engine} as the source's name says"
    return f"The source's name says {engine}, but the images look like a camera's or a lossy codec's"


def stillness(measured: Measured, view: View) -> Still:
    """How still the pixels of a still scene are."""
    steps = measured.steps
    starts = np.unique(np.linspace(0, len(steps) - 2, min(_PAIRS, len(steps) - 1)).astype(int))
    equal: list[float] = []
    noise: list[float] = []
    for i in starts:
        before, after = (measured.episode.rgb(view, int(steps[j])).astype(np.int16) for j in (i, i + 1))
        difference = after - before
        equal.append(float(np.mean((difference == 0).all(-1))))
        calm = np.abs(difference).max(-1) <= 8
        if calm.any():
            noise.append(float(difference[calm].std() / np.sqrt(2)))
    return Still(equal=float(np.median(equal)), noise=float(np.median(noise)) if noise else None)
