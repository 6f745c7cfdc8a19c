"""What a check returns, and small words for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from trainer.episodes.episode import View
from trainer.episodes.source_settings import SourceSetting, ViewSetting

from .finding import Checked, Finding, Kind, Unchecked
from .measured import Measured

Answer: TypeAlias = Finding | Checked | Unchecked
Check: TypeAlias = Callable[[Measured], list[Answer]]
"""A question to an episode; it answers for every view or field that it concerns, if only that it cannot tell."""


def view_setting(view: View, change: ViewSetting, why: str) -> SourceSetting:
    """A change of one camera as a setting of the source."""
    if view == "static":
        return SourceSetting(static=change, why=(why,))
    return SourceSetting(wrist=change, why=(why,))


def unchecked(kind: Kind, where: str, reason: str) -> Unchecked:
    """One question that stays open."""
    return Unchecked(kind=kind, where=where, reason=reason)


def checked(kind: Kind, where: str, measured: str) -> Checked:
    """One question that was answered."""
    return Checked(kind=kind, where=where, measured=measured)


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return f"{text[:1].upper()}{text[1:]}."
