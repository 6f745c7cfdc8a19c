"""A process that reads for another one: whatever happens to it is one error that names the file."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.errors import EpisodeError, UnsafeFileError
from trainer.episodes.guarded import child, serve

SERVICE = """
import os, sys, time
from pathlib import Path
from model.errors import UnsafeFileError
from trainer.episodes.guarded import serve

def spin(path, where):
    while True: pass
def big(path, where):
    return {}, (bytes(serve.MAX_BLOB), b"1")
def say(path, where, value):
    print("what a library prints")
    return {"value": value}, (b"abc", memoryview(b"def"))
def write(path, where):
    Path(path).write_bytes(b"x" * 10)
def refuse(path, where):
    raise UnsafeFileError(f"{where}: no")
def gone(path, where):
    return {"value": sorted(os.environ)}, ()
calls = {"spin": spin, "big": big, "say": say, "write": write, "refuse": refuse, "environment": gone}
calls["crash"] = lambda path, where: os.abort()
calls["leave"] = lambda path, where: os._exit(3)
calls["eat"] = lambda path, where: bytes(1 << 30)
calls["wait"] = lambda path, where: time.sleep(60)
calls["fail"] = lambda path, where: {}["field x"]
calls["lie"] = lambda path, where: ({"value": 1, "bytes": 5}, ())
serve.serve(calls, lambda: None)
"""


class Fake(child.Child):
    """The service above."""

    def _command(self) -> list[str]:
        return [sys.executable, "-c", SERVICE]


@pytest.fixture
def fake() -> Iterator[child.Child]:
    service = Fake("hdf5")
    yield service
    service.close()


@pytest.mark.parametrize(
    ("operation", "kind", "says"),
    [
        ("crash", EpisodeError, "crashes the library"),
        ("leave", EpisodeError, "crashes the library"),
        ("spin", UnsafeFileError, "more than 2 s"),
        ("eat", UnsafeFileError, "more than the 512 MB"),
        ("big", UnsafeFileError, "in one answer"),
        ("fail", EpisodeError, r"damaged \(field x\)"),
        ("refuse", UnsafeFileError, "no"),
        ("write", EpisodeError, "damaged"),
    ],
)
def test_whatever_it_does_is_one_error_and_the_next_question_is_answered(
    fake: child.Child, tmp_path: Path, operation: str, kind: type[Exception], says: str
) -> None:
    path = tmp_path / "file.hdf5"
    for _ in range(2):
        with pytest.raises(kind, match=says) as caught:
            fake.ask(operation, path)
        assert str(path) in str(caught.value)
    head, data = fake.ask("say", path, value=[1, "ü"])
    assert (head["value"], data) == ([1, "ü"], b"abcdef")
    assert not path.exists() or path.stat().st_size == 0  # it can write nothing


def test_a_wait_without_end_is_ended(fake: child.Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.ask("say", tmp_path, value=0)
    monkeypatch.setattr(child, "WALL_S", 0.2)
    with pytest.raises(UnsafeFileError, match="took more than"):
        fake.ask("wait", tmp_path)


def test_it_knows_nothing_of_our_environment(
    fake: child.Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    assert not [name for name in fake.ask("environment", tmp_path)[0]["value"] if "SECRET" in name or name == "HOME"]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_gets_a_child_of_its_own(tmp_path: Path) -> None:
    first = child.child("hdf5")
    assert child.child("hdf5") is first
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        os.write(write, json.dumps(child.child("hdf5") is first).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert json.loads(os.read(read, 100)) is False
    os.close(read)
    os.close(write)


def test_the_bounds_are_those_that_are_promised() -> None:
    assert (serve.MEMORY, serve.CPU_S) == (512 << 20, 2.0)
