"""A simulated world from the model text that a demonstration file carries.

Such a text names meshes and textures by the paths of the machine it was made on. They are taken from the packages that
are installed here; nothing else of this machine's disk is ever opened.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from model.errors import EpisodeError, UnsafeFileError

from .extra import load
from .scene import Scene

_ENTITY = re.compile(r"<!(DOCTYPE|ENTITY)", re.IGNORECASE)


def stored_scene(xml: str, where: str) -> Scene:
    """Builds the world of a model text.

    Args:
        xml: The text, with paths below a folder `robosuite` or below LIBERO's `assets`.
        where: File and field, for messages.

    Raises:
        EpisodeError: It is no model that this version of MuJoCo can build, or its parts are not installed.
        UnsafeFileError: It refers to a file outside of the two packages.
        ConfigError: The [libero] extra is missing.
    """
    mujoco = load("mujoco")
    if _ENTITY.search(xml):
        raise UnsafeFileError(f"{where}: declares entities; a model has no use for them")
    try:
        root = ET.fromstring(xml)  # noqa: S314 - no entities, see above
    except ET.ParseError as error:
        raise EpisodeError(f"{where}: not XML ({error})") from None
    for element in root.iter("statistic"):
        element.attrib.pop("meaninertia", None)  # without effect now, and MuJoCo writes a log file to say so
    for element in root.iter():
        for name, reference in element.attrib.items():
            if name.startswith("file"):  # a skybox has six: fileup, fileright ...
                element.set(name, str(_installed(reference, where)))
    try:
        model = mujoco.MjModel.from_xml_string(ET.tostring(root, encoding="unicode"))
        return Scene(model, mujoco.MjData(model))
    except (ValueError, KeyError) as error:
        raise EpisodeError(f"{where}: MuJoCo cannot build it ({str(error).splitlines()[0]:.200})") from None


def _installed(reference: str, where: str) -> Path:
    """Where a mesh or texture lies on this machine."""
    path = reference.replace("\\", "/")
    for mark, root in (("/robosuite/", _robosuite()), ("/assets/", _libero_assets())):
        if mark in path:
            found = (root / path.rpartition(mark)[2]).resolve()
            if not found.is_relative_to(root.resolve()):
                break
            if not found.is_file():
                raise EpisodeError(f"{where}: refers to {reference!r:.200}, which the installed packages do not have")
            return found
    raise UnsafeFileError(f"{where}: refers to {reference!r:.200}, outside of robosuite's and LIBERO's assets")


def _robosuite() -> Path:
    return Path(str(load("robosuite").__file__)).parent


def _libero_assets() -> Path:
    return Path(str(load("libero.libero").get_libero_path("assets")))
