"""Which topic of an MCAP file is what: by message type and name, or as a person says in NAME.topics.yaml beside it.

    static: /camera/color/image_raw          # cameras; the others are found by themselves
    wrist: /wrist/color/image_raw
    depth: {static: /camera/aligned_depth_to_color/image_raw}
    camera_info: {static: /camera/color/camera_info}
    state:                                   # a tool pose is only made where both parts are named
      pose: /tool_pose                       # geometry_msgs Pose or PoseStamped, metres
      gripper: {topic: /joint_states, joint: finger_joint, shut: 0.0, open: 0.04}
      # without `pose`, the pose of the frame `tool` by /tf
    frames:                                  # names in /tf; only for what is not right by itself
      world: base_link                       # default: the top of the tree that the camera is in
      static: front_optical_frame            # default: the frame that the images are stamped with
      tool: tool0
    instruction: put the cup on the saucer
    outcome: success

Without it: every image topic is a camera, named and assigned by the rules of `views`; one with the word "depth" is the
depth of the camera whose namespace it shares, if it has the same size; camera_info lies in the namespace of its image.
Infrared ("infra") is a camera only where the YAML names it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.errors import EpisodeError

from ..episode import Outcome, View
from ..safe_yaml import read_yaml
from .mcap_file import Topic, is_image, schema_name
from .views import assign_views, words_of

_KEYS = {"static", "wrist", "depth", "camera_info", "state", "frames", "instruction", "outcome"}
_FRAMES = {"world", "static", "wrist", "tool"}
_KINDS = frozenset(
    {"depth", "color", "rgb", "image", "raw", "compressed", "compresseddepth", "rect", "aligned", "to", "infra"}
)


@dataclass(frozen=True, kw_only=True)
class Gripper:
    """The joint that opens the gripper, and its positions when shut and open."""

    topic: str
    joint: str
    shut: float
    open: float


@dataclass(frozen=True, kw_only=True)
class TopicMap:
    """What each topic is.

    `others` are further cameras; `frames` names in /tf, by world, static, wrist and tool; `unused` the topics of images
    that are neither a camera nor a camera's depth.
    """

    views: dict[View, str]
    others: tuple[str, ...]
    unused: tuple[str, ...] = ()
    depth: dict[str, str] = field(default_factory=dict[str, str])
    camera_info: dict[str, str] = field(default_factory=dict[str, str])
    pose: str | None = None
    gripper: Gripper | None = None
    frames: dict[str, str] = field(default_factory=dict[str, str])
    instruction: str = ""
    outcome: Outcome | None = None


def map_topics(path: Path, topics: Mapping[str, Topic], unreadable: Collection[str] = ()) -> TopicMap:
    """The map of a file's topics.

    Args:
        path: The file; NAME.topics.yaml lies beside it.
        topics: Its topics.
        unreadable: Those whose images cannot be read as colours: they are no cameras.

    Raises:
        EpisodeError: The YAML names a topic that is not there, or a key that is none of those above.
    """
    named = path.with_suffix(".topics.yaml")
    given = read_yaml(named, path.parent) if named.is_file() else {}
    if unknown := set(map(str, given)) - _KEYS:
        raise EpisodeError(f"{named}: field '{min(unknown):.40}' is unknown; known are {', '.join(sorted(_KEYS))}")
    images = [name for name, topic in sorted(topics.items()) if is_image(topic)]
    depths = [name for name in images if "depth" in words_of(name)]
    colour = [name for name in images if not {"depth", "infra"} & set(words_of(name)) and name not in unreadable]
    views = _views(given, topics, colour, unreadable, str(named))
    by_view = {name: view for view, name in views.items()}
    others = tuple(name for name in colour if name not in by_view)
    depth = {name: found for name in (*by_view, *others) if (found := _sibling(name, depths)) is not None}
    infos = [name for name, topic in topics.items() if schema_name(topic) == "CameraInfo"]
    info = {name: found for name in (*by_view, *others) if (found := _in_namespace(name, infos)) is not None}
    for field_name, target in (("depth", depth), ("camera_info", info)):
        for view, name in _mapping(given.get(field_name), f"{named}: '{field_name}'").items():
            if view not in views:
                raise EpisodeError(f"{named}: '{field_name}' names '{view:.20}', which is no view here")
            target[views[view]] = _topic(name, topics, f"{named}: '{field_name}.{view}'")
    frames = _frames(given.get("frames"), f"{named}: 'frames'")
    pose, gripper = _state(given.get("state"), topics, frames, f"{named}: 'state'")
    outcome = given.get("outcome")
    if outcome not in (None, "success", "failure"):
        raise EpisodeError(f"{named}: field 'outcome' must be success or failure, got {outcome!r:.40}")
    return TopicMap(
        views=views,
        others=others,
        unused=tuple(name for name in images if name not in {*by_view, *others, *depth.values()}),
        depth=depth,
        camera_info=info,
        pose=pose,
        gripper=gripper,
        frames=frames,
        instruction=str(given.get("instruction") or "").strip()[:2000],
        outcome=outcome,
    )


def _views(
    given: Mapping[str, Any], topics: Mapping[str, Topic], colour: list[str], unreadable: Collection[str], named: str
) -> dict[View, str]:
    """By the names of the topics; where the YAML says otherwise it is right."""
    chosen = assign_views(colour)
    order: tuple[View, ...] = ("static", "wrist")
    for view in order:
        if view in given:
            chosen[view] = _topic(given[view], topics, f"{named}: '{view}'")
    return {view: chosen[view] for view in order if view in chosen and chosen[view] not in unreadable}


def _frames(value: Any, where: str) -> dict[str, str]:
    given = _mapping(value, where)
    if unknown := set(given) - _FRAMES:
        raise EpisodeError(f"{where} names '{min(unknown):.40}'; known are {', '.join(sorted(_FRAMES))}")
    if wrong := [name for name, frame in given.items() if not isinstance(frame, str) or not frame]:
        raise EpisodeError(f"{where}.{wrong[0]} must be the name of a frame in /tf")
    return {name: frame.lstrip("/") for name, frame in given.items()}


def _state(
    value: Any, topics: Mapping[str, Topic], frames: Mapping[str, str], where: str
) -> tuple[str | None, Gripper | None]:
    given = _mapping(value, where)
    if not given:
        return None, None
    gripper = _mapping(given.get("gripper"), f"{where}.gripper")
    shut, opened = gripper.get("shut", 0.0), gripper.get("open")
    if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in (shut, opened)) or shut == opened:
        raise EpisodeError(f"{where}.gripper must have the joint's positions 'shut' and 'open', different numbers")
    by_tf = "pose" not in given and "tool" in frames
    return None if by_tf else _topic(given.get("pose"), topics, f"{where}.pose"), Gripper(
        topic=_topic(gripper.get("topic"), topics, f"{where}.gripper.topic"),
        joint=str(gripper.get("joint", "")),
        shut=float(shut),
        open=float(opened or 0.0),
    )


def _topic(value: Any, topics: Mapping[str, Topic], where: str) -> str:
    if not isinstance(value, str) or value not in topics:
        raise EpisodeError(f"{where} is {value!r:.60}; the file has {', '.join(sorted(topics))[:400]}")
    return value


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise EpisodeError(f"{where} must be a mapping")
    return {str(key): item for key, item in value.items()}


def _sibling(colour: str, depths: list[str]) -> str | None:
    """The depth topic whose name has the same words, but for those that tell kinds of images apart."""
    own = [word for word in words_of(colour) if word not in _KINDS]
    return next((name for name in depths if [w for w in words_of(name) if w not in _KINDS] == own), None)


def _in_namespace(image: str, infos: list[str]) -> str | None:
    """The camera_info next to an image: `/cam/color/image_raw/compressed` has `/cam/color/camera_info`."""
    return next((name for name in infos if image.startswith(name.rpartition("/")[0] + "/")), None)
