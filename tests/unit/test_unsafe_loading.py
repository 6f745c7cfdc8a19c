"""No room may run code from a file, or read one past the guarded readers: looked for in all syntax trees."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for room in ("model", "trainer", "workbench") for path in (ROOT / room).rglob("*.py"))
SOURCES.append(ROOT / "app.py")

MODULES = {
    *("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "jsonpickle", "marshal", "shelve", "joblib", "tarfile"),
    *("runpy", "code", "codeop", "imp", "pty", "telnetlib", "ftplib", "torch.package", "torch.distributed.checkpoint"),
}
NAMES = {
    *("eval", "exec", "__import__", "builtins", "os.system", "os.popen", "tempfile.mktemp"),
    *("subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell"),
    *("torch.load", "torch.jit.load", "torch.hub", "torch.serialization", "torch.ops.load_library"),
    *("numpy.load", "numpy.memmap", "numpy.loadtxt", "numpy.genfromtxt", "numpy.fromfile", "numpy.lib.npyio"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "yaml.Loader", "yaml.UnsafeLoader"),
    *(
        "yaml.FullLoader",
        "yaml.CLoader",
        "h5py.File",
        "h5py.h5f",
        "zipfile.ZipFile",
        "shutil.unpack_archive",
        "PIL.Image.open",
    ),
    *("pyarrow.parquet.ParquetFile", "pyarrow.parquet.read_table", "pyarrow.parquet.read_pandas", "pyarrow.dataset"),
    *("xml.etree.ElementTree.fromstring", "xml.etree.ElementTree.parse", "xml.dom", "xml.sax.parse", "lxml"),
    *("cv2.imread", "cv2.VideoCapture", "imageio.imread", "imageio.mimread", "imageio.get_reader", "imageio.v3.imread"),
    *("imageio.v2.imread", "imageio.v2.get_reader", "imageio.v2.mimread", "urllib.request", "requests", "httpx"),
}
METHODS = {"extractall", "load_state_dict_from_url", "read_pickle", "to_pickle"}
KEYWORDS = {"allow_pickle": "False", "shell": "False", "weights_only": "True", "trust_remote_code": "False"}
ALLOWED: dict[str, set[str]] = {  # each is the one guarded place for what it does
    "trainer/loop/torch_child.py": {"torch.load"},
    "trainer/episodes/safe_npy.py": {"zipfile.ZipFile"},
    "workbench/safe_zip.py": {"zipfile.ZipFile"},
    "trainer/episodes/streams.py": {"numpy.memmap"},
    "trainer/episodes/guarded/hdf5_child.py": {"h5py.File", "h5py.h5f"},
    "trainer/episodes/guarded/parquet_child.py": {"pyarrow.parquet.ParquetFile"},
    "trainer/episodes/writers/libero.py": {"h5py.File"},
    "trainer/episodes/guarded/image_child.py": {"PIL.Image.open"},
    "trainer/episodes/codecs.py": {"PIL.Image.open"},
    "trainer/episodes/readers/libero_model.py": {"xml.etree.ElementTree.fromstring"},
    "trainer/simulation/stored_model.py": {"xml.etree.ElementTree.fromstring"},
}


def unsafe_uses(source: str) -> set[str]:
    """Everything in `source` that is on the lists, by its full name, whatever it was imported as."""
    tree = ast.parse(source)
    known, found = _imports(tree), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {name for name in _imported(node) if _listed(name, MODULES | NAMES)}
        elif isinstance(node, ast.Attribute | ast.Name):
            name = _full_name(node, known)
            if _listed(name, NAMES):
                found.add(name)
        elif isinstance(node, ast.Call):
            found |= _keywords(node)
            if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
                found.add(node.func.attr)
            elif isinstance(node.func, ast.Name) and node.func.id == "compile":
                found.add("compile")
    return {name for name in found if not any(name.startswith(f"{shorter}.") for shorter in found)}


def _imports(tree: ast.Module) -> dict[str, str]:
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return known


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [] if node.level else [f"{node.module}.{alias.name}" for alias in node.names]


def _full_name(node: ast.expr, known: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_full_name(node.value, known)}.{node.attr}"
    return known.get(node.id, node.id) if isinstance(node, ast.Name) else "?"


def _listed(name: str, listed: set[str]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:count]) in listed for count in range(1, len(parts) + 1))


def _keywords(node: ast.Call) -> set[str]:
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg}
    wrong = {f"{name}={value}" for name, value in given.items() if name in KEYWORDS and value != KEYWORDS[name]}
    if ast.unparse(node.func).endswith("Image.open") and "formats" not in given:
        wrong.add("Image.open without formats")
    return wrong


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_source_loads_nothing_unsafely(path: Path) -> None:
    assert unsafe_uses(path.read_text()) == ALLOWED.get(str(path.relative_to(ROOT)), set())


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        ("import pickle", "pickle"),
        ("from dill import loads", "dill.loads"),
        ("import torch.distributed.checkpoint as dcp", "torch.distributed.checkpoint"),
        ("import numpy as n\nn.load(f)", "numpy.load"),
        ("from numpy import load as get\nget(f)", "numpy.load"),
        ("read(f, allow_pickle=True)", "allow_pickle=True"),
        ("read(f, allow_pickle=given)", "allow_pickle=given"),
        ("import torch\ntorch.load(f, weights_only=True)", "torch.load"),
        ("import torch as t\nload = t.load", "torch.load"),
        ("read(f, weights_only=False)", "weights_only=False"),
        ("model.from_pretrained(f, trust_remote_code=True)", "trust_remote_code=True"),
        ("subprocess.run(c, shell=True)", "shell=True"),
        ("import os\nos.system(c)", "os.system"),
        ("eval(text)", "eval"),
        ("run = exec", "exec"),
        ("compile(text, name, 'exec')", "compile"),
        ("import yaml\nyaml.load(f, yaml.SafeLoader)", "yaml.load"),
        ("from yaml import UnsafeLoader", "yaml.UnsafeLoader"),
        ("def f():\n    import h5py\n    return h5py.File(p)", "h5py.File"),
        ("from zipfile import ZipFile as Z\nZ(p)", "zipfile.ZipFile"),
        ("archive.extractall(folder)", "extractall"),
        ("import pyarrow.parquet as pq\npq.read_table(p)", "pyarrow.parquet.read_table"),
        ("from PIL import Image\nImage.open(p, formats=['PNG'])", "PIL.Image.open"),
        ("picture = Image.open(p)", "Image.open without formats"),
        ("import xml.etree.ElementTree as ET\nET.parse(p)", "xml.etree.ElementTree.parse"),
        ("import imageio.v3 as iio\niio.imread(p)", "imageio.v3.imread"),
        ("import requests", "requests"),
    ],
)
def test_the_rule_can_fail(bad: str, name: str) -> None:
    assert name in unsafe_uses(bad)


@pytest.mark.parametrize(
    "good",
    [
        "import torch\ntorch.save(x)",
        "read(f, allow_pickle=False)",
        "self.load(f)",
        "from .pickle import x",
        "re.compile(x)",
    ],
)
def test_what_is_safe_passes(good: str) -> None:
    assert not unsafe_uses(good)


def test_every_exception_is_still_needed() -> None:
    for name in ALLOWED:
        assert unsafe_uses((ROOT / name).read_text()) == ALLOWED[name]
