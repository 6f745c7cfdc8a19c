"""Decoders in their cage: exact random access, no other file, no bombs, no hang, budgets kept."""

from __future__ import annotations

import io
import struct
import subprocess
import time
import zlib
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image, ImageOps

from model.errors import EpisodeError, UnsafeFileError
from tests.foreign_factories import SIZE, plain_frames, png, write_video
from trainer.episodes.media import ffmpeg, video
from trainer.episodes.media.images import MAX_PIXELS, decode_depth_image, decode_image, image_size
from trainer.episodes.media.kept import KeptArrays
from trainer.episodes.media.video import Video, is_cut_off, is_video


def moving(count: int) -> np.ndarray:
    """Frames that differ in every pixel, so that a wrong frame cannot pass."""
    return np.random.default_rng(1).integers(0, 255, (count, 12, 16, 3), np.uint8).repeat(4, 1).repeat(4, 2)


@pytest.mark.parametrize(
    "codec",
    [
        ("libx264", "-bf", "3", "-g", "12"),
        ("libx265", "-x265-params", "log-level=none:bframes=4"),
        ("libsvtav1", "-g", "20"),
        ("libvpx-vp9", "-deadline", "realtime"),
    ],
)
def test_any_frame_is_the_one_that_plain_decoding_gives(
    tmp_path: Path, codec: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ("v.webm" if "vpx" in codec[0] else "v.mp4")
    write_video(path, moving(30), codec=codec)
    plain = Video(path)
    whole = [plain.frame(at).copy() for at in range(len(plain))]
    monkeypatch.setattr(video, "_RUN_FRAMES", 7)
    again = Video(path)
    assert len(again) == 30
    for at in (29, 0, 13, 14, 6, 7, 28):
        np.testing.assert_array_equal(again.frame(at), whole[at])


def test_a_stretch_of_a_video_is_its_frames(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    write_video(path, moving(40), codec=("libx264", "-g", "9"))
    whole, part = Video(path), Video(path, span=(1.3, 2.5))
    assert len(part) == 12
    np.testing.assert_allclose(part.times, np.arange(13, 25) / 10)
    for at in (11, 0, 5):
        np.testing.assert_array_equal(part.frame(at), whole.frame(13 + at))


def test_frames_of_a_variable_rate_keep_their_times(tmp_path: Path) -> None:
    write_video(tmp_path / "even.mp4", moving(20), codec=("libx264", "-bf", "2"))
    uneven = tmp_path / "uneven.mkv"
    times = "setpts='if(lt(N,10),N,10+(N-10)*3)/10/TB'"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(tmp_path / "even.mp4"), "-vf", times]
    subprocess.run([*command, "-fps_mode", "passthrough", "-c:v", "libx264", str(uneven)], check=True)
    clip = Video(uneven)
    np.testing.assert_allclose(np.diff(clip.times), [0.1] * 10 + [0.3] * 9, atol=2e-3)
    assert clip.frame(19).shape == (*SIZE, 3)


@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n",
        b"ffconcat version 1.0\nfile '{secret}'\n",
        b"<?xml version='1.0'?><MPD><BaseURL>{secret}</BaseURL></MPD>",
    ],
)
def test_a_playlist_opens_no_other_file(tmp_path: Path, content: bytes) -> None:
    secret = tmp_path / "secret.mp4"
    write_video(secret, plain_frames(0, 0, 3))
    path = tmp_path / "list.mp4"
    path.write_bytes(content.replace(b"{secret}", str(secret).encode()))
    assert not is_video(path.read_bytes())
    with pytest.raises(EpisodeError, match=r"list\.mp4: no video"):
        len(Video(path))


def test_a_decoder_that_does_not_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.mp4"
    write_video(path, plain_frames(0, 0, 3))
    monkeypatch.setattr(ffmpeg, "TIMEOUT", 0.3)
    monkeypatch.setattr(ffmpeg, "_executable", lambda: "/bin/sleep")
    monkeypatch.setattr(ffmpeg, "_LIMITS", "exec sleep 60")
    with pytest.raises(UnsafeFileError, match="was stopped"):
        ffmpeg.run_ffmpeg(path, [], [], limit=100)


def test_more_output_than_announced_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    write_video(path, plain_frames(0, 0, 3))
    with pytest.raises(UnsafeFileError, match="unpacks to more"):
        ffmpeg.run_ffmpeg(path, [], ["-f", "rawvideo"], limit=1000)


def test_the_child_has_little_memory_and_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.mp4"
    write_video(path, plain_frames(0, 0, 3))
    monkeypatch.setenv("SECRET_TOKEN", "x")
    script = tmp_path / "ffmpeg"
    script.write_text("#!/bin/sh\nulimit -d; ulimit -t; env\n")
    script.chmod(0o755)
    monkeypatch.setattr(ffmpeg, "_executable", lambda: str(script))
    said = ffmpeg.run_ffmpeg(path, [], [], limit=10_000).data.decode()
    assert said.splitlines()[:2] == [str(512 << 10), "30"]
    assert "SECRET" not in said


@pytest.mark.parametrize("damage", ["empty", "noise", "header"])
def test_what_is_no_video_is_one_clear_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "v.mp4"
    write_video(path, plain_frames(0, 0, 3))
    data = path.read_bytes()
    noise = np.random.default_rng(0).bytes(5000)
    path.write_bytes({"empty": b"", "noise": noise, "header": data[:40] + noise}[damage])
    with pytest.raises(EpisodeError, match=r"v\.mp4"):
        Video(path).frame(0)


def test_a_codec_that_is_not_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "edited.mov"
    write_video(path, plain_frames(0, 0, 3), codec=("prores_ks",), pixels="yuv422p10le")
    with pytest.raises(EpisodeError, match=r"codec prores is not read, only h264, hevc, .*: convert it"):
        Video(path).frame(0)


def test_an_mp4_without_its_list_of_frames_was_never_finished(tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    write_video(path, moving(20))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(EpisodeError, match="never finished"):
        Video(path).frame(0)


def test_a_cut_avi_says_so(tmp_path: Path) -> None:
    path = tmp_path / "cut.avi"
    write_video(path, moving(20), codec=("mjpeg",))
    assert not Video(path).complaint
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    clip = Video(path)
    assert (clip.complaint, 5 < clip.readable < 15) == ("it is cut off", True)
    clip.frame(clip.readable - 1)


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and has no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [6000, 10_000, 30_000])
def test_an_image_bomb_is_refused_by_its_header(side: int) -> None:
    assert side * side > MAX_PIXELS
    with pytest.raises(UnsafeFileError, match=r"x\.png"):
        decode_image(png_header(side, side), "x.png")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_image_is_upright_however_the_camera_was_held(orientation: int, kind: str) -> None:
    pixels = np.zeros((24, 40, 3), np.uint8)
    pixels[:12, :20] = (240, 200, 40)  # one corner
    stored, exif, buffer = Image.fromarray(pixels), Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    stored.save(buffer, kind, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(buffer.getvalue()))).convert("RGB"))
    np.testing.assert_array_equal(decode_image(buffer.getvalue(), "here"), upright)
    assert image_size(buffer.getvalue(), "here") == upright.shape[:2]


def test_the_largest_image_fits_into_the_child_s_memory() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8192, MAX_PIXELS // 8192)).save(buffer, "PNG", compress_level=1)
    assert decode_image(buffer.getvalue(), "large").shape == (MAX_PIXELS // 8192, 8192, 3)


def test_grey_of_16_bits_keeps_its_shades() -> None:
    shades = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    image = decode_image(png(shades), "here")
    np.testing.assert_allclose(image, np.repeat((shades / 257)[..., None], 3, -1), atol=1)


def test_damaged_images_name_themselves() -> None:
    good = png(plain_frames(0, 0, 1)[0])
    assert image_size(good, "here") == SIZE
    for bad in (good[:60], b"", b"GIF89a" + good, png_header(8, 8)):
        with pytest.raises(EpisodeError, match="here"):
            decode_image(bad, "here")
    with pytest.raises(EpisodeError, match=r"here: not a readable JPEG or PNG image \(it begins like none\)"):
        decode_image(b"no image", "here")  # the same words each time, not an object's address
    with pytest.raises(EpisodeError, match="16 bits"):
        decode_depth_image(good, "here")


def test_kept_arrays_stay_within_their_budget_and_go_with_their_owner() -> None:
    class Owner:
        pass

    kept, owner = KeptArrays(1000), Owner()
    for key in range(5):
        kept.put(owner, key, np.zeros(300, np.uint8))
    assert [kept.get(key) is not None for key in range(5)] == [False, False, True, True, True]
    del owner
    assert kept.get(4) is None


def test_a_video_of_millions_of_parts_is_not_walked_through(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(struct.pack(">I4s8x", 16, b"ftyp") + struct.pack(">I4s", 8, b"free") * 4_000_000)
    start = time.process_time()
    assert is_cut_off(path)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(("written", "said"), [(10.0, 10.0), (30.0, 30.0), (30000 / 1001, 29.97)])
def test_the_rate_has_no_digits_of_the_clock(tmp_path: Path, written: float, said: float) -> None:
    write_video(tmp_path / "clip.mp4", moving(7), fps=written)
    assert Video(tmp_path / "clip.mp4").rate == said


def test_the_rate_of_a_clock_of_whole_milliseconds_is_that_of_the_camera(tmp_path: Path) -> None:
    path = tmp_path / "front.webm"  # 66, 67, 67 ... ms
    write_video(path, plain_frames(0, 0, 11), fps=15, codec=("libvpx-vp9",))
    assert Video(path).rate == pytest.approx(15, rel=2e-3)
