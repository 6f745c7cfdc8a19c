"""Rules that hold for the whole tree: nothing unsafe, nothing overlong, nothing that does not belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for room in ("model", "trainer", "workbench") for path in (ROOT / room).rglob("*.py"))
SOURCES.append(ROOT / "app.py")
MAX_LINES = 400
MAX_ASSETS_BYTES = 40 * 2**20
BANNED_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
ALLOWED = {"trainer/loop/torch_child.py": ["torch.load"]}
"""A process of its own with a limit on its memory, for one command; plain tensors only."""
BANNED_CALLS = {"eval", "exec", "torch.load", "yaml.load", "os.system", "torch.hub.load_state_dict_from_url"}


def unsafe_uses(source: str) -> list[str]:
    """Every use in `source` that could run code from a file."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [alias.name for alias in names if alias.name.split(".")[0] in BANNED_MODULES]
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in BANNED_MODULES:
                found.append(module)
            case ast.Call(func=function, keywords=keywords):
                if ast.unparse(function) in BANNED_CALLS:
                    found.append(ast.unparse(function))
                found += [
                    ast.unparse(keyword)
                    for keyword in keywords
                    if keyword.arg in ("allow_pickle", "shell") and ast.unparse(keyword.value) != "False"
                ]
            case _:
                pass
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_source_loads_nothing_unsafely_and_is_short(path: Path) -> None:
    source = path.read_text()
    assert unsafe_uses(source) == ALLOWED.get(str(path.relative_to(ROOT)), [])
    assert source.count("\n") <= MAX_LINES


@pytest.mark.parametrize(
    "bad",
    [
        "import pickle",
        "from dill import loads",
        "np.load(f, allow_pickle=True)",
        "torch.load(f, weights_only=True)",
        "subprocess.run(c, shell=True)",
        "eval(text)",
    ],
)
def test_the_unsafe_rule_can_fail(bad: str) -> None:
    assert unsafe_uses(bad)


def test_assets_stay_small() -> None:
    assert sum(path.stat().st_size for path in (ROOT / "assets").rglob("*") if path.is_file()) < MAX_ASSETS_BYTES


def test_importing_errors_does_not_import_torch() -> None:
    code = "import sys, model.errors, trainer.episodes.episode; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
