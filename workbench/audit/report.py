"""An audit as text for a terminal and as JSON for a machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from trainer.episodes.source_settings import setting_to_json

from .finding import Audit, Checked, Finding

_MARK = {"error": "✗", "warning": "!", "note": "·"}


def audit_text(audits: Sequence[Audit]) -> str:
    """Findings first, then what was measured and what could not be."""
    lines: list[str] = []
    for audit in audits:
        lines += [audit.name, f"  {summary(audit)}"]
        for finding in audit.findings:
            sure = "" if finding.severity == "note" else f" ({100 * finding.confidence:.0f} % sure)"
            lines.append(f"  {_MARK[finding.severity]} {finding.kind}, {finding.where}: {finding.title}{sure}")
            lines += [f"      {finding.detail}", f"      Fix: {finding.fix}"]
            if finding.setting is not None:
                lines.append(f"      For every episode of this source: --apply {finding.kind}")
        lines += [
            f"  {_sign(audit, answer)} {answer.kind}, {answer.where}: {answer.measured}" for answer in audit.checked
        ]
        lines += [f"  ? {answer.kind}, {answer.where}: not checked, {answer.reason}" for answer in audit.not_checked]
    return "\n".join(lines) + "\n"


def _sign(audit: Audit, answer: Checked) -> str:
    """No tick where the same question found a fault: what was measured there is no all-clear."""
    blamed = any(fault.kind == answer.kind and fault.where.endswith(answer.where) for fault in audit.faults)
    return "=" if blamed else "✓"


def summary(audit: Audit) -> str:
    """One line: how many findings, how many questions were answered."""
    found = len(audit.faults)
    what = "nothing wrong was found" if not found else f"{found} finding{'s' if found > 1 else ''}"
    open_ = len(audit.not_checked)
    return f"{what}; {len(audit.checked)} questions answered, {open_} could not be ({audit.seconds:.1f} s)"


def audit_json(audits: Sequence[Audit]) -> str:
    """Everything but the pictures."""
    return (
        json.dumps({"format": "foresight-audit", "version": 1, "audits": [_plain(a) for a in audits]}, indent=1) + "\n"
    )


def _plain(audit: Audit) -> dict[str, Any]:
    return {
        "episode": audit.name,
        "source": audit.source,
        "clean": audit.clean,
        "findings": [_plain_finding(finding) for finding in audit.findings],
        "checked": [{"kind": a.kind, "where": a.where, "measured": a.measured} for a in audit.checked],
        "not_checked": [{"kind": a.kind, "where": a.where, "reason": a.reason} for a in audit.not_checked],
        "seconds": round(audit.seconds, 2),
    }


def _plain_finding(finding: Finding) -> dict[str, Any]:
    names = ("kind", "where", "severity", "title", "detail", "fix", "caption")
    return {
        **{name: getattr(finding, name) for name in names},
        "confidence": round(finding.confidence, 3),
        "setting": None if finding.setting is None else setting_to_json(finding.setting),
    }
