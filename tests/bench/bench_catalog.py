"""The catalogue at size: a CALVIN split of 1,000,000 real step files, and LeRobot sets of 10,000 episodes.

Cold: nothing kept, as in a first start; the kernel's file cache is dropped where this process may do that. Warm: a
second start, the index is on disk. The step files are empty, because listing must not look at them. `first frame` is
what a click in the Browse tab costs on the server, opening included: of a split with real frames, made here,
or of `FORESIGHT_CALVIN` where that names one. Folders are made below `FORESIGHT_BENCH_TEMP` (default: the system's
temporary folder) and removed again. `FORESIGHT_BENCH_STEPS` changes the number of steps.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.calvin_factory import write_calvin_split, write_language
from workbench.catalog import Catalog
from workbench.catalog_search import Search, find
from workbench.catalog_thumbnails import first_frame, jpeg

STEPS = int(os.environ.get("FORESIGHT_BENCH_STEPS", "1000000"))
SEGMENTS = 17_870
EPISODES = 10_000
_RUN = 50_000
"""Steps of one recording."""


def main() -> None:
    """Prints one line a measurement."""
    temp = Path(tempfile.mkdtemp(prefix="foresight-catalog-", dir=os.environ.get("FORESIGHT_BENCH_TEMP")))
    try:
        split = temp / "calvin" / "training"
        _say(f"making {STEPS} empty step files", _timed(lambda: _make_split(split)), "s")
        _listing("CALVIN", temp / "calvin", temp / "index")
        for version, make in (("v2", _make_lerobot_v2), ("v3", _make_lerobot_v3)):
            make(temp / version)
            _listing(f"LeRobot {version}", temp / version, temp / "index")
        _first_frames(Path(os.environ.get("FORESIGHT_CALVIN", "")) if "FORESIGHT_CALVIN" in os.environ else None, temp)
    finally:
        shutil.rmtree(temp)


def _listing(name: str, root: Path, index: Path) -> None:
    """A cold and a warm start, and one search among the rows."""
    dropped = _drop_file_cache()
    for state in (f"cold{'' if dropped else ' (file cache warm)'}", "warm"):
        began, used = time.monotonic(), _processor_s()
        catalog = Catalog(episode_roots=[root], index_folder=index)
        wall, used = time.monotonic() - began, _processor_s() - used
        rows = catalog.episodes()
        _say(f"{name}, {len(rows)} episodes listed, {state}", wall, f"s ({used:.2f} s of a core)")
    find(rows, Search(words="drawer"))  # the words of a row are put together once
    took = [_timed(lambda: find(rows, Search(words="red drawer", order="steps", descending=True))) for _ in range(9)]
    _say(f"{name}, search and sort, p50 of 9", 1000 * statistics.median(took), "ms")


def _first_frames(split: Path | None, temp: Path) -> None:
    """Opening an episode and its first frame, each episode once: nothing of it is in memory."""
    if split is None:
        split = temp / "frames"
        windows = tuple((start, start + 63) for start in range(0, 129, 16))
        write_calvin_split(split, length=192, windows=windows, size=(200, 200))
    catalog = Catalog(episode_roots=[split])
    took: list[float] = []
    used: list[float] = []
    for row in catalog.episodes():
        began, before = time.monotonic(), _processor_s()
        jpeg(first_frame(catalog.open(row.id)), (640, 480))
        took.append(1000 * (time.monotonic() - began))
        used.append(1000 * (_processor_s() - before))
    cost = f"ms ({statistics.median(used):.0f} ms of a core)"
    _say(f"choosing an episode to its first frame, n = {len(took)}, p50", statistics.median(took), cost)
    _say("choosing an episode to its first frame, slowest", max(took), f"ms ({max(used):.0f} ms of a core)")


def _make_split(split: Path) -> None:
    split.mkdir(parents=True)
    for step in range(STEPS):
        os.close(os.open(split / f"episode_{step:07d}.npz", os.O_CREAT | os.O_WRONLY, 0o644))
    bounds = [(start, min(start + _RUN, STEPS) - 1) for start in range(0, STEPS, _RUN)]
    np.save(split / "ep_start_end_ids.npy", np.array(bounds))
    starts = np.linspace(0, STEPS - 64, SEGMENTS).astype(int)
    windows = [(int(start), int(start) + 63) for start in starts]
    sentences = [f"push the red block number {index % 389} into the drawer" for index in range(SEGMENTS)]
    write_language(split, windows, sentences, [f"push_into_drawer_{index % 34}" for index in range(SEGMENTS)])


def _make_lerobot_v2(root: Path) -> None:
    (root / "meta").mkdir(parents=True)
    _write_info(root, "v2.1")
    with (root / "meta" / "episodes.jsonl").open("w") as file:
        for index in range(EPISODES):
            line = {"episode_index": index, "tasks": [f"put the red drawer {index % 40} away"], "length": 200}
            file.write(json.dumps(line) + "\n")


def _make_lerobot_v3(root: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (root / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
    _write_info(root, "v3.0")
    columns: dict[str, list[object]] = {
        "episode_index": list(range(EPISODES)),
        "tasks": [[f"put the red drawer {index % 40} away"] for index in range(EPISODES)],
        "length": [200] * EPISODES,
        "data/chunk_index": [0] * EPISODES,
        "data/file_index": [0] * EPISODES,
    }
    pq.write_table(pa.table(columns), root / "meta" / "episodes" / "chunk-000" / "file-000.parquet")


def _write_info(root: Path, version: str) -> None:
    features = {
        "observation.images.front": {"dtype": "video", "shape": [480, 640, 3], "names": None},
        "observation.state": {"dtype": "float32", "shape": [6], "names": None},
        "action": {"dtype": "float32", "shape": [6], "names": None},
    }
    info = {"codebase_version": version, "fps": 30, "total_episodes": EPISODES, "features": features}
    (root / "meta" / "info.json").write_text(json.dumps(info))


def _drop_file_cache() -> bool:
    """Makes the kernel forget what it knows of files; only root may."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


def _processor_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _say(what: str, value: float, unit: str) -> None:
    sys.stdout.write(f"{what}: {value:.2f} {unit}\n")
    sys.stdout.flush()
