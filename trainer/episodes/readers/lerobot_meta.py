"""What a LeRobot dataset says of itself: features, episodes, tasks, and where the files of each episode lie.

Written from the published format: https://huggingface.co/docs/lerobot/lerobot-dataset-v3 and the meta data of public
datasets. v2.x keeps one parquet (and one video a camera) for an episode and lists episodes in JSON lines; v3.0 keeps
many episodes in a file and lists them in parquet, each with its files, its first and last row counted over the dataset,
and its stretch of each video in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from model.errors import EpisodeError, UnsafeFileError

from ..safe_json import read_json, read_json_lines
from ..safe_path import inside
from .safe_parquet import ParquetTable

INFO = "meta/info.json"
_FIELD = re.compile(r"\{([a-z_]+)(?::0?([1-9])d)?\}")
MAX_EPISODES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class VideoSpan:
    """Where an episode's frames of one camera lie; `span` in seconds, None = the whole file."""

    path: Path
    span: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class EpisodeEntry:
    """One episode of the list.

    Attributes:
        index: LeRobot's `episode_index`.
        tasks: Its instructions.
        fields: The other columns of its line, under the format's names.
    """

    index: int
    length: int
    tasks: tuple[str, ...]
    fields: Mapping[str, Any]


class LeRobotMeta:
    """The meta data of one dataset; parts are read when they are asked for.

    Args:
        root: The dataset's folder.

    Raises:
        EpisodeError: (by every member) Missing, damaged or contradictory meta data.
        UnsafeFileError: (by every member) A path that leads out of the dataset.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        # A download of the hub is a folder of links into its sibling `blobs`.
        self.allowed = root.parent.parent if root.parent.name == "snapshots" else root
        self.info = read_json(root / INFO, self.allowed)
        version = str(self.info.get("codebase_version", ""))
        if not re.fullmatch(r"v[23]\.\d{1,3}", version):
            raise EpisodeError(f"{root / INFO}: codebase_version is {version!r:.20}; v2.x and v3.x can be read")
        self.is_v3 = version.startswith("v3")

    @property
    def fps(self) -> float:
        """Frames a second, which is also the rate of control."""
        fps = self.info.get("fps")
        if not isinstance(fps, int | float) or isinstance(fps, bool) or not 0 < fps < 10_000:
            raise EpisodeError(f"{self.root / INFO}: field 'fps' must be a positive number, got {fps!r:.40}")
        return float(fps)

    @cached_property
    def features(self) -> dict[str, dict[str, Any]]:
        """Descriptions of the features by name."""
        features = self.info.get("features")
        if not isinstance(features, dict) or not all(isinstance(feature, dict) for feature in features.values()):
            raise EpisodeError(f"{self.root / INFO}: field 'features' must be an object of objects")
        return features

    @cached_property
    def episodes(self) -> dict[int, EpisodeEntry]:
        """All episodes by their index, in increasing order."""
        entries = self._episodes_v3() if self.is_v3 else self._episodes_v2()
        if not entries:
            raise EpisodeError(f"{self.root}: lists no episode")
        return {entry.index: entry for entry in sorted(entries, key=lambda entry: entry.index)}

    def data_file(self, entry: EpisodeEntry) -> Path:
        """The parquet file that holds an episode's rows."""
        numbers = self._file_numbers(entry, "data/")
        return self._fill("data_path", self.info.get("data_path"), numbers)

    def video(self, entry: EpisodeEntry, key: str) -> VideoSpan:
        """The video file, and the stretch of it, that holds an episode's frames of a camera."""
        prefix = f"videos/{key}/"
        numbers = self._file_numbers(entry, prefix)
        path = self._fill("video_path", self.info.get("video_path"), {**numbers, "video_key": key})
        if not self.is_v3:
            return VideoSpan(path=path, span=None)
        start, end = (entry.fields.get(f"{prefix}{name}_timestamp") for name in ("from", "to"))
        if not isinstance(start, int | float) or not isinstance(end, int | float) or not 0 <= start < end < 1e7:
            raise EpisodeError(f"{self.root}: episode {entry.index} has no valid time span in '{prefix}'")
        return VideoSpan(path=path, span=(float(start), float(end)))

    def _file_numbers(self, entry: EpisodeEntry, prefix: str) -> dict[str, int | str]:
        if self.is_v3:
            names = ("chunk_index", "file_index")
            values = {name: entry.fields.get(prefix + name) for name in names}
            if not all(isinstance(value, int) and 0 <= value < 10**9 for value in values.values()):
                raise EpisodeError(f"{self.root}: episode {entry.index} does not say its '{prefix}' file")
            return {name: int(value or 0) for name, value in values.items()}
        size = self.info.get("chunks_size", 1000)
        if not isinstance(size, int) or size < 1:
            raise EpisodeError(f"{self.root / INFO}: field 'chunks_size' must be a positive integer")
        return {"episode_chunk": entry.index // size, "episode_index": entry.index}

    def _fill(self, field: str, template: Any, values: Mapping[str, int | str]) -> Path:
        """Puts values into a template. Python's own formatting would follow attributes; this follows nothing."""
        where = f"{self.root / INFO}: field '{field}'"
        if not isinstance(template, str) or len(template) > 500:
            raise EpisodeError(f"{where} must be a template of a path, got {template!r:.60}")

        def value(match: re.Match[str]) -> str:
            if match[1] not in values:
                raise EpisodeError(f"{where} asks for '{match[1]}', which this version does not have")
            return str(values[match[1]]).zfill(int(match[2] or 1))

        if set("{}") & set(_FIELD.sub("", template)):
            raise UnsafeFileError(f"{where} is no plain template: {template!r:.80}")
        return inside(self.root, _FIELD.sub(value, template), where)

    def _episodes_v2(self) -> list[EpisodeEntry]:
        lines = read_json_lines(self.root / "meta/episodes.jsonl", self.allowed)
        return [self._entry(line, f"meta/episodes.jsonl line {number}") for number, line in enumerate(lines, 1)]

    def _episodes_v3(self) -> list[EpisodeEntry]:
        folder = self.root / "meta/episodes"
        entries: list[EpisodeEntry] = []
        for file in sorted(folder.glob("*/*.parquet")):
            table = ParquetTable(file, self.allowed)
            if table.rows + len(entries) > MAX_EPISODES:
                raise UnsafeFileError(f"{file}: lists more than {MAX_EPISODES} episodes")
            names = [name for name in table.columns if not name.startswith("stats/")]
            rows = table.read(names).to_pylist()
            entries += [self._entry(row, f"{file.relative_to(self.root)} row {at}") for at, row in enumerate(rows)]
        return entries

    def _entry(self, row: Mapping[str, Any], where: str) -> EpisodeEntry:
        index, length, tasks = row.get("episode_index"), row.get("length"), row.get("tasks")
        for name, value, least in (("episode_index", index, 0), ("length", length, 1)):
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 10**9:
                raise EpisodeError(f"{self.root}: {where}: field '{name}' is {value!r:.40}")
        texts = [tasks] if isinstance(tasks, str) else tasks if isinstance(tasks, list) else []
        return EpisodeEntry(
            index=int(index or 0),
            length=int(length or 0),
            tasks=tuple(text for text in texts if isinstance(text, str)),
            fields=row,
        )
