"""A process that reads for another one: whatever happens to it is one error that names the file."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import h5py
import numpy as np
import pytest

from model.errors import EpisodeError, UnsafeFileError
from trainer.episodes.guarded import child, serve

SERVICE = """
import os, sys, time
from pathlib import Path
from typing import get_args
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
calls["measure"] = lambda data, where: ({"value": len(data)}, (data[::-1],))
calls["nap"] = lambda path, where: (time.sleep(1), ({"value": os.getpid()}, ()))[1]
calls["fail"] = lambda path, where: {}["field x"]
calls["lie"] = lambda path, where: ({"value": 1, "bytes": 5}, ())
def start_slowly(path, where):
    if not Path(path).exists():
        Path(path).touch()
        spin(path, where)
    return {"value": "read"}, ()
calls["start slowly"] = start_slowly
serve.CPU_S = 0.3  # so that the tests need not wait
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


def test_what_is_slow_once_is_asked_again(fake: child.Child, tmp_path: Path) -> None:
    assert fake.ask("start slowly", tmp_path / "mark")[0]["value"] == "read"


@pytest.mark.parametrize("answer", ["[]", "3", '{"value": 1}', '{"bytes": -1}', '{"bytes": 0}\nmore', "[" * 100_000])
def test_an_answer_that_is_none_is_an_error_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    said = f"import sys; sys.stdin.readline(); print({answer!r}, flush=True); sys.stdin.read()"
    monkeypatch.setattr(Fake, "_command", lambda self: [sys.executable, "-c", said])
    with pytest.raises(EpisodeError, match="crashes the library"):
        Fake("hdf5").ask("say", tmp_path)


def test_a_wait_without_end_is_ended(fake: child.Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.ask("say", tmp_path, value=0)
    monkeypatch.setattr(child, "WALL_S", 0.2)
    with pytest.raises(UnsafeFileError, match="took more than"):
        fake.ask("wait", tmp_path)


def test_a_program_with_more_than_1024_open_files_can_ask(fake: child.Child, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] != resource.RLIM_INFINITY and limits[1] < 1200:
        pytest.skip("this machine lets no program have so many files open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], 1200), limits[1]))
    held: list[int] = []
    try:
        while not held or held[-1] < 1030:
            held.append(os.open(os.devnull, os.O_RDONLY))
        assert fake.ask("say", tmp_path, value=7)[0]["value"] == 7
    finally:
        for each in held:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("size", [0, 10, 70_000, 5_000_000])
def test_bytes_go_with_a_question(fake: child.Child, size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    for _ in range(2):
        head, back = fake.ask_about("measure", data, "here")
        assert (head["value"], back) == (size, data[::-1])
    with pytest.raises(UnsafeFileError, match=r"here: .* bytes, at most"):
        fake.ask_about("measure", bytes(serve.MAX_BLOB + 1), "here")


def test_a_second_process_is_started_only_while_the_first_is_busy(tmp_path: Path) -> None:
    pool = child.Pool("hdf5")
    vars(pool)["_idle"][:] = [Fake("hdf5"), Fake("hdf5")]
    try:
        alone = {pool.ask("nap", tmp_path)[0]["value"] for _ in range(2)}
        with ThreadPoolExecutor(2) as threads:
            together = {answer[0]["value"] for answer in threads.map(lambda _: pool.ask("nap", tmp_path), range(2))}
        assert len(alone) == 1
        assert alone < together
        assert len(together) == 2
    finally:
        pool.close()


def test_it_knows_nothing_of_our_environment(
    fake: child.Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    assert not [name for name in fake.ask("environment", tmp_path)[0]["value"] if "SECRET" in name or name == "HOME"]


def test_it_ends_in_peace_with_a_file_open_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "cut.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.zeros(100_000))
    os.truncate(path, path.stat().st_size // 2)
    service = child.Child("hdf5")
    assert "cut off" in service.ask("entries", path, name="/", depth=1)[0]["complaint"]
    process = vars(service)["_process"]
    service.close()
    assert process.returncode == 0


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


def test_all_can_be_started_before_anybody_asks() -> None:
    child.start_all()
    running = {name: child.child(name)._idle[-1]._process for name in get_args(child.Service)}
    assert [process is not None and process.poll() for process in running.values()] == [None] * 3
    child.start_all()
    assert {name: child.child(name)._idle[-1]._process for name in running} == running  # those, and no others
