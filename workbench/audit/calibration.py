"""How well K and camera pose explain what is seen: three independent measures of one view.

tilt: of the largest planes of the depth map, taken into the world, one must be level or upright. A focal length too
    long shows too.
ratio: the hand (static view) or the world (wrist view) must move through the image as fast as predicted, see `motion`.
reach: something must be seen where the tool is: the distance from the tool's position to the nearest seen point.
For the wrist, hand_eye: the camera must keep its place in the hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from trainer.episodes.episode import View

from .measured import Measured, from_world, project, unproject
from .motion import motion_samples
from .planes import normal, tilt_degrees

_FRAMES = 12
LEVEL = 2.0  # degrees that a table may seem tilted
RATIO: dict[View, tuple[float, float]] = {"static": (0.72, 1.35), "wrist": (0.87, 1.15)}
"""Of measured to predicted flow: a hand is not quite where its tool is, a table is where it is."""
NEAR_TOOL = 0.07  # metres; open fingers are 4 cm from the tool's centre
AGREES = 0.25  # least share of pixels that move as predicted
HAND_EYE = (0.008, 3.0)  # metres and degrees that a camera may move in the hand


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The measures of a view under some K and pose; NaN where the data cannot say.

    Attributes:
        view: Whose.
        tilt: Degrees by which no large plane is level or upright.
        ratio: Measured over predicted flow.
        agreement: Share of the pixels that move as predicted, see `MotionSamples`.
        reach: Metres from the tool to what is seen nearest, the 70th percentile over frames.
        in_sight: Share of frames in which the tool is in front of the camera and projects into the image.
    """

    view: View
    tilt: float
    ratio: float
    agreement: float
    reach: float
    in_sight: float

    @property
    def broken(self) -> list[str]:
        """What does not hold, a few words each."""
        found: list[str] = []
        if self.tilt > LEVEL:
            found.append(f"the table would be tilted by {self.tilt:.1f}°")
        if self.in_sight < 0.2:
            found.append("the tool does not project into the image")
        if self.reach > NEAR_TOOL:
            found.append(f"nothing is seen within {100 * self.reach:.0f} cm of the tool")
        if self.agreement < AGREES:
            found.append(f"only {100 * self.agreement:.0f} % of the moving pixels move as predicted")
        elif self.too_fast:
            found.append(f"things move {self.ratio:.2f} times as fast as predicted")
        return found

    @property
    def too_fast(self) -> bool:
        """Things move faster or slower through the image than K, depth and pose allow."""
        low, high = RATIO[self.view]
        return not np.isnan(self.ratio) and not low < self.ratio < high

    @property
    def measures(self) -> int:
        """How many of the measures the data answered."""
        return sum(not np.isnan(value) for value in (self.tilt, self.ratio, self.reach))

    def words(self) -> str:
        """All measures, a few words."""
        said = [] if np.isnan(self.tilt) else [f"table level to {self.tilt:.2f}°"]
        said += [] if np.isnan(self.ratio) else [f"things move {self.ratio:.2f} times as fast as predicted"]
        said += [] if np.isnan(self.reach) else [f"something seen within {100 * self.reach:.1f} cm of the tool"]
        return ", ".join(said)


def calibration(
    measured: Measured,
    view: View,
    *,
    other_K: Float[np.ndarray, "3 3"] | None = None,
    other_T: Float[np.ndarray, "t 4 4"] | None = None,
) -> Calibration:
    """The measures of a view with its own K and pose, or with others. Needs K, pose and depth."""
    K = measured.episode.intrinsics(view) if other_K is None else other_K
    T = measured.episode.T_world_camera(view) if other_T is None else other_T
    samples = motion_samples(measured, view, K, T)
    ratio, share = samples.ratio()
    enough = len(samples.at) >= 300
    reach, in_sight = _reach(measured, view, K, T)
    return Calibration(
        view=view,
        tilt=tilt(measured, view, K, T),
        ratio=ratio if share > 0.25 else float("nan"),
        agreement=samples.agreement if enough else float("nan"),
        reach=reach,
        in_sight=in_sight,
    )


def tilt(measured: Measured, view: View, K: Float[np.ndarray, "3 3"], T: Float[np.ndarray, "t 4 4"]) -> float:
    """Degrees by which the straightest of the large planes is off level or upright, the median of a few frames.

    Not only tables are seen: fronts of drawers are upright, lids lean. NaN if there is no clear plane.
    """
    found = [
        min(tilt_degrees(normal(coefficients, K), T[step][:3, :3]) for coefficients in planes)
        for step, planes in measured.planes(view)
        if planes
    ]
    return float(np.median(found)) if found else float("nan")


def hand_eye(measured: Measured, T: Float[np.ndarray, "t 4 4"]) -> tuple[float, float]:
    """How far the camera moves in the hand: metres and degrees, the 90th percentile against its median place."""
    inside = np.linalg.inv(measured.tool) @ T
    shift = np.linalg.norm(inside[:, :3, 3] - np.median(inside[:, :3, 3], axis=0), axis=1)
    middle = inside[len(inside) // 2, :3, :3]
    cosine = (np.einsum("tij,ij->t", inside[:, :3, :3], middle) - 1) / 2
    return float(np.quantile(shift, 0.9)), float(np.degrees(np.arccos(np.clip(np.quantile(cosine, 0.1), -1, 1))))


def _reach(measured: Measured, view: View, K: np.ndarray, T: np.ndarray) -> tuple[float, float]:
    if not measured.has_tool or view != "static":
        return float("nan"), float("nan")
    tool, episode = measured.tool, measured.episode
    height, width = episode.image_size(view)
    distances: list[float] = []
    inside: list[bool] = []
    for step in measured.spread(_FRAMES):
        at = from_world(tool[step, :3, 3], T[step])
        u, v = project(at, K)
        inside.append(bool(0 <= u < width and 0 <= v < height))
        points = unproject(episode.depth(view, step), K)
        distances.append(float(np.nanmin(np.linalg.norm(points - at, axis=-1), initial=np.inf)))
    return float(np.quantile(distances, 0.7)), float(np.mean(inside))
