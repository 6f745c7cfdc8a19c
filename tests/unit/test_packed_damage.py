"""Bad input: every damaged, foreign or hostile file of a packed episode gives one error that names it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from model.errors import EpisodeError, UnsafeFileError, WorkbenchError
from tests.factories import make_recording
from trainer.episodes.packed import PackedEpisode, save_packed
from trainer.episodes.schema import Encoding


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> dict[Encoding, Path]:
    root = tmp_path_factory.mktemp("pristine")
    encodings: tuple[Encoding, ...] = ("compressed", "mapped")
    for encoding in encodings:
        save_packed(make_recording(length=20, size=(24, 32)), root / encoding, encoding)
    return {encoding: root / encoding for encoding in encodings}


@pytest.fixture
def folders(pristine: dict[Encoding, Path], tmp_path: Path) -> dict[Encoding, Path]:
    for encoding, folder in pristine.items():
        shutil.copytree(folder, tmp_path / encoding)
    return {encoding: tmp_path / encoding for encoding in pristine}


def read_all(folder: Path) -> None:
    """Everything a user can ask for."""
    episode = PackedEpisode(folder)
    for view in episode.info.views:
        for step in episode.frame_steps:
            episode.rgb(view, int(step)), episode.depth(view, int(step)), episode.body(view, int(step))
        episode.tracks(view, 0, np.full((1, 2), 8.5), np.array([4, 8]))


def edit_json(path: Path, change: Callable[[dict], object]) -> None:
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


def sign(folder: Path) -> None:
    """Makes the manifest agree with the files, as somebody who forges an episode would."""

    def entries(manifest: dict) -> None:
        manifest["files"] = {
            path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            for path in folder.iterdir()
            if path.name != "manifest.json"
        }

    edit_json(folder / "manifest.json", entries)


@pytest.mark.parametrize("encoding", ["compressed", "mapped"])
def test_every_truncated_or_missing_file_is_named(folders: dict[Encoding, Path], encoding: Encoding) -> None:
    folder = folders[encoding]
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for content in (whole[: len(whole) // 2], whole[:-1], b"", None):
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content)
            with pytest.raises(EpisodeError, match=path.name):
                read_all(folder)
            path.write_bytes(whole)
    read_all(folder)


def test_a_flipped_bit_is_found(folders: dict[Encoding, Path]) -> None:
    for path in sorted(folders["compressed"].glob("*[!t].*s*")):
        whole = path.read_bytes()
        for at in np.linspace(0, len(whole) - 1, 12).astype(int):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
            with pytest.raises(WorkbenchError):
                PackedEpisode(folders["compressed"]).verify()
        path.write_bytes(whole)


def test_verify_finds_a_flipped_bit_in_a_memory_map(folders: dict[Encoding, Path]) -> None:
    path = folders["mapped"] / "static_rgb.npy"
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    with pytest.raises(EpisodeError, match=r"static_rgb\.npy.*sha256"):
        PackedEpisode(folders["mapped"]).verify()


def test_a_folder_that_is_not_an_episode(tmp_path: Path) -> None:
    with pytest.raises(EpisodeError, match=r"not a packed episode, it has no manifest\.json"):
        PackedEpisode(tmp_path)
    (tmp_path / "manifest.json").write_text('{"schema": "something-else"}')
    with pytest.raises(EpisodeError, match="field 'schema'"):
        PackedEpisode(tmp_path)
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(EpisodeError, match="not JSON"):
        PackedEpisode(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(version=2), "field 'version'"),
        (lambda m: m.update(encoding="gzip"), "field 'encoding'"),
        (lambda m: m.update(content_hash="abc"), "field 'content_hash'"),
        (lambda m: m.update(files=[]), "field 'files'"),
        (lambda m: m["files"].update({"../../etc/passwd": m["files"]["meta.json"]}), "not a plain file name"),
        (lambda m: m["files"].update({"/etc/passwd": m["files"]["meta.json"]}), "not a plain file name"),
        (lambda m: m["files"].pop("meta.json"), r"meta\.json"),
        (lambda m: m["files"].pop("static_depth.delta.safetensors"), "static_depth"),
        (lambda m: m["files"]["meta.json"].update(bytes=-1), "field 'files.meta.json'"),
        (lambda m: m["files"]["meta.json"].update(sha256=7), "field 'files.meta.json'"),
    ],
)
def test_a_manifest_that_lies(folders: dict[Encoding, Path], change, message: str) -> None:
    edit_json(folders["compressed"] / "manifest.json", change)
    with pytest.raises((EpisodeError, UnsafeFileError), match=message):
        PackedEpisode(folders["compressed"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["info"].update(length=-3), "info.length"),
        (lambda m: m["info"].update(length=True), "info.length"),
        (lambda m: m["info"].update(length=10**12), "info.length"),
        (lambda m: m["info"].update(length=19), "has shape"),
        (lambda m: m["info"].pop("instruction"), "info.instruction"),
        (lambda m: m["info"].update(secret=1), "info.secret"),
        (lambda m: m["info"].update(outcome="maybe"), "info.outcome"),
        (lambda m: m["info"].update(views=[]), "info.views"),
        (lambda m: m["info"].update(views=["static", "ceiling"]), "info.views"),
        (lambda m: m["info"]["action_space"].update(frame="sky"), "info.action_space.frame"),
        (lambda m: m["info"].update(control_hz="fast"), "info.control_hz"),
        (lambda m: m.update(n_frames=11), "frame"),
        (lambda m: m["views"]["static"].update(height=8193), "views.static.height"),
        (lambda m: m["views"]["static"].update(height=8192, width=8192), "static"),
        (lambda m: m["views"]["static"].update(height=25), "static"),
        (lambda m: m["views"]["wrist"].update(width=31), "wrist"),
        (lambda m: m["views"]["static"].update(streams=["depth"]), "views.static.streams"),
        (lambda m: m.update(body_names=["world"]), "body"),
    ],
)
@pytest.mark.parametrize("encoding", ["compressed", "mapped"])
def test_meta_data_that_lie(folders: dict[Encoding, Path], encoding: Encoding, change, message: str) -> None:
    edit_json(folders[encoding] / "meta.json", change)
    sign(folders[encoding])
    with pytest.raises((EpisodeError, UnsafeFileError), match=message):
        read_all(folders[encoding])


def test_arrays_that_do_not_belong(folders: dict[Encoding, Path]) -> None:
    path = folders["compressed"] / "arrays.safetensors"
    arrays = load_file(path)
    for change, message in (
        ({"state": arrays["state"].astype(np.float32)}, "'state'"),
        ({"state": np.where(np.arange(8) == 1, np.inf, arrays["state"])}, "'state'"),
        ({"more": arrays["state"]}, "'more'"),
        ({"frame_steps": arrays["frame_steps"] + 5}, "'frame_steps'"),
        ({"body_pose": arrays["body_pose"][:, :, :3]}, "'body_pose'"),
    ):
        save_file({**arrays, **change}, path)
        sign(folders["compressed"])
        with pytest.raises((EpisodeError, UnsafeFileError), match=message):
            read_all(folders["compressed"])


@pytest.mark.parametrize("hostile", ["object array", "huge shape", "not npy", "fortran"])
def test_memory_maps_that_lie(folders: dict[Encoding, Path], hostile: str) -> None:
    path = folders["mapped"] / "static_rgb.npy"
    whole = path.read_bytes()
    if hostile == "object array":
        path.write_bytes(whole.replace(b"'|u1'", b"'|O'", 1).replace(b"}   ", b"}    ", 1))
    elif hostile == "huge shape":
        path.write_bytes(whole.replace(b"(10, 24, 32, 3), }", b"(10, 24, 32, 3000000), }"[:18], 1))
    elif hostile == "fortran":
        np.save(path, np.asfortranarray(np.load(path)))
    else:
        path.write_bytes(b"\x80\x04" + whole[2:])
    sign(folders["mapped"])
    with pytest.raises(UnsafeFileError, match=r"static_rgb\.npy"):
        read_all(folders["mapped"])


def test_a_stream_that_inflates_too_much_is_refused(folders: dict[Encoding, Path]) -> None:
    import zlib

    path = folders["compressed"] / "static_rgb.delta.safetensors"
    save_file({"000000": np.frombuffer(zlib.compress(bytes(8 << 20)), np.uint8)}, path)
    sign(folders["compressed"])
    with pytest.raises(EpisodeError, match=r"static_rgb.*chunk 0"):
        read_all(folders["compressed"])


def test_an_image_of_another_size_is_refused(folders: dict[Encoding, Path]) -> None:
    from trainer.episodes.codecs import encode_jpeg

    path = folders["compressed"] / "wrist_rgb.jpeg.safetensors"
    blobs = load_file(path)
    blobs["000003"] = np.frombuffer(encode_jpeg(np.zeros((500, 4000, 3), np.uint8)), np.uint8)
    save_file(blobs, path)
    sign(folders["compressed"])
    with pytest.raises(EpisodeError, match=r"wrist_rgb.*frame 3"):
        read_all(folders["compressed"])


def test_a_link_out_of_the_folder_is_not_followed(folders: dict[Encoding, Path], tmp_path: Path) -> None:
    path = folders["compressed"] / "arrays.safetensors"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EpisodeError, match=r"arrays\.safetensors"):
        PackedEpisode(folders["compressed"])
