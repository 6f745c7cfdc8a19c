"""The doctor: clean episodes are clean, planted faults are found as what they are, and what cannot be told is said."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from model.cli import run_command
from model.errors import EpisodeError
from tests.audit_faults import FAULTS, Fault, with_fault
from tests.factories import make_recording
from trainer.episodes.convert import recording_of
from trainer.episodes.corrected import corrected
from trainer.episodes.memory import MemoryEpisode
from trainer.episodes.open import find_episodes, open_episode
from trainer.episodes.packed import save_packed
from trainer.episodes.recording import Recording, ViewRecording
from trainer.episodes.source_settings import SourceSetting
from workbench.__main__ import COMMANDS
from workbench.audit import AuditCancelledError, Kind, audit
from workbench.audit.finding import Finding, Unchecked
from workbench.audit.gripper import following
from workbench.audit.measured import Measured
from workbench.audit.planes import fit_affine, ray_factor
from workbench.audit.renderer import stillness
from workbench.audit.timing import check_timing, tool_jumps

ASSETS = Path(__file__).parents[2] / "assets" / "episodes"
SOUP = ASSETS / "libero_object-alphabet-soup-0"
SHARED = Path(__file__).parents[3] / "shared" / "data"
QUICK = {"static mirrored", "static ray length", "gripper command inverted"}


def check_fault(fault: Fault, name: str) -> None:
    episode = open_episode(name)
    broken = with_fault(episode, fault)
    found = audit(broken)
    hits = [finding for finding in found.faults if finding.kind == fault.kind]
    assert hits, [
        f"{a.where}: {a}" for a in (*found.faults, *found.checked, *found.not_checked) if a.kind == fault.kind
    ]
    assert all(f.kind == fault.kind for f in found.faults), [f.title for f in found.faults]
    if fault.repaired is None:
        return
    finding = next(f for f in hits if f.setting is not None and fault.repaired(f.setting, episode))
    assert finding.severity in ("error", "warning")
    assert 0.5 < finding.confidence < 1
    again = audit(corrected(broken, _together(found.faults)))
    assert again.clean, [f.title for f in again.faults]


def _together(findings: tuple[Finding, ...]) -> SourceSetting:
    setting = SourceSetting()
    for finding in findings:
        if finding.setting is not None:
            setting = setting.then(finding.setting)
    return setting


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.name in QUICK], ids=lambda fault: fault.name)
def test_fault_is_found_and_its_fix_repairs_it(fault: Fault) -> None:
    check_fault(fault, str(SOUP))


@pytest.mark.slow
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.name not in QUICK], ids=lambda fault: fault.name)
def test_every_fault_is_found_and_its_fix_repairs_it(fault: Fault) -> None:
    check_fault(fault, str(SOUP))


def test_clean_episode_is_clean_and_every_kind_was_asked() -> None:
    found = audit(open_episode(str(SOUP)))
    assert found.clean, [finding.title for finding in found.faults]
    assert {answer.kind for answer in (*found.checked, *found.not_checked)} == set(Kind)


@pytest.mark.slow
@pytest.mark.parametrize("name", find_episodes(ASSETS), ids=lambda name: Path(name).name)
def test_no_false_alarm_on_bundled_episodes(name: str) -> None:
    found = audit(open_episode(name))
    assert found.clean, [finding.title for finding in found.faults]


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data: real CALVIN-format and real-robot episodes")
def test_no_false_alarm_on_calvin_and_real_samples() -> None:
    for name in (*find_episodes(SHARED / "calvin_mini"), *find_episodes(SHARED / "real")[:6]):
        found = audit(open_episode(name))
        assert found.clean, [finding.title for finding in found.faults]


def test_what_cannot_be_told_is_said() -> None:
    recording = make_recording(views=("static",), length=30)
    static = recording.views["static"]
    bare = MemoryEpisode(_without(recording, static))
    found = audit(bare)
    reasons = {(answer.kind, answer.where): answer.reason for answer in found.not_checked}
    assert reasons[Kind.DEPTH_UNIT, "static.depth"] == "no depth"
    assert "no K" in reasons[Kind.INTRINSICS, "static.K"]
    assert "no camera pose" in reasons[Kind.EXTRINSICS, "static.T_world_camera"]
    assert "no state" in reasons[Kind.UPSIDE_DOWN, "static.rgb"]
    assert reasons[Kind.GRIPPER_SIGN, "gripper"] == "no state"
    assert any(f.kind is Kind.INTRINSICS and f.severity == "note" for f in found.findings)
    assert found.clean  # absent is absent, not wrong


def _without(recording: Recording, static: ViewRecording) -> Recording:
    view = dataclasses.replace(static, depth=None, body=None, K=None, T_world_camera=None)
    info = dataclasses.replace(
        recording.info, depth_scale=None, depth_origin=None, has_exact_flow=False, action_space=None, views=("static",)
    )
    return dataclasses.replace(
        recording, info=info, views={"static": view}, state=None, action=None, body_pose=None, body_names=()
    )


def test_cancel_and_progress() -> None:
    episode = MemoryEpisode(make_recording(length=20))
    told: list[float] = []
    with pytest.raises(AuditCancelledError):
        audit(episode, tick=lambda share, what: told.append(share), cancel=lambda: len(told) >= 1)
    assert told == [0.0]


def test_unreadable_frame_is_an_episode_error() -> None:
    class Broken(MemoryEpisode):
        def rgb(self, view, step):
            raise EpisodeError(f"{self.name}: frame {step} is damaged")

    with pytest.raises(EpisodeError, match="damaged"):
        audit(Broken(make_recording(length=20)))


@pytest.mark.parametrize(
    ("name", "unit"),
    [("timestamp", 1.0), ("robot/time_ms", 1e-3), ("state.t_ns", 1e-9), ("ros_stamp", 1.0), ("stamps_us", 1e-6)],
)
def test_times_are_known_by_many_names_and_in_their_unit(name: str, unit: float) -> None:
    recording = make_recording(length=12)
    seconds = np.arange(12) / recording.info.control_hz
    seconds[7:] += 0.5
    wrong = dataclasses.replace(recording, features={name: seconds[:, None] / unit, "lifetime_left": np.ones((12, 1))})
    answers = check_timing(Measured(MemoryEpisode(wrong)))
    late = [answer for answer in answers if isinstance(answer, Finding) and answer.where == name]
    assert len(late) == 1, late
    usual = 1000 / recording.info.control_hz
    assert f"after step 6: {usual + 500:.1f} ms" in late[0].detail


def test_evidence_is_a_picture_with_a_caption() -> None:
    episode = open_episode(str(SOUP))
    fault = next(fault for fault in FAULTS if fault.name == "gripper command inverted")
    (finding,) = audit(with_fault(episode, fault)).faults
    assert finding.evidence is not None
    assert finding.evidence.dtype == np.uint8
    assert finding.evidence.std() > 5
    assert finding.caption.endswith(".")


# --- the parts, against what is known exactly ---


def test_plane_is_affine_as_z_not_as_ray_or_metres() -> None:
    K = np.array([[100.0, 0, 64], [0, 100, 48], [0, 0, 1]])
    v, u = np.mgrid[:96, :128] + 0.5
    z = 1 / (0.8 + 0.001 * u + 0.003 * v)
    as_z, as_ray = fit_affine(1 / z), fit_affine(ray_factor((96, 128), K) / z)
    assert as_z is not None
    assert as_ray is not None
    np.testing.assert_allclose(as_z.coefficients, [0.001, 0.003, 0.8], rtol=1e-6)
    assert as_z.residual < 1e-9 < 1e-3 < as_ray.residual


def test_jump_is_found_where_steps_are_missing_and_nowhere_else() -> None:
    travel = 0.01 + 0.002 * np.sin(np.arange(60) / 5)
    assert not len(tool_jumps(travel))
    travel[30] *= 4
    assert tool_jumps(travel).tolist() == [30]
    start = np.r_[np.zeros(10), np.linspace(0, 0.015, 8), np.full(20, 0.015)]  # setting off is no jump
    assert not len(tool_jumps(start))


@pytest.mark.parametrize(("sign", "lag"), [(1, 0), (1, 6), (-1, 6)])
def test_gripper_sign_and_lag_are_recovered(sign: int, lag: int) -> None:
    command = (np.arange(80) % 40 < 20).astype(float)
    opening = 0.5 + sign * (np.roll(command, lag) - 0.5) * 0.8
    opening[:lag] = opening[lag]
    correlation, found = following(command, opening, 10)
    assert np.sign(correlation) == sign
    assert abs(correlation) > 0.95
    assert found == lag


def test_images_of_which_nothing_stays_are_not_called_still() -> None:
    recording = make_recording(length=6, size=(24, 32))
    static = recording.views["static"]
    flicker = np.where(np.arange(len(static.rgb)) % 2, 255, 0).astype(np.uint8)[:, None, None, None]
    changed = dataclasses.replace(static, rgb=np.broadcast_to(flicker, static.rgb.shape).copy())
    episode = MemoryEpisode(dataclasses.replace(recording, views={**recording.views, "static": changed}))
    still = stillness(Measured(episode), "static")
    assert not still.is_rendered
    assert str(still) == "0 % of the pixels equal from frame to frame, none of them nearly so"


def test_pairs_follow_the_tool() -> None:
    measured = Measured(MemoryEpisode(make_recording(length=40, size=(48, 64))))
    pairs = measured.pairs("static")
    assert pairs
    assert all(pair.end > pair.start for pair in pairs)
    assert all(pair.flow.shape == (48, 64, 2) for pair in pairs)


# --- the command ---


def test_command_exit_codes_json_html_and_apply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("FORESIGHT_CONFIG", str(tmp_path / "config"))
    fault = next(fault for fault in FAULTS if fault.name == "gripper command inverted")
    folder = tmp_path / "broken"
    save_packed(fault.plant(recording_of(open_episode(str(SOUP)))), folder)
    arguments = ["audit", str(folder), "--json", str(tmp_path / "a.json"), "--html", str(tmp_path / "a.html")]
    assert run_command("workbench", COMMANDS, [*arguments, "--apply", "gripper-sign"]) == 1
    said = capsys.readouterr().out
    assert "✗ gripper-sign, action gripper: " in said
    assert "= gripper-sign, gripper: " in said
    assert "✓ gripper-sign" not in said
    assert "✓ mirrored, static.rgb: " in said
    assert "Set for" in said
    (found,) = json.loads((tmp_path / "a.json").read_text())["audits"]
    assert found["findings"][0]["setting"]["invert_gripper_action"] is True
    page = (tmp_path / "a.html").read_text()
    assert "data:image/png;base64," in page
    assert "http" not in page
    assert run_command("workbench", COMMANDS, ["audit", str(folder)]) == 0  # the setting is in force
    assert run_command("workbench", COMMANDS, ["audit", str(tmp_path / "nowhere")]) == 2
    assert run_command("workbench", COMMANDS, ["audit", str(folder), "--apply", "nonsense"]) == 2


def test_unchecked_names_view_and_reason() -> None:
    found = audit(MemoryEpisode(make_recording(length=20)))
    assert all(isinstance(a, Unchecked) and a.where and a.reason for a in found.not_checked)
