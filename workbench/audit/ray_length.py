"""Ray length instead of z: a table is flat under one of the two and a bowl under the other, see `planes`."""

from __future__ import annotations

import numpy as np

from trainer.episodes.episode import View
from trainer.episodes.source_settings import ViewSetting

from .answers import Answer, checked, sentence, unchecked, view_setting
from .finding import Finding, Kind
from .measured import Measured
from .pictures import plane_residuals
from .planes import fit_affine, ray_factor

_FRAMES = 5
_CLEAR = 2.5  # times flatter


def check_ray_length(measured: Measured) -> list[Answer]:
    """Whether depth is z along the optical axis or the length of the ray."""
    return [answer for view in measured.episode.info.views for answer in _check(measured, view)]


def _check(measured: Measured, view: View) -> list[Answer]:
    kind, where, episode = Kind.RAY_LENGTH, f"{view}.depth", measured.episode
    if lacks := measured.missing(view, "depth", "K"):
        return [unchecked(kind, where, lacks)]
    factor = ray_factor(episode.image_size(view), episode.intrinsics(view))
    residuals: list[tuple[float, float]] = []
    for step in measured.spread(_FRAMES):
        depth = episode.depth(view, step).astype(np.float64)
        with np.errstate(divide="ignore"):
            as_z, as_ray = fit_affine(1 / depth), fit_affine(factor / depth)
        if as_z is not None and as_ray is not None:
            residuals.append((as_z.residual, as_ray.residual))
    if not residuals:
        return [unchecked(kind, where, "hardly any pixel has a depth")]
    z, ray = (float(x) for x in np.median(np.array(residuals), axis=0))
    said = f"the largest plane is flat to {100 * z:.2g} % of depth taken as z, to {100 * ray:.2g} % as ray length"
    if z * _CLEAR < ray:
        return [checked(kind, where, said)]
    if ray * _CLEAR > z:
        return [unchecked(kind, where, f"no plane tells: {said}")]
    picture = plane_residuals(
        measured, view, {"taken as z": lambda image: 1 / image, "taken as ray length": lambda image: factor / image}
    )
    title = f"The {view} depth is the length of the ray, not z"
    finding = Finding(
        kind=kind,
        where=where,
        severity="error",
        confidence=min(0.99, 1 - ray / z),
        title=title,
        detail=sentence(said + f"; at the corners the two differ by {100 * (factor.max() - 1):.2g} %"),
        fix="Divide depth by the length of each pixel's ray at z = 1.",
        setting=view_setting(view, ViewSetting(ray_length=True), title + "."),
        evidence=picture.image,
        caption=picture.caption,
    )
    return [finding, checked(kind, where, said)]
