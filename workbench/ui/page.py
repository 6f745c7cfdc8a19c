"""The page: a top bar over tabs. Each tab is a file of its own; their markup, style and scripts stand in `static`."""

from __future__ import annotations

import gradio as gr

from . import text
from .quick_gradio import no_interim_app
from .train_tab import add_train_tab
from .training import TrainingDesk
from .widget import widget

_SESSIONS = 100
"""Visitors whose Train tab is remembered; Gradio's 10,000 would keep their state for as long as the app runs."""


def make_page(*, viewer_version: str, training: TrainingDesk) -> gr.Blocks:
    """Builds the Blocks; what changes with the time of an episode is drawn by the scripts, not by Gradio events.

    A dozen image components behind Gradio's queue take a second a tick; one request and a dozen canvases take a tenth.
    """
    with no_interim_app():
        page = gr.Blocks(title=text.TITLE, fill_width=True, analytics_enabled=False)
        page.queue(max_size=32, default_concurrency_limit=4)
    page.state_session_capacity = _SESSIONS
    with page:
        widget("topbar", viewer_version)
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab(text.TABS["foresight"], id="foresight") as foresight:
                widget("foresight", viewer_version)
            with gr.Tab(text.TABS["browse"], id="browse") as browse:
                widget("browse", viewer_version)
            with gr.Tab(text.TABS["attention"], id="attention") as attention:
                widget("attention", viewer_version)
            with gr.Tab(text.TABS["proof"], id="proof") as proof:
                widget("proof", viewer_version)
            with gr.Tab(text.TABS["audit"], id="audit") as audit:
                widget("audit", viewer_version)
            with gr.Tab(text.TABS["train"], id="train") as train:
                add_train_tab(training, tabs, train, [foresight, browse, attention, proof, audit])
    return page
