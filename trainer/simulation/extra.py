"""The optional simulator: one place that imports it, and says what to install where it is missing.

Import nothing of mujoco, robosuite or LIBERO at module level elsewhere without calling `require` first.
"""

from __future__ import annotations

import ctypes.util
import importlib
import importlib.util
import logging
import os
from types import ModuleType

from model.errors import ConfigError

_PACKAGES = ("mujoco", "robosuite", "libero", "bddl")
_GL_LIBRARIES = {"osmesa": ("OSMesa", "libosmesa6"), "egl": ("EGL", "libegl1")}


def require(*, rendering: bool = True) -> None:
    """Makes the simulator importable: chooses the offscreen renderer and quietens third-party start-up chatter.

    Args:
        rendering: Also require the system's offscreen OpenGL library.

    Raises:
        ConfigError: The [libero] extra or the system library is missing; the message names the package.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"the simulator needs {', '.join(missing)}: pip install 'foresight-workbench[libero]'")
    backend = os.environ.setdefault("MUJOCO_GL", "osmesa")
    if backend in _GL_LIBRARIES:
        os.environ.setdefault("PYOPENGL_PLATFORM", backend)
    if rendering and backend in _GL_LIBRARIES:
        library, package = _GL_LIBRARIES[backend]
        if ctypes.util.find_library(library) is None:
            raise ConfigError(f"rendering with MUJOCO_GL={backend} needs lib{library}: apt-get install {package}")
    os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa would start a thread a core for images this small
    for chatter, level in (("robosuite_logs", logging.ERROR), ("OpenGL.acceleratesupport", logging.WARNING)):
        logging.getLogger(chatter).setLevel(level)


def load(module: str) -> ModuleType:
    """Imports a module of the extra after `require(rendering=False)`."""
    require(rendering=False)
    return importlib.import_module(module)
