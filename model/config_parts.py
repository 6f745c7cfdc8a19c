"""The parts of a policy's configuration. Each checks its own numbers and says which field is wrong.

Every item that the paper (arXiv 2502.10028) leaves open is one field; numbers without a source are our choice.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from .config_check import added, divides, positive, require


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowConfig:
    """Time, counted in control steps of the data set.

    Attributes:
        n_obs_steps: Frames in the window (T).
        obs_stride: Control steps between two frames of the window.
        future_offset: The future frame lies this many control steps ahead (n).
        flow_steps: Horizon of the 3D flow (L) ...
        flow_stride: ... and the control steps between two of them.
        chunk_size: Actions predicted, at the control rate (A).
        goal_horizon: A goal image lies at most this many control steps after the newest frame (GR-MG).
    """

    n_obs_steps: int = 10
    obs_stride: int = 1
    future_offset: int = 3
    flow_steps: int = 5
    flow_stride: int = 1
    chunk_size: int = 5
    goal_horizon: int = added(25)

    def __post_init__(self) -> None:
        positive("window", self, *(item.name for item in dataclasses.fields(self)))

    @property
    def horizon(self) -> int:
        """Control steps needed after the newest frame so that all its targets exist."""
        return max(self.future_offset, self.flow_steps * self.flow_stride, self.chunk_size)


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """Scales of the training data, measured by the trainer and stored with the weights.

    Attributes:
        depth_mean, depth_std: Metres, one entry a view, in the order of `PolicyConfig.views`.
        flow_scale_xy: One unit of lateral flow, as a fraction of the image side.
        flow_scale_depth: One unit of flow along the optical axis, metres.
        flow_scale_lateral: One unit of flow across it, metres; used only with `flow.coordinates = "camera"`.
        action_metres_per_unit, action_radians_per_unit: What an action entry of 1 commands; metrics in mm and degrees.
    """

    depth_mean: tuple[float, ...] = (1.0, 0.3)
    depth_std: tuple[float, ...] = (0.4, 0.3)
    flow_scale_xy: float = 0.05
    flow_scale_depth: float = 0.05
    action_metres_per_unit: float = 0.05
    action_radians_per_unit: float = 0.5
    flow_scale_lateral: float = added(0.05)

    def __post_init__(self) -> None:
        positive("stats", self, "flow_scale_xy", "flow_scale_depth", "flow_scale_lateral")
        positive("stats", self, "action_metres_per_unit", "action_radians_per_unit")
        require(min(self.depth_std) > 0, f"stats.depth_std must be > 0, got {self.depth_std}")
        require(
            len(self.depth_mean) == len(self.depth_std),
            f"stats.depth_mean and stats.depth_std need one entry a view, got {self.depth_mean} and {self.depth_std}",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LossWeights:
    """Weights of the sum. The first four are those of the paper (arXiv 2502.10028); the others weigh terms inside them.

    Attributes:
        action, depth, future, flow: 1, beta, gamma, delta.
        gripper, kl: Beside the arm's smooth L1 inside the action loss (GR-MG).
        future_depth: Beside future RGB.
        flow_visibility: Binary cross-entropy of visibility, beside the flow's smooth L1.
        flow_velocity: Error of successive displacement differences, beside the flow's smooth L1.
        flow_beta: Where the flow's smooth L1 turns from square to linear, in normalised units.
        depth_form: Error of the current and future depth. `mse`, `l1`: mean square or mean absolute of (depth - mean) /
            std. `silog`: mean g^2 - 0.5 (mean g)^2 of g = ln(depth) - ln(true). `ssi`: mean square after the best scale
            and shift of every image, for depth known up to those (relative pseudo-depth).
        flow_form: Error of the flow: smooth L1, mean square or mean absolute.
        flow_occluded: Weight of a point that is tracked but hidden, beside 1 for a visible one (the convention of
            Any-point Trajectory Modeling).
        progress: Square error of the task progress (GR-MG).
        pseudo: Weight of the depth and flow errors of a window whose depth or tracks are estimated labels, beside 1.
    """

    action: float = 1.0
    depth: float = 0.05
    future: float = 0.1
    flow: float = 0.1
    gripper: float = 0.01
    kl: float = 1.0
    future_depth: float = 1.0
    flow_visibility: float = 0.05
    flow_velocity: float = 0.0
    flow_beta: float = 0.1
    depth_form: Literal["mse", "l1", "silog", "ssi"] = "mse"
    flow_form: Literal["smooth_l1", "mse", "l1"] = added("smooth_l1")
    flow_occluded: float = added(0.1)
    progress: float = added(1.0)
    pseudo: float = added(0.5)

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            require(isinstance(value, str) or value >= 0, f"loss.{item.name} must be >= 0, got {value}")
        positive("loss", self, "flow_beta")


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenConfig:
    """How many query tokens a frame has, in which order, and who may look at whom.

    Attributes:
        flow: FLOW queries a frame.
        future: FUTURE queries a frame and view.
        action: ACT queries a frame.
        depth: DEPTH queries a frame and view; used only with `depth_source = "depth_query"`.
        query_order: Order of the query groups inside a frame; PROG (task progress) stands last where it is not named.
        time_on_queries: Adds the time embedding to the queries as well.
        input_causality: `frame`: inputs of a frame see one another; `token`: lower triangle inside the frame (GR-MG).
        query_group_attn: `group`: the queries of one group see one another; `none`: not even themselves (GR-MG).
        future_sees_flow: FUTURE queries see the FLOW queries of their frame.
        act_sees_future: ACT queries see the FUTURE queries of their frame.
        future_cross_view: FUTURE queries of one view see those of the other.
    """

    flow: int = 10
    future: int = 10
    action: int = 1
    depth: int = 10
    query_order: tuple[Literal["DEPTH", "FLOW", "FUT", "ACT", "PROG"], ...] = ("DEPTH", "FLOW", "FUT", "ACT")
    time_on_queries: bool = True
    input_causality: Literal["frame", "token"] = "frame"
    query_group_attn: Literal["group", "none"] = "group"
    future_sees_flow: bool = True
    act_sees_future: bool = False
    future_cross_view: bool = False

    def __post_init__(self) -> None:
        positive("tokens", self, "flow", "future", "action", "depth")
        require(
            sorted({*self.query_order, "PROG"}) == ["ACT", "DEPTH", "FLOW", "FUT", "PROG"]
            and len(set(self.query_order)) == len(self.query_order),
            f"tokens.query_order must hold DEPTH, FLOW, FUT, ACT (and PROG if you like) once each, got "
            f"{self.query_order}",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrunkConfig:
    """The causal transformer.

    Attributes:
        width, layers, heads, mlp_ratio: Of GR-MG's trunk: 384, 12, 12, 4.
        dropout: Of embeddings, attention and residuals alike.
        checkpointing: Recomputes the layers in the backward pass: less memory, a third more work.
    """

    width: int = 384
    layers: int = 12
    heads: int = 12
    mlp_ratio: int = 4
    dropout: float = 0.1
    checkpointing: bool = False

    def __post_init__(self) -> None:
        positive("trunk", self, "width", "layers", "heads", "mlp_ratio")
        divides("trunk", self, "width", "heads")
        require(0 <= self.dropout < 1, f"trunk.dropout must be in [0, 1), got {self.dropout}")
