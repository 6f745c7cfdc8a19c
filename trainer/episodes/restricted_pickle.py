"""Object arrays in .npy files (CALVIN's language annotations), read without an unpickler.

A pickle is a program for a stack machine. `pickletools` of the standard library reads its instructions without running
them; here those few run that build numbers, texts, lists, tuples, dictionaries and arrays. A name of a class or
function is never looked up: the handful that numpy itself writes are mapped to functions of `restricted_values` that
check what they are given. Everything else is one `UnsafeFileError`. Protocols 2 to 5, as numpy on Python 3 writes them.
"""

from __future__ import annotations

import io
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from model.errors import EpisodeError, UnsafeFileError

from .restricted_values import FUNCTIONS, Function, PendingArray, PendingDtype, check_value
from .safe_npy import read_header
from .safe_path import plain_file

MAX_BYTES = 256 << 20
_MAX_INSTRUCTIONS = 400_000  # CALVIN's largest split has 22,994 annotations of about ten
_LARGEST_INTEGER = 2**63

_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


class _RefusedError(Exception):
    """Why a pickle is not run."""


def read_object_npy(path: Path, root: Path) -> Any:
    """The value in a .npy file of pickled objects, as `numpy.load` would give it: an array of dtype object.

    Values are numpy arrays and scalars, str, bytes, int, float, bool, None, dict, list, tuple. Nothing is said about
    their schema, and they may share parts or be nested deeply: check types before walking or printing them.

    Raises:
        EpisodeError: Missing, or not a npy file.
        UnsafeFileError: Holds anything else than such values, or leads outside of `root`.
    """
    plain_file(path, root, max_bytes=MAX_BYTES)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EpisodeError(f"{path}: cannot be read ({error.strerror})") from None
    file = io.BytesIO(data)
    header = read_header(file, str(path), "biufO")
    if header.dtype.kind != "O":
        raise EpisodeError(f"{path}: holds {header.dtype}, expected objects")
    value = run_pickle(file.read(), str(path))
    if not isinstance(value, np.ndarray) or value.dtype != object or value.shape != header.shape:
        raise UnsafeFileError(f"{path}: does not hold the array that its header announces")
    return value


def run_pickle(data: bytes, where: str) -> Any:
    """The value of a pickle of plain data.

    Raises:
        UnsafeFileError: It is damaged, or would do anything else than build plain data.
    """
    machine = _Machine()
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(data)):
            if count > _MAX_INSTRUCTIONS:
                raise _RefusedError(f"more than {_MAX_INSTRUCTIONS} instructions")
            if opcode.name == "STOP":
                if position is not None and position != len(data) - 1:
                    raise _RefusedError("data behind its end")
                return machine.result()
            machine.run(opcode.name, argument)
    except _RefusedError as error:
        raise UnsafeFileError(f"{where}: {error}; such a file may run code, so it is not read") from None
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError, EOFError) as error:
        raise UnsafeFileError(f"{where}: damaged ({type(error).__name__}: {error!s:.120})") from None
    raise UnsafeFileError(f"{where}: damaged (it has no end)")


class _Machine:
    """The stack, the marks on it and the memo."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        if len(self._stack) != 1:
            raise _RefusedError("leaves several values")
        return self._pop()

    def run(self, name: str, argument: Any) -> None:
        """Runs one instruction, named as in `pickletools`."""
        stack = self._stack
        if name in _LITERALS:
            stack.append(_literal(argument))
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            stack.append(tuple(self._take(_TUPLES[name])))
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append([] if name == "EMPTY_LIST" else {})
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "TUPLE":
            stack.append(tuple(self._take_to_mark()))
        elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
            self._memo[len(self._memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            stack.append(self._function(argument))
        elif name == "REDUCE":
            arguments = self._pop()
            stack.append(self._call(stack.pop(), arguments))
        elif name == "BUILD":
            state = self._pop()
            stack.append(self._build(stack.pop(), state))
        elif name not in ("PROTO", "FRAME", "READONLY_BUFFER"):
            self._fill(name)

    def _fill(self, name: str) -> None:
        """Instructions that put values into a list or a dictionary."""
        if name in ("APPEND", "APPENDS"):
            items = self._take(1) if name == "APPEND" else self._take_to_mark()
            if type(self._stack[-1]) is not list:
                raise _RefusedError(f"fills a {type(self._stack[-1]).__name__} as a list")
            self._stack[-1].extend(map(_content, items))
        elif name in ("SETITEM", "SETITEMS"):
            items = self._take(2) if name == "SETITEM" else self._take_to_mark()
            if type(self._stack[-1]) is not dict or len(items) % 2:
                raise _RefusedError(f"fills a {type(self._stack[-1]).__name__} as a dictionary")
            for key, value in zip(items[::2], items[1::2], strict=True):
                if type(key) is not str:  # whole numbers can be chosen so that they all collide
                    raise _RefusedError(f"a dictionary has a key that is a {type(key).__name__}")
                self._stack[-1][key] = _content(value)
        else:
            raise _RefusedError(f"has the instruction {name}")

    def _pop(self) -> Any:
        return self._take(1)[0]

    def _take(self, count: int) -> list[Any]:
        """The topmost values, each of them finished."""
        if count > len(self._stack):
            raise _RefusedError("takes values that are not there")
        taken = [self._finished(item) for item in self._stack[len(self._stack) - count :]]
        del self._stack[len(self._stack) - count :]
        return taken

    def _take_to_mark(self) -> list[Any]:
        for count in range(len(self._stack)):
            if self._stack[-1 - count] is _MARK:
                taken = self._take(count)
                self._stack.pop()
                return taken
        raise _RefusedError("has no mark")

    @staticmethod
    def _finished(item: Any) -> Any:
        if isinstance(item, PendingArray):
            return item.array()
        if item is _MARK:
            raise _RefusedError("uses a mark as a value")
        return item

    def _function(self, argument: Any) -> Function:
        module, name = self._take(2) if argument is None else str(argument).split(" ", 1)
        function = FUNCTIONS.get((module, name)) if type(module) is str and type(name) is str else None
        if function is None:
            raise _RefusedError(f"asks for {module!s:.60}.{name!s:.60}")
        return function

    @staticmethod
    def _call(function: Any, arguments: Any) -> Any:
        if not isinstance(function, Function) or function.run is None or type(arguments) is not tuple:
            raise _RefusedError("calls something that is no function")
        return function.run(*arguments)

    @staticmethod
    def _build(target: Any, state: Any) -> Any:
        if not isinstance(target, PendingArray | PendingDtype):
            raise _RefusedError(f"sets attributes of a {type(target).__name__}")
        target.build(state)
        return target


def _content(value: Any) -> Any:
    """A value that may stand in a list or a dictionary: not one of the helpers on the way to it."""
    if isinstance(value, Function | PendingDtype):
        raise _RefusedError("keeps a class or a function")
    return value


def _literal(value: Any) -> Any:
    if type(value) is int and not -_LARGEST_INTEGER <= value < _LARGEST_INTEGER:
        raise _RefusedError("has a whole number of more than 64 bits")
    return bytes(value) if isinstance(value, bytearray) else check_value(value)
