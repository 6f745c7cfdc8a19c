"""Pickles of numpy: the same as numpy's own reading where they hold data, one error where they hold anything else."""

from __future__ import annotations

import io
import os
import pickle
import random
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.errors import EpisodeError, UnsafeFileError
from trainer.episodes.restricted_pickle import read_object_npy, run_pickle


def good() -> Any:
    deep = np.empty((2, 2), object)
    deep[0, 0], deep[0, 1], deep[1, 0], deep[1, 1] = "a", [1, (2.5, None)], {"k": b"bytes"}, np.arange(3)
    return {
        "language": {
            "ann": ["pull", "höher"],
            "emb": np.random.default_rng(0).normal(size=(2, 1, 5)).astype(np.float32),
        },
        "info": {"episodes": [], "indx": [(1, 2), (np.int64(3), np.int64(4))]},
        "kinds": [True, -5, 2**62, 1e-300, float("inf"), np.float32(2), np.str_("s"), np.bool_(True)],
        "arrays": [np.arange(6).reshape(2, 3).T, np.array(["a", "bcd"]), np.zeros((0, 3)), np.array(7, ">i2"), deep],
        "empty": [b"", "", (), [], {}],
    }


def same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, np.ndarray):
        assert a.dtype.newbyteorder("=") == b.dtype.newbyteorder("=")
        assert a.shape == b.shape
        if a.dtype == object:
            for x, y in zip(a.ravel(), b.ravel(), strict=True):
                same(x, y)
        else:
            np.testing.assert_array_equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    else:
        assert a == b


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("names", ["numpy._core", "numpy.core"])
def test_good_pickles_give_what_pickle_gives(protocol: int, names: str) -> None:
    data = pickle.dumps(good(), protocol)
    written = old_names(data) if names == "numpy.core" else data  # as numpy 1 wrote them
    same(run_pickle(written, "x"), pickle.loads(data))  # noqa: S301


def old_names(data: bytes) -> bytes:
    old = data.replace(b"numpy._core.", b"numpy.core.")
    for text in (b"numpy.core.multiarray", b"numpy.core.numeric"):
        old = old.replace(b"\x8c" + bytes([len(text) + 1]) + text, b"\x8c" + bytes([len(text)]) + text)
    frame = old.find(b"\x95")
    if data[1] >= 4 and frame == 2:  # the frame tells its length
        old = old[:3] + (len(old) - 11).to_bytes(8, "little") + old[11:]
    return old


def test_a_file_is_read_as_numpy_reads_it(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", good())
    same(read_object_npy(tmp_path / "a.npy", tmp_path), np.load(tmp_path / "a.npy", allow_pickle=True))


class Reduce:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


HOSTILE: dict[str, bytes] = {
    "code": pickle.dumps(Reduce(os.system, "touch ran-code")),
    "code, protocol 0": pickle.dumps(Reduce(os.system, "true"), 0),
    "eval": pickle.dumps(Reduce(eval, "1")),
    "getattr": pickle.dumps(Reduce(getattr, [], "append")),
    "other class": pickle.dumps(OrderedDict(a=1)),
    "set": pickle.dumps({1, 2}),
    "whole number keys": pickle.dumps({2**61 - 1: 0}),
    "a class as a value": pickle.dumps([np.ndarray]),
    "a huge number": pickle.dumps(2**70),
    "an empty terabyte": pickle.dumps(Reduce(np.zeros, 10**12)),
    "a function's attributes": b"\x80\x04cnumpy\nndarray\n}\x8c\x01aK\x01sb.",
    "an array twice": b"\x80\x04cnumpy\ndtype\n\x8c\x02f4\x89\x88\x87R)Rb.",
    "memo beyond": b"\x80\x04h\x07.",
    "huge memo index": b"\x80\x04K\x01r\xff\xff\xff\xff.",
    "huge length": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "no mark": b"\x80\x04t.",
    "nothing": b"",
    "no end": b"\x80\x04K\x01",
    "more behind": pickle.dumps(1) + b"x",
    "two values": b"\x80\x04K\x01K\x02.",
    "persistent id": b"\x80\x04K\x01Q.",
    "extension": b"\x80\x04\x82\x01.",
    "a list that fills itself": b"\x80\x04(lp0\nh\x00a.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_one_error(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "huge memo index":  # an index costs nothing
        assert run_pickle(HOSTILE[name], "here") == 1
        return
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnsafeFileError, match=r"^here: "):
        run_pickle(HOSTILE[name], "here")
    assert not (tmp_path / "ran-code").exists()


@pytest.mark.parametrize(
    ("shape", "dtype", "data"),
    [
        ((10**11,), "f4", b"1234"),
        ((1,), "O8", [1, 2]),
        ((-1,), "f4", b""),
        ((2,), "f4", b"123"),
        ((1,), "M8", b"12345678"),
    ],
)
def test_arrays_that_lie_are_refused(shape: tuple[int, ...], dtype: str, data: Any) -> None:
    from numpy._core.multiarray import _reconstruct  # pyright: ignore[reportPrivateUsage]

    class Liar:
        def __reduce__(self) -> Any:
            return _reconstruct, (np.ndarray, (0,), b"b"), (1, shape, np.dtype(dtype[:2]), False, data)

    with pytest.raises(UnsafeFileError):
        run_pickle(pickle.dumps(Liar()), "x")


def test_values_that_share_their_parts_cost_no_more_than_their_file() -> None:
    """A thousand lists of twice the one before: their text would be 2^1000 long, so nothing may print or walk them."""
    data = (
        b"\x80\x04]\x94"
        + b"".join(b"](h" + bytes([i % 200]) + b"h" + bytes([i % 200]) + b"e\x94" for i in range(199))
        + b"."
    )
    with pytest.raises(UnsafeFileError):  # several values are left
        run_pickle(data, "x")


def test_mutated_files_give_data_or_one_error(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, good())
    original, rng = buffer.getvalue(), random.Random(0)
    path, refused, started = tmp_path / "a.npy", 0, time.process_time()
    for _ in range(300):
        data = bytearray(original)
        for _ in range(rng.choice((1, 1, 2, 8))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        path.write_bytes(data)
        try:
            read_object_npy(path, tmp_path)
        except (UnsafeFileError, EpisodeError) as error:
            assert str(path) in str(error)  # noqa: PT017
            refused += 1
    assert refused > 60
    assert time.process_time() - started < 30


def test_a_plain_array_is_no_object_array(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3))
    with pytest.raises(EpisodeError, match="expected objects"):
        read_object_npy(tmp_path / "a.npy", tmp_path)
