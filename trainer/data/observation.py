"""What the policy may see at one time of an episode.

Dimensions: b batch, t observation step, v view, h w pixels, s text token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from model.batch import Observation
from model.config import PolicyConfig, WindowConfig
from model.errors import EpisodeError
from trainer.episodes.episode import Episode, View

from .goal import add_goal
from .images import read_rgb
from .state import relative_pose

Tokenize = Callable[[Sequence[str]], Int64[Tensor, "b s"]]
ReadRgb = Callable[[Episode, View, Sequence[int], int], UInt8[Tensor, "n 3 h w"]]


def window_steps(step: int, window: WindowConfig) -> list[int]:
    """The control steps of the window that ends at `step`, oldest first; fewer than T at an episode's beginning."""
    n_frames = min(window.n_obs_steps, step // window.obs_stride + 1)
    return [step - window.obs_stride * back for back in range(n_frames - 1, -1, -1)]


def check_alignment(episode: Episode, window: WindowConfig) -> None:
    """Raises `EpisodeError` when a window would ask for steps at which this episode has no images."""
    stride = episode.info.frame_stride
    for name in ("obs_stride", "future_offset", "flow_stride"):
        value = getattr(window, name)
        if value % stride:
            raise EpisodeError(
                f"{episode.name}: has an image at one of {stride} steps, the policy's window.{name} = {value} is no "
                f"multiple of it; record the episode with a frame stride that divides {value}"
            )


def check_window(episode: Episode, step: int, window: WindowConfig) -> None:
    """As `check_alignment`, and raises when `step` is no step with an image."""
    check_alignment(episode, window)
    if not 0 <= step < episode.info.length:
        raise EpisodeError(f"{episode.name}: step {step} is outside 0..{episode.info.length - 1}")
    if not (episode.frame_steps == step).any():
        raise EpisodeError(f"{episode.name}: no image at step {step}, only at every {episode.info.frame_stride}")


def observation_at(episode: Episode, step: int, config: PolicyConfig, tokenize: Tokenize) -> Observation:
    """The observation (b = 1) whose newest frame is control step `step`.

    Raises:
        EpisodeError: No image at one of the window's steps, or no image of the (first) flow view at all.
    """
    observation = observe(episode, step, config, tokenize([episode.info.instruction]))
    return add_goal(observation, episode, step, config)


def observe(
    episode: Episode, step: int, config: PolicyConfig, text: Int64[Tensor, "1 s"], read: ReadRgb = read_rgb
) -> Observation:
    """As `observation_at`, with the instruction already tokenised and no goal; `read` may remember images."""
    check_window(episode, step, config.window)
    if config.flow_views[0] not in episode.info.views:
        raise EpisodeError(f"{episode.name}: has no camera '{config.flow_views[0]}', which this policy needs")
    steps = window_steps(step, config.window)
    n_frames, n_steps, size = len(steps), config.window.n_obs_steps, config.image_size
    rgb = torch.zeros(1, n_steps, len(config.views), 3, size, size, dtype=torch.uint8)
    for index, view in enumerate(config.views):
        if view in episode.info.views:
            rgb[0, :n_frames, index] = read(episode, view, steps, size)
    arm, gripper = torch.zeros(1, n_steps, 6), torch.zeros(1, n_steps, dtype=torch.int64)
    if episode.has("state"):  # else the arm stands where the window began, the gripper is shut: see `absent`
        states = episode.state[steps]
        arm[0, :n_frames] = torch.from_numpy(relative_pose(states))
        gripper[0, :n_frames] = torch.from_numpy(states[:, 7] > 0.5)
    return Observation(
        rgb=rgb,
        view_mask=torch.tensor([[view in episode.info.views for view in config.views]]),
        text=text,
        state_arm=arm,
        state_gripper=gripper,
        frame_mask=torch.arange(n_steps)[None] < n_frames,
    )
