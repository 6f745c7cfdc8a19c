"""Messages on their way to a browser: what lies around a named folder is nobody's business."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.told import without_places


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("/data/sets/calvin/ep_0.npz: truncated", "calvin/ep_0.npz: truncated"),
        ("'/data/sets/calvin' and /data/sets/b", "'calvin' and b"),
        ("/data/other: absent", "other: absent"),
        ("/mnt/data/sets/x", "/mnt/data/sets/x"),
        ("/data/setsquare/x", "setsquare/x"),
        ("/home/ann/.config/x.json: damaged", "~/.config/x.json: damaged"),
        ("static/rgb.mp4 and/or wrist", "static/rgb.mp4 and/or wrist"),
    ],
)
def test_a_message_says_what_was_named_and_not_where_it_lies(
    message: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert without_places(message, [Path("/"), Path("/data"), Path("/data/sets")]) == told
