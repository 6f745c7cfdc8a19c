"""Acting step after step: every image and every instruction is encoded once, nothing that is not needed is computed.

The numbers are those of the full forward pass. What is kept from step to step are the tokens of single images before
their time is added: they depend on nothing but the image. Keys and values of the trunk cannot be kept, because every
frame changes its time index when the window slides, and its state is relative to the window's first frame.

Dimensions: b streams (episodes in parallel), q remembered control steps, t frame of the window, v view, m tokens of
one image, d width, p flow point, l flow step, k action step, h w pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from .batch import Frame
from .embedding import Embedded, EncodedImages
from .geometry import invert, matrix_to_euler
from .policy import Policy


@dataclass(frozen=True, kw_only=True)
class FlowDecision:
    """The action and the flow it was conditioned on, units as in `Prediction`; the gripper is a probability of open."""

    action: Float[Tensor, "b k 7"]
    flow_delta: Float[Tensor, "b p l 3"]
    flow_visible_logit: Float[Tensor, "b p l"]


@dataclass(kw_only=True)
class _Memory:
    """What is kept of the streams; the newest step stands last. `age` counts the steps before it, -1 = none yet."""

    language: Float[Tensor, "b d"]
    goal: Float[Tensor, "b _g d"] | None
    view_mask: Bool[Tensor, "b v"]
    age: Int64[Tensor, " b"]
    images: Float[Tensor, "b q v m d"]
    pose: Float[Tensor, "b q 4 4"]
    gripper: Int64[Tensor, "b q"]


class Engine:
    """Runs a policy on one or several streams side by side. `reset` begins an episode, `act` is one control step.

    Every control step must be shown, whatever the window's stride. The weights must stay as they are: after an update,
    reset. Autocast is the caller's choice.

    Args:
        policy: In evaluation mode, on its device.
        compiled: Compiles `act`, on a GPU into CUDA graphs; the first steps then take long.
    """

    def __init__(self, policy: Policy, *, compiled: bool = False):
        self._policy, window = policy, policy.config.window
        self._stride, self._frames = window.obs_stride, window.n_obs_steps
        self._memory: _Memory | None = None
        self._see: Callable[[Tensor], Tensor] = self._image_tokens
        self._think: Callable[[_Memory], Tensor] = self._chunk
        if compiled:
            mode = "reduce-overhead" if policy.mask.is_cuda else "default"
            self._see = torch.compile(self._image_tokens, mode=mode, dynamic=False)
            self._think = torch.compile(self._chunk, mode=mode, dynamic=False)

    @torch.no_grad()
    def reset(
        self,
        instructions: Sequence[str] | Int64[Tensor, "b s"],
        *,
        view_mask: Bool[Tensor, "b v"] | None = None,
        goal_rgb: UInt8[Tensor, "b 3 h w"] | None = None,
        streams: Sequence[int] | None = None,
    ) -> None:
        """Begins an episode in all streams, as many as there are instructions, or in some of the present ones.

        Args:
            instructions: Texts, or their token ids from `Policy.tokenize`.
            view_mask: False where a stream has no such camera; all have all by default.
            goal_rgb: Pictures of the goal, for policies with `goal_image`.
            streams: Which streams begin anew; the others go on.

        Raises:
            ValueError: The policy is in training mode, or `streams` before any stream exists.
        """
        policy = self._policy
        if policy.training:
            raise ValueError("the policy is in training mode, where dropout acts: call policy.eval() first")
        device, dtype = policy.mask.device, policy.embedding.state_scale.dtype
        text = instructions if isinstance(instructions, Tensor) else policy.tokenize(instructions)
        if view_mask is None:
            view_mask = torch.ones(len(text), len(policy.config.views), dtype=torch.bool)
        new = self._empty(len(text))
        new.language = policy.embedding.encode_text(text.to(device)).to(dtype)
        new.goal = None if goal_rgb is None else policy.embedding.goal_tokens(goal_rgb.to(device)).to(dtype)
        new.view_mask = view_mask.to(device)
        if streams is None:
            self._memory = new
            return
        if self._memory is None:
            raise ValueError(f"streams {list(streams)} cannot begin anew: call reset without `streams` first")
        rows = torch.tensor(list(streams), device=device)
        for name, value in vars(self._memory).items():
            if value is not None:
                setattr(self._memory, name, value.index_copy(0, rows, getattr(new, name)))

    @torch.no_grad()
    def act(self, frame: Frame) -> Float[Tensor, "b k 7"]:
        """The chunk for the step that `frame` shows, gripper as probability of open: that of `Policy.act`."""
        frame = frame.to(self._policy.mask.device)
        memory = self._remember(frame, self._see(frame.rgb))
        return self._think(memory).clone()  # a CUDA graph writes its next result to the same place

    @torch.no_grad()
    def act_with_flow(self, frame: Frame, start: Float[Tensor, "b p 3"]) -> FlowDecision:
        """As `act`, and the flow of the points `start` (as in `Targets.flow_start`) from the same pass; not compiled.

        Raises:
            ValueError: The policy predicts no flow.
        """
        policy, config = self._policy, self._policy.config
        if policy.flow is None:
            raise ValueError(f"this policy ('{config.name}') predicts no flow; use act")
        frame = frame.to(policy.mask.device)
        images = policy.embedding.encode_images(frame.rgb.flatten(0, 1))
        memory = self._remember(frame, self._tokens_of(images, frame.rgb.shape[:2]))
        tokens, frame_mask = self._window(memory)
        hidden = policy.newest(tokens, frame_mask, memory.view_mask, (*policy.flow_groups, "ACT"))
        seen = Embedded(tokens=tokens, images=images, image_of=None, shape=(len(tokens), 1, len(config.views)))
        delta, visible, _ = policy.decode_flow(
            policy.flow,
            [hidden[name] for name in policy.flow_groups],
            seen,
            [0],
            start[:, None].to(tokens.device),
            capture=False,
        )
        return FlowDecision(
            action=policy.chunk(hidden["ACT"]), flow_delta=delta[:, 0], flow_visible_logit=visible[:, 0]
        )

    def _empty(self, streams: int) -> _Memory:
        policy, config = self._policy, self._policy.config
        device, dtype = policy.mask.device, policy.embedding.state_scale.dtype
        steps, width = (self._frames - 1) * self._stride + 1, config.trunk.width
        views, per_image = len(config.views), config.resampler.latents + 1
        return _Memory(
            language=torch.zeros(streams, width, device=device, dtype=dtype),
            goal=None,
            view_mask=torch.ones(streams, views, device=device, dtype=torch.bool),
            age=torch.full((streams,), -1, device=device),
            images=torch.zeros(streams, steps, views, per_image, width, device=device, dtype=dtype),
            pose=torch.eye(4, device=device, dtype=torch.float64).expand(streams, steps, -1, -1),
            gripper=torch.zeros(streams, steps, device=device, dtype=torch.int64),
        )

    def _image_tokens(self, rgb: UInt8[Tensor, "b v 3 h w"]) -> Float[Tensor, "b v m d"]:
        return self._tokens_of(self._policy.embedding.encode_images(rgb.flatten(0, 1)), rgb.shape[:2])

    def _tokens_of(self, images: EncodedImages, shape: tuple[int, ...]) -> Float[Tensor, "b v m d"]:
        latents, cls = (x.unflatten(0, (shape[0], 1, shape[1])) for x in (images.latents, images.features.cls))
        return self._policy.embedding.image_tokens(latents, cls)[:, 0]

    def _remember(self, frame: Frame, tokens: Float[Tensor, "b v m d"]) -> _Memory:
        """Takes in the newest step and forgets the oldest."""
        memory = self._memory
        if memory is None or len(memory.age) != len(frame.rgb):
            streams = 0 if memory is None else len(memory.age)
            raise ValueError(f"{len(frame.rgb)} streams act, {streams} were begun: call reset with an instruction each")
        for name, value in (("images", tokens), ("pose", frame.T_base_tool), ("gripper", frame.gripper)):
            old: Tensor = getattr(memory, name)
            setattr(memory, name, torch.cat([old[:, 1:], value[:, None].to(old.dtype)], 1))
        memory.age = memory.age + 1
        return memory

    def _chunk(self, memory: _Memory) -> Float[Tensor, "b k 7"]:
        tokens, frame_mask = self._window(memory)
        return self._policy.chunk(self._policy.newest(tokens, frame_mask, memory.view_mask, ("ACT",))["ACT"])

    def _window(self, memory: _Memory) -> tuple[Float[Tensor, "b n d"], Bool[Tensor, "b t"]]:
        """The assembled tokens of every stream's window, right-padded, and which of its frames are real."""
        embedding, device = self._policy.embedding, memory.age.device
        lengths = (memory.age // self._stride + 1).clamp(max=self._frames)[:, None]
        back = lengths - 1 - torch.arange(self._frames, device=device)
        step = memory.images.shape[1] - 1 - self._stride * back.clamp(min=0)  # padding repeats the newest frame
        row = torch.arange(len(step), device=device)[:, None]
        arm = relative_arm(memory.pose[row, step]).to(embedding.state_scale.dtype)
        state = embedding.state_tokens(arm, memory.gripper[row, step])
        return embedding.assemble(memory.language, state, memory.images[row, step], memory.goal), back >= 0


def relative_arm(T_base_tool: Float[Tensor, "b t 4 4"]) -> Float[Tensor, "b t 6"]:
    """`Observation.state_arm` of tool poses: position and Euler angles xyz relative to the first."""
    T = invert(T_base_tool[:, :1]) @ T_base_tool
    return torch.cat([T[..., :3, 3], matrix_to_euler(T[..., :3, :3])], -1)
