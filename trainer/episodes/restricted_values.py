"""The few functions that numpy names in its own pickles, replaced by ones that check what they are given."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

_DTYPE = re.compile(r"([biufcSUO?])(\d{0,6})")
_ORDERS = ("<", ">", "=", "|")
_MAX_DIMS = 32
_LAST_CHARACTER = 0x10FFFF
_PLAIN = (str, bytes, int, float, bool, type(None))


@dataclass(frozen=True)
class Function:
    """What stands for a global name. `run` is None for a class that is only handed to another function."""

    name: str
    run: Callable[..., Any] | None


class PendingDtype:
    """A dtype whose byte order is still to come."""

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype

    def build(self, state: Any) -> None:
        """Takes the state that numpy writes: version, byte order, then nothing that makes it structured."""
        if type(state) is not tuple or len(state) not in (8, 9) or state[1] not in _ORDERS or any(state[2:5]):
            raise ValueError("a dtype is not a plain one")
        self.dtype = self.dtype.newbyteorder(state[1]) if self.dtype.kind not in "OSb" else self.dtype


class PendingArray:
    """An array that is announced, and filled by `build`."""

    def __init__(self) -> None:
        self._array: np.ndarray | None = None

    def array(self) -> np.ndarray:
        """The array, once it was filled."""
        if self._array is None:
            raise ValueError("an array is used before it has content")
        return self._array

    def build(self, state: Any) -> None:
        """Takes the state that numpy writes: version, shape, dtype, order, and data of exactly that size."""
        if type(state) is not tuple or len(state) != 5 or self._array is not None:
            raise ValueError("an array's state is not numpy's")
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, PendingDtype) or type(fortran) is not bool:
            raise ValueError("an array's state is not numpy's")
        self._array = _filled(dtype.dtype, _shape(shape), "F" if fortran else "C", data)


def check_value(value: Any) -> Any:
    """A literal as it is; anything but text, bytes and numbers raises `ValueError`."""
    if type(value) not in _PLAIN:
        raise ValueError(f"a {type(value).__name__} is no plain value")
    return value


def _filled(dtype: np.dtype, shape: tuple[int, ...], order: Any, data: Any) -> np.ndarray:
    count = math.prod(shape)
    if dtype.kind == "O":
        if type(data) is not list or len(data) != count:
            raise ValueError(f"an array of {count} objects has other content")
        array = _objects(data)
    else:
        if type(data) is not bytes or len(data) != count * dtype.itemsize or not dtype.itemsize:
            raise ValueError(f"an array of {count} {dtype} has other content")
        array = _values(data, dtype)
    return array.reshape(shape, order=order)


def _values(data: bytes, dtype: np.dtype) -> np.ndarray:
    """Bytes as values in this machine's byte order; texts only of characters that exist (numpy would crash later)."""
    array = np.frombuffer(bytearray(data), dtype)
    array = array.astype(dtype.newbyteorder("="), copy=False)
    if dtype.kind == "U" and len(array) and array.view(np.uint32).max() > _LAST_CHARACTER:
        raise ValueError("a text has characters that do not exist")
    return array


def _objects(items: list[Any]) -> np.ndarray:
    """A one-dimensional array of objects, whatever they are (numpy would look into lists)."""
    array = np.empty(len(items), object)
    for index, item in enumerate(items):
        array[index] = item
    return array


def _shape(value: Any) -> tuple[int, ...]:
    if type(value) is not tuple or len(value) > _MAX_DIMS or any(type(n) is not int or n < 0 for n in value):
        raise ValueError("an array's shape is no shape")
    return value


def _reconstruct(kind: Any, shape: Any, code: Any) -> PendingArray:
    if kind is not _NDARRAY or shape != (0,) or code not in (b"b", "b"):
        raise ValueError("an array is announced in a way that is not numpy's")
    return PendingArray()


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(dtype, PendingDtype) or dtype.dtype.kind == "O" or order not in ("C", "F"):
        raise ValueError("an array is given in a way that is not numpy's")
    return _filled(dtype.dtype, _shape(shape), order, data)


def _scalar(dtype: Any, data: Any) -> Any:
    if not isinstance(dtype, PendingDtype) or type(data) is not bytes or len(data) != dtype.dtype.itemsize:
        raise ValueError("a scalar is not numpy's")
    if dtype.dtype.kind == "O" or not data:
        raise ValueError("a scalar holds an object")
    return _values(data, dtype.dtype)[0]


def _dtype(name: Any, align: Any = False, copy: Any = True) -> PendingDtype:
    match = _DTYPE.fullmatch(name) if type(name) is str else None
    if match is None or type(align) not in (bool, int) or type(copy) not in (bool, int):
        raise ValueError("a dtype is not a plain one")
    return PendingDtype(np.dtype(object if match[1] == "O" else name))


def _encode(text: Any, codec: Any) -> bytes:
    """How protocol 2 writes bytes."""
    if type(text) is not str or codec != "latin1":
        raise ValueError("bytes are written in a way that is not Python's")
    return text.encode("latin-1")


def _no_bytes() -> bytes:
    return b""


_NDARRAY = Function("numpy.ndarray", None)
_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")

FUNCTIONS: dict[tuple[str, str], Function] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): Function("numpy.dtype", _dtype),
    **{(module, "_reconstruct"): Function("_reconstruct", _reconstruct) for module in _MULTIARRAY},
    **{(module, "scalar"): Function("scalar", _scalar) for module in _MULTIARRAY},
    **{(module, "_frombuffer"): Function("_frombuffer", _frombuffer) for module in _NUMERIC},
    ("_codecs", "encode"): Function("encode", _encode),
    ("__builtin__", "bytes"): Function("bytes", _no_bytes),
    ("builtins", "bytes"): Function("bytes", _no_bytes),
}
