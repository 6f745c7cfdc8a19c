"""Makes `import gradio` three times faster: 9 s become 3 s on one slow core, and the page has to be useful within 10.

While its component classes are created, gradio 6 rewrites a `.pyi` stub beside every component's source file, for the
author of custom components. That takes two thirds of its import and writes into site-packages, which may be read-only.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from types import ModuleType
from typing import Any

_MODULE = "gradio.component_meta"


class _WithoutStubs(importlib.abc.Loader):
    """Runs the module as its own loader does, then replaces the function that writes stubs."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        if hasattr(module, "create_or_modify_pyi"):
            module.create_or_modify_pyi = _write_nothing  # pyright: ignore[reportAttributeAccessIssue]


class _Finder(importlib.abc.MetaPathFinder):
    """Wraps the loader of one module of gradio and leaves every other import alone."""

    def find_spec(
        self,
        fullname: str,
        path: Any,
        target: ModuleType | None = None,  # a namespace package's path is no Sequence
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _WithoutStubs(spec.loader)
        return spec


def skip_stub_generation() -> None:
    """Installs the import hook once. Without the function gradio calls (another version), it changes nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _write_nothing(component_class: type, class_name: str, events: object) -> None:
    """In place of `gradio.component_meta.create_or_modify_pyi`."""
    del component_class, class_name, events
