"""Writes a LeRobot v3.0 dataset: images as PNG inside parquet (no loss), depth as 16-bit PNG in millimetres.

State and action go out in the internal vocabulary with their entries named, next to every numeric feature of the source
under `observation.` and its own name. A source that is LeRobot itself keeps its own state and action, unless it is a
LIBERO conversion: readers know one by these numbers and would mirror the images, which go out upright, once more.

Layout after https://huggingface.co/docs/lerobot/lerobot-dataset-v3:

    meta/info.json  meta/stats.json  meta/tasks.parquet  meta/episodes/chunk-000/file-000.parquet
    data/chunk-000/file-000.parquet                                             many episodes a file, rolled by size
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from model.errors import EpisodeError

from ..episode import ACTION_NAMES, STATE_NAMES
from ..readers.libero_style import NOTE as MIRRORED_BACK
from .lerobot_images import ImageColumn, image_columns, png_of
from .lerobot_stats import FeatureStats, ImageStats
from .trajectory import ACTION_UNITS, EXACT_FLOW, INTRINSICS, POSES, Trajectory, name_lost_fields

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

_DATA, _EPISODES = (
    "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
    "meta/episodes/chunk-000/file-000.parquet",
)
_FILE_MB, _FILES_A_CHUNK = 100, 1000
_ROWS = 64  # a row group; each is decoded as a whole
_STATE, _ACTION = "observation.state", "action"
_INDICES = ("frame_index", "episode_index", "index", "task_index")
_SUCCESS = "next.success"
_OWN = {"timestamp", _SUCCESS, *_INDICES}


@dataclass(frozen=True)
class _Column:
    """A column of numbers: its rows (row, n), and what the n entries are called where that is known."""

    values: Float[np.ndarray, "row n"]
    names: Sequence[str] | None


def write_lerobot(trajectories: Sequence[Trajectory], folder: Path) -> None:
    """Fills an empty folder with a dataset.

    Raises:
        EpisodeError: Nothing to write, the episodes differ in what they have, or one cannot be read.
    """
    if not trajectories:
        raise EpisodeError("export: nothing to write")
    name_lost_fields(trajectories, "LeRobot", [INTRINSICS, POSES, ACTION_UNITS, EXACT_FLOW])
    _Writer(trajectories, folder).write()


class _Writer:
    """The dataset while it is written."""

    def __init__(self, trajectories: Sequence[Trajectory], folder: Path) -> None:
        self._trajectories, self._folder = trajectories, folder
        judged = {one.episode.info.outcome is not None for one in trajectories}
        if len(judged) == 2:
            log.warning("the outcome of some episodes is unknown, so it is left out for all of them")
        self._features = _features(trajectories[0], judged=judged == {True})
        for one in trajectories[1:]:
            if _features(one, judged=judged == {True}) != self._features:
                raise EpisodeError(
                    f"{one.episode.name}: has other features, image sizes or rates than the first episode; a LeRobot "
                    "dataset has one schema, export them apart"
                )
        instructions = (one.episode.info.instruction for one in trajectories)
        self._tasks = {text: index for index, text in enumerate(dict.fromkeys(instructions))}
        self._stats = {name: _stats(feature) for name, feature in self._features.items()}

    def write(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        episodes: list[dict[str, Any]] = []
        file, size, row, writer = 0, 0, 0, None
        for number, one in enumerate(self._trajectories):
            if writer is None or size > _FILE_MB << 20:
                if writer is not None:
                    writer.close()
                    file += 1
                path = self._folder / _DATA.format(chunk_index=file // _FILES_A_CHUNK, file_index=file % _FILES_A_CHUNK)
                path.parent.mkdir(parents=True, exist_ok=True)
                writer, size = pq.ParquetWriter(path, self._schema()), 0
            for rows in _batches(one.steps):
                table = pa.Table.from_pydict(self._rows(one, number, rows, row), schema=self._schema())
                writer.write_table(table)
                size += table.nbytes
            episodes.append(self._entry(one, number, row, file))
            row += len(one.steps)
        if writer is not None:
            writer.close()
        self._write_meta(episodes, row)

    def _rows(self, one: Trajectory, number: int, rows: Sequence[int], first: int) -> dict[str, Any]:
        """Columns of some rows of an episode; `rows` count within it."""
        columns: dict[str, Any] = {
            "timestamp": [np.float32(row / one.rate) for row in rows],
            "frame_index": list(rows),
            "episode_index": [number] * len(rows),
            "index": [first + row for row in rows],
            "task_index": [self._tasks[one.episode.info.instruction]] * len(rows),
        }
        if _SUCCESS in self._features:  # said of the last row
            columns[_SUCCESS] = [one.episode.info.outcome == "success" and row == len(one.steps) - 1 for row in rows]
        for name, column in _numbers(one).items():
            taken = column.values[list(rows)]
            columns[name] = list(taken[:, 0] if taken.shape[1] == 1 else taken)
        for name, images in image_columns(one).items():
            columns[name] = [self._image(name, images, row) for row in rows]
        for name, values in columns.items():
            if self._features[name]["dtype"] != "image":
                self._stats[name].add(np.asarray(values))
        return columns

    def _image(self, name: str, column: ImageColumn, row: int) -> dict[str, Any]:
        image = column.at(row)
        if not column.is_depth:
            self._stats[name].add(image)
        return {"bytes": png_of(image, column), "path": None}

    def _entry(self, one: Trajectory, number: int, first: int, file: int) -> dict[str, Any]:
        return {
            "episode_index": number,
            "tasks": [one.episode.info.instruction],
            "length": len(one.steps),
            "data/chunk_index": file // _FILES_A_CHUNK,
            "data/file_index": file % _FILES_A_CHUNK,
            "dataset_from_index": first,
            "dataset_to_index": first + len(one.steps),
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }

    def _write_meta(self, episodes: list[dict[str, Any]], rows: int) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        info: dict[str, Any] = {
            "codebase_version": "v3.0",
            "robot_type": None,
            "total_episodes": len(episodes),
            "total_frames": rows,
            "total_tasks": len(self._tasks),
            "chunks_size": _FILES_A_CHUNK,
            "data_files_size_in_mb": _FILE_MB,
            "video_files_size_in_mb": 200,
            "fps": _fps(self._trajectories[0]),
            "splits": {"train": f"0:{len(episodes)}"},
            "data_path": _DATA,
            "video_path": None,
            "features": self._features,
        }
        (self._folder / _EPISODES).parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(episodes), self._folder / _EPISODES)
        pq.write_table(_task_table(self._tasks), self._folder / "meta/tasks.parquet")
        stats = {name: one.as_json() for name, one in self._stats.items() if one.count}
        for name, content in (("info", info), ("stats", stats)):
            text = json.dumps(content, indent=4, allow_nan=False)
            (self._folder / f"meta/{name}.json").write_text(text, encoding="utf-8")

    def _schema(self) -> pa.Schema:
        import pyarrow as pa

        image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        return pa.schema([(name, _arrow_type(feature, image)) for name, feature in self._features.items()])


def _arrow_type(feature: dict[str, Any], image: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if feature["dtype"] == "image":
        return image
    kind = {"float32": pa.float32(), "float64": pa.float64(), "int64": pa.int64(), "bool": pa.bool_()}[feature["dtype"]]
    return kind if feature["shape"] == [1] else pa.list_(kind, feature["shape"][0])


def _features(one: Trajectory, *, judged: bool) -> dict[str, Any]:
    """What info.json says of every column; `judged`: with the outcome."""
    features: dict[str, Any] = {"timestamp": {"dtype": "float32", "shape": [1], "names": None, "fps": _fps(one)}}
    features |= {name: {"dtype": "int64", "shape": [1], "names": None} for name in _INDICES}
    if judged:
        features[_SUCCESS] = {"dtype": "bool", "shape": [1], "names": None}
    for name, column in _numbers(one).items():
        names = None if column.names is None else list(column.names)
        features[name] = {"dtype": "float64", "shape": [column.values.shape[1]], "names": names}
    return features | {name: column.feature for name, column in image_columns(one).items()}


def _numbers(one: Trajectory) -> dict[str, _Column]:
    """Columns of numbers by name."""
    episode, steps = one.episode, list(one.steps)
    mirrored_back = MIRRORED_BACK in episode.info.notes
    numbers: dict[str, _Column] = {}
    for name, values in episode.features.items():
        if name in _OWN or values.ndim != 2:
            continue
        own = name == _ACTION or name.startswith("observation.")
        column = name if own else f"observation.{name.replace('/', '.')}"
        if mirrored_back and column in (_STATE, _ACTION):
            column = f"observation.source.{column.removeprefix('observation.')}"
        numbers[column] = _Column(np.asarray(values, np.float64)[steps], episode.feature_names.get(name))
    if one.state is not None:
        numbers.setdefault(_STATE, _Column(one.state, STATE_NAMES))
    if one.action is not None:
        numbers.setdefault(_ACTION, _Column(one.action, ACTION_NAMES))
    return numbers


def _stats(feature: dict[str, Any]) -> FeatureStats:
    return ImageStats() if feature["dtype"] == "image" else FeatureStats()


def _fps(one: Trajectory) -> int | float:
    return int(one.rate) if one.rate == int(one.rate) else one.rate


def _batches(steps: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(steps), _ROWS):
        yield range(start, min(start + _ROWS, len(steps)))


def _task_table(tasks: dict[str, int]) -> pa.Table:
    """Instructions by index; pandas is told that the text is the table's index, as LeRobot expects."""
    import pyarrow as pa

    table = pa.table({"task_index": list(tasks.values()), "task": list(tasks)})
    kinds = (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
        for name, kind, numpy in kinds
    ]
    facts = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    return table.replace_schema_metadata({"pandas": json.dumps(facts)})
