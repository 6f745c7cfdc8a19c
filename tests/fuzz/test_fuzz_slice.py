"""Half a minute of the fuzzer: every parser for a moment, and the fuzzer itself on parsers that have a fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import planted, runner
from tests.fuzz.__main__ import summary, table
from tests.fuzz.mutate import Corpus, Seed
from tests.fuzz.runner import State, feed_all
from tests.fuzz.targets import TARGETS

N = 150  # inputs of a parser; the hundredth part for decoders that start a process for each file


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> State:
    """A slice of each parser's inputs, always the same ones."""
    state = State(tmp_path_factory.mktemp("fuzz"), seed=1)
    feed_all(list(TARGETS), state, N, seed=1, processes=2)
    return state


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found(state: State, name: str) -> None:
    said = [path.read_text() for path in (state.out / "findings").glob("*.txt")] if state.of(name).findings else []
    assert not said, said[0]
    assert state.of(name).inputs >= N // TARGETS[name].share
    assert 0 < state.of(name).rss_mb < 512
    assert name in table(state)


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    for inputs in (40, 40, 100):
        feed_all(["npy"], State(tmp_path, seed=2), inputs, seed=2)
        totals = State(tmp_path, seed=2).of("npy")
        assert (totals.inputs, totals.refused + totals.accepted, totals.findings) == (inputs, inputs, 0)
    assert summary(State(tmp_path, seed=2), 100, 2)["parsers"]["npy"]["inputs"] == 100  # type: ignore[index]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("UNEXPECTED", "KeyError: 'field'"),
        ("NAMELESS", "names no file: something is wrong"),
        ("CRASH", "ended with -6"),
        ("SPIN", "computed for"),
        ("EAT", "took"),
        ("LOOK_AROUND", "open '/etc/hostname'"),
        ("RUN_CODE", "compile"),
        ("RUN_A_PROCESS", "subprocess.Popen"),
        ("WRITE", "open"),
        ("READ_BAIT", "opened a file outside its root"),
    ],
)
def test_a_planted_fault_is_found_and_its_input_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, says: str
) -> None:
    if fault == "SPIN":
        monkeypatch.setattr(runner, "HANG_CPU_S", 0.5)  # so that the test need not wait
    name = f"tests.fuzz.planted:{fault}"
    corpus = Corpus(name, [Seed(b"good")], (b"x",), 3)
    inputs = next(index for index in range(1000) if planted.meets_the_fault(corpus[index])) + 3
    state = State(tmp_path, seed=3)
    feed_all([name], state, inputs, seed=3)
    assert state.of(name).findings
    assert state.of(name).inputs == inputs  # it went on behind the fault
    said = sorted((tmp_path / "findings").glob("*.txt"))
    assert says in said[0].read_text()
    kept = said[0].with_suffix(".bin").read_bytes()
    index = int(said[0].stem.rpartition("-")[2])
    assert kept == corpus[index]


def test_a_parser_that_never_starts_is_no_finding_but_the_end_of_the_run(tmp_path: Path) -> None:
    state = State(tmp_path, seed=4)
    with pytest.raises(RuntimeError, match=r"does not start \(it ended with 1\)[\s\S]*no seeds here"):
        feed_all(["tests.fuzz.planted:DOES_NOT_START"], state, 10, seed=4)
    assert (state.of("tests.fuzz.planted:DOES_NOT_START").inputs, (tmp_path / "findings").exists()) == (0, False)


def test_every_input_can_be_made_again_and_differs() -> None:
    corpora = [Corpus("npy", [Seed(b"abcdefgh" * 20)], (b"word",), seed) for seed in (1, 1, 2)]
    first, again, other = ([corpus[index] for index in range(300)] for corpus in corpora)
    assert first == again
    assert first != other
    assert len(set(first)) > 250
