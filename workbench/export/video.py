"""The panels of the page as a film: every predicted time of one view, what was foreseen beside what came."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from model.errors import ConfigError
from trainer.episodes.episode import View

from ..charts.panels import ClipScales, Panel, future_panels, now_panels
from ..foresight import Foresight

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

_COLUMNS = 4
_ENLARGE = 2
_TITLE_PX = 16
_INK, _GROUND = (225, 228, 232), (24, 26, 30)
_MACROBLOCK = 16
"""H.264 wants whole blocks of pixels: a frame is padded to them, never stretched."""


def panels_mp4(foresights: Sequence[Foresight], view: View, scales: ClipScales, *, hz: float) -> bytes:
    """An H.264 film, one frame for each prediction, played at the speed of the episode.

    Args:
        foresights: By increasing time.
        view: The camera to show.
        scales: The clip's fixed colour scales.
        hz: Control steps a second.

    Raises:
        ConfigError: Nothing was predicted, or ffmpeg cannot write.
    """
    if not foresights:
        raise ConfigError("nothing of this clip is predicted yet: predict the whole clip, then export the film")
    import imageio.v2 as imageio

    steps = np.array([foresight.step for foresight in foresights])
    stride = float(np.median(np.diff(steps))) if len(steps) > 1 else 1.0
    with tempfile.TemporaryDirectory(prefix="foresight-film-") as folder:
        path = Path(folder) / "panels.mp4"
        try:
            with imageio.get_writer(path, fps=hz / stride, codec="libx264", quality=8) as film:
                for foresight in foresights:
                    frame = frame_image(foresight, view, scales)
                    film.append_data(frame)  # pyright: ignore[reportAttributeAccessIssue] - typed as its base class
        except (OSError, RuntimeError) as error:
            raise ConfigError(f"the film could not be written: {error}") from error
        return path.read_bytes()


def frame_image(foresight: Foresight, view: View, scales: ClipScales) -> UInt8[np.ndarray, "h w 3"]:
    """All panels of one time in a grid of four columns, titled, the time in the corner; whole macroblocks in size."""
    import PIL.Image
    import PIL.ImageDraw

    panels = [*now_panels(foresight, view, scales), *future_panels(foresight, view, scales)]
    rows = [panels[:_COLUMNS], panels[_COLUMNS : _COLUMNS + 3], panels[_COLUMNS + 3 :]]
    seen = foresight.views.get(view)
    height, width = (size * _ENLARGE for size in (seen.rgb.shape[:2] if seen else (128, 128)))
    canvas = PIL.Image.new("RGB", (_whole(_COLUMNS * width), _whole(len(rows) * (height + _TITLE_PX))), _GROUND)
    pen = PIL.ImageDraw.Draw(canvas)
    for i, row in enumerate(rows):
        for j, panel in enumerate(row):
            corner = (j * width, i * (height + _TITLE_PX))
            pen.text((corner[0] + 4, corner[1] + 2), panel.title, fill=_INK)
            _paste(canvas, pen, panel, (corner[0], corner[1] + _TITLE_PX), (width, height))
    times = f"t {foresight.step}, future t {foresight.future_step}"
    pen.text((3 * width + 4, height + 2 * _TITLE_PX), times, fill=_INK)
    return np.asarray(canvas)


def _paste(canvas: Image, pen: ImageDraw, panel: Panel, corner: tuple[int, int], size: tuple[int, int]) -> None:
    import PIL.Image

    if panel.image is None:
        pen.text((corner[0] + 4, corner[1] + 4), panel.note, fill=_INK)
    else:
        canvas.paste(PIL.Image.fromarray(panel.image).resize(size, PIL.Image.Resampling.NEAREST), corner)


def _whole(pixels: int) -> int:
    return -(-pixels // _MACROBLOCK) * _MACROBLOCK
