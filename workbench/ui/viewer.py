"""The Rerun viewer's files, taken from the installed rerun-notebook wheel and served by ourselves.

The wheel carries the viewer of exactly our SDK's version: one script that holds the `WebViewer` class and one wasm
module. The script exports neither the class nor stays at home (it asks a public host for newer releases), so it is
served with one line before it, a module-scoped `fetch` that knows this origin only, and one line after it, the export.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from model.errors import ConfigError
from trainer.files import replace_file

from ..cache_folder import cache_folder

_SAME_ORIGIN_FETCH = (
    b"const fetch=(input,init)=>{const url=new URL(input instanceof Request?input.url:input,location.href);"
    b"return url.origin===location.origin||/^(blob|data):/.test(url.protocol)?globalThis.fetch(input,init)"
    b":Promise.resolve(new Response('',{status:404}))};\n"
)
_EXPORT = b"\nexport { WebViewer };\n"
_CLASS = b"var WebViewer = class"
_FAST = 4
"""gzip level: 2 s instead of 5 s for the 67 MB wasm, at 4 % more bytes over the loopback."""


@dataclass(frozen=True, kw_only=True)
class ViewerFile:
    """A compressed file ready to be sent with `Content-Encoding: gzip`."""

    path: Path
    media_type: str


class Viewer:
    """The two files of the viewer, compressed once into a cache folder named by the version."""

    def __init__(self) -> None:
        """Finds the wheel without importing it (the package's import points at a public host).

        Raises:
            ConfigError: The wheel is absent, or its script is not the one this page knows how to use.
        """
        spec = importlib.util.find_spec("rerun_notebook")
        if spec is None or spec.origin is None:
            raise ConfigError("the 3D viewer needs rerun-notebook: run pip install 'rerun-sdk[notebook]==0.41.0'")
        self._source = Path(spec.origin).parent / "static"
        self.version = importlib.metadata.version("rerun-notebook")
        if not (self._source / "widget.js").is_file() or _CLASS not in (self._source / "widget.js").read_bytes():
            raise ConfigError(
                f"rerun-notebook {self.version} does not hold the viewer class this page uses; "
                "run pip install 'rerun-sdk[notebook]==0.41.0'"
            )

    def file(self, name: str) -> ViewerFile | None:
        """The file behind `/viewer/VERSION/name`; None for any other name. Compresses on first use."""
        if name == "viewer.js":
            return ViewerFile(
                path=self._compressed("widget.js", _SAME_ORIGIN_FETCH, _EXPORT), media_type="text/javascript"
            )
        if name == "re_viewer_bg.wasm":
            return ViewerFile(path=self._compressed("re_viewer_bg.wasm"), media_type="application/wasm")
        return None

    def _compressed(self, name: str, before: bytes = b"", after: bytes = b"") -> Path:
        folder = cache_folder() / f"viewer-{self.version}"
        source = self._source / name
        target = folder / f"{name}.{source.stat().st_size}.gz"
        if not target.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            data = gzip.compress(before + source.read_bytes() + after, compresslevel=_FAST, mtime=0)
            replace_file(target, data, durable=False)
        return target
