"""Builders that everybody's tests share: small, exact, made from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.episodes.episode import ActionSpace, Episode, EpisodeInfo, View
from trainer.episodes.recording import Recording, ViewRecording
from workbench.attention import AttentionMaps
from workbench.foresight import AttentionForesight, FlowForesight, Foresight, ViewForesight

# --- an analytically exact scene: a textured table and a textured box that a hand pushes and lifts ---

BOX_HALF = np.array([0.09, 0.06, 0.05])


@dataclass(frozen=True)
class Rendered:
    """What a camera sees: rgb uint8 (h, w, 3), depth float32 metres (h, w), body ids uint8 (h, w)."""

    rgb: np.ndarray
    depth: np.ndarray
    body: np.ndarray


def rotation(axis: int, angle: float) -> np.ndarray:
    """Rotation matrix about a coordinate axis."""
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    R = np.eye(3)
    R[i, i] = R[j, j] = np.cos(angle)
    R[i, j], R[j, i] = -np.sin(angle), np.sin(angle)
    return R


def pose(R: np.ndarray, p: np.ndarray) -> np.ndarray:
    """4 x 4 transform."""
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, p
    return T


def look_at(eye: np.ndarray, target: np.ndarray) -> np.ndarray:
    """`T_world_camera` with OpenCV axes, the world's z up in the image."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return pose(np.stack([right, np.cross(forward, right), forward], 1), eye)


def render_scene(K: np.ndarray, T_world_camera: np.ndarray, T_world_box: np.ndarray, size: tuple[int, int]) -> Rendered:
    """Casts one ray through every pixel centre against the table (z = 0, body 0) and the box (body 1)."""
    height, width = size
    v, u = np.mgrid[:height, :width] + 0.5
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)], -1)
    table_z, table_point = _hit_table(rays, T_world_camera)
    box_z, box_point = _hit_box(rays, np.linalg.inv(T_world_box) @ T_world_camera)
    is_box = box_z < table_z
    depth = np.where(is_box, box_z, table_z)
    colour = np.where(is_box[..., None], _texture(box_point, 60.0, 0.8), _texture(table_point, 25.0, 0.0))
    depth = np.where(depth < 50, depth, np.nan).astype(np.float32)
    return Rendered(np.uint8(np.rint(255 * colour)), depth, is_box.astype(np.uint8))


def scene_depth(uv: np.ndarray, K: np.ndarray, T_world_camera: np.ndarray, T_world_box: np.ndarray) -> np.ndarray:
    """Exact depth (p,) along the rays through any pixel positions (p, 2): what a perfect depth image would say."""
    rays = np.stack([(uv[:, 0] - K[0, 2]) / K[0, 0], (uv[:, 1] - K[1, 2]) / K[1, 1], np.ones(len(uv))], -1)
    table, _ = _hit_table(rays, T_world_camera)
    box, _ = _hit_box(rays, np.linalg.inv(T_world_box) @ T_world_camera)
    return np.minimum(table, box)


def _hit_table(rays: np.ndarray, T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    direction = rays @ T[:3, :3].T
    with np.errstate(divide="ignore"):
        z = -T[2, 3] / direction[..., 2]
    z = np.where((z > 1e-6) & (z < 50), z, 50.0)
    return z, T[:3, 3] + z[..., None] * direction


def _hit_box(rays: np.ndarray, T_box_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    origin, direction = T_box_camera[:3, 3], rays @ T_box_camera[:3, :3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        near = np.minimum((-BOX_HALF - origin) / direction, (BOX_HALF - origin) / direction).max(-1)
        far = np.maximum((-BOX_HALF - origin) / direction, (BOX_HALF - origin) / direction).min(-1)
    z = np.where((near < far) & (near > 1e-6), near, np.inf)
    return z, origin + np.where(np.isfinite(z), z, 0.0)[..., None] * direction


def _texture(point: np.ndarray, frequency: float, phase: float) -> np.ndarray:
    waves = [np.sin(frequency * point[..., i] + phase + i) * np.cos(frequency * point[..., i - 1]) for i in range(3)]
    return 0.5 + 0.45 * np.stack(waves, -1)


def box_path(length: int, seed: int = 0) -> np.ndarray:
    """(t, 4, 4): the box rests for a fifth of the time, then slides, turns and rises."""
    rng = np.random.default_rng(seed)
    turn, heading, start = rng.uniform(-1.5, 1.5), rng.uniform(0, 2 * np.pi), rng.uniform(-0.05, 0.05, 2)
    progress = np.clip(np.linspace(-0.2, 1, length), 0, None)
    return np.stack(
        [
            pose(
                rotation(2, turn * s) @ rotation(0, 0.5 * turn * s),
                np.array(
                    [start[0] + 0.15 * s * np.cos(heading), start[1] + 0.15 * s * np.sin(heading), 0.06 + 0.15 * s]
                ),
            )
            for s in progress
        ]
    )


def make_recording(
    *,
    length: int = 40,
    frame_stride: int = 2,
    size: tuple[int, int] = (48, 64),
    views: tuple[View, ...] = ("static", "wrist"),
    seed: int = 0,
    instruction: str = "lift the box",
) -> Recording:
    """A whole episode of the exact scene; the wrist camera hangs above the box and turns with the hand."""
    height, width = size
    rng = np.random.default_rng(seed + 1000)
    box = box_path(length, seed)
    frame_steps = np.arange(0, length, frame_stride)
    hand = np.stack(
        [
            pose(rotation(2, 0.3 * np.sin(t / 9)) @ rotation(0, np.pi), p + np.array([0, 0.02, 0.3]))
            for t, p in enumerate(box[:, :3, 3])
        ]
    )
    cameras: dict[View, np.ndarray] = {
        "static": np.repeat(look_at(np.array([0.9, 0.1, 0.7]), np.array([0.0, 0.0, 0.05]))[None], length, 0),
        "wrist": hand,
    }
    focal: dict[View, float] = {"static": 1.6, "wrist": 0.7}
    streams: dict[View, ViewRecording] = {}
    for view in views:
        K = np.array([[focal[view] * width, 0, width / 2], [0, focal[view] * width, height / 2], [0, 0, 1.0]])
        images = [render_scene(K, cameras[view][t], box[t], size) for t in frame_steps]
        streams[view] = ViewRecording(
            rgb=np.stack([image.rgb for image in images]),
            depth=np.stack([image.depth for image in images]),
            body=np.stack([image.body for image in images]),
            K=K,
            T_world_camera=cameras[view],
        )
    gripper = (np.arange(length) < length // 2).astype(float)
    angle = 0.15 * np.sin(np.arange(length) / 9)
    quaternion = np.stack([np.zeros(length), np.cos(angle), np.sin(angle), np.zeros(length)], 1)
    return Recording(
        info=EpisodeInfo(
            source="synthetic",
            instruction=instruction,
            length=length,
            control_hz=20.0,
            frame_stride=frame_stride,
            views=views,
            depth_scale="metric",
            depth_origin="true",
            has_exact_flow=True,
            outcome="success",
            action_space=ActionSpace(metres_per_unit=0.05, radians_per_unit=0.5, frame="base"),
            task="synthetic-lift",
            initial_state=seed,
            seed=seed,
            renderer="numpy",
        ),
        frame_steps=frame_steps,
        views=streams,
        state=np.concatenate([hand[:, :3, 3], quaternion, gripper[:, None]], 1),
        action=np.concatenate([rng.uniform(-1, 1, (length, 6)), gripper[:, None]], 1),
        body_pose=np.stack([np.repeat(np.eye(4)[None], length, 0), box], 1),
        body_names=("world", "box"),
        simulator_state=rng.normal(size=(length, 5)),
    )


# --- what a policy could have foreseen in that scene, without a policy: the truth, spoilt by a known amount ---


def make_foresight(
    episode: Episode, step: int, *, points: int = 60, flow_stride: int = 2, too_far: float = 0.01, seed: int = 0
) -> Foresight:
    """The truth at a control step as a prediction: depth and tracks `too_far` metres beyond it, images copied."""
    rng = np.random.default_rng(seed)
    info, future = episode.info, step + 3 * episode.info.frame_stride
    ends = future not in episode.frame_steps
    has_depth = info.depth_origin is not None
    views: dict[View, ViewForesight] = {}
    for view in info.views:
        rgb = episode.rgb(view, step)
        depth = episode.depth(view, step) if has_depth else np.ones(rgb.shape[:2], np.float32)
        views[view] = ViewForesight(
            rgb=rgb,
            depth=depth + np.float32(too_far),
            depth_true=depth if has_depth else None,
            future_rgb=rgb,
            future_rgb_true=None if ends else episode.rgb(view, future),
            future_depth=depth,
            future_depth_true=None if ends or not has_depth else episode.depth(view, future),
            K=episode.intrinsics(view),
            T_world_camera=episode.T_world_camera(view)[step],
        )
    height, width = views["static"].rgb.shape[:2]
    uv = np.floor(rng.uniform((0, 0), (width, height), (points, 2))) + 0.5
    steps = step + flow_stride * np.arange(4)
    tracks = episode.tracks("static", step, uv, steps)
    reach = np.linalg.norm((tracks.uvz - tracks.uvz[:, :1])[..., :2], axis=-1)  # pixels
    drift = np.array([0.0, 0.0, too_far]) * np.arange(4)[None, :, None]
    weight = rng.dirichlet(np.ones(points))
    spread = rng.dirichlet(np.ones(height * width)).reshape(height, width)
    return Foresight(
        step=step,
        future_step=future,
        views=views,
        flow=FlowForesight(
            uvz=np.nan_to_num(tracks.uvz, nan=1.0) + drift,
            visible_probability=np.full((points, 4), 0.9),
            uvz_true=tracks.uvz,
            known=tracks.known,
            visible_true=tracks.visible,
            moving=np.nanmax(reach, axis=1, initial=0.0) > 0.5,
            start_depth="true",
            steps=steps,
        ),
        attention=AttentionForesight(
            to_flow=rng.uniform(0, 0.4, (2, 4)),
            uniform=0.1,
            to_group=rng.dirichlet(np.ones(3), (2, 4)),
            groups=("FLOW", "STATE", "earlier frames"),
            group_uniform=np.array([0.1, 0.05, 0.85]),
            entropy=rng.uniform(size=(2, 4)),
            maps=make_attention_maps(points=points, step=step, views=info.views, seed=step),
            flow_points=weight,
            through_flow=spread,
            through_resampler=dict.fromkeys(info.views, 0.5 * spread),
        ),
        action=episode.action[np.minimum(step + np.arange(3), info.length - 1)],
        action_true=episode.action[np.minimum(step + np.arange(3), info.length - 1)],
        metrics={
            "static.depth.rmse_m": too_far,
            "static.depth.rmse_m.baseline": 0.1,
            "flow.moving.epe_mm": 1000 * too_far,
            "flow.moving.epe_mm.baseline": 20.0 + step,
            "flow.moving.along_mm": 1000 * too_far,
            "flow.moving.along_mm.baseline": -5.0,
            "action.translation_mm": float("nan"),
            "action.translation_mm.baseline": float("nan"),
        },
    )


def make_checkpoint(folder: Path, *, preset_name: str = "tiny", seed: int = 0) -> Path:
    """A checkpoint with random weights, as `train` would leave it."""
    from model.config import preset
    from tests.policy_factories import make_policy
    from trainer.loop.checkpoint import save_inference_checkpoint

    config = preset(preset_name)
    metadata = {"weights": "EMA", "data": {"action_mean": [0.0] * 6 + [0.5]}}
    save_inference_checkpoint(folder, make_policy(config, seed), config, metadata)
    return folder


def make_attention_maps(
    *,
    points: int | None = 30,
    step: int = 10,
    views: tuple[View, ...] = ("static", "wrist"),
    layers: int = 2,
    heads: int = 4,
    seed: int = 0,
) -> AttentionMaps:
    """Random maps of a window of two frames: LANG STATE S_PATCH(3) S_CLS W_PATCH(3) W_CLS FLOW(2) ACT a frame.

    As the mask has it, FLOW and ACT are seen in the newest frame only; 16 patches an image, a fifth of a latent's
    attention goes to other latents. `points=None` leaves the flow decoder out.
    """
    rng = np.random.default_rng(seed)
    counts = {"LANG": 1, "STATE": 1, "S_PATCH": 3, "S_CLS": 1, "W_PATCH": 3, "W_CLS": 1, "FLOW": 2, "ACT": 1}
    names = tuple(counts)
    group = np.tile(np.repeat(np.arange(len(names)), list(counts.values())), 2)
    age = np.repeat([1, 0], len(group) // 2)
    queries = (names.index("FLOW"), names.index("ACT"))
    seen = (age == 0) | ~np.isin(group, queries)
    allowed = {"ACT": seen, "FLOW": seen & (group != queries[1])}
    rows = {name: rng.uniform(size=(layers, heads, len(group))) * mask for name, mask in allowed.items()}
    return AttentionMaps(
        rows={name: row / row.sum(-1, keepdims=True) for name, row in rows.items()},
        allowed=allowed,
        names=names,
        group=group,
        age=age,
        steps=np.array([step, step - 2]),
        points=None if points is None else rng.dirichlet(np.ones(2), points),
        patches={view: 0.8 * rng.dirichlet(np.ones(16), (2, 3)) for view in views},
    )
