"""An audit as one page that opens offline: pictures inside, no scripts."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from importlib import resources

import numpy as np

from .finding import Audit, Finding
from .report import summary

_SEVERITY = {"error": "error", "warning": "warning", "note": "note"}


def audit_html(audits: Sequence[Audit], command: str) -> str:
    """The whole page; `command` is what makes it again."""
    style = resources.files("workbench.audit").joinpath("report.css").read_text("utf-8")
    body = "".join(_episode(audit) for audit in audits)
    title = "Audit" if len(audits) != 1 else f"Audit of {audits[0].name}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{style}</style></head><body><h1>{escape(title)}</h1>{body}"
        f"<p class=quiet>Made by <code>{escape(command)}</code></p></body></html>\n"
    )


def _episode(audit: Audit) -> str:
    findings = "".join(_finding(finding) for finding in audit.findings)
    checked = _table(
        ("question", "where", "measured"), [(a.kind, a.where, a.measured) for a in audit.checked], "What was measured"
    )
    unchecked = _table(
        ("question", "where", "why not"), [(a.kind, a.where, a.reason) for a in audit.not_checked], "Not checked"
    )
    state = "good" if audit.clean else "bad"
    return (
        f'<section><h2>{escape(audit.name)}</h2><p class="verdict {state}">{escape(summary(audit))}</p>'
        f"{findings}{checked}{unchecked}</section>"
    )


def _finding(finding: Finding) -> str:
    sure = "" if finding.severity == "note" else f" · {100 * finding.confidence:.0f} % sure"
    apply = ""
    if finding.setting is not None:
        apply = f"<p class=quiet>For every episode of this source: <code>--apply {escape(finding.kind)}</code></p>"
    picture = ""
    if finding.evidence is not None:
        words = escape(finding.caption)
        picture = (
            f'<figure><img src="{_data_uri(finding.evidence)}" alt="{words}"><figcaption>{words}</figcaption></figure>'
        )
    return (
        f'<article class="{_SEVERITY[finding.severity]}"><h3>{escape(finding.title)}</h3>'
        f"<p class=quiet>{escape(finding.kind)} · {escape(finding.where)} · {finding.severity}{sure}</p>"
        f"<p>{escape(finding.detail)}</p>{picture}<p><strong>Fix.</strong> {escape(finding.fix)}</p>{apply}</article>"
    )


def _table(head: Sequence[str], body: Sequence[Sequence[str]], title: str) -> str:
    if not body:
        return ""
    top = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in body)
    table = f"<table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table>"
    return f"<h3>{escape(title)}</h3><div class=scroll>{table}</div>"


def _data_uri(image: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
