"""From flags to a running server: checks first, listens early, loads torch and the viewer when they are asked for."""

from __future__ import annotations

import atexit
import contextlib
import gc
import ipaddress
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from model.errors import CheckpointError, ConfigError, EpisodeError, WorkbenchError
from trainer.labels.overlay import check_store

from ..cache_folder import cache_folder
from ..catalog import Catalog
from .options import AppOptions

if TYPE_CHECKING:
    from .desk import Desk

_STYLES = (
    *(Path(__file__).parent / "static" / f"{name}.css" for name in ("page", "browse", "upload", "audit")),
    Path(__file__).parents[1] / "proof" / "proof.css",
    Path(__file__).parent / "static" / "controls.css",
)
"""In their order; the one of `proof` is shared with the report that opens offline."""

_PATIENCE_S = 0.5
"""Small folders are listed before the page is there; a large one goes on being listed while it is used."""


def serve(options: AppOptions) -> int:
    """Serves the page until it is interrupted; returns the exit code.

    Raises:
        ConfigError: The address is public, the port is taken, or a part of the installation is missing.
        CheckpointError, EpisodeError: Something that was named on the command line is not there.
    """
    listener = _listen(options.host, options.port)
    with listener:
        with _no_garbage_collection():
            catalog = _open_catalog(options)
            app = _make_app(options, catalog)

            import uvicorn

        sys.stdout.write(
            f"Foresight Workbench on http://{_printable(options.host)}:{options.port}  (Ctrl-C stops it)\n"
        )
        sys.stdout.flush()
        config = uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=2)
        signal.signal(signal.SIGTERM, _leave)
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def _leave(number: int, _: object) -> NoReturn:
    """Ends as after Ctrl-C: uvicorn hands a signal on, and one that nobody handles would leave our files and proofs."""
    raise SystemExit(128 + number)


def _listen(host: str, port: int) -> socket.socket:
    """Takes the port before anything slow, so that a second start fails at once and two starts cannot race."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError as error:
        raise ConfigError(f"--host {host}: not an IP address; use 127.0.0.1") from error
    if not address.is_loopback:
        raise ConfigError(
            f"--host {host}: other machines could reach it and the page has no login. Keep 127.0.0.1 and forward the "
            f"port from your own machine: ssh -L {port}:127.0.0.1:{port} THIS_MACHINE"
        )
    if not 0 < port < 65536:
        raise ConfigError(f"--port {port}: must be between 1 and 65535")
    listener = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((str(address), port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"--port {port}: {error.strerror or error}; is another workbench running? Choose another: --port {port + 1}"
        ) from error
    return listener


@contextlib.contextmanager
def _no_garbage_collection() -> Generator[None]:
    """Imports make 300,000 objects that stay; looking through them again and again is a seventh of the start."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _open_catalog(options: AppOptions) -> Catalog:
    """The catalogue of the named folders. What the user named must exist; bundled defaults may be absent."""
    for path in options.checkpoint:
        if not path.is_dir():
            raise CheckpointError(f"--checkpoint {path}: no such folder")
    for path in options.episodes:
        if not Path(str(path).partition("#")[0]).exists():
            raise EpisodeError(f"--episodes {path}: no such file or folder")
    check_store(options.labels)
    catalog = Catalog(
        episode_roots=options.episode_roots(),
        checkpoint_roots=options.checkpoint_roots(),
        index_folder=cache_folder() / "index",
        labels=options.labels,
        patience=_PATIENCE_S,
    )
    if options.checkpoint and not catalog.checkpoints():
        raise CheckpointError(catalog.problems()[0].message)
    if options.episodes and catalog.progress() is None and not catalog.episodes():
        raise EpisodeError(catalog.problems()[0].message if catalog.problems() else "--episodes: no episode there")
    return catalog


def _make_app(options: AppOptions, catalog: Catalog) -> Callable[..., Awaitable[None]]:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported: it phones home from its import on
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ["GRADIO_TEMP_DIR"] = folder = tempfile.mkdtemp(prefix="foresight-workbench-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)

    try:
        import gradio as gr

        from .desk import Desk
        from .page import make_page
        from .server import Guard, make_server, page_script
        from .theme import make_theme
        from .training import TrainingDesk
        from .viewer import Viewer
    except ImportError as error:
        raise ConfigError(f"{error}; run `make setup`, it installs what is missing") from error

    viewer = Viewer()
    training = TrainingDesk(runs=options.runs, data_roots=options.episode_roots(), catalog=catalog)
    page = make_page(viewer_version=viewer.version, training=training)
    desk = Desk(catalog)
    server = make_server(desk, viewer)
    gr.mount_gradio_app(
        server,
        page,
        path="/",
        server_name=options.host,
        server_port=options.port,
        theme=make_theme(),
        head=f'<script type="module" src="{page_script()}"></script>',
        css_paths=list(_STYLES),
        allowed_paths=[],
        blocked_paths=[
            str(path) for path in (*options.episode_roots(), *options.checkpoint_roots(), options.runs, cache_folder())
        ],
        show_error=False,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        max_file_size=1,
    )
    threading.Thread(target=_open_first_clip, args=(desk,), name="first-clip", daemon=True).start()
    return Guard(server, hosts=_hosts(options))


def _open_first_clip(desk: Desk) -> None:
    """Reads the first clip and the colour maps while the browser still fetches scripts; the page asks for them next."""
    from .views import opening_payload

    with contextlib.suppress(WorkbenchError):  # said again where somebody reads it: in the page
        opening_payload(desk, {}, refresh=False)


def _hosts(options: AppOptions) -> frozenset[str]:
    """What a browser may write into its Host header."""
    return frozenset(f"{name}:{options.port}" for name in ("localhost", "127.0.0.1", "[::1]", _printable(options.host)))


def _printable(host: str) -> str:
    return f"[{host}]" if ":" in host else host
