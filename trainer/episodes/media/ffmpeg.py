"""ffmpeg as a guarded child: it gets one open file, bounded memory and time, and can open nothing else.

Decoders of video are large and written in C, and the files come from anywhere. So they run in a process of their own:
- the file is passed as an open descriptor and `fd` is the only protocol allowed: no network, no second file, whatever a
  playlist inside the file asks for; only containers and codecs that recordings of robots come in are tried;
- memory, processor time and the size of written files are limited before ffmpeg starts; its environment is empty;
- what it says is bounded, and it is killed when its time is up.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from model.errors import EpisodeError, UnsafeFileError

from .images import MAX_PIXELS

TIMEOUT = 30.0
"""Seconds one call may take."""
MEMORY = 512 << 20
"""Bytes of memory the child may have of its own: enough for 4K video with sixteen reference frames."""
_ADDRESSES = 1536 << 20  # what it maps; more than it may use
_LOG = 1 << 20
_CONTAINERS = "mov,matroska,avi"
_CODECS = "h264,hevc,av1,libdav1d,libaom-av1,vp8,libvpx,vp9,libvpx-vp9,mpeg4,mjpeg,ffv1,png,rawvideo"
_SPEAKER = re.compile(r"^(\[[^]]*\]\s*)+")  # the part of ffmpeg that speaks, with its address
_REFUSED = re.compile(r"Codec \((\w+)\) not on whitelist")  # said of a sound track too, which nobody asks for
_UNREAD = re.compile(r"\[dec:(\w+) @ [^]]*\] Error while opening decoder")
_READ = ", ".join(name for name in _CODECS.split(",") if not name.startswith("lib"))
# POSIX sh counts memory in KiB and files in blocks of 512 bytes
_LIMITS = (
    f"ulimit -d {MEMORY >> 10} && ulimit -v {_ADDRESSES >> 10} && ulimit -t {int(TIMEOUT)} && ulimit -f {_LOG >> 9}"
    ' && exec "$@"'
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What ffmpeg wrote.

    Attributes:
        data: Its standard output.
        complaint: The last line it said of the picture, "" if all went well; good frames may have come before it.
    """

    data: bytes
    complaint: str


def run_ffmpeg(source: Path, before: Sequence[str], after: Sequence[str], *, limit: int) -> Answer:
    """Runs `ffmpeg BEFORE -i SOURCE AFTER pipe:1`.

    Args:
        source: The video.
        before: Options of the input, such as `-ss`.
        after: Options of the output.
        limit: Bytes of output; more is an error.

    Raises:
        EpisodeError: The file cannot be opened, or ffmpeg gave nothing; says why.
        UnsafeFileError: It took longer or gave more than it may.
    """
    guards = ["-protocol_whitelist", "fd", "-format_whitelist", _CONTAINERS, "-codec_whitelist", _CODECS]
    bounds = ["-max_pixels", str(MAX_PIXELS), "-threads", "2", "-fflags", "+discardcorrupt"]
    command = [
        _executable(),
        "-v",
        "repeat+error",
        "-nostdin",
        *guards,
        *bounds,
        *before,
        "-i",
        "fd:",
        *after,
        "-threads",
        "1",
        "pipe:1",
    ]
    try:
        with source.open("rb") as file, tempfile.TemporaryFile() as log:
            data, in_time = _collect(["/bin/sh", "-c", _LIMITS, "sh", *command], file.fileno(), log.fileno(), limit)
            log.seek(0)
            said = log.read(_LOG).decode("utf-8", "replace").strip().splitlines()
    except OSError as error:
        raise EpisodeError(f"{source}: cannot be read ({error.strerror or error})") from None
    lines = [_SPEAKER.sub("", line)[:200] for line in said if not _REFUSED.search(line)]
    if not in_time:
        raise UnsafeFileError(f"{source}: decoding took more than {TIMEOUT:.0f} s and was stopped")
    if len(data) > limit:
        raise UnsafeFileError(f"{source}: unpacks to more than the {limit} bytes that a part of it may have")
    if not data:
        raise EpisodeError(f"{source}: no video can be decoded ({_why(said, lines)})")
    return Answer(data=data, complaint=lines[-1] if lines else "")


def _why(said: Sequence[str], lines: Sequence[str]) -> str:
    """Why nothing was decoded, in words that say what to do; else the first line, which is about the cause."""
    text = "\n".join(said)
    if refused := set(_UNREAD.findall(text)) & set(_REFUSED.findall(text)):
        return f"its codec {refused.pop()} is not read, only {_READ}: convert it, such as with ffmpeg -c:v libx264"
    if "Format not on whitelist" in text:
        return "it is no MP4, MOV, Matroska, WebM or AVI inside: convert it to one"
    if "moov atom not found" in text:
        return "it was cut off or never finished: the list of its frames, which MP4 writes last, is missing"
    if "matches no streams" in text:
        return "it has no picture"
    return lines[0] if lines else "it is empty or truncated"


def _collect(command: list[str], stdin: int, log: int, limit: int) -> tuple[bytes, bool]:
    """At most `limit` + 1 bytes of output, and whether it came in time. The child is gone when this returns."""
    late = threading.Event()
    with subprocess.Popen(  # noqa: S603 - a fixed command; the untrusted file is an open descriptor
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=log, env={}, cwd="/"
    ) as child:

        def stop() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(TIMEOUT, stop)
        timer.start()
        try:
            data = b"" if child.stdout is None else child.stdout.read(limit + 1)
        finally:
            timer.cancel()
            child.kill()  # it has closed its output, or nobody listens any more
    return data, not late.is_set()


@cache
def _executable() -> str:
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise EpisodeError(f"videos need ffmpeg: {error}") from None
