"""What visitors share: made once, without one who waits for something slow holding up the others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.waiting import wait_until
from workbench.ui.desk import Lru


class Maker:
    """Makes values that say how often theirs was made; `slow` ones only once they may."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may = threading.Event()

    def __call__(self, name: str) -> str:
        self.asked.append(name)
        made = f"{name} {self.asked.count(name)}"
        if name.startswith("slow"):
            assert self.may.wait(60)
        if name.endswith("bad"):
            raise ValueError(made)
        return made


@pytest.fixture
def maker() -> Maker:
    return Maker()


@pytest.fixture
def visitors(maker: Maker) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as visitors:
        yield visitors
        maker.may.set()  # also after a failure


def test_one_who_waits_for_a_slow_one_holds_up_nobody(maker: Maker, visitors: ThreadPoolExecutor) -> None:
    kept = Lru(2, maker)
    assert kept["quick"] == "quick 1"
    slow = visitors.submit(kept.__getitem__, "slow")
    wait_until(lambda: "slow" in maker.asked, "the slow one is being made")
    assert [visitors.submit(kept.__getitem__, name).result(20) for name in ("quick", "other")] == ["quick 1", "other 1"]
    assert not slow.done()
    maker.may.set()
    assert slow.result(20) == kept["slow"] == "slow 1"
    assert kept["other"] == "other 1"
    assert kept["quick"] == "quick 2"  # the least recently used of three


def test_what_several_ask_for_at_once_is_made_once(maker: Maker, visitors: ThreadPoolExecutor) -> None:
    kept = Lru(2, maker)
    for name in ("slow", "slow bad"):
        maker.may.clear()
        answers = [visitors.submit(kept.__getitem__, name) for _ in range(4)]
        wait_until(lambda name=name: name in maker.asked, "it is being made")
        maker.may.set()
        told = {str(answer.exception(20) or answer.result()) for answer in answers}
        if name == "slow":
            assert told == {"slow 1"}
    with pytest.raises(ValueError, match=f"slow bad {maker.asked.count('slow bad') + 1}"):  # a failure is not kept
        _ = kept["slow bad"]


def test_what_was_begun_before_it_was_forgotten_is_not_kept(maker: Maker, visitors: ThreadPoolExecutor) -> None:
    kept = Lru(2, maker)
    before = visitors.submit(kept.__getitem__, "slow")
    wait_until(lambda: "slow" in maker.asked, "it is being made")
    visitors.submit(kept.clear).result(20)
    after = visitors.submit(kept.__getitem__, "slow")
    wait_until(lambda: maker.asked.count("slow") == 2, "it is made anew")
    maker.may.set()
    assert (before.result(20), after.result(20), kept["slow"]) == ("slow 1", "slow 2", "slow 2")
