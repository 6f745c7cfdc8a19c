"""Rules that hold for the whole tree: nothing overlong, nothing that does not belong. See `test_unsafe_loading` too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for room in ("model", "trainer", "workbench", "tests") for path in (ROOT / room).rglob("*.py"))
SOURCES.append(ROOT / "app.py")
MAX_LINES = 400
MAX_ASSETS_BYTES = 40 * 2**20


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_source_is_short(path: Path) -> None:
    assert path.read_text().count("\n") <= MAX_LINES


def test_assets_stay_small() -> None:
    assert sum(path.stat().st_size for path in (ROOT / "assets").rglob("*") if path.is_file()) < MAX_ASSETS_BYTES


def test_importing_errors_does_not_import_torch() -> None:
    code = "import sys, model.errors, trainer.episodes.episode; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
