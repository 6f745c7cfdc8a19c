"""What the Audit tab draws: an audit, what is set for a source and for whom, as JSON without a path."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from model.errors import ConfigError
from trainer.episodes.settings_store import StoredSetting, remove_setting, stored_settings
from trainer.episodes.source_settings import SourceSetting

from .audit_desk import AuditDesk, Run
from .payload import Json
from .text import AUDIT_KINDS, AUDIT_TEXT

if TYPE_CHECKING:
    from ..audit.finding import Finding


def run_payload(run: Run) -> Json:
    """How far an audit is."""
    return {
        "state": run.state,
        "share": round(run.share, 3),
        "what": run.what,
        "message": run.message,
        "seconds": round(run.seconds, 1),
    }


def audit_payload(desk: AuditDesk, name: str) -> Json:
    """What a finished audit found, and which of it is set for the source by now.

    Raises:
        ConfigError: There is no such audit, or it has not finished.
    """
    run = desk.look(name)
    if run.audit is None:
        raise ConfigError("this audit has no result")
    stored = desk.stored(run.episode)
    steps = () if stored is None else stored.steps
    return {
        "title": desk.desk.catalog.episode(run.episode).title,
        "seconds": round(run.audit.seconds, 1),
        "clean": run.audit.clean,
        "faults": len(run.audit.faults),
        "findings": [_finding(finding, steps) for finding in run.audit.findings],
        "checked": [[AUDIT_KINDS[item.kind], item.where, item.measured] for item in run.audit.checked],
        "not_checked": [[AUDIT_KINDS[item.kind], item.where, item.reason] for item in run.audit.not_checked],
    }


def source_payload(desk: AuditDesk, episode_id: str) -> Json:
    """What is set for the source of an episode, and whom a further setting could be for.

    Raises:
        ConfigError: No such episode.
    """
    row, place = desk.desk.catalog.episode(episode_id), desk.place(episode_id)
    try:
        stored, problem = desk.stored(episode_id), ""
    except ConfigError as error:
        stored, problem = None, desk.desk.told(str(error))
    datasets = desk.desk.catalog.datasets(row.space)
    count = next((len(dataset.episodes) for dataset in datasets if dataset.path == place), 1)
    words = AUDIT_TEXT["scope_many"] if count > 1 else AUDIT_TEXT["scope_one"]
    scopes = [["dataset", words.format(name=place.name, n=count)]]
    if row.space is None:
        scopes.append(["folder", AUDIT_TEXT["scope_folder"].format(name=place.resolve().parent.name)])
    return {
        "title": row.title,
        "problem": problem,
        "for": "" if stored is None else _shown(stored.source),
        "steps": [] if stored is None else [_step(step) for step in stored.steps],
        "scopes": scopes,
    }


def settings_payload(desk: AuditDesk, space: str | None) -> Json:
    """Everything that is set for sources this visitor can see, newest names last."""
    places = {
        around
        for dataset in desk.desk.catalog.datasets(space)
        for around in (dataset.path.resolve(), *dataset.path.resolve().parents)
    }
    seen = [item for item in stored_settings() if isinstance(item, StoredSetting) and item.source in places]
    rows = [{"id": item.file.stem, "for": _shown(item.source), **_step(item.setting)} for item in seen]
    return {"settings": rows}


def remove_by_id(desk: AuditDesk, space: str | None, setting_id: str) -> None:
    """Removes a setting of the list.

    Raises:
        ConfigError: There is no such setting.
    """
    known = {row["id"] for row in settings_payload(desk, space)["settings"]}
    found = [item for item in stored_settings() if isinstance(item, StoredSetting) and item.file.stem == setting_id]
    if setting_id not in known or not found:
        raise ConfigError("this setting is not there any more")
    remove_setting(found[0].source)
    desk.desk.forget_episodes()


def png(picture: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """A picture of evidence, lossless: it holds text."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _finding(finding: Finding, steps: tuple[SourceSetting, ...]) -> Json:
    return {
        "kind": AUDIT_KINDS[finding.kind],
        "where": finding.where,
        "severity": finding.severity,
        "confidence": round(finding.confidence, 3),
        "title": finding.title,
        "detail": finding.detail,
        "fix": finding.fix,
        "caption": finding.caption,
        "evidence": None if finding.evidence is None else list(finding.evidence.shape[:2]),
        "setting": None if finding.setting is None else list(finding.setting.clauses()),
        "applied": finding.setting is not None and finding.setting in steps,
    }


def _step(setting: SourceSetting) -> Json:
    return {"clauses": list(setting.clauses()), "why": list(setting.why)}


def _shown(place: Path) -> str:
    """The last two parts of a path: enough to know it, not where this machine keeps it."""
    return "/".join(place.parts[-2:])
