"""Image panels of one time: what was foreseen beside what came, as small uint8 images with a title and a colour scale.

Images have the size of the model's input (h w); the page and the report enlarge them. Depth is drawn on one range for
the whole clip and all panels of a view, taken from the truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from model.errors import EpisodeError
from trainer.episodes.episode import Episode, View

from ..foresight import REMARKS, Foresight
from ..pseudo import PSEUDO_DEPTH
from .colours import ATTENTION_MAP, ColourScale, symmetric

_SAMPLED_FRAMES = 8
_STATED_RANGE = (0.0, 2.0)
"""Metres, for a view that neither the clip nor the policy knows the depth of."""
_FUTURE_TITLES = {
    "future_rgb": "RGB predicted",
    "future_rgb_true": "RGB that came",
    "copy_last": "RGB copy-last",
    "future_depth": "depth predicted",
    "future_depth_true": "depth that came",
    "copy_last_depth": "depth copy-last",
    "future_depth_error": "depth error",
}
_PSEUDO_TITLES = {
    "future_depth_true": "pseudo depth that came",
    "copy_last_depth": "pseudo depth copy-last",
    "future_depth_error": "depth minus pseudo",
}
PEAK_LIFT = 8.0
"""An overlay pixel gets the full colour at this many times the even share of its image."""
NO_DEPTH = "no true depth here; `trainer label depth --model FOLDER` makes pseudo depth"
_LOG_RATIO = 20.0
"""A camera in the hand sees its fingers at 4 cm and, lifted, the far wall: beyond this ratio depth is drawn on a log
scale, where the table between the two still has contrast."""
_FLAT_SHARE = 0.1
"""A map of which less than this share lies inside the range is said to be flat."""
_ERROR_SHARE = 0.1
"""The error scale ends at this share of the clip's median depth, rounded to whole centimetres."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture.

    Attributes:
        key: Stable name, e.g. "static.depth.error".
        image: None where the episode has nothing to show; `note` then says why.
        scale: What the colours mean; None for plain images.
        note: One line under the picture, may be empty.
    """

    key: str
    title: str
    image: UInt8[np.ndarray, "h w 3"] | None
    scale: ColourScale | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class ClipScales:
    """The fixed depth and error scales of an episode, by view, and where they come from."""

    depth: dict[View, ColourScale]
    error: dict[View, ColourScale]
    origin: str


def clip_scales(episode: Episode, *, fallback: Mapping[View, tuple[float, float]]) -> ClipScales:
    """Scales from the true depth of a few frames spread over the clip (2nd to 98th percentile).

    Args:
        episode: Read at a few of its frames only.
        fallback: Low and high in metres per view for episodes without depth (`Predictor.depth_limits`).
    """
    depth: dict[View, ColourScale] = {}
    error: dict[View, ColourScale] = {}
    for view in episode.info.views:
        stated = fallback.get(view, _STATED_RANGE)
        low, high, middle = (
            _depth_range(episode, view) if episode.has("depth", view) else (*stated, float(np.mean(stated)))
        )
        depth[view] = ColourScale(low=low, high=high, unit="m", label="depth", log=high > _LOG_RATIO * low > 0)
        limit = max(10.0, 10.0 * round(100 * _ERROR_SHARE * middle))
        error[view] = symmetric(limit, unit="mm", label="error, red = too far")
    origin = episode.info.depth_origin
    return ClipScales(
        depth=depth,
        error=error,
        origin="the policy's training data" if origin is None else f"{origin} depth of this clip",
    )


def now_panels(foresight: Foresight, view: View, scales: ClipScales) -> list[Panel]:
    """RGB, depth predicted, depth true (or pseudo), error of a view at the current time."""
    seen = foresight.views.get(view)
    estimated = PSEUDO_DEPTH in foresight.remarks
    truth, error = ("depth pseudo", "depth minus pseudo") if estimated else ("depth true", "depth error")
    titles = ("RGB", "depth predicted", truth, error)
    keys = tuple(f"{view}.{name}" for name in ("rgb", "depth", "depth_true", "depth_error"))
    if seen is None:
        return _absent(keys, titles, f"no {view} camera in this episode")
    scale, error_scale = scales.depth[view], scales.error[view]
    about = "; ".join(REMARKS[name] for name in ("no_flow", "flat_flow", "given_goal") if name in foresight.remarks)
    panels = [Panel(key=keys[0], title=titles[0], image=seen.rgb, note=about)]
    no_truth = NO_DEPTH
    images = (
        (seen.depth, scale, REMARKS["no_depth"]),
        (seen.depth_true, scale, no_truth),
        (_error_mm(seen.depth, seen.depth_true), error_scale, REMARKS["no_depth"] if seen.depth is None else no_truth),
    )
    for key, title, (values, colours, note) in zip(keys[1:], titles[1:], images, strict=True):
        if values is None:
            panels.append(Panel(key=key, title=title, image=None, scale=colours, note=note))
            continue
        shown = out_of_range(values, colours) if values is seen.depth else ""
        panels.append(Panel(key=key, title=title, image=colours.paint(values), scale=colours, note=shown))
    return panels


def out_of_range(values: Float[np.ndarray, "h w"], scale: ColourScale) -> str:
    """A sentence where nearly all of a predicted depth map lies beyond the clip's colours; else empty.

    A policy that never saw so far a camera predicts the depth it knows: one flat colour, which says nothing by itself.
    """
    valid = values[np.isfinite(values)]
    if not valid.size or np.mean((valid >= scale.low) & (valid <= scale.high)) > _FLAT_SHARE:
        return ""
    low, high = np.percentile(valid, (2, 98))
    return (
        f"predicted depth is {low:.2f}-{high:.2f} m, the clip's range {scale.low:.2f}-{scale.high:.2f} m: "
        "most of it is drawn in one colour"
    )


def future_panels(foresight: Foresight, view: View, scales: ClipScales) -> list[Panel]:
    """Future RGB predicted, what came, copy-last; then the same for depth, and the error of the predicted depth.

    Copy-last is the baseline that repeats what was seen (RGB) or measured (depth) now.
    """
    seen = foresight.views.get(view)
    if seen is None:
        keys = tuple(f"{view}.{name}" for name in _FUTURE_TITLES)
        return _absent(keys, tuple(_FUTURE_TITLES.values()), f"no {view} camera in this episode")
    scale, error_scale = scales.depth[view], scales.error[view]
    ended = f"nothing recorded at t {foresight.future_step}"
    unknown = "no true depth here" if seen.depth_true is None else ended
    silent = REMARKS["no_future" if "no_future" in foresight.remarks else "no_future_depth"]
    painted = REMARKS["patch_colours"] if "patch_colours" in foresight.remarks else ""
    flat = "" if seen.future_depth is None else out_of_range(seen.future_depth, scale)
    drawn = {"future_rgb": painted, "future_depth": flat}
    error = _error_mm(seen.future_depth, seen.future_depth_true)
    titles = _FUTURE_TITLES | (_PSEUDO_TITLES if PSEUDO_DEPTH in foresight.remarks else {})
    images = {
        "future_rgb": (seen.future_rgb, None, silent),
        "future_rgb_true": (seen.future_rgb_true, None, ended),
        "copy_last": (seen.rgb, None, ""),
        "future_depth": (seen.future_depth, scale, silent),
        "future_depth_true": (seen.future_depth_true, scale, unknown),
        "copy_last_depth": (seen.depth_true, scale, unknown),
        "future_depth_error": (error, error_scale, silent if seen.future_depth is None else unknown),
    }
    return [
        Panel(
            key=f"{view}.{name}",
            title=titles[name],
            image=values if values is None or colours is None else colours.paint(values),
            scale=None if values is None else colours,
            note=why if values is None else drawn.get(name, ""),
        )
        for name, (values, colours, why) in images.items()
    ]


def _error_mm(
    predicted: Float[np.ndarray, "h w"] | None, true: Float[np.ndarray, "h w"] | None
) -> Float[np.ndarray, "h w"] | None:
    return None if predicted is None or true is None else 1000 * (predicted - true)


def attention_overlay(
    rgb: UInt8[np.ndarray, "h w 3"], weight: Float[np.ndarray, "h w"], *, peak: float = PEAK_LIFT
) -> Panel:
    """Attention over a darkened image: the more weight, the more of the map's colour and the less of the image.

    Args:
        rgb: The image, drawn grey.
        weight: Of each pixel, not negative.
        peak: The full colour goes to this many times the image's even share: fixed, so that times can be compared.
    """
    lift = weight / max(float(weight.mean()), 1e-12)
    scale = ColourScale(low=0.0, high=peak, unit="times even", label="weight", map_name=ATTENTION_MAP)
    return Panel(key="attention", title="attention", image=_blend(rgb, scale.paint(lift), lift / peak), scale=scale)


def attribution_overlay(
    rgb: UInt8[np.ndarray, "h w 3"], weight: Float[np.ndarray, "h w"], *, limit: float, unit: str
) -> Panel:
    """Signed weight over a darkened image: red raises what is explained, blue lowers it.

    Args:
        rgb: The image, drawn grey.
        weight: Of each pixel, in `unit`.
        limit: Absolute value of the full colours.
        unit: For the bar.
    """
    scale = symmetric(limit, unit=unit, label="red raises, blue lowers")
    return Panel(
        key="attribution",
        title="attribution",
        image=_blend(rgb, scale.paint(weight), np.abs(weight) / limit),
        scale=scale,
    )


def _blend(
    rgb: UInt8[np.ndarray, "h w 3"], colour: UInt8[np.ndarray, "h w 3"], strength: Float[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """A colour over a grey image, nearly opaque where `strength` is 1 and faint where it is 0."""
    grey = rgb.astype(np.float32).mean(axis=-1, keepdims=True)
    alpha = 0.1 + 0.75 * np.clip(strength, 0.0, 1.0)[..., None]
    return np.round((1 - alpha) * grey + alpha * colour).astype(np.uint8)


def _absent(keys: tuple[str, ...], titles: tuple[str, ...], note: str) -> list[Panel]:
    return [Panel(key=key, title=title, image=None, note=note) for key, title in zip(keys, titles, strict=True)]


def _depth_range(episode: Episode, view: View) -> tuple[float, float, float]:
    """Low, high and median of the valid true depth, metres."""
    steps = episode.frame_steps
    chosen = steps[np.linspace(0, len(steps) - 1, min(_SAMPLED_FRAMES, len(steps))).astype(int)]
    found, errors = list[np.ndarray](), list[EpisodeError]()
    for step in chosen:
        try:
            depth = episode.depth(view, int(step))
            found.append(depth[np.isfinite(depth)])
        except EpisodeError as error:  # a damaged image is said at its step; damage everywhere is said at once
            errors.append(error)
    if not found:
        raise errors[0]
    values = np.concatenate(found)
    if not values.size:
        return 0.0, 1.0, 0.5
    low, middle, high = np.percentile(values, (2, 50, 98))
    return float(low), float(max(high, low + 1e-3)), float(middle)
