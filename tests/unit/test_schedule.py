"""Learning rate, phase and end of a run from the share of its budget."""

from __future__ import annotations

import pytest

from model.errors import ConfigError
from trainer.loop.schedule import FLOOR, Schedule


def schedule(steps: int | None = 100, hours: float | None = None, warmup: int = 10, phase1: float = 0.4) -> Schedule:
    return Schedule(steps=steps, hours=hours, peak_lr=2.0, warmup_steps=warmup, phase1_fraction=phase1)


def test_warm_up_is_linear_and_the_cosine_ends_at_the_floor() -> None:
    plan = schedule()
    assert plan.lr(0, 0.0) == pytest.approx(0.2)
    assert plan.lr(4, 0.0) == pytest.approx(1.0)
    assert plan.lr(50, 0.5) == pytest.approx(2.0 * (FLOOR + (1 - FLOOR) / 2))
    assert plan.lr(100, 1.0) == pytest.approx(2.0 * FLOOR)
    rates = [plan.lr(step, plan.fraction(step, 0.0)) for step in range(10, 101)]
    assert rates == sorted(rates, reverse=True)


def test_hours_count_training_seconds_and_the_first_limit_wins() -> None:
    plan = schedule(steps=None, hours=0.5)
    assert plan.fraction(10**6, 900.0) == pytest.approx(0.5)
    assert plan.fraction(0, 1e6) == 1.0
    both = schedule(steps=100, hours=0.5)
    assert both.fraction(80, 900.0) == pytest.approx(0.8)
    assert both.fraction(10, 900.0) == pytest.approx(0.5)


def test_actions_join_after_their_share() -> None:
    plan = schedule()
    assert [plan.phase(fraction) for fraction in (0.0, 0.39, 0.4, 1.0)] == [1, 1, 2, 2]
    assert schedule(phase1=0.0).phase(0.0) == 2


def test_expected_steps_follow_the_pace() -> None:
    plan = schedule(steps=None, hours=1.0)
    assert plan.expected_steps(0, 0.0) is None
    assert plan.expected_steps(50, 0.25) == 200
    assert schedule(steps=100).expected_steps(50, 0.5) == 100


def test_a_run_needs_an_end() -> None:
    with pytest.raises(ConfigError, match="--steps"):
        schedule(steps=None)
