"""A proof as one HTML file that opens offline, in light and in dark, without scripts."""

from __future__ import annotations

from html import escape
from pathlib import Path

from .markup import proof_markup
from .report import ProofReport

_DARK = ".dark .proof"
"""How the page says dark; a file on its own asks the browser."""


def report_html(report: ProofReport, command: str) -> str:
    """The whole page; `command` is what made it."""
    style = (Path(__file__).parent / "proof.css").read_text(encoding="utf-8")
    dark = style[style.rindex(_DARK) :].replace(_DARK, ".proof")
    page = "body { margin: 0 auto; max-width: 1240px; padding: 16px 20px 60px; background: var(--pf-ground); }"
    title = f"Mask proof: {escape(report.subject)}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
        f"<style>{style}\n{page}\n@media (prefers-color-scheme: dark) {{ {dark} }}</style></head>"
        f'<body class="proof">{proof_markup(report)}{_provenance(report, command)}</body></html>\n'
    )


def _provenance(report: ProofReport, command: str) -> str:
    groups = ", ".join(f"{'prefix ' if g.prefix else ''}{g.name} x {g.count}" for g in report.groups)
    frames = ", ".join("prefix" if frame < 0 else str(frame) for frame in report.output_frames)
    lines = [
        f"Made by <code>{escape(command)}</code>",
        f"Groups: {escape(groups)}; {report.n_frames} frames, {report.n_layers} layers",
        f"Outputs read in frames {frames}; level {escape(report.level)}; measured in mode {escape(report.reference)}, "
        f"{escape(report.dtype)}; seed {report.seed}",
        "Versions: " + escape(", ".join(f"{name} {version}" for name, version in report.versions.items())),
    ]
    lines += [f"sha256 of {escape(name)}: <code>{escape(value)}</code>" for name, value in report.hashes.items()]
    return "<h3>Where this comes from</h3><ul>" + "".join(f"<li>{line}</li>" for line in lines) + "</ul>"
