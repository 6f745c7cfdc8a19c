"""`python -m trainer.episodes.bundle HELDOUT assets/episodes`: makes the set of episodes that comes with the workbench.

HELDOUT is what `python -m trainer record` wrote for initial states that are never trained on, one folder
TASK/STATE-SEED an episode. Two whole tasks (libero_object-8 and libero_spatial-7) are never trained on either.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from model.errors import EpisodeError, WorkbenchError
from trainer.files import folder_bytes

from .packed import PackedEpisode
from .transcode import save_compressed

log = logging.getLogger(__name__)

MAX_BUNDLED_BYTES = 25 << 20
BUNDLED = {
    "libero_90-stack-front-bowl-0": "libero_90-16/0-0",
    "libero_90-stack-front-bowl-1": "libero_90-16/1-0",
    "libero_90-close-top-drawer-0": "libero_90-0/0-0",
    "libero_90-open-top-drawer-0": "libero_90-11/0-0",
    "libero_object-alphabet-soup-0": "libero_object-0/0-0",
    "libero_object-chocolate-pudding-0": "libero_object-8/0-0",
    "libero_spatial-bowl-on-cookie-box-0": "libero_spatial-3/0-0",
    "libero_spatial-bowl-on-stove-0": "libero_spatial-7/0-0",
}


def bundle_episodes(heldout: Path, destination: Path) -> int:
    """Copies the bundled episodes, verified and compressed; returns their size in bytes.

    Raises:
        EpisodeError: One is missing, damaged, no success, or all together are too large. Nothing is overwritten.
    """
    episodes = {name: PackedEpisode(heldout / folder) for name, folder in BUNDLED.items()}
    for name, episode in episodes.items():
        episode.verify()
        if episode.info.outcome != "success":
            raise EpisodeError(f"{episode.name}: its outcome is {episode.info.outcome}; '{name}' must be a success")
    for name, episode in episodes.items():
        save_compressed(episode, destination / name)
        PackedEpisode(destination / name).verify()
        log.info("%-40s %5.2f MiB", name, folder_bytes(destination / name) / 2**20)
    total = sum(folder_bytes(destination / name) for name in episodes)
    if total > MAX_BUNDLED_BYTES:
        raise EpisodeError(f"{destination}: {total} bytes, at most {MAX_BUNDLED_BYTES} may come with the workbench")
    return total


def main(argv: list[str]) -> int:
    """Runs the command; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if len(argv) != 2:
        sys.stderr.write("usage: python -m trainer.episodes.bundle HELDOUT DESTINATION\n")
        return 2
    try:
        total = bundle_episodes(Path(argv[0]), Path(argv[1]))
    except WorkbenchError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    log.info("%d episodes, %.1f MiB", len(BUNDLED), total / 2**20)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
