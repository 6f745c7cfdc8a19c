"""The Train tab: start a run, watch it, stop it, go on with it, and look at what it foresees by now."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import gradio as gr
import numpy as np
from gradio.components import Component

from model.errors import WorkbenchError
from trainer.episodes.media.images import decode_image, read_image_file

from .curves import loss_curves
from .server import page_script
from .text import TRAIN_TEXT as WORDS
from .training import RunStatus, TrainingDesk, fresh_name, trainable_presets

_PERIOD_S = 2.0
_ENLARGE = 3
"""Whole pixels, so that a small picture is not blurred by the browser."""
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class _Widgets:
    """The components that events read and write."""

    run: gr.Dropdown
    stop: gr.Button
    resume: gr.Button
    opened: gr.Button
    status: gr.Markdown
    curves: gr.Plot
    probe: gr.Image
    seen: gr.State
    timer: gr.Timer


def add_train_tab(desk: TrainingDesk, tabs: gr.Tabs, tab: gr.Tab, others: list[gr.Tab]) -> None:
    """Fills the tab that is being built. Polls the chosen run's files while the tab is open, and only then."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=260, elem_classes="train-form"):
            start, inputs = _add_start_form(desk)
            run = gr.Dropdown(choices=[], label=WORDS["run"], interactive=True)
            with gr.Row():
                stop = gr.Button(WORDS["stop"], size="sm", min_width=80, interactive=False)
                resume = gr.Button(WORDS["resume"], size="sm", min_width=80, interactive=False)
            opened = gr.Button(WORDS["open"], size="sm", variant="primary", interactive=False)
        with gr.Column(scale=3, min_width=480):
            status = gr.Markdown(WORDS["no_run"] if desk.data_choices() else WORDS["no_data"], elem_id="run-status")
            curves = gr.Plot(label=WORDS["curves"], elem_id="run-curves", visible=False)
            probe = gr.Image(
                label=WORDS["probe"],
                height=430,
                interactive=False,
                buttons=["fullscreen"],
                elem_id="run-probe",
                visible=False,
            )
    widgets = _Widgets(
        run=run,
        stop=stop,
        resume=resume,
        opened=opened,
        status=status,
        curves=curves,
        probe=probe,
        seen=gr.State(None),
        timer=gr.Timer(_PERIOD_S, active=False),
    )
    _wire_start(desk, widgets, start, inputs)
    _wire_run(desk, widgets)
    _wire_open(desk, widgets, tabs)
    _wire_watch(desk, widgets, tab, others)


def _add_start_form(desk: TrainingDesk) -> tuple[gr.Button, list[Component]]:
    choices = desk.data_choices()
    presets = trainable_presets()
    preset = gr.Dropdown(choices=list(presets), value=presets[-1], label=WORDS["preset"])
    data = gr.Dropdown(choices=choices, value=choices[0][1] if choices else None, label=WORDS["data"])
    with gr.Row():
        hours = gr.Number(value=2.0, minimum=0.001, maximum=1000, label=WORDS["hours"], min_width=80)
        batch = gr.Number(value=16, minimum=1, maximum=4096, precision=0, label=WORDS["batch"], min_width=80)
    start = gr.Button(WORDS["start"], variant="primary", size="sm", interactive=bool(choices))
    return start, [preset, data, hours, batch]


def _wire_start(desk: TrainingDesk, widgets: _Widgets, start: gr.Button, inputs: list[Component]) -> None:
    @_readable(desk)
    def begin(preset: str, data: int | None, hours: float, batch: int) -> Any:
        name = fresh_name(preset)
        desk.start(
            name=name, preset=preset, data=-1 if data is None else data, hours=float(hours), batch_size=int(batch)
        )
        return gr.Dropdown(choices=desk.names(), value=name)

    start.click(begin, inputs, widgets.run, api_visibility="private")


def _wire_run(desk: TrainingDesk, widgets: _Widgets) -> None:
    @_readable(desk)
    def halt(name: str | None) -> str:
        desk.stop(_chosen(name))
        return WORDS["stopping"]

    @_readable(desk)
    def go_on(name: str | None) -> str:
        desk.resume(_chosen(name))
        return WORDS["starting"]

    def only_with_a_run(name: str | None) -> list[Any]:
        return [gr.Button(interactive=bool(name))] * 3

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    widgets.stop.click(halt, widgets.run, widgets.status, **quiet)
    widgets.resume.click(go_on, widgets.run, widgets.status, **quiet)
    widgets.run.change(only_with_a_run, widgets.run, [widgets.stop, widgets.resume, widgets.opened], **quiet)


def _wire_open(desk: TrainingDesk, widgets: _Widgets, tabs: gr.Tabs) -> None:
    @_readable(desk)
    def open_newest(name: str | None) -> tuple[str, Any]:
        return desk.open_checkpoint(_chosen(name)), gr.Tabs(selected="foresight")

    checkpoint = gr.Textbox(visible="hidden")
    show = f"(id) => {{ import('{page_script()}').then((page) => page.openCheckpoint(id)); }}"
    widgets.opened.click(open_newest, widgets.run, [checkpoint, tabs], api_visibility="private").success(
        None, checkpoint, None, js=show, api_visibility="private"
    )


def _wire_watch(desk: TrainingDesk, widgets: _Widgets, tab: gr.Tab, others: list[gr.Tab]) -> None:
    def list_runs(name: str | None) -> tuple[Any, Any]:
        names = desk.names()
        return gr.Dropdown(choices=names, value=name or next(iter(names), None)), gr.Timer(active=True)

    def look(name: str | None, seen: object) -> Any:
        """Status at every tick; curves and picture only when their files have changed."""
        if not name:
            return gr.skip(), gr.skip(), gr.skip(), seen
        try:
            status, records, picture = desk.status(name), desk.metrics(name), desk.probe(name)
        except WorkbenchError as error:
            return desk.told(str(error), name), gr.skip(), gr.skip(), seen
        now = (name, len(records), str(picture))
        if now == seen:
            return _status_line(status), gr.skip(), gr.skip(), seen
        curves = gr.Plot(loss_curves(records), visible=bool(records))
        probe = gr.Image(None if picture is None else _pixels(picture), visible=picture is not None)
        return _status_line(status), curves, probe, now

    outputs = [widgets.status, widgets.curves, widgets.probe, widgets.seen]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    tab.select(list_runs, widgets.run, [widgets.run, widgets.timer], **quiet)
    for other in others:
        other.select(lambda: gr.Timer(active=False), None, widgets.timer, **quiet)
    widgets.timer.tick(look, [widgets.run, widgets.seen], outputs, trigger_mode="once", **quiet)
    widgets.run.change(look, [widgets.run, widgets.seen], outputs, **quiet)


def _status_line(status: RunStatus) -> str:
    left = "" if status.eta_s is None or status.state != "running" else f", {status.eta_s / 60:.0f} min left"
    line = f"**{status.state}** · step {status.step} · phase {status.phase} · {100 * status.fraction:.0f} %{left}"
    return f"{line}\n\n`{status.message.replace('`', '')}`" if status.message else line


def _pixels(path: Any) -> np.ndarray[Any, Any]:
    pixels = decode_image(read_image_file(Path(path)), path)
    return pixels.repeat(_ENLARGE, axis=0).repeat(_ENLARGE, axis=1)


def _chosen(name: str | None) -> str:
    if not name:
        raise gr.Error(WORDS["choose_run"], print_exception=False)
    return name


def _readable(desk: TrainingDesk) -> Callable[[Callable[_Arguments, _Result]], Callable[_Arguments, _Result]]:
    """Shows an error of the input as one line, without a traceback and without a path of this machine."""

    def readable(work: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
        @functools.wraps(work)
        def wrapped(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
            try:
                return work(*args, **kwargs)
            except WorkbenchError as error:
                raise gr.Error(desk.told(str(error)), print_exception=False) from error

        return wrapped

    return readable
