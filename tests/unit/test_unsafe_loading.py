"""No room may run code from a file, or read one past the guarded readers: looked for in all syntax trees."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("model", "trainer", "workbench", ".ci")
SOURCES = sorted([*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))])

MODULES = {
    "*",  # nobody sees what a star brings
    *("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "jsonpickle", "marshal", "shelve", "joblib", "tarfile"),
    *("ruamel", "multiprocessing.connection", "multiprocessing.managers", "ctypes", "cffi"),
    *("runpy", "code", "codeop", "imp", "pty", "telnetlib", "ftplib", "torch.package", "torch.distributed.checkpoint"),
}
NAMES = {
    *("eval", "exec", "__import__", "builtins", "__builtins__", "os.system", "os.popen", "tempfile.mktemp"),
    *(f"os.{kind}{end}" for kind in ("exec", "spawn") for end in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")),
    *("os.posix_spawn", "os.posix_spawnp", "os.startfile", "importlib.util.spec_from_file_location"),
    *("importlib.machinery.SourceFileLoader", "importlib.machinery.SourcelessFileLoader"),
    *("subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell"),
    *("torch.load", "torch.jit.load", "torch.hub", "torch.serialization", "torch.ops.load_library"),
    *("numpy.load", "numpy.memmap", "numpy.loadtxt", "numpy.genfromtxt", "numpy.fromfile", "numpy.lib.npyio"),
    *("numpy.lib._npyio_impl", "numpy.lib.format.read_array", "h5py._hl", "torch.distributed.checkpoint"),
    *("numpy.lib.format.open_memmap", "scipy.io.loadmat", "pandas.read_pickle", "pandas.read_hdf", "pandas.HDFStore"),
    *("mujoco.MjModel.from_xml_path", "mujoco.MjModel.from_binary_path"),
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
    *("xml.etree.ElementTree.iterparse", "xml.etree.cElementTree"),
    *("xml.etree.ElementTree.fromstring", "xml.etree.ElementTree.parse", "xml.dom", "xml.sax.parse", "lxml"),
    *("cv2.imread", "cv2.VideoCapture", "imageio.imread", "imageio.mimread", "imageio.get_reader", "imageio.v3.imread"),
    *("imageio.v2.imread", "imageio.v2.get_reader", "imageio.v2.mimread", "urllib.request", "requests", "httpx"),
}
IMPORTERS = {"importlib.import_module", "library"}  # `library` is `trainer.episodes.readers.extra`'s
AT_RUN_TIME = "a module named at run time"
METHODS = {"extractall", "load_state_dict_from_url", "read_pickle", "to_pickle"}
KEYWORDS = {"allow_pickle": "False", "shell": "False", "weights_only": "True", "trust_remote_code": "False"}
ALLOWED: dict[str, set[str]] = {  # each is the one guarded place for what it does
    "trainer/loop/torch_child.py": {"torch.load"},
    "trainer/episodes/safe_npy.py": {"zipfile.ZipFile"},
    "workbench/safe_zip.py": {"zipfile.ZipFile"},
    "trainer/episodes/streams.py": {"numpy.memmap", "numpy.lib.format.open_memmap"},
    "trainer/labels/plugin.py": {"importlib.util.spec_from_file_location"},  # the user's own tracker, named by hand
    "trainer/simulation/extra.py": {"ctypes.util", AT_RUN_TIME},
    "trainer/episodes/readers/extra.py": {AT_RUN_TIME},
    "trainer/episodes/readers/__init__.py": {AT_RUN_TIME},
    "trainer/episodes/export.py": {AT_RUN_TIME},
    "model/cli.py": {AT_RUN_TIME},
    "trainer/episodes/guarded/hdf5_child.py": {"h5py.File", "h5py.h5f"},
    "trainer/episodes/guarded/parquet_child.py": {"pyarrow.parquet.ParquetFile"},
    "trainer/episodes/writers/hdf5_file.py": {"h5py.File"},
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
            found |= _keywords(node) | _named_by_text(node, known)
            if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
                found.add(node.func.attr)
            elif isinstance(node.func, ast.Name) and node.func.id == "compile":
                found.add("compile")
        elif isinstance(node, ast.Subscript) and _full_name(node.value, known) == "sys.modules":
            found |= {_text(node.slice)} & MODULES
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
    stars = ["*"] if any(alias.name == "*" for alias in node.names) else []
    return stars if node.level else [f"{node.module}.{alias.name}" for alias in node.names] + stars


def _full_name(node: ast.expr, known: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_full_name(node.value, known)}.{node.attr}"
    if isinstance(node, ast.Call) and node.args and _full_name(node.func, known) in IMPORTERS:
        return _text(node.args[0]) or "?"
    return known.get(node.id, node.id) if isinstance(node, ast.Name) else "?"


def _text(node: ast.expr) -> str:
    """A literal's text, "" for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _named_by_text(node: ast.Call, known: dict[str, str]) -> set[str]:
    """What is reached by its name in quotes: importers and `getattr`."""
    called, texts = _full_name(node.func, known), [_text(argument) for argument in node.args]
    found = {text for text in texts if _listed(text, MODULES)} if called in IMPORTERS else set[str]()
    if called == "importlib.import_module" and not (texts and texts[0]):
        found.add(AT_RUN_TIME)
    if called == "getattr" and len(texts) > 1 and texts[1]:
        name = f"{_full_name(node.args[0], known)}.{texts[1]}"
        found |= {name} if _listed(name, MODULES | NAMES) or texts[1] in METHODS else set()
    return found


def _listed(name: str, listed: set[str]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:count]) in listed for count in range(1, len(parts) + 1))


def _keywords(node: ast.Call) -> set[str]:
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg}
    for keyword in node.keywords:
        if keyword.arg is None and isinstance(keyword.value, ast.Dict):  # **{"shell": True}
            pairs = zip(keyword.value.keys, keyword.value.values, strict=True)
            given |= {_text(key): ast.unparse(value) for key, value in pairs if key is not None}
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
        ("import importlib\nimportlib.import_module('pickle').loads(b)", "pickle"),
        ("from importlib import import_module as get\nget('dill')", "dill"),
        ("import importlib\nimportlib.import_module('numpy').load(f)", "numpy.load"),
        ("import importlib\nimportlib.import_module(given)", AT_RUN_TIME),
        ("import importlib\nimportlib.import_module(name=given)", AT_RUN_TIME),
        ("library('joblib', 'a file').load(f)", "joblib"),
        ("library('h5py', 'a file').File(f)", "h5py.File"),
        (
            "import importlib.util\nimportlib.util.spec_from_file_location('a', f)",
            "importlib.util.spec_from_file_location",
        ),
        ("import sys\nsys.modules['pickle']", "pickle"),
        ("import numpy as np\ngetattr(np, 'load')(f)", "numpy.load"),
        ("import os\ngetattr(os, 'system')(c)", "os.system"),
        ("getattr(archive, 'extractall')(folder)", "archive.extractall"),
        ("read_array(f, **{'allow_pickle': True})", "allow_pickle=True"),
        ("run(c, **{'shell': given})", "shell=given"),
        ("from subprocess import *", "*"),
        ("from .tools import *", "*"),
        ("import ctypes\nctypes.CDLL(f)", "ctypes"),
        ("import os\nos.execv(f, a)", "os.execv"),
        ("from os import execvpe", "os.execvpe"),
        ("import os\nos.spawnl(m, f)", "os.spawnl"),
        ("import os\nos.posix_spawn(f, a, e)", "os.posix_spawn"),
        ("import pandas as pd\npd.read_hdf(f)", "pandas.read_hdf"),
        ("import pandas as pd\npd.read_pickle(f)", "pandas.read_pickle"),
        ("import scipy.io\nscipy.io.loadmat(f)", "scipy.io.loadmat"),
        ("from scipy import io\nio.loadmat(f)", "scipy.io.loadmat"),
        ("import numpy as np\nnp.lib.format.open_memmap(f)", "numpy.lib.format.open_memmap"),
        ("from numpy.lib import format as f\nf.read_array(file, True)", "numpy.lib.format.read_array"),
        ("import torch\ntorch.distributed.checkpoint.load(s)", "torch.distributed.checkpoint"),
        ("import h5py._hl.files as files\nfiles.File(f)", "h5py._hl.files"),
        ("import xml.etree.ElementTree as ET\nET.iterparse(p)", "xml.etree.ElementTree.iterparse"),
        ("import h5py\nh5py.h5f.open(f)", "h5py.h5f"),
        ("from h5py import h5f\nh5f.open(f)", "h5py.h5f"),
        ("from ruamel.yaml import YAML", "ruamel.yaml.YAML"),
        ("import cloudpickle", "cloudpickle"),
        ("import shelve", "shelve"),
        ("__builtins__['eval'](text)", "__builtins__"),
        ("from multiprocessing.connection import Client", "multiprocessing.connection.Client"),
        ("import mujoco\nmujoco.MjModel.from_xml_path(f)", "mujoco.MjModel.from_xml_path"),
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
        "getattr(message, 'data', b'')",
        "replace(config, **{'length': 3})",
        "read(f, **{'allow_pickle': False})",
        "library('pyarrow', 'a file')",
        "row['code']",
    ],
)
def test_what_is_safe_passes(good: str) -> None:
    assert not unsafe_uses(good)


def test_every_exception_is_still_needed() -> None:
    for name in ALLOWED:
        assert unsafe_uses((ROOT / name).read_text()) == ALLOWED[name]
