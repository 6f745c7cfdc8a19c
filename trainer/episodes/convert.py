"""An episode of any format as a recording in memory: what packing needs."""

from __future__ import annotations

import dataclasses

import numpy as np

from model.errors import EpisodeError

from .base import StreamEpisode
from .episode import Episode, View
from .recording import Recording, ViewRecording


def recording_of(episode: Episode, start: int = 0, stop: int | None = None) -> Recording:
    """Decodes the control steps `start` to `stop` (exclusive, None = the end) of an episode.

    What the source does not have stays absent; bodies and their poses are there if the episode has exact flow. Cameras
    that are neither static nor wrist are left out.

    Raises:
        EpisodeError: A frame cannot be read, or no step between `start` and `stop` has an image.
    """
    stop = episode.info.length if stop is None else min(stop, episode.info.length)
    steps = [int(step) for step in episode.frame_steps if start <= step < stop]
    if not steps:
        raise EpisodeError(f"{episode.name}: no image between steps {start} and {stop}")
    part = slice(start, stop)
    bodies = episode if isinstance(episode, StreamEpisode) and episode.info.has_exact_flow else None
    own = {"state", "action"} if isinstance(episode, StreamEpisode) else set[str]()
    features = {name: _rows(values[part]) for name, values in episode.features.items() if name not in own}
    has_depth = any(episode.has("depth", view) for view in episode.info.views)
    return Recording(
        info=dataclasses.replace(
            episode.info,
            length=stop - start,
            action_space=episode.info.action_space if episode.has("action") else None,
            depth_origin=episode.info.depth_origin if has_depth else None,
            depth_scale=episode.info.depth_scale if has_depth else None,
            initial_state=episode.info.initial_state if start == 0 else None,
        ),
        frame_steps=np.array(steps) - start,
        views={view: _view(episode, view, steps, part, bodies) for view in episode.info.views},
        state=episode.state[part] if episode.has("state") else None,
        action=episode.action[part] if episode.has("action") else None,
        body_pose=None if bodies is None else bodies.body_pose[part],
        body_names=() if bodies is None else bodies.body_names,
        simulator_state=None,
        features=features,
        feature_names={name: names for name, names in episode.feature_names.items() if name in features},
    )


def _view(episode: Episode, view: View, steps: list[int], part: slice, bodies: StreamEpisode | None) -> ViewRecording:
    depth = [episode.depth(view, step) for step in steps] if episode.has("depth", view) else None
    return ViewRecording(
        rgb=np.stack([episode.rgb(view, step) for step in steps]),
        depth=None if depth is None else np.stack(depth),
        body=None if bodies is None else np.stack([bodies.body(view, step) for step in steps]),
        K=episode.intrinsics(view) if episode.has("K", view) else None,
        T_world_camera=episode.T_world_camera(view)[part] if episode.has("T_world_camera", view) else None,
    )


def _rows(values: np.ndarray) -> np.ndarray:
    """A feature as (t, n) float64; images and other tables of numbers are flattened a step."""
    return np.asarray(values, np.float64).reshape(len(values), -1)
