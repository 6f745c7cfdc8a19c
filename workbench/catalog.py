"""Folders in, rows out: which episodes and checkpoints there are, under ids that are safe to put into a link.

No frame is read and torch is not imported. Roots are looked through on a thread, so that a page can be used while a
large one is still being listed; uploads of a visitor are listed for that visitor only, under ids nobody can guess.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from model.errors import ConfigError, WorkbenchError
from trainer.episodes.episode import Episode
from trainer.episodes.open import open_episode, split_name
from trainer.labels.overlay import with_labels

from .catalog_checkpoints import list_checkpoints
from .catalog_index import Dataset, Index
from .catalog_rows import CheckpointRow, EpisodeRow, Problem, episode_id, other_id, tell_apart

_log = logging.getLogger(__name__)
_PRIVATE_ID_LENGTH = 32


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far looking through the roots is.

    Attributes:
        episodes: Listed so far.
        done: Datasets of the present root.
        total: Datasets of the present root, 0 while they are being found.
        root: Name of the root's folder.
    """

    episodes: int
    done: int
    total: int
    root: str


class _Listing:
    """Rows in the making."""

    def __init__(self) -> None:
        self.rows: dict[str, EpisodeRow] = {}
        self.datasets: list[Dataset] = []
        self.problems: list[Problem] = []
        self.roots: tuple[Path, ...] = ()
        self._places: dict[Path, list[str]] = {}

    def add(self, dataset: Dataset) -> None:
        """Rows of a dataset; one that was reached by two ways is listed once, and so is a copied packed episode."""
        place = dataset.path.resolve()
        if place in self._places:
            return
        ids = self._places[place] = []
        self.datasets.append(dataset)
        for listed in dataset.episodes:
            name = episode_id(listed, place, dataset.format)
            if name in self.rows:
                if listed.content_hash is not None:
                    continue
                name = other_id(name, place)
            self.rows[name] = EpisodeRow(id=name, listed=listed, stamp=dataset.stamp)
            ids.append(name)

    def tell_apart(self) -> None:
        """Once all rows are there: those of different datasets that would read the same say where they lie."""
        alike: dict[str, list[tuple[str, Path]]] = {}
        for place, ids in self._places.items():
            for name in ids:
                alike.setdefault(self.rows[name].title, []).append((name, place))
        for found in alike.values():
            if len(found) > 1:
                for (name, _), apart in zip(found, tell_apart([place for _, place in found]), strict=True):
                    self.rows[name] = replace(self.rows[name], apart=apart)


class Catalog:
    """All episodes and checkpoints under some roots. Safe across threads; `refresh` looks at the disk again.

    Args:
        episode_roots: Files and folders with episodes.
        checkpoint_roots: Checkpoint folders, or folders of them.
        index_folder: Where lists of episodes are kept between sessions; None reads every dataset's list anew.
        labels: A store of labels, laid over what an episode lacks when it is opened.
        patience: Seconds that making a catalogue and refreshing it wait for the list; it goes on growing afterwards.
    """

    def __init__(
        self,
        *,
        episode_roots: Sequence[str | Path] = (),
        checkpoint_roots: Sequence[str | Path] = (),
        index_folder: Path | None = None,
        labels: Path | None = None,
        patience: float = math.inf,
    ) -> None:
        self._episode_roots = [str(root) for root in episode_roots]
        self._checkpoint_roots = [Path(root) for root in checkpoint_roots]
        self._index_folder, self._labels = index_folder, labels
        self._patience = patience
        self._lock, self._starting = threading.Lock(), threading.Lock()
        self._listing = _Listing()
        self._spaces: dict[str, _Listing] = {}
        self._secret = secrets.token_bytes(32)
        self._progress: Progress | None = None
        self._worker: threading.Thread | None = None
        self._refresh_checkpoints()
        self._start(self._listing)
        self.wait(patience)

    def refresh(self) -> None:
        """Reads the roots again; what is unreadable becomes a `Problem` and never hides the rest."""
        self._refresh_checkpoints()
        with self._starting:
            if not self.wait(0.0):  # it is being read as it is now
                return
            self._start(_Listing())
        self.wait(self._patience)

    def wait(self, seconds: float) -> bool:
        """Waits until every root was looked through, or for so long; whether it was."""
        worker = self._worker
        if worker is not None:
            worker.join(None if math.isinf(seconds) else seconds)
        return worker is None or not worker.is_alive()

    def progress(self) -> Progress | None:
        """How far looking through the roots is; None once it is done."""
        return self._progress

    def add_checkpoint_root(self, root: Path) -> None:
        """Adds a folder of checkpoints (a run that has just saved one) and looks at the disk again."""
        if root not in self._checkpoint_roots:
            self._checkpoint_roots.append(root)
        self._refresh_checkpoints()

    def add_private(self, space: str, roots: Sequence[str | Path]) -> None:
        """Lists what a visitor brought, in the place of what was listed for that visitor before.

        Args:
            space: Names the visitor; nobody else may know it.
            roots: Files and folders of that visitor.
        """
        listing = _Listing()
        listing.roots = tuple(map(Path, roots))
        for root in map(str, roots):
            self._look_through(root, None, listing, watched=False)
        listing.tell_apart()
        own = [self._private(row, space) for row in listing.rows.values()]
        listing.rows = {row.id: row for row in own}
        with self._lock:
            self._spaces[space] = listing

    def drop_private(self, space: str) -> None:
        """Forgets what a visitor brought; the files are the caller's."""
        with self._lock:
            self._spaces.pop(space, None)

    def episodes(self, space: str | None = None) -> tuple[EpisodeRow, ...]:
        """Rows in the order of the roots; those of a visitor's `space` come first."""
        with self._lock:
            own = self._spaces.get(space) if space is not None else None
            return (*(own.rows.values() if own else ()), *self._listing.rows.values())

    def datasets(self, space: str | None = None) -> tuple[Dataset, ...]:
        """The datasets that those rows are of."""
        with self._lock:
            own = self._spaces.get(space) if space is not None else None
            return (*(own.datasets if own else ()), *self._listing.datasets)

    def checkpoints(self) -> tuple[CheckpointRow, ...]:
        """Rows in the order of the roots."""
        return tuple(self._checkpoints.values())

    def problems(self, space: str | None = None) -> tuple[Problem, ...]:
        """What could not be listed, and why."""
        with self._lock:
            own = self._spaces.get(space) if space is not None else None
            return (*(own.problems if own else ()), *self._listing.problems, *self._checkpoint_problems)

    def places(self) -> frozenset[Path]:
        """The folders in which roots and labels lie, and visitors' own roots: what no message to a browser need say."""
        named = [split_name(root)[0] for root in self._episode_roots] + self._checkpoint_roots
        named += [] if self._labels is None else [self._labels]
        with self._lock:
            own = [root for listing in self._spaces.values() for root in listing.roots]
        around = [root.absolute().parent for root in named] + [root.resolve().parent for root in named]
        return frozenset((*around, *(root.absolute() for root in own), *(root.resolve() for root in own)))

    def episode(self, episode_id: str) -> EpisodeRow:
        """The row of an id.

        Raises:
            ConfigError: No such episode here.
        """
        with self._lock:
            for listing in (self._listing, *self._spaces.values()):
                if episode_id in listing.rows:
                    return listing.rows[episode_id]
        if self._progress is not None:
            raise ConfigError("no episode of that id is listed yet; the folders are still being looked through")
        raise ConfigError("no episode of that id is open here; start the app with --episodes pointing at its folder")

    def checkpoint(self, checkpoint_id: str) -> CheckpointRow:
        """The row of an id.

        Raises:
            ConfigError: No such checkpoint here.
        """
        row = self._checkpoints.get(checkpoint_id)
        if row is None:
            raise ConfigError("no checkpoint of that id is open here; start the app with --checkpoint DIR")
        return row

    def open(self, episode_id: str) -> Episode:
        """The episode of an id: the one place where the page opens an episode.

        Raises:
            ConfigError: No such episode here.
            EpisodeError: It cannot be read any more.
        """
        return with_labels(open_episode(self.episode(episode_id).name), self._labels)

    def _refresh_checkpoints(self) -> None:
        self._checkpoints, self._checkpoint_problems = list_checkpoints(self._checkpoint_roots)

    def _start(self, listing: _Listing) -> None:
        """Looks through all roots on a thread; `listing` is shown when complete, or at once if the first."""
        if not self._episode_roots:
            return
        self._progress = Progress(episodes=0, done=0, total=0, root="")
        worker = threading.Thread(target=self._work, args=(listing,), name="catalog", daemon=True)
        worker.start()
        self._worker = worker  # only now: nobody may wait for a thread that was not started

    def _work(self, listing: _Listing) -> None:
        try:
            for root in self._episode_roots:
                self._look_through(root, self._index_folder, listing, watched=True)
        except Exception:  # a thread has nobody above it to tell
            _log.exception("looking through the episodes failed")
            message = "an error of ours while listing episodes; the terminal has it"
            listing.problems.append(Problem(where="", message=message))
        finally:
            with self._lock:
                listing.tell_apart()
                self._listing = listing
            self._progress = None

    def _look_through(self, root: str, index_folder: Path | None, listing: _Listing, *, watched: bool) -> None:
        found = 0
        try:
            for looked in Index(root, index_folder).look():
                found += 1
                with self._lock:
                    if isinstance(looked.found, Dataset):
                        listing.add(looked.found)
                    else:
                        listing.problems.append(Problem(where=str(looked.path), message=str(looked.found)))
                if watched:
                    self._progress = Progress(
                        episodes=len(listing.rows), done=looked.done, total=looked.total, root=Path(root).name
                    )
        except WorkbenchError as error:
            listing.problems.append(Problem(where=root, message=str(error)))
            return
        if not found:
            message = f"{root}: no episode here (`python -m trainer record` makes some)"
            listing.problems.append(Problem(where=root, message=message))

    def _private(self, row: EpisodeRow, space: str) -> EpisodeRow:
        """The row under an id that only this process could make."""
        message = f"{space}\0{row.name}".encode("utf-8", "replace")
        name = hmac.new(self._secret, message, hashlib.sha256).hexdigest()[:_PRIVATE_ID_LENGTH]
        return replace(row, id=name, space=space)
