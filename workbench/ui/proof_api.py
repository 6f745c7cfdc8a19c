"""What the Proof tab fetches: the choices, runs by their secret name, results as data, drawings and files."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal, cast

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response

from model.config import preset_names
from model.errors import ConfigError

from ..catalog import Catalog
from ..charts.knockout import knockout_figures, knockout_rows, training_rows
from .answer import answer
from .payload import Json, plain
from .proving import FILES, MAX_SPEC, ProofDesk, Wish
from .text import PROOF_TEXT
from .views import checkpoint_title

_OFFERED = 300
"""Episodes to choose from; the script adds the one that is open, so every episode can be knocked out."""
_KINDS, _LEVELS = ("prove", "diff", "knockout"), ("group", "token")


def make_proof_api(desk: ProofDesk, catalog: Catalog) -> APIRouter:
    """The routes under `/api/proof`. A request says names of presets, ids and the text of a specification, no more."""
    api = APIRouter(prefix="/api/proof")
    _add_reading_routes(api, desk, catalog)
    _add_changing_routes(api, desk)
    return api


def _add_reading_routes(api: APIRouter, desk: ProofDesk, catalog: Catalog) -> None:
    @api.get("/choices")
    async def choices(request: Request) -> Response:
        """Presets, checkpoints and episodes to choose from."""
        return await answer(request, lambda _: _choices(catalog))

    @api.get("/runs/{name}")
    async def look(request: Request, name: str) -> Response:
        """How far a run is."""
        return await answer(request, lambda _: vars_of(desk, name))

    @api.get("/runs/{name}/result")
    async def result(request: Request, name: str) -> Response:
        """What a finished run found, ready to draw."""
        return await answer(request, lambda _: result_payload(desk.look(name).kind, desk.result(name)))

    @api.get("/runs/{name}/files/{file}")
    async def download(request: Request, name: str, file: str) -> Response:
        """A file of a finished run."""

        def send(_: object) -> Response:
            path = desk.file(name, file)
            return FileResponse(path, media_type=FILES[file], filename=file, headers={"Cache-Control": "no-store"})

        return await answer(request, send)


def _add_changing_routes(api: APIRouter, desk: ProofDesk) -> None:
    @api.post("/runs")
    async def start(request: Request) -> Response:
        """Starts a run; its name is the only way to it."""
        body = await _body(request)
        return await answer(request, lambda _: {"run": desk.start(wish_of(body))})

    @api.delete("/runs/{name}")
    async def cancel(request: Request, name: str) -> Response:
        """Ends a run."""

        def end(_: object) -> Json:
            desk.cancel(name)
            return {}

        return await answer(request, end)


def wish_of(body: bytes) -> Wish:
    """What a request asks for.

    Raises:
        ConfigError: It is no JSON object of the known fields.
    """
    try:
        record = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ConfigError("the request is not JSON") from error
    if not isinstance(record, dict):
        raise ConfigError("the request is not a JSON object")
    fields = cast("dict[str, Any]", record)
    kind, level = fields.get("kind"), fields.get("level", "group")
    if kind not in _KINDS or level not in _LEVELS:
        raise ConfigError(f"kind must be one of {', '.join(_KINDS)}, level one of {', '.join(_LEVELS)}")
    texts = {name: fields.get(name) or "" for name in ("subject", "against", "spec", "episode", "other")}
    if not all(isinstance(text, str) for text in texts.values()):
        raise ConfigError("subject, against, spec, episode and other must be texts")
    return Wish(
        kind=cast("Literal['prove', 'diff', 'knockout']", kind),
        level=cast("Literal['group', 'token']", level),
        everything=fields.get("everything") is True,
        **texts,
    )


def vars_of(desk: ProofDesk, name: str) -> Json:
    """A run's state as JSON."""
    view = desk.look(name)
    return {
        "kind": view.kind,
        "state": view.state,
        "done": view.done,
        "total": view.total,
        "what": view.what,
        "message": view.message,
        "seconds": round(view.seconds, 1),
    }


def result_payload(kind: str, text: str) -> Json:
    """What the tab draws: markup of a proof, rows of a difference, figures and rows of knock-outs."""
    makers: dict[str, Callable[[str], Json]] = {"prove": _proof, "diff": json.loads, "knockout": _knockout}
    return {"kind": kind, **makers[kind](text)}


def _proof(text: str) -> Json:
    from ..proof.markup import proof_markup
    from ..proof.report_json import report_from_json

    report = report_from_json(text)
    return {"holds": report.holds, "markup": proof_markup(report)}


def _knockout(text: str) -> Json:
    from ..proof.knockout_report import MEASURES, REPLACEMENTS, UNITS, report_from_json

    report = report_from_json(text)
    present = [name for name in REPLACEMENTS if any(row.replacement == name for row in report.rows)]
    size = ", ".join(f"{item.value.mean:.3g} {UNITS[item.measure]}" for item in report.action_size)
    return {
        "title": f"{report.checkpoint.name} · {report.episode.about}",
        "sampled": PROOF_TEXT["sampled"].format(n=len(report.steps), draws=report.draws, size=size),
        "measures": [{"id": name, "label": UNITS[name]} for name in MEASURES],
        "replacements": [{"id": name, "label": PROOF_TEXT[f"by_{name}"]} for name in present],
        "figures": plain(knockout_figures(report)),
        "rows": knockout_rows(report),
        "training": training_rows(report),
        "notes": list(report.notes),
    }


def _choices(catalog: Catalog) -> Json:
    checkpoints = catalog.checkpoints()
    return {
        "presets": list(preset_names()),
        "checkpoints": [{"id": row.id, "name": checkpoint_title(row)} for row in checkpoints],
        "episodes": [
            {"id": row.id, "name": " · ".join(filter(None, (row.title, row.listed.summary.instruction)))}
            for row in catalog.episodes()[:_OFFERED]
        ],
    }


async def _body(request: Request) -> bytes:
    """The request's body; a longer one than any real one is cut, and then no JSON."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size <= 4 * MAX_SPEC:
            parts.append(part)
    return b"".join(parts)
