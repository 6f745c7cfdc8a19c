"""What a person, or the doctor, says about a source whose recordings are not what they claim to be.

A setting is data: it names facts ("the static images are upside-down", "depth is in millimetres"), and
`corrected.corrected` shows every episode of the source as it would be without the fault. The recording itself is never
touched. Everything is validated when a setting is made, whether by code or from a file.

A setting that was found on an already corrected episode is added to what corrected it, see `SourceSetting.then`.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, cast, get_args

from model.errors import ConfigError

from .episode import VIEWS, View
from .setting_rules import (
    MAX_SENTENCES,
    Rule,
    boolean,
    check,
    json_value,
    number,
    numbers,
    one_of,
    optional,
    refuse,
    sentences,
)

Turn = Literal["none", "rotate-180", "mirror", "flip"]
Pose = Literal["as-stored", "inverted", "opengl"]
Frame = Literal["base", "tool"]

# What a turn does to (rows, columns): True reverses them. Two turns add up by exclusive or.
REVERSES: dict[Turn, tuple[bool, bool]] = {
    "none": (False, False),
    "rotate-180": (True, True),
    "mirror": (False, True),
    "flip": (True, False),
}
_TURN_WORDS: dict[Turn, str] = {"rotate-180": "rotated by 180°", "mirror": "mirrored", "flip": "flipped upside-down"}
_VIEW_RULES: dict[str, Rule] = {
    "turn": one_of(get_args(Turn)),
    "camera_turns": boolean,
    "swap_red_blue": boolean,
    "depth_planes": optional(numbers((1e-6, 1e6), (1e-6, 1e6))),
    "depth_factor": number(1e-6, 1e6),
    "ray_length": boolean,
    "fov_degrees": optional(number(1.0, 170.0)),
    "K": optional(numbers((0.01, 100.0), (0.01, 100.0), (-1.0, 2.0), (-1.0, 2.0))),
    "pose": one_of(get_args(Pose)),
}


@dataclass(frozen=True, kw_only=True)
class ViewSetting:
    """What is to be changed of one camera. Applied in the order of the fields; the defaults change nothing.

    Attributes:
        turn: What to do with the stored images and depth maps: `rotate-180`, `mirror` (left and right change places) or
            `flip` (top and bottom do).
        camera_turns: K and pose describe the images as stored, so they turn with them: the principal point is mirrored
            and, when rotated, the pose turns about the optical axis. False: they describe the upright image already.
        swap_red_blue: The images are stored as BGR.
        depth_planes: Depth is a normalised buffer of these near and far planes, metres; z = n f / (f - (f - n) b).
        depth_factor: Metres in one stored unit of depth (after `depth_planes`), 0.001 for millimetres.
        ray_length: Depth is the distance from the camera's centre along the ray, to be turned into z by K.
        fov_degrees: Horizontal field of view; square pixels, principal point in the middle. Replaces K.
        K: (fx / width, fy / height, cx / width, cy / height), free of the image's size. Replaces K.
        pose: How `T_world_camera` is stored: `inverted` is world to camera, `opengl` has the y axis up and z backward.
    """

    turn: Turn = "none"
    camera_turns: bool = False
    swap_red_blue: bool = False
    depth_planes: tuple[float, float] | None = None
    depth_factor: float = 1.0
    ray_length: bool = False
    fov_degrees: float | None = None
    K: tuple[float, float, float, float] | None = None
    pose: Pose = "as-stored"

    def __post_init__(self) -> None:
        check(vars(self), _VIEW_RULES)
        if self.camera_turns and self.turn == "none":
            refuse("camera_turns", "needs a turn")
        if self.depth_planes is not None and self.depth_planes[0] >= self.depth_planes[1]:
            refuse("depth_planes", "must be near, then far; got {:g} and {:g} m".format(*self.depth_planes))
        if self.K is not None and self.fov_degrees is not None:
            refuse("K", "and fov_degrees say the same thing; give one of them")

    @property
    def changes_depth(self) -> bool:
        """Whether the values of depth change, beyond being moved in the image."""
        return self.ray_length or self.depth_planes is not None or self.depth_factor != 1.0

    @property
    def gives_camera(self) -> bool:
        """Whether it says what K is."""
        return self.K is not None or self.fov_degrees is not None

    def clauses(self) -> list[str]:
        """What is changed, a few words each, without the camera's name."""
        said = (
            [_TURN_WORDS[self.turn] + (" with its camera" if self.camera_turns else "")] if self.turn != "none" else []
        )
        said += ["red and blue swapped"] if self.swap_red_blue else []
        if self.depth_planes is not None:
            said.append("depth from a buffer of {:g} to {:g} m".format(*self.depth_planes))
        said += [f"depth times {self.depth_factor:g}"] if self.depth_factor != 1.0 else []
        said += ["depth from ray length"] if self.ray_length else []
        said += [f"field of view {self.fov_degrees:g}°"] if self.fov_degrees is not None else []
        said += ["intrinsics given"] if self.K is not None else []
        return said + ({"inverted": ["pose inverted"], "opengl": ["camera axes from OpenGL"]}.get(self.pose, []))

    def then(self, later: ViewSetting) -> ViewSetting:
        """Both, `later` having been found on images that this one had corrected.

        A setting states facts: ray lengths become z by the turn and K that are known in the end, where doing one after
        the other would have used those known before.

        Raises:
            ConfigError: The two cannot be said by one setting.
        """
        turn, camera_turns = self._turned(later)
        given = later if later.gives_camera else self
        intrinsics = given.K
        if given is self and intrinsics is not None and later.camera_turns:
            rows, columns = REVERSES[later.turn]
            fx, fy, cx, cy = intrinsics
            intrinsics = fx, fy, 1 - cx if columns else cx, 1 - cy if rows else cy
        if later.depth_planes is not None and self.changes_depth:
            _clash("depth_planes")
        if later.ray_length and self.ray_length:
            _clash("ray_length")
        return ViewSetting(
            turn=turn,
            camera_turns=camera_turns,
            swap_red_blue=self.swap_red_blue != later.swap_red_blue,
            depth_planes=later.depth_planes or self.depth_planes,
            depth_factor=self.depth_factor * later.depth_factor,
            ray_length=self.ray_length or later.ray_length,
            fov_degrees=given.fov_degrees,
            K=intrinsics,
            pose=self._posed(later),
        )

    def _turned(self, later: ViewSetting) -> tuple[Turn, bool]:
        if later.turn == "none":
            return self.turn, self.camera_turns
        if self.turn == "none":
            return later.turn, later.camera_turns
        if self.camera_turns != later.camera_turns or (self.camera_turns and self.turn != later.turn):
            _clash("camera_turns")  # a pose turns with a rotation and with no mirror: two mirrors are not one rotation
        both = tuple(a != b for a, b in zip(REVERSES[self.turn], REVERSES[later.turn], strict=True))
        turn: Turn = next(name for name, reverses in REVERSES.items() if reverses == both)
        return turn, self.camera_turns and turn != "none"

    def _posed(self, later: ViewSetting) -> Pose:
        if later.pose == "inverted" and self.camera_turns:
            _clash("pose")  # the inverse of a turned pose is not a turned inverse
        if later.pose == "as-stored":
            return self.pose
        if self.pose == "as-stored":
            return later.pose
        if self.pose != later.pose:
            _clash("pose")
        return "as-stored"


def _view_setting(name: str, value: object) -> None:
    if not isinstance(value, ViewSetting):
        refuse(name, "must be an object")


@dataclass(frozen=True, kw_only=True)
class SourceSetting:
    """What is to be changed of every episode of a source; the defaults change nothing.

    Attributes:
        static: The static camera.
        wrist: The wrist camera.
        invert_gripper_action: The command counts 1 as shut: it becomes 1 - command.
        invert_gripper_state: The measured opening counts 1 as shut.
        metres_per_unit: Translation that an action entry of 1.0 commands, instead of what the source says.
        radians_per_unit: Rotation that an entry of 1.0 commands.
        action_frame: The axes of the action's deltas.
        control_hz: Control steps a second.
        why: The reasons, a sentence each, for whoever wonders later. They change nothing.
    """

    static: ViewSetting = field(default_factory=ViewSetting)
    wrist: ViewSetting = field(default_factory=ViewSetting)
    invert_gripper_action: bool = False
    invert_gripper_state: bool = False
    metres_per_unit: float | None = None
    radians_per_unit: float | None = None
    action_frame: Frame | None = None
    control_hz: float | None = None
    why: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(vars(self), _SOURCE_RULES)

    def view(self, view: View) -> ViewSetting:
        """The part of one camera."""
        return self.static if view == "static" else self.wrist

    @property
    def empty(self) -> bool:
        """Whether it changes nothing."""
        return dataclasses.replace(self, why=()) == SourceSetting()

    @property
    def fingerprint(self) -> str:
        """Canonical text of what it changes; part of the content hash of a corrected episode."""
        fields = setting_to_json(self)
        fields.pop("why", None)
        return json.dumps(fields, sort_keys=True)

    def clauses(self) -> tuple[str, ...]:
        """What is changed, a few words each, for badges and lists."""
        said = [f"{view} {clause}" for view in VIEWS for clause in self.view(view).clauses()]
        said += ["gripper command inverted"] if self.invert_gripper_action else []
        said += ["gripper opening inverted"] if self.invert_gripper_state else []
        said += [f"action unit {self.metres_per_unit:g} m"] if self.metres_per_unit is not None else []
        said += [f"action unit {self.radians_per_unit:g} rad"] if self.radians_per_unit is not None else []
        said += [f"action in {self.action_frame} axes"] if self.action_frame is not None else []
        return (*said, *([f"control rate {self.control_hz:g} Hz"] if self.control_hz is not None else []))

    def then(self, later: SourceSetting) -> SourceSetting:
        """Both, `later` having been found on episodes that this one had corrected.

        Raises:
            ConfigError: The two cannot be said by one setting; says which field is in the way.
        """

        def newer(name: str) -> Any:
            return getattr(self, name) if getattr(later, name) is None else getattr(later, name)

        return SourceSetting(
            static=self.static.then(later.static),
            wrist=self.wrist.then(later.wrist),
            invert_gripper_action=self.invert_gripper_action != later.invert_gripper_action,
            invert_gripper_state=self.invert_gripper_state != later.invert_gripper_state,
            metres_per_unit=newer("metres_per_unit"),
            radians_per_unit=newer("radians_per_unit"),
            action_frame=newer("action_frame"),
            control_hz=newer("control_hz"),
            why=tuple(dict.fromkeys((*self.why, *later.why)))[-MAX_SENTENCES:],
        )


_SOURCE_RULES: dict[str, Rule] = {
    **dict.fromkeys(VIEWS, _view_setting),
    "invert_gripper_action": boolean,
    "invert_gripper_state": boolean,
    "metres_per_unit": optional(number(1e-6, 1e3)),
    "radians_per_unit": optional(number(1e-6, 1e3)),
    "action_frame": optional(one_of(get_args(Frame))),
    "control_hz": optional(number(1e-6, 1e5)),
    "why": sentences,
}


def setting_to_json(setting: SourceSetting) -> dict[str, Any]:
    """The fields that differ from their defaults, as JSON values."""
    found = _changed(setting, SourceSetting())
    for view in VIEWS:
        if view in found:
            found[view] = _changed(setting.view(view), ViewSetting())
    return found


def setting_from_json(value: object) -> SourceSetting:
    """What `setting_to_json` wrote.

    Raises:
        ConfigError: A field is unknown, of the wrong type or out of range; says which.
    """
    fields = _fields(value, "")
    for view in VIEWS:
        if view in fields:
            parts = _fields(fields[view], f"{view}.")
            check(parts, _VIEW_RULES, f"{view}.")
            try:
                fields[view] = ViewSetting(**parts)
            except ConfigError as error:
                raise ConfigError(str(error).replace("setting '", f"setting '{view}.", 1)) from None
    check(fields, _SOURCE_RULES)
    return SourceSetting(**fields)


def _changed(value: Any, default: Any) -> dict[str, Any]:
    names = (item.name for item in dataclasses.fields(value))
    pairs = ((name, getattr(value, name)) for name in names if getattr(value, name) != getattr(default, name))
    return {name: list(item) if isinstance(item, tuple) else item for name, item in pairs}


def _fields(value: object, prefix: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        refuse(prefix.rstrip(".") or "the setting", "must be an object")
    return {name: json_value(f"{prefix}{name}", item) for name, item in cast("dict[str, Any]", value).items()}


def _clash(name: str) -> NoReturn:
    raise ConfigError(f"source setting '{name}' cannot be added to what corrects this source already; undo that first")
