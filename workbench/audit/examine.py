"""All checks over one episode, in an order in which none is misled by a fault that another one found.

A finding that can be repaired by a setting is repaired before the next check looks: a mirrored image would make any
camera pose look wrong. Where a view's images cannot be repaired, its geometry stays unchecked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

from model.errors import ConfigError, EpisodeError
from trainer.episodes.corrected import corrected
from trainer.episodes.episode import Episode
from trainer.episodes.source_settings import SourceSetting

from .actions import check_actions
from .answers import Answer, Check
from .channels import check_channel_order
from .depth_values import check_depth_unit
from .extrinsics import check_extrinsics
from .finding import Audit, Checked, Finding, Kind, Unchecked
from .gripper import check_gripper
from .intrinsics import check_intrinsics
from .measured import Measured
from .orientation import check_orientation
from .ray_length import check_ray_length
from .renderer import check_renderer
from .timing import check_timing

Tick: TypeAlias = Callable[[float, str], None]
"""Called with the share that is done, 0 to 1, and what is being checked."""

CHECKS: tuple[tuple[str, Check], ...] = (
    ("orientation", check_orientation),
    ("depth unit", check_depth_unit),
    ("ray length", check_ray_length),
    ("intrinsics", check_intrinsics),
    ("extrinsics", check_extrinsics),
    ("channel order", check_channel_order),
    ("timing", check_timing),
    ("actions", check_actions),
    ("gripper", check_gripper),
    ("renderer", check_renderer),
)
_GEOMETRY = {Kind.DEPTH_UNIT, Kind.RAY_LENGTH, Kind.INTRINSICS, Kind.EXTRINSICS}


class AuditCancelledError(Exception):
    """The caller no longer wants the audit. Not an error of the input."""


def audit(episode: Episode, *, tick: Tick | None = None, cancel: Callable[[], bool] | None = None) -> Audit:
    """Examines an episode as it is given: settings in force are part of it, so a repaired fault is not found again.

    Args:
        episode: Any episode.
        tick: Told before every check.
        cancel: Asked before every check; true ends the audit.

    Raises:
        EpisodeError: An image or number that the episode says it has cannot be read.
        AuditCancelledError: `cancel` said so.
    """
    started = time.monotonic()
    measured, spoilt = Measured(episode), set[str]()
    answers: list[Answer] = []
    for i, (name, check) in enumerate(CHECKS):
        if cancel is not None and cancel():
            raise AuditCancelledError
        if tick is not None:
            tick(i / len(CHECKS), name)
        said = [_open(answer, spoilt) for answer in check(measured)]
        answers += said
        found = [answer for answer in said if isinstance(answer, Finding) and answer.severity == "error"]
        spoilt |= {_view(finding) for finding in found if finding.setting is None}
        measured = _repaired(measured, found, spoilt)
    if tick is not None:
        tick(1.0, "done")
    return _audit(episode, answers, time.monotonic() - started)


def _open(answer: Answer, spoilt: set[str]) -> Answer:
    """The answer, or that it cannot be had where an earlier finding about the same view cannot be repaired."""
    if answer.kind in _GEOMETRY and not isinstance(answer, Unchecked) and _view(answer) in spoilt:
        return Unchecked(kind=answer.kind, where=answer.where, reason="another fault of this view comes first")
    return answer


def _repaired(measured: Measured, found: list[Finding], spoilt: set[str]) -> Measured:
    episode = measured.episode
    setting = SourceSetting()
    for finding in found:
        if finding.setting is not None and _view(finding) not in spoilt:
            setting = setting.then(finding.setting)
    if setting.empty:
        return measured
    try:
        return Measured(corrected(episode, setting))
    except (ConfigError, EpisodeError):  # what cannot be corrected is still reported
        return measured


def _audit(episode: Episode, answers: list[Answer], seconds: float) -> Audit:
    order = {kind: i for i, kind in enumerate(Kind)}
    findings = [answer for answer in answers if isinstance(answer, Finding)]
    findings.sort(key=lambda finding: (finding.severity == "note", order[finding.kind], -finding.confidence))
    checked = [answer for answer in answers if isinstance(answer, Checked)]
    unchecked = [answer for answer in answers if isinstance(answer, Unchecked)]
    return Audit(
        name=episode.name,
        source=episode.info.source,
        findings=tuple(findings),
        checked=tuple(sorted(dict.fromkeys(checked), key=lambda answer: order[answer.kind])),
        not_checked=tuple(sorted(dict.fromkeys(unchecked), key=lambda answer: order[answer.kind])),
        seconds=seconds,
    )


def _view(answer: Answer) -> str:
    return answer.where.partition(".")[0]
