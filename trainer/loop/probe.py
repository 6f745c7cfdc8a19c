"""Fixed times of fixed episodes, predicted again and again while the policy trains: a picture and its figures."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from model.config import PolicyConfig
from model.errors import EpisodeError
from model.policy import Policy
from trainer.episodes.episode import Episode
from trainer.files import replace_file
from trainer.metrics.window import Window, predict_window, rgb_future, rgb_now, score_window, true_depth

from .png import colour_depth, encode_png

PROBES = "probes"
MAX_EPISODES, STEPS_PER_EPISODE = 2, 2
POINTS = 256
_log = logging.getLogger(__name__)


class Probe:
    """Writes probes/step-NNNNNN.png and .json into `run`.

    One row of the picture is one view at one time: now | future predicted | future true | depth predicted | true |
    future depth predicted | true.

    Args:
        run: Folder of the run.
        episodes: The first few that fit the policy are used, at fixed times inside them.
        config: Of the policy that will be probed.
    """

    def __init__(self, run: Path, episodes: Sequence[Episode], config: PolicyConfig) -> None:
        self._folder = run / PROBES
        self._config = config
        self._places = [(episode, step) for episode in episodes[:MAX_EPISODES] for step in _places(episode, config)]

    def look(self, policy: Policy, step: int) -> None:
        """Predicts with the weights `policy` holds now. An episode that cannot be read is warned of and left out."""
        training = policy.training
        policy.eval()
        rows: list[UInt8[np.ndarray, "h w 3"]] = []
        figures: list[dict[str, object]] = []
        for episode, at in self._places:
            try:
                window = predict_window(policy, episode, at, points=POINTS)
            except EpisodeError as error:
                _log.warning("probe left out: %s", error)
                continue
            scores = {
                name: round(value, 5) for name, value in score_window(window, self._config).items() if value == value
            }
            figures.append({"episode": episode.name, "step": at, "scores": scores})
            rows += [self._row(window, view) for view in range(len(self._config.views))]
        policy.train(training)
        if rows:
            self._folder.mkdir(exist_ok=True)
            name = f"step-{step:06d}"
            replace_file(self._folder / f"{name}.png", encode_png(np.concatenate(rows)))
            replace_file(self._folder / f"{name}.json", json.dumps({"step": step, "probes": figures}).encode())

    def _row(self, window: Window, view: int) -> UInt8[np.ndarray, "h w 3"]:
        targets, prediction = window.targets, window.prediction
        now = true_depth(targets.depth[0, 0, view], targets.depth_valid[0, 0, view])
        later = true_depth(targets.future_depth[0, 0, view], targets.future_depth_valid[0, 0, view])
        known = now[np.isfinite(now)]
        near, far = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
        tiles = [rgb_now(window, view)]
        if prediction.future_rgb is not None:
            tiles += [rgb_future(window, view), targets.future_rgb[0, 0, view].permute(1, 2, 0).numpy()]
        for predicted, true in ((prediction.depth, now), (prediction.future_depth, later)):
            if predicted is not None:
                tiles += [colour_depth(depth, near, far) for depth in (predicted[0, 0, view].float().numpy(), true)]
        return np.concatenate(tiles, axis=1)


def _places(episode: Episode, config: PolicyConfig) -> list[int]:
    """Times with a whole window before them and all targets after them, spread over the episode."""
    first = (config.window.n_obs_steps - 1) * config.window.obs_stride
    last = episode.info.length - 1 - config.window.horizon
    inside = [int(step) for step in episode.frame_steps if first <= step <= last]
    wanted = [(2 * i + 1) / (2 * STEPS_PER_EPISODE) for i in range(STEPS_PER_EPISODE)]
    return sorted({inside[int(len(inside) * share)] for share in wanted}) if inside else []
