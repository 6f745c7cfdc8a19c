"""Timestamps, dropped and repeated frames, and images that lag behind the robot.

Four questions: do recorded times run evenly at the stated rate; are there control steps without their image, or jumps
of the tool that its neighbours in time do not make; are there images that stand still while the tool moves; and do
images change when the tool moves, or some frames later?
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Float, Integer

from trainer.episodes.source_settings import SourceSetting

from ..clocks import is_clock, stated_unit
from .answers import Answer, checked, sentence, unchecked
from .finding import Finding, Kind
from .measured import Measured
from .pictures import speed_over_time

_RATE_OFF = 0.03
_UNEVEN = 1.5  # times the usual interval
_JUMP, _LEAST_JUMP = 2.5, 0.008  # times the neighbours' travel, and metres
_FREEZE = 0.004  # metres of the tool between two identical images
_LAGS = 8  # frames
_LAG_GAIN = 0.08  # of correlation over none, that a lag must win


def check_timing(measured: Measured) -> list[Answer]:
    """Times, gaps, frozen images and lag."""
    return [*_times(measured), *_gaps(measured), *_frozen(measured), *_lag(measured)]


def _finding(where: str, title: str, detail: str, fix: str, confidence: float, **more: object) -> Finding:
    return Finding(
        kind=Kind.TIMING,
        where=where,
        severity="warning",
        confidence=confidence,
        title=title,
        detail=detail,
        fix=fix,
        **more,  # pyright: ignore[reportArgumentType]
    )


def _times(measured: Measured) -> list[Answer]:
    info = measured.episode.info
    found = [
        (name, np.asarray(column, np.float64).reshape(len(column), -1)[:, 0])
        for name, column in measured.episode.features.items()
        if is_clock(name)
    ]
    if not found:
        return [unchecked(Kind.TIMING, "timestamps", "no timestamps are recorded")]
    answers: list[Answer] = []
    for name, times in found:
        interval = np.diff(times)
        if len(times) < 5 or not np.isfinite(times).all() or np.median(interval) <= 0:
            answers.append(unchecked(Kind.TIMING, name, "too few times, or none that go forward"))
            continue
        unit = stated_unit(name) or _unit_of(float(np.median(interval)))
        rate = 1 / (float(np.median(interval)) * unit)
        said = f"every {1000 * unit * float(np.median(interval)):.2f} ms, at most {1000 * unit * interval.max():.2f} ms"
        answers.append(checked(Kind.TIMING, name, said))
        if abs(rate / info.control_hz - 1) > _RATE_OFF:
            answers.append(
                _finding(
                    name,
                    f"Recorded times say {rate:.4g} Hz, the episode {info.control_hz:.4g} Hz",
                    sentence(said),
                    f"Set the control rate to {rate:.4g} Hz.",
                    0.95,
                    setting=SourceSetting(control_hz=round(rate, 4), why=(f"Timestamps say {rate:.4g} Hz.",)),
                )
            )
        late = np.flatnonzero((interval > _UNEVEN * np.median(interval)) | (interval <= 0))
        if len(late):
            answers.append(
                _finding(
                    name,
                    f"Recorded times are uneven at {len(late)} of {len(interval)} steps",
                    f"First after step {late[0]}: {1000 * unit * interval[late[0]]:.1f} ms; {said}.",
                    "Leave these stretches out, or record again without dropping frames.",
                    0.9,
                )
            )
    return answers


def _gaps(measured: Measured) -> list[Answer]:
    info, steps = measured.episode.info, measured.steps
    answers: list[Answer] = []
    holes = np.flatnonzero(np.diff(steps) != info.frame_stride)
    if len(holes):
        answers.append(
            _finding(
                "frame_steps",
                f"{len(holes)} gaps between images",
                f"After step {steps[holes[0]]} the next image is at step {steps[holes[0] + 1]}; one every "
                f"{info.frame_stride} was expected.",
                "Leave windows across these gaps out.",
                1.0,
            )
        )
    if not measured.has_tool:
        return [*answers, unchecked(Kind.TIMING, "state", "no state")]
    travel = np.linalg.norm(np.diff(measured.tool[:, :3, 3], axis=0), axis=1)
    if len(travel) < 12:
        return [*answers, unchecked(Kind.TIMING, "state", "too few steps")]
    jumps = tool_jumps(travel)
    said = f"the tool travels at most {1000 * travel.max():.1f} mm in a step, evenly" if not len(jumps) else ""
    if not len(jumps):
        return [*answers, checked(Kind.TIMING, "state", said)]
    picture = speed_over_time(1000 * travel, jumps, "tool travel, mm a step", "jumps")
    worst = int(jumps[np.argmax(travel[jumps])])
    return [
        *answers,
        checked(Kind.TIMING, "state", f"{len(jumps)} jumps"),
        _finding(
            "state",
            f"Control steps are missing at {len(jumps)} place{'s' if len(jumps) > 1 else ''}",
            f"After step {worst} the tool travels {1000 * travel[worst]:.0f} mm in one step, its neighbours "
            f"{1000 * _neighbours(travel)[worst]:.0f} mm.",
            "Leave windows across these places out, or record again without dropping frames.",
            0.9,
            evidence=picture.image,
            caption=picture.caption,
        ),
    ]


def tool_jumps(travel: Float[np.ndarray, " n"]) -> Integer[np.ndarray, " j"]:
    """Steps in which the tool travels much further than in the two before and the two after."""
    return np.flatnonzero((travel > _JUMP * _neighbours(travel)) & (travel > _LEAST_JUMP))


def _neighbours(travel: np.ndarray) -> np.ndarray:
    """The largest travel among the two steps before and the two after."""
    padded = np.pad(travel, 2, mode="edge")
    return np.max([padded[i : i + len(travel)] for i in (0, 1, 3, 4)], axis=0)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Change:
    """How much the image changes between frames, grey levels, and how far the tool travels, metres."""

    image: Float[np.ndarray, " n"]
    tool: Float[np.ndarray, " n"]


def _changes(measured: Measured) -> _Change | None:
    if not measured.has_tool or "static" not in measured.episode.info.views or len(measured.steps) < 12:
        return None
    small = [
        cv2.resize(measured.episode.rgb("static", int(step)), (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
        for step in measured.steps
    ]
    image = np.array([float(np.abs(b - a).mean()) for a, b in pairwise(small)])
    tool = np.linalg.norm(np.diff(measured.tool[measured.steps, :3, 3], axis=0), axis=1)
    return _Change(image=image, tool=tool)


def _frozen(measured: Measured) -> list[Answer]:
    change = _changes(measured)
    if change is None:
        return [unchecked(Kind.TIMING, "static.rgb", "no state, no static view, or too few images")]
    frozen = np.flatnonzero((change.image == 0) & (change.tool > _FREEZE))
    if not len(frozen):
        return [checked(Kind.TIMING, "static.rgb", "no image stands still while the tool moves")]
    picture = speed_over_time(change.image, frozen, "change of the image, grey levels", "frozen")
    return [
        checked(Kind.TIMING, "static.rgb", f"{len(frozen)} images repeat the one before"),
        _finding(
            "static.rgb",
            f"{len(frozen)} images repeat the one before while the tool moves",
            f"First after step {measured.steps[frozen[0]]}, while the tool travels "
            f"{1000 * change.tool[frozen[0]]:.0f} mm.",
            "Leave windows with repeated images out; check the camera's rate against the recorder's.",
            0.95,
            evidence=picture.image,
            caption=picture.caption,
        ),
    ]


def _lag(measured: Measured) -> list[Answer]:
    change = _changes(measured)
    if change is None or len(change.tool) < 4 * _LAGS:
        return [unchecked(Kind.TIMING, "static.rgb lag", "too few images with a state")]
    correlations = {lag: _correlation(change, lag) for lag in range(-_LAGS, _LAGS + 1)}
    best = max(correlations, key=lambda lag: correlations[lag])
    said = f"images follow the tool best at a lag of {best} frames (correlation {correlations[best]:.2f})"
    if correlations[best] < 0.6:
        return [unchecked(Kind.TIMING, "static.rgb lag", f"image and tool speed hardly correlate ({said})")]
    if abs(best) < 2 or correlations[best] - correlations[0] < _LAG_GAIN:
        return [checked(Kind.TIMING, "static.rgb lag", said)]
    seconds = abs(best) * measured.episode.info.frame_stride / measured.episode.info.control_hz
    order = "behind" if best > 0 else "ahead of"
    return [
        checked(Kind.TIMING, "static.rgb lag", said),
        _finding(
            "static.rgb",
            f"Images run {1000 * seconds:.0f} ms {order} the state",
            f"{said[0].upper()}{said[1:]}; without a lag it is {correlations[0]:.2f}.",
            f"Shift the images by {abs(best)} frames in the source, and find out which clock is late.",
            min(0.9, 0.5 + 2 * (correlations[best] - correlations[0])),
        ),
    ]


def _correlation(change: _Change, lag: int) -> float:
    image, tool = change.image, change.tool
    if lag > 0:
        image, tool = image[lag:], tool[:-lag]
    elif lag < 0:
        image, tool = image[:lag], tool[-lag:]
    if image.std() == 0 or tool.std() == 0:
        return 0.0
    return float(np.corrcoef(image, tool)[0, 1])


def _unit_of(interval: float) -> float:
    """Seconds in the unit of the times: seconds, or whole milli-, micro- or nanoseconds."""
    return next((unit for unit, least in ((1e-9, 1e5), (1e-6, 5e2 * 4), (1e-3, 4.0)) if interval > least), 1.0)
