"""The doctor on the page: audits on a few threads, each for the visitor who asked, and what is set for a source.

An audit ends with the visit: nobody having asked after it for some seconds cancels it. What a finding proposes is
stored for the source (`trainer.episodes.settings_store`) and every episode is opened anew.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from model.errors import ConfigError, WorkbenchError
from trainer.episodes.episode import Episode
from trainer.episodes.field_of_view import field_of_view_setting
from trainer.episodes.open import open_episode, split_name
from trainer.episodes.settings_store import StoredSetting, add_setting, setting_of, undo_setting

from .desk import Desk

if TYPE_CHECKING:  # the doctor brings OpenCV, which the page's start has no time for
    from ..audit.finding import Audit, Finding

_log = logging.getLogger(__name__)
_AT_ONCE, _WAITING, _KEPT = 2, 8, 32
_KEPT_BYTES = 64 << 20
"""Of pictures of finished audits, all visitors together; the oldest audits go first."""
_LEFT_SECONDS = 15.0
"""A page asks after its run several times a second; one that has been silent for so long is closed."""

State = Literal["waiting", "running", "finished", "failed", "cancelled"]
Scope = Literal["dataset", "folder"]


@runtime_checkable  # so that the tests can check annotations
class Examine(Protocol):
    """What examines an episode; `workbench.audit.examine.audit`."""

    def __call__(self, episode: Episode, *, tick: Callable[[float, str], None], cancel: Callable[[], bool]) -> Audit:
        """Everything about one episode."""
        ...


@dataclass(kw_only=True, eq=False)
class Run:
    """One audit.

    Attributes:
        episode: Id of the catalogue.
        share: Done so far, 0 to 1.
        applied: The findings that are set, by the content hash of the episode that they give; none as it was examined.
    """

    episode: str
    state: State = "waiting"
    share: float = 0.0
    what: str = ""
    message: str = ""
    audit: Audit | None = None
    applied: dict[str, frozenset[int]] = field(default_factory=dict[str, frozenset[int]])
    asked: float = field(default_factory=time.monotonic)
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    cancelled: bool = False

    def unwanted(self) -> bool:
        """Whether to stop: cancelled, or nobody waits for it any more."""
        return self.cancelled or time.monotonic() - self.asked > _LEFT_SECONDS

    def tick(self, share: float, what: str) -> None:
        """Remembers how far it is."""
        self.share, self.what = share, what

    @property
    def seconds(self) -> float:
        """Since it was asked for."""
        return (self.ended or time.monotonic()) - self.started

    @property
    def picture_bytes(self) -> int:
        """Of its evidence."""
        findings = () if self.audit is None else self.audit.findings
        return sum(finding.evidence.nbytes for finding in findings if finding.evidence is not None)

    @property
    def under_way(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ("waiting", "running")


class AuditDesk:
    """Starts, follows and cancels audits; applies and undoes what they propose. Safe across threads.

    Args:
        desk: Opens episodes.
        examine: The doctor; by default `workbench.audit.examine.audit`, imported when first needed.
    """

    def __init__(self, desk: Desk, examine: Examine | None = None) -> None:
        self.desk = desk
        self._examine = examine
        self._runs: dict[str, Run] = {}
        self._lock = threading.Lock()
        self._turn = threading.BoundedSemaphore(_AT_ONCE)
        self._setting = threading.Lock()  # what a finding corrects must not be changed between looking and setting

    def start(self, episode_id: str) -> str:
        """Starts an audit and returns its name, which only its visitor knows.

        Raises:
            ConfigError: No such episode, or too many audits wait already.
        """
        self.desk.catalog.episode(episode_id)
        with self._lock:
            if sum(run.under_way for run in self._runs.values()) >= _WAITING:
                raise ConfigError("too many episodes are being examined on this machine; try again in a minute")
            name, run = secrets.token_hex(16), Run(episode=episode_id)
            self._runs[name] = run
            self._clear_away()
        threading.Thread(target=self._work, args=(run,), name="audit", daemon=True).start()
        return name

    def _clear_away(self) -> None:
        """Forgets the oldest finished audits beyond what is kept; the caller holds the lock."""
        size = sum(run.picture_bytes for run in self._runs.values())
        for name, run in list(self._runs.items()):
            if len(self._runs) <= _KEPT and size <= _KEPT_BYTES:
                return
            if not run.under_way:
                size -= run.picture_bytes
                del self._runs[name]

    def look(self, name: str) -> Run:
        """Where an audit stands; asking keeps it alive.

        Raises:
            ConfigError: There is no such audit.
        """
        run = self._runs.get(name)
        if run is None:
            raise ConfigError("there is no such audit; it may have been cleared away, examine the episode again")
        run.asked = time.monotonic()
        return run

    def cancel(self, name: str) -> None:
        """Ends an audit; one that has ended stays as it is. Raises as `look`."""
        self.look(name).cancelled = True

    def finding(self, name: str, index: int) -> Finding:
        """One finding of a finished audit.

        Raises:
            ConfigError: There is no such audit or finding.
        """
        audit = self.look(name).audit
        if audit is None or not 0 <= index < len(audit.findings):
            raise ConfigError("there is no such finding; examine the episode again")
        return audit.findings[index]

    def apply(self, name: str, index: int, scope: Scope) -> None:
        """Sets for the source what a finding proposes; every episode is opened anew.

        Raises:
            ConfigError: The finding has no setting, is set already or contradicts what is, or the source was changed
                since.
        """
        run, finding = self.look(name), self.finding(name, index)
        if finding.setting is None:
            raise ConfigError("no setting can repair this; the finding says what to do")
        with self._setting:
            applied = run.applied.get(self._opened(run.episode).content_hash)
            if applied is None:
                raise ConfigError("what is set for this source was changed since; examine the episode again")
            if index in applied:
                raise ConfigError("this is set already")
            add_setting(self.place(run.episode), finding.setting, scope=self._scope(run.episode, scope))
            self.desk.forget_episodes()
            run.applied[self._opened(run.episode).content_hash] = applied | {index}

    def undo(self, episode_id: str) -> None:
        """Takes back what was set last for the source of an episode.

        Raises:
            ConfigError: Nothing is set for it.
        """
        undo_setting(self.place(episode_id))
        self.desk.forget_episodes()

    def assume_field_of_view(self, episode_id: str, degrees: float) -> None:
        """Sets a field of view for the cameras of which the source does not say the intrinsics.

        Raises:
            ConfigError: No angle of a pinhole camera, or no intrinsics are missing.
        """
        setting = field_of_view_setting(self.desk.episode(episode_id), degrees)
        if setting.empty:
            raise ConfigError("the intrinsics of every camera of this episode are known already")
        add_setting(self.place(episode_id), setting)
        self.desk.forget_episodes()

    def place(self, episode_id: str) -> Path:
        """The dataset that an episode is of; for the server only."""
        return split_name(self.desk.catalog.episode(episode_id).name)[0]

    def stored(self, episode_id: str) -> StoredSetting | None:
        """What counts for the source of an episode. Raises `ConfigError` where its file is damaged."""
        return setting_of(self.place(episode_id))

    def _opened(self, episode_id: str) -> Episode:
        """The episode as its source is set, without labels: those are not the recording's."""
        return open_episode(self.desk.catalog.episode(episode_id).name)

    def _scope(self, episode_id: str, scope: Scope) -> Path:
        place = self.place(episode_id)
        if scope == "folder" and self.desk.catalog.episode(episode_id).space is not None:
            raise ConfigError("what is set for an upload counts for this upload only")
        return place.resolve().parent if scope == "folder" else place

    def _work(self, run: Run) -> None:
        """Runs one audit on a thread that nobody else sees fail."""
        try:
            with self._turn:
                run.state = self._run(run)
        except WorkbenchError as error:
            run.message, run.state = self.desk.told(str(error)), "failed"  # who sees that it failed sees why
        except Exception:
            _log.exception("an audit failed")
            run.message, run.state = "an error of ours, not of your data; the terminal has it", "failed"
        finally:
            run.ended = time.monotonic()

    def _run(self, run: Run) -> State:
        if run.unwanted():
            return "cancelled"
        run.state = "running"
        from ..audit.examine import AuditCancelledError, audit  # its drawing takes a second to import

        episode = self._opened(run.episode)
        run.applied = {episode.content_hash: frozenset()}
        try:
            run.audit = (self._examine or audit)(episode, tick=run.tick, cancel=run.unwanted)
        except AuditCancelledError:
            return "cancelled"
        return "finished"
