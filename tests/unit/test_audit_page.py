"""The Audit tab's server side: audits only their visitor finds, what they propose applied, listed and undone."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from model.errors import EpisodeError
from tests.factories import make_recording
from tests.foreign_factories import plain_frames, write_video
from tests.waiting import wait_until
from trainer.episodes.episode import Episode
from trainer.episodes.packed import save_packed
from trainer.episodes.settings_store import StoredSetting, setting_of, settings_folder, stored_settings
from trainer.episodes.source_settings import SourceSetting, ViewSetting
from workbench.audit.examine import AuditCancelledError
from workbench.audit.finding import Audit, Checked, Finding, Kind, Unchecked
from workbench.catalog import Catalog
from workbench.ui import audit_desk
from workbench.ui.audit_api import make_audit_api
from workbench.ui.audit_desk import AuditDesk
from workbench.ui.desk import Desk
from workbench.ui.text import AUDIT_KINDS

PICTURE = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)


def finding(kind: Kind, setting: SourceSetting | None, **more: Any) -> Finding:
    return Finding(
        kind=kind,
        where="static.rgb",
        severity="error",
        confidence=0.9,
        title="upside-down",
        detail="the gripper moves up where its pose says down",
        fix="rotate the images",
        setting=setting,
        **more,
    )


FINDINGS = (
    finding(
        Kind.UPSIDE_DOWN,
        SourceSetting(static=ViewSetting(turn="rotate-180"), why=("measured",)),
        evidence=PICTURE,
        caption="both",
    ),
    finding(Kind.CHANNEL_ORDER, SourceSetting(static=ViewSetting(swap_red_blue=True))),
    finding(Kind.RENDERER, None),
)


def examined(episode: Episode, *, tick: Callable[[float, str], None], cancel: Callable[[], bool]) -> Audit:
    tick(0.5, "orientation")
    return Audit(
        name=episode.name,
        source=episode.info.source,
        findings=FINDINGS,
        checked=(Checked(kind=Kind.TIMING, where="episode", measured="20 Hz, none missing"),),
        not_checked=(Unchecked(kind=Kind.INTRINSICS, where="wrist.K", reason="no depth"),),
        seconds=0.1,
    )


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORESIGHT_CONFIG", str(tmp_path / "config"))


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    save_packed(make_recording(length=8, size=(16, 16)), tmp_path / "data" / "lift")
    return Catalog(episode_roots=[tmp_path / "data"])


@pytest.fixture
def desk(catalog: Catalog) -> AuditDesk:
    return AuditDesk(Desk(catalog), examine=examined)


@pytest.fixture
def client(desk: AuditDesk) -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(make_audit_api(desk))
    with TestClient(app) as client:
        yield client


def wait(client: TestClient, run: str) -> dict[str, Any]:
    def view() -> dict[str, Any]:
        return client.get(f"/api/audit/runs/{run}").json()

    wait_until(lambda: view()["state"] not in ("waiting", "running"), "the audit ends")
    return view()


def only_id(desk: AuditDesk) -> str:
    return desk.desk.catalog.episodes()[0].id


def examine(client: TestClient, desk: AuditDesk) -> str:
    run = client.post("/api/audit/runs", params={"episode": only_id(desk)}).json()["run"]
    assert wait(client, run)["state"] == "finished"
    return run


def test_the_newest_audits_are_kept(client: TestClient, desk: AuditDesk) -> None:
    runs = [examine(client, desk) for _ in range(40)]
    found = [client.get(f"/api/audit/runs/{run}/result").status_code for run in runs]
    assert found == [422] * 8 + [200] * 32


def test_pictures_of_old_audits_do_not_pile_up(
    client: TestClient, desk: AuditDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_desk, "_KEPT_BYTES", 2 * PICTURE.nbytes)
    runs = [examine(client, desk) for _ in range(5)]
    found = [client.get(f"/api/audit/runs/{run}/result").status_code for run in runs]
    assert found == [422] * 2 + [200] * 3  # the last was still to be examined when room was made for it


def test_every_kind_has_a_word() -> None:
    assert list(AUDIT_KINDS) == [str(kind) for kind in Kind]


def test_an_audit_is_drawn_with_its_evidence_and_what_it_could_not_answer(client: TestClient, desk: AuditDesk) -> None:
    run = examine(client, desk)
    audit = client.get(f"/api/audit/runs/{run}/result").json()
    assert (audit["clean"], audit["faults"]) == (False, 3)
    first = audit["findings"][0]
    assert first["setting"] == ["static rotated by 180°"]
    assert (first["evidence"], first["applied"]) == ([4, 5], False)
    assert audit["findings"][2]["setting"] is None
    assert audit["checked"] == [["timing", "episode", "20 Hz, none missing"]]
    assert audit["not_checked"] == [["intrinsics", "wrist.K", "no depth"]]
    drawn = client.get(f"/api/audit/runs/{run}/evidence/0.png")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(drawn.content))), PICTURE)
    assert client.get(f"/api/audit/runs/{run}/evidence/1.png").status_code == 422
    assert client.get(f"/api/audit/runs/{run}/evidence/-1.png").status_code == 422


def test_what_is_applied_reaches_the_shared_desk_and_is_undone(
    client: TestClient, desk: AuditDesk, tmp_path: Path
) -> None:
    episode = only_id(desk)
    before = desk.desk.episode(episode)
    run = examine(client, desk)
    for index in (0, 1):  # two findings of one audit
        assert client.post(f"/api/audit/runs/{run}/apply/{index}").status_code == 200
    after = desk.desk.episode(episode)
    np.testing.assert_array_equal(after.rgb("static", 2), before.rgb("static", 2)[::-1, ::-1, ::-1])
    assert after.content_hash != before.content_hash
    shown = client.get(f"/api/audit/runs/{run}/result").json()["findings"]
    assert [found["applied"] for found in shown] == [True, True, False]
    source = client.get("/api/audit/source", params={"episode": episode}).json()
    assert [step["clauses"] for step in source["steps"]] == [
        ["static rotated by 180°"],
        ["static red and blue swapped"],
    ]
    assert source["steps"][0]["why"] == ["measured"]
    assert source["for"] == "data/lift"
    assert str(tmp_path) not in client.get("/api/audit/settings").text + str(source)
    assert client.post("/api/audit/undo", params={"episode": episode}).status_code == 200
    np.testing.assert_array_equal(desk.desk.episode(episode).rgb("static", 2), before.rgb("static", 2)[::-1, ::-1])
    assert client.post("/api/audit/undo", params={"episode": episode}).status_code == 200
    assert desk.desk.episode(episode).content_hash == before.content_hash
    assert client.post("/api/audit/undo", params={"episode": episode}).status_code == 422
    assert not stored_settings()


def test_a_folder_of_recordings_can_be_set_at_once(client: TestClient, desk: AuditDesk, tmp_path: Path) -> None:
    scopes = client.get("/api/audit/source", params={"episode": only_id(desk)}).json()["scopes"]
    assert scopes == [["dataset", "this recording (lift)"], ["folder", "everything in the folder data"]]
    run = examine(client, desk)
    assert client.post(f"/api/audit/runs/{run}/apply/1", params={"scope": "folder"}).status_code == 200
    stored = setting_of(tmp_path / "data" / "another")
    assert stored is not None
    assert stored.source == (tmp_path / "data").resolve()
    assert client.post(f"/api/audit/runs/{run}/apply/1", params={"scope": "/etc"}).status_code == 422


def test_a_finding_of_an_older_state_is_not_applied(client: TestClient, desk: AuditDesk) -> None:
    first, second = examine(client, desk), examine(client, desk)
    assert client.post(f"/api/audit/runs/{first}/apply/0").status_code == 200
    answer = client.post(f"/api/audit/runs/{second}/apply/0")
    assert answer.status_code == 422
    assert "examine the episode again" in answer.json()["error"]
    assert client.post(f"/api/audit/runs/{first}/apply/2").status_code == 422  # nothing to set


def test_a_finding_that_is_applied_again_does_not_correct_twice(client: TestClient, desk: AuditDesk) -> None:
    run = examine(client, desk)
    place = f"/api/audit/runs/{run}/apply/0"
    with ThreadPoolExecutor() as clicks:  # a double click, or the same finding in two windows
        statuses = [answer.status_code for answer in clicks.map(client.post, [place] * 4)]
    assert sorted(statuses) == [200, 422, 422, 422]
    (stored,) = stored_settings()
    assert isinstance(stored, StoredSetting)
    assert len(stored.steps) == 1
    assert client.post(f"/api/audit/runs/{run}/apply/1").status_code == 200
    for _ in range(2):
        assert client.post("/api/audit/undo", params={"episode": only_id(desk)}).status_code == 200
    assert client.post(place).status_code == 200  # what was undone can be set again


def test_settings_are_listed_and_removed_by_an_id(client: TestClient, desk: AuditDesk) -> None:
    run = examine(client, desk)
    client.post(f"/api/audit/runs/{run}/apply/0")
    (row,) = client.get("/api/audit/settings").json()["settings"]
    assert (row["for"], row["clauses"]) == ("data/lift", ["static rotated by 180°"])
    assert client.delete("/api/audit/settings/..").status_code in (404, 405, 422)
    assert client.delete(f"/api/audit/settings/{'0' * 64}").status_code == 422
    assert client.delete(f"/api/audit/settings/{row['id']}").status_code == 200
    assert client.get("/api/audit/settings").json() == {"settings": []}


def test_a_damaged_setting_is_said_and_does_not_break_the_tab(client: TestClient, desk: AuditDesk) -> None:
    run = examine(client, desk)
    client.post(f"/api/audit/runs/{run}/apply/0")
    next(settings_folder().glob("*.json")).write_text("{")
    source = client.get("/api/audit/source", params={"episode": only_id(desk)}).json()
    assert "sources remove" in source["problem"]
    assert client.get("/api/audit/settings").json() == {"settings": []}
    assert client.get(f"/api/audit/runs/{run}/result").status_code == 422


def test_an_unknown_field_of_view_is_asked_for_and_assumed(tmp_path: Path) -> None:
    write_video(tmp_path / "trial.mp4", plain_frames(0, 0, 4))
    desk = AuditDesk(Desk(Catalog(episode_roots=[tmp_path / "trial.mp4"])))
    app = FastAPI()
    app.include_router(make_audit_api(desk))
    episode = only_id(desk)
    with TestClient(app) as client:
        ask = {"episode": episode, "degrees": 60}
        assert client.post("/api/audit/field-of-view", params={**ask, "degrees": 200}).status_code == 422
        assert not desk.desk.episode(episode).has("K", "static")
        assert client.post("/api/audit/field-of-view", params=ask).status_code == 200
        assert "K.static" in desk.desk.episode(episode).info.assumed
        assert client.post("/api/audit/field-of-view", params=ask).status_code == 422  # nothing is missing any more


def test_nobody_finds_anothers_audit(client: TestClient) -> None:
    for path in ("runs/x", "runs/x/result", "runs/x/evidence/0.png"):
        assert client.get(f"/api/audit/{path}").status_code == 422
    assert client.delete("/api/audit/runs/x").status_code == 422
    assert client.post("/api/audit/runs", params={"episode": "../../etc"}).status_code == 422


def test_an_audit_ends_when_its_visitor_leaves_or_says_so(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = threading.Semaphore(0), threading.Semaphore(0)

    def forever(episode: Episode, *, tick: Callable[[float, str], None], cancel: Callable[[], bool]) -> Audit:
        begun.release()
        while not cancel():
            time.sleep(0.01)
        ended.release()
        raise AuditCancelledError

    desk = AuditDesk(Desk(catalog), examine=forever)
    left = desk.start(only_id(desk))
    assert begun.acquire(timeout=20)
    monkeypatch.setattr(audit_desk, "_LEFT_SECONDS", 0.2)
    assert ended.acquire(timeout=20)
    monkeypatch.setattr(audit_desk, "_LEFT_SECONDS", 1e9)
    told = desk.start(only_id(desk))
    assert begun.acquire(timeout=20)
    desk.cancel(told)
    assert ended.acquire(timeout=20)
    for name in (left, told):
        wait_until(lambda: desk.look(name).ended is not None, "the audit ends")  # noqa: B023
        assert desk.look(name).state == "cancelled"


def test_no_more_than_a_few_run_and_wait(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_desk, "_LEFT_SECONDS", 1e9)  # nobody looks at those that wait
    running, most, may_end, ended = [0], [0], threading.Semaphore(0), threading.Semaphore(0)
    lock = threading.Lock()

    def slow(episode: Episode, *, tick: Callable[[float, str], None], cancel: Callable[[], bool]) -> Audit:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        may_end.acquire(timeout=20)
        with lock:
            running[0] -= 1
        ended.release()
        return examined(episode, tick=tick, cancel=cancel)

    desk = AuditDesk(Desk(catalog), examine=slow)
    names = [desk.start(only_id(desk)) for _ in range(8)]
    with pytest.raises(Exception, match="too many episodes"):
        desk.start(only_id(desk))
    for left in range(len(names), 0, -1):  # one ends after the other, and another takes its place
        wait_until(lambda: running[0] == min(left, 2), "as many run as may")  # noqa: B023
        may_end.release()
        assert ended.acquire(timeout=20)
    wait_until(lambda: not any(desk.look(name).under_way for name in names), "all audits end")
    assert {desk.look(name).state for name in names} == {"finished"}
    assert most[0] == 2


@pytest.mark.parametrize("error", [EpisodeError("trial.mp4: frame 3 is damaged"), RuntimeError("a secret")])
def test_a_failed_audit_says_so_in_one_line(catalog: Catalog, error: Exception) -> None:
    def fail(episode: Episode, *, tick: Callable[[float, str], None], cancel: Callable[[], bool]) -> Audit:
        raise error

    desk = AuditDesk(Desk(catalog), examine=fail)
    run = desk.look(desk.start(only_id(desk)))
    wait_until(lambda: run.ended is not None, "the audit ends")
    assert run.state == "failed"
    assert ("damaged" in run.message) == isinstance(error, EpisodeError)
    assert "secret" not in run.message
