"""A piece of the page with its own markup and script inside Gradio's layout."""

from __future__ import annotations

from html import escape
from string import Template

import gradio as gr

from .server import fragment, page_script
from .text import MARKUP_TEXT


def widget(name: str, viewer_version: str) -> gr.HTML:
    """The fragment `static/NAME.html`, filled with words and brought to life by `main.js` once it is on the page."""
    words = {key: escape(value) for key, value in MARKUP_TEXT.items()}
    return gr.HTML(
        value="",
        html_template=Template(fragment(name)).substitute(words),
        js_on_load=f"import('{page_script()}').then((page) => page.mount('{name}', element, '{viewer_version}'));",
        apply_default_css=False,
    )
