"""Classical tracks on a scene whose motion is exactly known, tracks of a plug-in, and the stored label."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.errors import ConfigError, EpisodeError
from tests.factories import make_recording
from trainer.episodes.packed import PackedEpisode, save_packed
from trainer.labels import frames
from trainer.labels.accuracy import check_tracks
from trainer.labels.classical import Chain, Pair
from trainer.labels.labeller import Label
from trainer.labels.track_labeller import TrackLabeller, tracks_of
from trainer.labels.tracks import ClipTracks, classical_tracks, grid_points, plugin_tracks

SIZE = (96, 128)


def textured(seed: int = 0) -> np.ndarray:
    """A large picture with structure at all scales, to cut frames from."""
    rng = np.random.default_rng(seed)
    picture = sum(
        np.kron(rng.uniform(0, 255 / 4, (320 // cell, 320 // cell, 3)), np.ones((cell, cell, 1)))
        for cell in (2, 4, 8, 16)
    )
    return np.uint8(picture)


def moving_square(steps: int = 6, speed: int = 3) -> list[np.ndarray]:
    """A textured square of 40 px that slides right over a textured ground at rest."""
    ground, thing = textured(0)[: SIZE[0], : SIZE[1]], textured(1)[:40, :40]
    frames = []
    for step in range(steps):
        frame = ground.copy()
        frame[30:70, 20 + speed * step : 60 + speed * step] = thing
        frames.append(frame)
    return frames


def test_the_square_is_followed_and_the_ground_stays() -> None:
    tracks = classical_tracks(moving_square(), 6, grid=16, reach=5, still_camera=True)
    start = grid_points(SIZE, 16)
    inside = ((start > (26, 36)) & (start < (54, 64))).all(1)
    far = (start[:, 0] > 100) | (start[:, 1] < 24) | (start[:, 1] > 76)
    uv, seen = tracks.follow(0, start, [1, 3, 5])
    truth = start[inside][:, None] + np.array([[3.0, 0], [9, 0], [15, 0]])
    assert seen[inside].mean() > 0.95
    assert np.median(np.linalg.norm(uv[inside] - truth, axis=-1)) < 0.5
    assert seen[far].all()
    np.testing.assert_allclose(uv[far], np.repeat(start[far][:, None], 3, 1), atol=1e-6)


def test_what_gets_covered_is_not_said_to_be_seen() -> None:
    tracks = classical_tracks(moving_square(steps=8, speed=4), 8, grid=32, reach=7, still_camera=True)
    start = grid_points(SIZE, 32)
    covered = ((start > (66, 36)) & (start < (82, 64))).all(1)  # ground right of the square, under it at the end
    _, seen = tracks.follow(0, start, [7])
    assert seen[covered].mean() < 0.2


def test_a_moving_camera_holds_nothing() -> None:
    picture = textured(2)
    frames = [
        np.ascontiguousarray(picture[50 : 50 + SIZE[0], 50 + 2 * step : 50 + 2 * step + SIZE[1]]) for step in range(5)
    ]
    tracks = classical_tracks(frames, 5, grid=12, reach=4, still_camera=False)
    start = grid_points(SIZE, 12)
    inner = (start[:, 0] > 20) & (start[:, 0] < 110)
    uv, seen = tracks.follow(0, start, [4])
    assert seen[inner].mean() > 0.9
    assert np.median(np.abs(uv[inner, 0] - start[inner] - (-8.0, 0.0)), axis=0).max() < 0.3


def test_beyond_the_clip_and_the_reach_nothing_is_seen() -> None:
    tracks = classical_tracks(moving_square(steps=4), 4, grid=8, reach=2, still_camera=True)
    start = grid_points(SIZE, 8)
    _, seen = tracks.follow(1, start, [1, 2, 3, 4, 9])
    assert seen.any(0).tolist() == [False, True, True, False, False]
    _, seen = tracks.follow(0, start, [3])  # within the clip, beyond the reach
    assert not seen.any()


def test_a_lost_point_stays_where_it_was_last_seen() -> None:
    frame = textured(3)[: SIZE[0], : SIZE[1]]
    away, back = np.full((*SIZE, 2), 5.0, np.float32), np.full((*SIZE, 2), 5.0, np.float32)  # does not return
    chain = Chain(frame, np.array([[40.0, 40.0]]), still_camera=False)
    chain.step(Pair(forward=away, backward=back, after=frame))
    assert not chain.visible.any()
    np.testing.assert_array_equal(chain.uv, [[40, 40]])


def test_pixels_move_as_the_grid_point_next_to_them() -> None:
    displacement = np.zeros((2, 4, 1, 2), np.float16)
    displacement[0, :, 0, 0] = [1, 2, 3, 4]
    tracks = ClipTracks(size=(10, 20), grid=2, displacement=displacement, visible=np.ones((2, 4, 1), bool))
    uv, _ = tracks.follow(0, np.array([[1.0, 1.0], [19.9, 0.0], [9.9, 9.9], [10.0, 5.0]]), [1])
    np.testing.assert_allclose(uv[:, 0, 0], [2.0, 21.9, 12.9, 14.0])


def test_a_plugin_is_asked_from_every_frame_and_checked() -> None:
    asked = []

    def tracker(frames: np.ndarray, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        asked.append(len(frames))
        path = uv[:, None] + np.arange(len(frames))[None, :, None] * np.array([2.0, 0.0])
        return path.astype(np.float32), np.ones(path.shape[:2], bool)

    tracks = plugin_tracks(moving_square(steps=4), 4, tracker, grid=4, reach=2)
    assert asked == [3, 3, 2]
    np.testing.assert_allclose(tracks.displacement[0, :, :, 0], [[2, 4]] * 16)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda frames, uv: (uv, uv[:, 0] > 0), r"returned \(16, 2\) and bool \(16,\) for 16 points in 3 frames"),
        (lambda frames, uv: None, "returned NoneType; it must return finite pixels"),
        (lambda frames, uv: (np.full((16, 3, 2), np.nan), np.ones((16, 3), bool)), "not finite"),
        (lambda frames, uv: (np.zeros((16, 3, 2)), np.full((16, 3), 0.3)), r"float64 \(16, 3\)"),
        (lambda frames, uv: uv.cuda(), r"the tracker failed \(AttributeError: .*'cuda'"),
    ],
    ids=["shape", "nothing", "nan", "probabilities", "raises"],
)
def test_nonsense_of_a_plugin_is_the_episode_s_error(answer: Any, message: str) -> None:
    with pytest.raises(EpisodeError, match=message):
        plugin_tracks(moving_square(steps=3), 3, answer, grid=4, reach=2)


def test_two_frames_are_in_memory_at_a_time() -> None:
    """Every frame but the last two that were handed out may be forgotten."""
    handed: list[weakref.ref[np.ndarray]] = []
    most = 0

    def frames() -> Iterator[np.ndarray]:
        nonlocal most
        for frame in moving_square(steps=8):
            handed.append(weakref.ref(own := frame.copy()))
            del frame
            yield own
            del own
            most = max(most, sum(ref() is not None for ref in handed))

    classical_tracks(frames(), 8, grid=4, reach=5, still_camera=True)
    assert most <= 3


def test_accuracy_is_measured_against_exact_flow(tmp_path: Path) -> None:
    save_packed(make_recording(length=30, size=(96, 128)), tmp_path / "episode")
    report = check_tracks([f"{tmp_path / 'episode'}#0"], TrackLabeller(grid=24, reach=5))
    assert "1 episodes with exact flow" in report
    still = next(line.split() for line in report.splitlines() if line.split()[:2] == ["1", "still"])
    assert float(still[4]) < 0.2  # median px
    moving = next(line.split() for line in report.splitlines() if line.split()[:2] == ["1", "moving"])
    assert float(moving[4]) < 0.5 * float(moving[5])  # beats zero flow


def test_check_needs_exact_flow(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exact flow"):
        check_tracks([], TrackLabeller())


@pytest.mark.parametrize(
    ("displacement", "visible", "grid"),
    [
        ((2, 4, 1, 2), (2, 5, 1), 2),
        ((1, 4, 2), (1, 4), 2),
        ((2,), (), 1),
        ((1, 4, 0, 2), (1, 4, 0), 2),
        ((1, 0, 3, 2), (1, 0, 3), 0),
        ((1, 4, 3, 2), (1, 4, 3), float("inf")),
    ],
)
def test_a_damaged_label_is_one_error(displacement: tuple[int, ...], visible: tuple[int, ...], grid: float) -> None:
    arrays = {"static.displacement": np.zeros(displacement, np.float16), "static.visible": np.ones(visible, bool)}
    with pytest.raises(EpisodeError, match="label again"):
        tracks_of(Label(arrays=arrays, facts={"size": [10, 20], "grid": grid}), "static")
    with pytest.raises(EpisodeError, match="no tracks of 'wrist'"):
        tracks_of(Label(arrays=arrays, facts={"size": [10, 20], "grid": 2}), "wrist")


def test_the_identity_names_the_plugin_by_content(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text("def track(frames, uv):\n    return None\n")
    first = TrackLabeller(tracker=f"{plugin}:track").identity
    plugin.write_text("def track(frames, uv):\n    return 1\n")
    assert first["name"] == "plugin"
    assert TrackLabeller(tracker=f"{plugin}:track").identity != first
    assert TrackLabeller().identity["name"] == "classical"
    with pytest.raises(ConfigError, match="no function 'other'"):
        _ = TrackLabeller(tracker=f"{plugin}:other").identity


def test_an_episode_keeps_its_tracks(tmp_path: Path) -> None:
    save_packed(make_recording(length=12, size=(48, 64)), tmp_path / "episode")
    episode = PackedEpisode(tmp_path / "episode")
    label = TrackLabeller(grid=6, reach=3).label(episode)
    tracks = tracks_of(label, "static")
    assert tracks.displacement.shape == (len(episode.frame_steps), 36, 3, 2)
    assert label.facts["labeller"]["name"] == "classical"


def test_a_clip_that_is_too_long_is_refused_before_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_packed(make_recording(length=10, frame_stride=1, size=(24, 32)), tmp_path / "episode")
    monkeypatch.setattr(frames, "LARGEST_LABEL", 9 * 16 * 2 * 5)
    with pytest.raises(EpisodeError, match=r"10 frames are too many .*--longest 9.* smaller --grid or --reach"):
        TrackLabeller(grid=4, reach=2).label(PackedEpisode(tmp_path / "episode"))
