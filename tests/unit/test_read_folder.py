"""A lab's folder: videos or images for each view, depth, tables, cameras; a lone video; damage and nonsense."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from model.errors import EpisodeError, UnsafeFileError
from tests.foreign_factories import FPS, SIZE, plain_frames, png, shown_frame, write_video
from trainer.episodes.readers import folder_views
from trainer.episodes.readers.folder import READER

REAL = Path(__file__).parents[3] / "shared/data/real"
LENGTH = 6
POSE_HEADER = "x,y,z,qw,qx,qy,qz,gripper"


def write_images(folder: Path, frames: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for at, frame in enumerate(frames):
        (folder / f"frame{at}.png").write_bytes(png(frame))


def trial(root: Path) -> Path:
    """A whole trial: two views, depth of one, state, actions, cameras, instruction, outcome."""
    write_video(root / "static.mp4", plain_frames(0, 0, LENGTH))
    write_images(root / "wrist", plain_frames(0, 1, LENGTH))
    write_video(root / "side.mp4", plain_frames(0, 2, LENGTH))
    depth = np.stack([np.full(SIZE, 500 + at, np.uint16) for at in range(LENGTH)])
    depth[:, 0, 0] = 0
    write_images(root / "static_depth", depth)
    rows = [f"{at},0,1,1,0,0,0,0.5" for at in range(LENGTH)]
    (root / "state.csv").write_text("\n".join([POSE_HEADER, *rows]) + "\n")
    np.savez(root / "actions.npz", move=np.full((LENGTH, 3), 0.1), turn=np.zeros((LENGTH, 3)), grip=np.ones(LENGTH))
    (root / "instruction.txt").write_text("put the cup on the saucer\n")
    (root / "meta.yaml").write_text(
        "outcome: failure\ndepth_unit: mm\naction_space: {metres_per_unit: 0.02, radians_per_unit: 1, frame: tool}\n"
    )
    (root / "camera.yaml").write_text(
        "static:\n  K: [[100, 0, 63.5], [0, 100, 47.5], [0, 0, 1]]\n  pixel_centre: 0\n  size: [96, 128]\n"
        "  T_world_camera: [[1, 0, 0, 0.1], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]]\n"
    )
    return root


def test_everything_of_a_trial_is_read(tmp_path: Path) -> None:
    root = trial(tmp_path)
    assert READER.recognise(root)
    (summary,) = READER.episodes(root)
    assert (summary.instruction, summary.outcome, summary.views) == (
        "put the cup on the saucer",
        "failure",
        ("static", "wrist"),
    )
    episode = READER.open(root, 0)
    assert (episode.info.length, episode.info.control_hz, episode.info.depth_scale) == (LENGTH, FPS, "metric")
    for view in ("static", "wrist"):
        assert [shown_frame(episode.rgb(view, step)) for step in range(LENGTH)] == list(range(LENGTH))
    assert shown_frame(episode.others["side"].rgb(4)) == 4
    depth = episode.depth("static", 3)
    assert np.isnan(depth[0, 0])
    np.testing.assert_allclose(depth[1:], 0.503, rtol=1e-6)
    np.testing.assert_allclose(episode.state[2], [2, 0, 1, 1, 0, 0, 0, 0.5])
    np.testing.assert_allclose(episode.action[0], [0.1] * 3 + [0] * 3 + [1])
    space = episode.info.action_space
    assert space is not None
    assert (space.metres_per_unit, space.frame) == (0.02, "tool")
    assert {"state/x", "actions/move"} <= set(episode.features)
    np.testing.assert_allclose(episode.intrinsics("static"), [[50, 0, 32], [0, 50, 24], [0, 0, 1]])
    assert episode.T_world_camera("static").shape == (LENGTH, 4, 4)
    assert not episode.has("K", "wrist")
    assert episode.info.assumed == episode.info.notes == ()


def test_frames_are_ordered_by_number_not_by_letters(tmp_path: Path) -> None:
    write_images(tmp_path / "front", plain_frames(0, 0, 12))
    episode = READER.open(tmp_path, 0)
    assert [shown_frame(episode.rgb("static", step)) for step in range(12)] == list(range(12))
    assert episode.info.assumed == ("control_hz",)


def test_frames_named_by_the_time_are_ordered_by_it(tmp_path: Path) -> None:
    times = ["1700000000.0", "1700000000.1000001", "1700000000.25", "1700000000.3", "1700000000.4", "1700000001.05"]
    (tmp_path / "front").mkdir()
    for time, frame in zip(times, plain_frames(0, 0, LENGTH), strict=True):
        (tmp_path / f"front/{time}.png").write_bytes(png(frame))
    episode = READER.open(tmp_path, 0)
    assert [shown_frame(episode.rgb("static", step)) for step in range(LENGTH)] == list(range(LENGTH))


def test_depth_of_unstated_unit_is_not_read(tmp_path: Path) -> None:
    root = trial(tmp_path)
    (root / "meta.yaml").write_text("outcome: success\n")
    episode = READER.open(root, 0)
    assert not episode.has("depth", "static")
    assert "depth_unit" in episode.info.notes[0]


def test_depth_in_one_array_counts_its_unit(tmp_path: Path) -> None:
    write_video(tmp_path / "static.mp4", plain_frames(0, 0, 3))
    np.save(
        tmp_path / "static_depth.npy", np.arange(3, dtype=np.uint16)[:, None, None] + np.full((3, *SIZE), 7, np.uint16)
    )
    (tmp_path / "meta.json").write_text(
        json.dumps({"depth_unit": 0.0001, "depth_origin": "pseudo", "depth_scale": "relative"})
    )
    episode = READER.open(tmp_path, 0)
    assert (episode.info.depth_origin, episode.info.depth_scale) == ("pseudo", "relative")
    np.testing.assert_allclose(episode.depth("static", 2), 0.0009, rtol=1e-6)


@pytest.mark.parametrize(("size", "read"), [((24, 32), True), ((96, 128), True), ((24, 24), False), ((48, 56), False)])
def test_depth_of_another_size_is_brought_to_the_colours_or_left_out(
    tmp_path: Path, size: tuple[int, int], read: bool
) -> None:
    root = trial(tmp_path)
    depth = np.arange(LENGTH * size[0] * size[1], dtype=np.uint16).reshape(LENGTH, *size) + 1
    write_images(root / "static_depth", depth)
    episode = READER.open(root, 0)
    assert episode.has("depth", "static") is read
    assert f"{size[0]} x {size[1]} pixels" in episode.info.notes[0]
    if read:
        got = np.round(episode.depth("static", 1) * 1000)
        assert got.shape == SIZE
        whole = depth[1].repeat(2, 0).repeat(2, 1) if size[0] < SIZE[0] else depth[1, 1::2, 1::2]
        np.testing.assert_array_equal(got, whole)
        np.testing.assert_allclose(episode.intrinsics("static"), [[50, 0, 32], [0, 50, 24], [0, 0, 1]])


def test_depth_without_a_pixel_is_left_out(tmp_path: Path) -> None:
    write_video(tmp_path / "static.mp4", plain_frames(0, 0, 3))
    np.save(tmp_path / "static_depth.npy", np.zeros((3, 0, 0), np.uint16))
    (tmp_path / "meta.yaml").write_text("depth_unit: mm\n")
    episode = READER.open(tmp_path, 0)
    assert not episode.has("depth", "static")
    assert "0 x 0 pixels" in episode.info.notes[0]


def test_depth_ends_before_the_images_that_were_being_written(tmp_path: Path) -> None:
    root = trial(tmp_path)
    path = root / f"static_depth/frame{LENGTH - 1}.png"
    path.write_bytes(path.read_bytes()[:60])
    episode = READER.open(root, 0)
    assert (episode.info.length, episode.has("depth", "static")) == (LENGTH - 1, True)
    assert f"before frame{LENGTH - 1}.png" in episode.info.notes[0]
    for at in range(LENGTH):
        (root / f"static_depth/frame{at}.png").write_bytes(b"")
    episode = READER.open(root, 0)
    assert (episode.info.length, episode.has("depth", "static")) == (LENGTH, False)
    assert "is not read" in episode.info.notes[0]


def test_a_lone_video_is_an_episode(tmp_path: Path) -> None:
    path = tmp_path / "trial_07.mp4"
    write_video(path, plain_frames(0, 0, LENGTH), codec=("libsvtav1",))
    assert READER.recognise(path)
    assert not READER.recognise(tmp_path)  # a folder of trials is no single episode
    episode = READER.open(path, 0)
    assert [shown_frame(episode.rgb("static", step)) for step in range(LENGTH)] == list(range(LENGTH))
    assert (episode.info.views, episode.info.control_hz, episode.info.instruction) == (("static",), FPS, "")


def test_shorter_views_and_tables_end_the_episode_and_are_said(tmp_path: Path) -> None:
    root = trial(tmp_path)
    (root / "wrist/frame5.png").unlink()
    episode = READER.open(root, 0)
    assert episode.info.length == LENGTH - 1
    assert len(episode.state) == len(episode.action) == len(episode.features["state/x"]) == LENGTH - 1
    assert "wrist 5" in episode.info.notes[0]
    (root / "state.csv").write_text(POSE_HEADER + "\n0,0,1,1,0,0,0,1\n")
    episode = READER.open(root, 0)
    assert not episode.has("state")
    assert any("state.csv is not read: it has 1 rows" in note for note in episode.info.notes)


def test_views_of_different_rates_are_said(tmp_path: Path) -> None:
    for name, fps in (("front", 10), ("wrist", 20)):
        write_video(tmp_path / f"{name}.mp4", plain_frames(0, 0, LENGTH), fps=fps)
    (note,) = READER.open(tmp_path, 0).info.notes
    assert "different rates (front 10, wrist 20 a second)" in note


def test_a_table_of_another_rate_is_not_read_and_said(tmp_path: Path) -> None:
    root = trial(tmp_path)
    (root / "state.csv").write_text("\n".join([POSE_HEADER, *["0,0,1,1,0,0,0,1"] * (10 * LENGTH)]) + "\n")
    episode = READER.open(root, 0)
    assert (episode.info.length, episode.has("state")) == (LENGTH, False)
    assert any("state.csv is not read: it has 60 rows for 6 frames" in note for note in episode.info.notes)


@pytest.mark.parametrize("beside", ["meta.yaml", "camera.yml", "State.csv", "actions.npz"])
def test_where_something_says_it_is_one_recording_any_name_is_a_view(tmp_path: Path, beside: str) -> None:
    write_images(tmp_path / "D435", plain_frames(0, 0, LENGTH))
    write_images(tmp_path / "phone", plain_frames(0, 1, LENGTH))
    assert not READER.recognise(tmp_path)
    (tmp_path / beside).write_text("")
    assert READER.recognise(tmp_path)
    episode = READER.open(tmp_path, 0)
    assert (episode.info.views, list(episode.others)) == (("static",), ["phone"])


def test_many_videos_beside_one_file_are_trials(tmp_path: Path) -> None:
    (tmp_path / "camera.yaml").write_text("")
    for at in range(9):
        (tmp_path / f"trial_{at}.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    assert not READER.recognise(tmp_path)


def test_numbered_images_straight_in_a_folder_are_its_view(tmp_path: Path) -> None:
    write_images(tmp_path, plain_frames(0, 0, LENGTH))
    episode = READER.open(tmp_path, 0)
    assert [shown_frame(episode.rgb("static", step)) for step in range(LENGTH)] == list(range(LENGTH))
    assert episode.info.notes == ()
    (tmp_path / "frame2.png").rename(tmp_path / "frame9.png")  # drawings of some steps, not frames
    assert not READER.recognise(tmp_path)
    write_images(tmp_path / "front_depth", plain_frames(0, 0, LENGTH))
    assert not READER.recognise(tmp_path / "front_depth")


@pytest.mark.parametrize("names", [("rgb", "depth"), ("front", "front_depth", "wrist")])
def test_images_of_several_kinds_straight_in_a_folder_are_kept_apart(tmp_path: Path, names: tuple[str, ...]) -> None:
    for camera, name in enumerate(names):
        for at, frame in enumerate(plain_frames(0, camera, LENGTH)):
            pixels = np.full(SIZE, 900 + at, np.uint16) if "depth" in name else frame
            (tmp_path / f"{name}_{at:04d}.png").write_bytes(png(pixels))
    (tmp_path / "meta.yaml").write_text("depth_unit: mm\nfps: 10\n")
    episode = READER.open(tmp_path, 0)
    assert (episode.info.length, episode.info.notes) == (LENGTH, ())
    assert episode.info.views == (("static", "wrist") if "wrist" in names else ("static",))
    for view in episode.info.views:
        assert [shown_frame(episode.rgb(view, step)) for step in range(LENGTH)] == list(range(LENGTH))
    np.testing.assert_allclose(episode.depth("static", 3), 0.903, rtol=1e-6)


def test_too_many_images_are_refused_when_opened_not_while_looking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path, plain_frames(0, 0, LENGTH))
    monkeypatch.setattr(folder_views, "_MAX_IMAGES", LENGTH - 1)
    assert READER.recognise(tmp_path)
    with pytest.raises(UnsafeFileError, match="more than 5 images"):
        READER.open(tmp_path, 0)


def test_what_is_no_view_is_named(tmp_path: Path) -> None:
    write_images(tmp_path / "front", plain_frames(0, 0, LENGTH))
    write_images(tmp_path / "phone", plain_frames(0, 1, LENGTH))
    (tmp_path / "wrist").mkdir()
    (tmp_path / "wrist/0.bmp").touch()
    for name in ("laptop.mp4", "old.wmv", "side_depth.npz", "notes.txt"):
        (tmp_path / name).touch()
    (note,) = READER.open(tmp_path, 0).info.notes
    assert note.startswith("not read: laptop.mp4, old.wmv, phone, side_depth.npz, wrist; views are")


def test_images_of_another_kind_say_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "static").mkdir()
    (tmp_path / "static/0.bmp").touch()
    assert READER.recognise(tmp_path)
    with pytest.raises(EpisodeError, match=r"static/0\.bmp: such images are not read; .* PNG or JPEG"):
        READER.open(tmp_path, 0)


def test_frames_that_come_unevenly_are_said(tmp_path: Path) -> None:
    for name, choice in (("even", "1"), ("uneven", "not(between(n,3,5))")):
        path = tmp_path / f"{name}.mp4"
        write_video(path, plain_frames(0, 0, 12), codec=("libx264", "-vf", f"select='{choice}'", "-fps_mode", "vfr"))
    even, uneven = (READER.open(tmp_path / f"{name}.mp4", 0).info for name in ("even", "uneven"))
    assert (even.length, even.notes) == (12, ())
    assert uneven.length == 9
    assert uneven.notes == (
        f"uneven.mp4: 1 of 8 frames are not evenly spaced (frame 3 comes {4 / FPS:.3f} s after the one before); "
        f"its frames are taken as if they came at {FPS} a second",
    )


def test_a_cut_video_opens_up_to_its_last_good_frame_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (30, *SIZE, 3), np.uint8)
    write_video(path, noise, codec=("libx264", "-g", "5", "-bf", "0", "-movflags", "+faststart"))
    whole = READER.open(path, 0)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    cut = READER.open(path, 0)
    assert 10 < cut.info.length < 25
    assert f"first {cut.info.length} frames" in cut.info.notes[0]
    last = cut.info.length - 1
    np.testing.assert_array_equal(cut.rgb("static", last), whole.rgb("static", last))


@pytest.mark.parametrize(("suffix", "sound"), [("mp4", "aac"), ("mkv", "libopus")])
def test_sound_is_no_damage(tmp_path: Path, suffix: str, sound: str) -> None:
    silent, path = tmp_path / "silent.mp4", tmp_path / f"phone.{suffix}"
    write_video(silent, plain_frames(0, 0, LENGTH))
    tone = ["-f", "lavfi", "-i", "sine=duration=0.6", "-c:v", "copy", "-c:a", sound]
    subprocess.run([get_ffmpeg_exe(), "-v", "error", "-i", str(silent), *tone, str(path)], check=True)
    episode = READER.open(path, 0)
    assert (episode.info.length, episode.info.notes) == (LENGTH, ())


@pytest.mark.parametrize(("damage", "says"), [(0, "000003.png is empty"), (40, "before 000003.png can be read")])
def test_images_end_before_the_one_that_was_being_written(tmp_path: Path, damage: int, says: str) -> None:
    folder = tmp_path / "static"
    folder.mkdir()
    for at, pixels in enumerate(plain_frames(0, 0, 4)):
        (folder / f"{at:06d}.png").write_bytes(png(pixels))
    last = folder / "000003.png"
    last.write_bytes(last.read_bytes()[:damage])
    episode = READER.open(tmp_path, 0)
    assert episode.info.length == 3
    assert says in episode.info.notes[0]
    assert shown_frame(episode.rgb("static", 2)) == 2
    other = folder / "000002.png"  # a recorder with two threads
    other.write_bytes(other.read_bytes()[:50])
    episode = READER.open(tmp_path, 0)
    assert episode.info.length == 2
    assert "000002.png" in episode.info.notes[0]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("meta.yaml", "depth_unit: feet\n", "depth_unit"),
        ("meta.yaml", "- a list\n", "mapping"),
        ("meta.yaml", "!!python/object/apply:os.system ['true']\n", "not YAML"),
        ("camera.yaml", "static: {K: [[1, 0], [0, 1]]}\n", "static"),
        ("camera.yaml", "static: {K: [[-1, 0, 1], [0, 1, 1], [0, 0, 1]]}\n", "K must be"),
        ("camera.yaml", "static: {T_world_camera: [[-1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]}\n", "mirrors"),
        ("camera.yaml", "static: {T_world_camera: [[2,0,0,0],[0,2,0,0],[0,0,2,0],[0,0,0,1]]}\n", "rigid"),
    ],
)
def test_nonsense_is_one_error_that_names_file_and_field(tmp_path: Path, name: str, content: str, says: str) -> None:
    write_video(tmp_path / "static.mp4", plain_frames(0, 0, LENGTH))
    (tmp_path / name).write_text(content)
    with pytest.raises(EpisodeError, match=says) as caught:
        READER.open(tmp_path, 0)
    assert name in str(caught.value)


def test_pickled_arrays_and_links_out_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "trial"
    write_video(root / "static.mp4", plain_frames(0, 0, LENGTH))
    np.savez(root / "state.npz", x=np.array([{}], dtype=object))
    with pytest.raises(UnsafeFileError, match="objects"):
        READER.open(root, 0)
    (root / "state.npz").unlink()
    (root / "static.mp4").rename(tmp_path / "secret.mp4")
    (root / "static.mp4").symlink_to(tmp_path / "secret.mp4")
    with pytest.raises(UnsafeFileError, match="outside"):
        READER.open(root, 0)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not here: real videos are not part of the project")
@pytest.mark.parametrize(("name", "frames", "size"), [("bridge_real_1", 37, (480, 640)), ("rt1_coke", 16, (256, 320))])
def test_real_videos_open_and_play(name: str, frames: int, size: tuple[int, int]) -> None:
    episode = READER.open(REAL / f"{name}.mp4", 0)
    assert (episode.info.length, episode.image_size("static")) == (frames, size)
    images = [episode.rgb("static", step) for step in range(frames)]
    assert all(image.std() > 20 for image in images)
    assert (images[0] != images[-1]).mean() > 0.1
