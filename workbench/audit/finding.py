"""What an audit says: findings with their evidence, what was checked, and what could not be and why.

Made by `workbench.audit.examine.audit`, read by the command line, the page and the report.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:
    from trainer.episodes.source_settings import SourceSetting


class Kind(StrEnum):
    """What can be wrong; the value is what `--apply` takes. In the order of the report."""

    UPSIDE_DOWN = "upside-down"
    MIRRORED = "mirrored"
    CHANNEL_ORDER = "channel-order"
    DEPTH_UNIT = "depth-unit"
    RAY_LENGTH = "ray-length"
    INTRINSICS = "intrinsics"
    EXTRINSICS = "extrinsics"
    TIMING = "timing"
    ACTION_SCALE = "action-scale"
    ACTION_FRAME = "action-frame"
    GRIPPER_SIGN = "gripper-sign"
    RENDERER = "renderer"


Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Finding:
    """One thing that is wrong, or worth knowing, with what shows it.

    Attributes:
        kind: What is wrong.
        where: A view and field such as `static.rgb`, or a field of the episode such as `action`.
        severity: `error`: training or evaluating on it gives wrong results. `warning`: look at it. `note`: it is no
            fault; a note never makes an audit fail.
        confidence: 0 to 1; how far the measurement is from where it would have said the contrary.
        title: A few words.
        detail: What was measured and what was expected, with numbers and units; a sentence or two.
        fix: What to do, one sentence.
        setting: The fix as a setting for every episode of this source; None where no setting can repair it.
        evidence: A picture that shows it, with legend; None where numbers say it all.
        caption: What the picture shows, one sentence; "" without one.
    """

    kind: Kind
    where: str
    severity: Severity
    confidence: float
    title: str
    detail: str
    fix: str
    setting: SourceSetting | None = None
    evidence: UInt8[np.ndarray, "h w 3"] | None = None
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Unchecked:
    """A question the data cannot answer.

    Attributes:
        kind: What was to be checked.
        where: As in `Finding`.
        reason: What is missing, such as `no depth`.
    """

    kind: Kind
    where: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A question that was answered, whatever the answer.

    Attributes:
        kind: What was checked.
        where: As in `Finding`.
        measured: The number that answered it, with its unit and what was expected, a few words.
    """

    kind: Kind
    where: str
    measured: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Audit:
    """Everything about one episode.

    Attributes:
        name: PATH#INDEX of the episode.
        source: Whose setting would change, as in `EpisodeInfo.source`.
        findings: In the order of `Kind`, the surest first within a kind.
        checked: What was answered, findings included.
        not_checked: What could not be, and why.
        seconds: Time spent.
    """

    name: str
    source: str
    findings: tuple[Finding, ...]
    checked: tuple[Checked, ...]
    not_checked: tuple[Unchecked, ...]
    seconds: float

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings that are more than a note."""
        return tuple(finding for finding in self.findings if finding.severity != "note")

    @property
    def clean(self) -> bool:
        """No finding but notes; says nothing about what was not checked."""
        return not self.faults
