"""Reads parquet for `readers.safe_parquet`, in a process of its own (started by `child`).

Arrow ends the process at some damaged footers (an exception in C++ that its Python side does not catch).
"""

from __future__ import annotations

import os
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from model.errors import EpisodeError, UnsafeFileError

from .serve import Buffers, reason, serve

MAX_UNPACKED = 192 << 20
MAX_ROWS = 50_000_000
MAX_COLUMNS = 10_000
MAX_GROUPS = 1_000_000
_MAX_FOOTER_STRING, _MAX_FOOTER_ITEMS = 64 << 20, 4_000_000


class _Opened:
    """The file that was asked about last, as long as it does not change."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] = ()
        self._file: Any = None

    def get(self, path: str, where: str) -> Any:
        found = os.stat(path)
        key = (path, found.st_ino, found.st_mtime_ns, found.st_size)
        if key != self._key:
            self.close()
            try:
                self._file = pq.ParquetFile(
                    path,
                    thrift_string_size_limit=_MAX_FOOTER_STRING,
                    thrift_container_size_limit=_MAX_FOOTER_ITEMS,
                    memory_map=False,
                )
            except MemoryError:
                raise
            except Exception as error:  # Arrow raises many kinds for a damaged footer
                raise EpisodeError(f"{where}: not a readable parquet file ({reason(error)})") from None
            self._key = key
        return self._file

    def close(self) -> None:
        file, self._file, self._key = self._file, None, ()
        if file is not None:
            file.close(force=True)


_opened = _Opened()


def facts(path: str, where: str) -> tuple[dict[str, Any], Buffers]:
    """The top-level columns, and the rows of each part."""
    file = _opened.get(path, where)
    meta = file.metadata
    rows, columns, groups = int(meta.num_rows), int(meta.num_columns), int(meta.num_row_groups)
    if not 0 <= rows <= MAX_ROWS or columns > MAX_COLUMNS or not 0 <= groups <= MAX_GROUPS:
        raise UnsafeFileError(f"{where}: announces {rows} rows of {columns} columns in {groups} parts")
    parts = [int(meta.row_group(group).num_rows) for group in range(groups)]
    if min(parts, default=0) < 0 or sum(parts) != rows:
        raise UnsafeFileError(f"{where}: announces {rows} rows, its parts have {sum(parts)}")
    return {"columns": list(file.schema_arrow.names), "parts": parts}, ()


def read(path: str, where: str, columns: list[str], groups: list[int]) -> tuple[dict[str, Any], Buffers]:
    """Some columns of whole parts, as an Arrow stream."""
    file = _opened.get(path, where)
    total = sum(_unpacked(file.metadata.row_group(group), columns) for group in groups)
    if total > MAX_UNPACKED:
        raise UnsafeFileError(f"{where}: {', '.join(columns)} unpack to {total} bytes, at most {MAX_UNPACKED}")
    try:
        table = file.read_row_groups(groups, columns=columns, use_threads=False)
        table.validate(full=True)
        if table.nbytes > MAX_UNPACKED:
            raise UnsafeFileError(f"{where}: {', '.join(columns)} unpack to {table.nbytes} bytes")
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        return {}, (memoryview(sink.getvalue()),)
    except (UnsafeFileError, MemoryError):
        raise
    except Exception as error:  # as above: a damaged page can raise anything
        raise EpisodeError(f"{where}: columns {', '.join(columns)} are damaged ({reason(error)})") from None


def _unpacked(group: Any, columns: list[str]) -> int:
    total = 0
    for index in range(group.num_columns):
        column = group.column(index)
        if column.path_in_schema.split(".")[0] in columns or column.path_in_schema in columns:
            total += max(0, int(column.total_uncompressed_size))
    return total


if __name__ == "__main__":
    serve({"facts": facts, "read": read}, _opened.close)
