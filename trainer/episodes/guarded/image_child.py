"""Decodes images for `trainer.episodes.media.images`, in a process of its own (started by `child`).

Pillow's decoders are C that parses what anybody sent. Nothing but Pillow is imported, so that this starts at once.

Dimensions: h w pixels.
"""

from __future__ import annotations

import importlib
import io
from typing import Any

from PIL import Image, UnidentifiedImageError

from model.errors import EpisodeError, UnsafeFileError

from .serve import Buffers, serve

_DEPTH_MODES = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4", "F": "<f4"}
_COLOURS, _DEPTHS = ("JPEG", "PNG"), ("PNG", "TIFF")
_GREY_16 = ("I", "I;16", "I;16B")  # how Pillow names a PNG of 16 bits
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # what undoes each orientation of EXIF
_SIDEWAYS = (5, 6, 7, 8)


def size(data: bytes, where: str, most: int) -> tuple[dict[str, Any], Buffers]:
    """[h, w] of the upright image from the header, of at most `most` pixels."""
    with _opened(data, where, most, ("JPEG", "PNG", "TIFF")) as image:
        sides = [image.height, image.width]
        return {"size": sides[::-1] if _orientation(image) in _SIDEWAYS else sides}, ()


def colours(data: bytes, where: str, most: int) -> tuple[dict[str, Any], Buffers]:
    """RGB, 8 bits a channel, upright; grey and palette images are expanded, transparency is dropped."""
    with _opened(data, where, most, _COLOURS) as image:
        orientation, pixels = _orientation(image), _loaded(image, where)
        if pixels.mode in _GREY_16:  # `convert` alone would clip at 255
            pixels = pixels.convert("I").point(lambda value: value * (1 / 257)).convert("L")
        if pixels.mode != "RGB":  # `convert` would copy it, and memory is bounded
            pixels = pixels.convert("RGB")
        if orientation in _UPRIGHT:
            pixels = pixels.transpose(_UPRIGHT[orientation])
        return {"size": [pixels.height, pixels.width]}, (pixels.tobytes(),)


def depth(data: bytes, where: str, most: int) -> tuple[dict[str, Any], Buffers]:
    """One channel of 16 bits or floats, as it is stored; `dtype` in numpy's terms."""
    with _opened(data, where, most, _DEPTHS) as image:
        if image.mode not in _DEPTH_MODES:
            raise EpisodeError(f"{where}: is a {image.mode} image; depth needs one channel of 16 bits or floats")
        pixels = _loaded(image, where)
        return {"size": [pixels.height, pixels.width], "dtype": _DEPTH_MODES[image.mode]}, (pixels.tobytes(),)


def _orientation(image: Any) -> int:
    """How a camera was held, as EXIF says it in a JPEG or PNG; 1 (upright) where it says nothing."""
    if image.format not in _COLOURS or "exif" not in image.info:  # Pillow would decode a PNG to look behind its pixels
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except MemoryError:
        raise
    except Exception:  # damaged EXIF is no reason to lose the picture
        return 1


def _opened(data: bytes, where: str, most: int, formats: tuple[str, ...]) -> Any:
    """Parses the header only; the size is checked before a pixel is decoded."""
    try:
        image: Any = Image.open(io.BytesIO(data), formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnsafeFileError(f"{where}: announces far more than {most} pixels") from None
    except UnidentifiedImageError:  # its message is the address of an object
        raise EpisodeError(f"{where}: not a readable {' or '.join(formats)} image (it begins like none)") from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's parsers raise whatever a mutated header makes them stumble over
        raise EpisodeError(f"{where}: not a readable {' or '.join(formats)} image ({_reason(error)})") from None
    if image.width * image.height > most:
        raise UnsafeFileError(f"{where}: announces {image.width} x {image.height} pixels, at most {most}")
    return image


def _loaded(image: Any, where: str) -> Any:
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # as above
        raise EpisodeError(f"{where}: damaged image ({_reason(error)})") from None
    return image


def _reason(error: Exception) -> str:
    return f"{error}"[:120] or type(error).__name__


def _nothing_stays_open() -> None:
    return


if __name__ == "__main__":
    Image.preinit()  # JPEG and PNG; `Image.init` would load sixty formats more
    importlib.import_module("PIL.TiffImagePlugin")
    serve({"size": size, "colours": colours, "depth": depth}, _nothing_stays_open)
