"""What is decoded of an MCAP file, and what it must look like then: a file brings the definitions of its own messages.

The decoder follows those definitions, so they are looked at first: nothing in them may take no bytes (an array of four
thousand million nothings would be built one by one). What comes out must have the fields of the published ROS 2 types.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

MAX_NUMBERS_BYTES = 1 << 20
"""Of a message that is no image: its numbers become Python objects of thirty times their size."""
_NOTHING = re.compile(r"\[\s*0+\s*\]")
_SECTION = re.compile(r"^=+$", re.MULTILINE)
_PIXELS = re.compile(r"^\s*(uint8|byte|octet)\s*\[\]\s+data\b", re.MULTILINE)
_IMAGES = ("Image", "CompressedImage")

Check = Callable[[Any], bool]


def check_definition(kind: str, text: str, size: int) -> None:
    """Looks at the definition of a message of `size` bytes before anything follows it.

    Raises:
        ValueError: It is of no kind that is read, or may take far more time or memory than the message has bytes.
    """
    if kind not in _CHECKS:
        raise ValueError(f"messages of type '{kind:.40}' are not read")
    if kind not in _IMAGES and size > MAX_NUMBERS_BYTES:
        raise ValueError(f"{size} bytes, at most {MAX_NUMBERS_BYTES}")
    if problem := _problem(kind, text):
        raise ValueError(problem)


@lru_cache(maxsize=64)
def _problem(kind: str, text: str) -> str:
    if kind in _IMAGES and not _PIXELS.search(text):
        return "its 'data' are no bytes"
    if _NOTHING.search(text) or not all(map(_has_a_field, _SECTION.split(text))):
        return "its definition has parts that take no bytes"
    return ""


def check_message(kind: str, message: Any) -> None:
    """Raises `ValueError` where a decoded message has not the fields of its published type."""
    wrong = [name for name, check in _CHECKS[kind].items() if not check(_value(message, name))]
    if wrong:
        raise ValueError(f"its field '{wrong[0]}' is missing or of another type")


def _has_a_field(section: str) -> bool:
    """Whether a definition has something beside comments, its name and constants."""
    lines = (line.partition("#")[0].split(None, 1) for line in section.splitlines())
    return any(len(line) == 2 and line[0] != "MSG:" and "=" not in line[1] for line in lines)


def _value(message: Any, path: str) -> Any:
    for name in path.split("."):
        message = getattr(message, name, None)
    return message


def _whole(value: Any) -> bool:
    return isinstance(value, int)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _bytes(value: Any) -> bool:
    return isinstance(value, bytes | bytearray | memoryview)


def _number(value: Any) -> bool:
    return isinstance(value, int | float)


def _numbers(value: Any, count: int | None = None) -> bool:
    return isinstance(value, list) and count in (None, len(value)) and all(map(_number, value))


def _optional_projection(value: Any) -> bool:
    return value is None or _numbers(value, 12)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _transforms(value: Any) -> bool:
    return isinstance(value, list) and all(
        check(_value(item, name)) for item in value for name, check in _TRANSFORM.items()
    )


def _vector(name: str, axes: str) -> dict[str, Check]:
    return {f"{name}.{axis}": _number for axis in axes}


_STAMPED: dict[str, Check] = {"header.frame_id": _text}
_TRANSFORM: dict[str, Check] = {
    **_STAMPED,
    "child_frame_id": _text,
    **_vector("transform.translation", "xyz"),
    **_vector("transform.rotation", "xyzw"),
}
_SIZE: dict[str, Check] = {"height": _whole, "width": _whole}
_CHECKS: dict[str, dict[str, Check]] = {
    "Image": {**_STAMPED, **_SIZE, "encoding": _text, "is_bigendian": _whole, "step": _whole, "data": _bytes},
    "CompressedImage": {**_STAMPED, "format": _text, "data": _bytes},
    "CameraInfo": {**_SIZE, "d": _numbers, "k": lambda value: _numbers(value, 9), "p": _optional_projection},
    "JointState": {"name": _texts, "position": _numbers, "velocity": _numbers, "effort": _numbers},
    "Pose": {**_vector("position", "xyz"), **_vector("orientation", "xyzw")},
    "PoseStamped": {**_vector("pose.position", "xyz"), **_vector("pose.orientation", "xyzw")},
    "TFMessage": {"transforms": _transforms},
}
