"""Makes `import gradio` and the building of a page three times faster; the page has to be useful within 10 seconds.

Gradio 6 does work that serves its own developers and notebooks, on every import: while its component classes are
created it rewrites a `.pyi` stub beside every component's source (two thirds of the import, into site-packages, which
may be read-only) and renders 216 docstrings through jinja; it makes three HTTPS clients, each of which parses the
machine's certificates; and it builds a whole web application three times before the one that is mounted. None of it is
needed to serve a page. (It also imports pandas at once, half a second. `importlib`'s LazyLoader is no answer to that:
in Python 3.11 two threads that look into the module at the same time find half of it.)
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any


def _write_no_stubs(module: ModuleType) -> None:
    if hasattr(module, "create_or_modify_pyi"):
        module.create_or_modify_pyi = _nothing  # pyright: ignore[reportAttributeAccessIssue]


def _render_no_docstrings(module: ModuleType) -> None:
    listener = getattr(module, "EventListener", None)
    if listener is not None and hasattr(listener, "set_doc"):
        listener.set_doc = _nothing


def _share_tls_context(module: ModuleType) -> None:
    if hasattr(module, "create_ssl_context"):
        module.create_ssl_context = cache(module.create_ssl_context)  # pyright: ignore[reportAttributeAccessIssue]


_TRIMMED: dict[str, Callable[[ModuleType], None]] = {
    "gradio.component_meta": _write_no_stubs,
    "gradio.events": _render_no_docstrings,
    "httpx._config": _share_tls_context,
}
"""What to do with a module right after it was run. Nothing is done to a version that lacks the function."""


class _Trimmed(importlib.abc.Loader):
    """Runs the module as its own loader does, then takes out what `_TRIMMED` says."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _TRIMMED[module.__name__](module)


class _Finder(importlib.abc.MetaPathFinder):
    """Wraps the loaders of the few modules above and leaves every other import alone."""

    def find_spec(
        self,
        fullname: str,
        path: Any,
        target: ModuleType | None = None,  # a namespace package's path is no Sequence
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _TRIMMED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Trimmed(spec.loader)
        return spec


def trim_imports() -> None:
    """Installs the import hook once."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


@contextmanager
def no_interim_app() -> Generator[None]:
    """`Blocks()` and `queue()` each build a web application that leaving the `with` block of the page replaces."""
    from gradio.routes import App

    build = App.create_app
    App.create_app = staticmethod(_nothing)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        App.create_app = staticmethod(build)


def _nothing(*_args: object, **_kwargs: object) -> None:
    """In place of a function whose work nobody here looks at."""
