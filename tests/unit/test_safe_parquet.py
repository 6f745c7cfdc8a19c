"""Arrow's columns as numpy's numbers, whatever they are slices of."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from model.errors import EpisodeError
from trainer.episodes.readers.safe_parquet import numbers_of

KINDS = {
    "numbers": (None, 1),
    "truth values": (pa.bool_(), 1),
    "lists": (pa.list_(pa.float64()), 3),
    "large lists": (pa.large_list(pa.int64()), 2),
    "lists of one length": (pa.list_(pa.float64(), 4), 4),
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_slice_of_a_column_is_the_same_numbers(kind: str) -> None:
    arrow, width = KINDS[kind]
    values = (np.arange(7 * width).reshape(7, width) * 5 % 11).astype(bool if arrow == pa.bool_() else np.int64)
    rows = [row[0] for row in values.tolist()] if width == 1 else values.tolist()
    array = pa.array(rows, arrow)
    for start in range(8):
        for stop in range(start, 8):
            for column in (array.slice(start, stop - start), pa.chunked_array([array]).slice(start, stop - start)):
                numbers = numbers_of(column, "here")
                assert numbers.dtype == np.float64
                assert len(numbers) == stop - start
                np.testing.assert_array_equal(numbers.ravel(), values[start:stop].ravel())


def test_lists_of_lists_are_flattened() -> None:
    column = pa.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    np.testing.assert_array_equal(numbers_of(column.slice(1), "here"), [[5, 6, 7, 8]])


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([[1.0, 2.0], [3.0]], "different lengths"),
        ([[1.0], None], "some are missing"),
        ([[1.0, None]], "has gaps"),
        ([1.0, None], "has gaps"),
        (["word"], "holds string, not numbers"),
    ],
)
def test_what_is_no_table_of_numbers_is_one_error(rows: list[object], says: str) -> None:
    with pytest.raises(EpisodeError, match=f"^here: .*{says}"):
        numbers_of(pa.array(rows), "here")


def test_pandas_is_not_imported_for_it() -> None:
    code = """
import sys, numpy as np, pyarrow as pa
from trainer.episodes.readers.safe_parquet import numbers_of
offsets = pa.Array.from_buffers(pa.int32(), 3, [None, pa.py_buffer(np.arange(0, 6, 2, np.int32))])
values = pa.Array.from_buffers(pa.float64(), 4, [None, pa.py_buffer(np.arange(4.0))])
assert numbers_of(pa.ListArray.from_arrays(offsets, values), "here").shape == (2, 2)
sys.exit("pandas" in sys.modules or "pyarrow.compute" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
