"""Red and blue exchanged.

Nothing in a single image proves its channel order: an affine mix of channels survives every codec. What speaks is the
world: wood, skin, cardboard and lamps make rooms warm (more red than blue), hardly any table is blue. So a picture with
many cold and few warm pixels is suspected; one with as many of both is left open.
"""

from __future__ import annotations

import numpy as np

from trainer.episodes.episode import View
from trainer.episodes.source_settings import ViewSetting

from .answers import Answer, checked, unchecked, view_setting
from .finding import Finding, Kind
from .measured import Measured
from .pictures import channels_both_ways

_FRAMES = 6
_COLOURED = 12  # grey levels between red and blue
_ENOUGH = 0.1  # of the pixels
_CLEAR = 3.0  # times as many


def check_channel_order(measured: Measured) -> list[Answer]:
    """Whether the images are BGR, by how many pixels are warm and how many cold."""
    return [answer for view in measured.episode.info.views for answer in _check(measured, view)]


def warm_and_cold(measured: Measured, view: View) -> tuple[float, float]:
    """Shares of pixels with clearly more red than blue, and the contrary."""
    images = np.stack([measured.episode.rgb(view, step) for step in measured.spread(_FRAMES)]).astype(np.int16)
    difference = images[..., 0] - images[..., 2]
    return float(np.mean(difference > _COLOURED)), float(np.mean(difference < -_COLOURED))


def _check(measured: Measured, view: View) -> list[Answer]:
    kind, where = Kind.CHANNEL_ORDER, f"{view}.rgb"
    warm, cold = warm_and_cold(measured, view)
    said = f"{100 * warm:.0f} % of the pixels are warm, {100 * cold:.0f} % cold"
    if max(warm, cold) < _ENOUGH:
        return [unchecked(kind, where, f"hardly any colour: {said}")]
    if warm >= _CLEAR * cold:
        return [checked(kind, where, said)]
    if cold < _CLEAR * warm:
        return [unchecked(kind, where, f"colours do not tell: {said}")]
    picture = channels_both_ways(measured, view)
    title = f"The {view} images have red and blue exchanged"
    finding = Finding(
        kind=kind,
        where=where,
        severity="error",
        # the world's colours are a habit, not a law
        confidence=float(min(0.9, 0.5 + 0.4 * (cold - warm) / max(cold, 1e-9) * min(1.0, cold / 0.3))),
        title=title,
        detail=f"{said[0].upper()}{said[1:]}; rooms and tables are the other way round.",
        fix="Exchange red and blue, if the right-hand picture looks true.",
        setting=view_setting(view, ViewSetting(swap_red_blue=True), title + "."),
        evidence=picture.image,
        caption=picture.caption,
    )
    return [finding, checked(kind, where, said)]
