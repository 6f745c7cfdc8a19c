"""What an episode does not have of what a policy looks at or is compared with: masked or zero in a window, never faked.

Every line is a full clause for the page; nothing absent gives an empty tuple.
"""

from __future__ import annotations

from model.config import PolicyConfig
from trainer.episodes.episode import Episode, View


def absent(episode: Episode, config: PolicyConfig) -> tuple[str, ...]:
    """One clause for each thing that is missing, what the policy is given in its place first.

    Args:
        episode: The episode that is shown.
        config: Of the policy that looks at it.
    """
    missing = [f"no {view} camera: masked" for view in config.views if view not in episode.info.views]
    if not episode.info.instruction:
        missing.append("no instruction: the policy reads an empty text")
    if not episode.has("state"):
        missing.append("no tool state: the policy sees a tool that stands still and a shut gripper")
    if not episode.has("action"):
        missing.append("no actions: none to compare with")
    for view in config.views:
        if view not in episode.info.views:
            continue
        if not episode.has("depth", view):
            missing.append(f"no {view} depth: predictions only")
        if not episode.has("K", view):
            missing.append(f"no {view} intrinsics: nothing in metric 3D")
        elif not episode.has("T_world_camera", view):
            missing.append(f"no {view} camera pose: its points cannot be placed in the world")
    present: list[View] = [view for view in config.flow_views if view in episode.info.views]
    if present and not any(episode.has("tracks", view) for view in present):
        missing.append("no true flow: predicted tracks have nothing to be compared with")
    if config.flow.coordinates == "camera" and present and not episode.has("K", present[0]):
        missing.append("no intrinsics: a flow in metres of the camera has no place in the image")
    return tuple(missing)


def absent_metrics(episode: Episode, config: PolicyConfig) -> dict[str, str]:
    """Why a figure of the catalogue has no value for this policy on this episode, by the start of its name.

    The prefixes are those of `metrics.catalog`, with the view in front where a figure is counted by view.
    """
    reasons = _not_predicted(config)
    for view in config.views:
        if view not in episode.info.views:
            reasons[f"{view}."] = f"the episode has no {view} camera"
        elif not episode.has("depth", view):
            reasons[f"{view}.depth."] = reasons[f"{view}.future_depth."] = f"the episode has no {view} depth"
    if not episode.has("tracks", config.flow_views[0]):
        reasons["flow"] = "the episode has no exact 3D flow"
    if not (episode.has("action") and episode.info.action_space):
        reasons["action."] = "the episode has no actions in known units"
    return reasons


def _not_predicted(config: PolicyConfig) -> dict[str, str]:
    reasons = {} if config.progress else {"progress.": "the policy predicts no task progress"}
    if "flow" not in config.foresight:
        reasons["flow"] = "the policy predicts no flow"
    for view in config.views:
        if "depth" not in config.foresight:
            reasons[f"{view}.depth."] = "the policy predicts no depth"
        if "future" not in config.foresight:
            reasons[f"{view}.future_"] = "the policy predicts no future image"
        elif not config.future_depth:
            reasons[f"{view}.future_depth."] = "the policy predicts no future depth"
    return reasons
