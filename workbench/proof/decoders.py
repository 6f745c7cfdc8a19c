"""Which trunk outputs each decoder reads: proved separately from the trunk, with zero-initialised heads drawn.

Dimensions: b batch, t frame, v view, n token of a frame, d width, p point.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from model.batch import Prediction
from model.config import PolicyConfig
from model.embedding import Embedded
from model.policy import ALL_DECODERS, Policy

from .declared import Rule, Spec
from .evidence import Evidence
from .perturbation import Trial, note_trials, replace
from .policy import PolicySubject, redraw_zeros
from .report import Cell, Group
from .sequence import TokenTable
from .verdict import Findings, Reproduction, judge

POINTS = 16
_LETTERS = {"static": "S", "wrist": "W"}
Read = Callable[[Prediction], Tensor]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One output of a decoder.

    Attributes:
        name: For reports.
        groups: What it may read, in its own frame.
        value: Picks it from the prediction of one frame: (b, ...).
        detached: Of these, the groups that it reads without a gradient.
    """

    name: str
    groups: tuple[str, ...]
    value: Read
    detached: tuple[str, ...] = ()


def readers(config: PolicyConfig) -> list[Reader]:
    """Every decoder output that a configuration stands for, and the trunk outputs it may read."""
    found: list[Reader] = []
    sources = {
        "image_tokens": ("{}_PATCH", "{}_CLS"),
        "future_query": ("FUT_{}",),
        "depth_query": ("DEPTH_{}",),
    }[config.depth_source]
    for index, view in enumerate(config.views):
        letter = _LETTERS[view]
        depth = tuple(name.format(letter) for name in sources)
        if "depth" in config.foresight:
            found.append(Reader(name=f"depth, {view}", groups=depth, value=_view("depth", index)))
        if "future" in config.foresight:
            future = (f"FUT_{letter}",)
            found.append(Reader(name=f"future RGB, {view}", groups=future, value=_view("future_rgb", index)))
            if config.future_depth:
                # The composed future depth starts from the predicted current one, through which no gradient flows.
                blended = depth if config.future_readout == "composite" else ()
                detached = tuple(name for name in blended if name not in future)
                reads = tuple(dict.fromkeys((*future, *blended)))
                name = f"future depth, {view}"
                found.append(Reader(name=name, groups=reads, value=_view("future_depth", index), detached=detached))
    if "flow" in config.foresight:
        found.append(Reader(name="flow", groups=("FLOW",), value=_flow))
    found.append(Reader(name="action", groups=("ACT",), value=lambda prediction: _whole(prediction.action)))
    if config.progress:
        found.append(Reader(name="progress", groups=("PROG",), value=lambda prediction: _whole(prediction.progress)))
    return found


def _view(field: str, index: int) -> Read:
    return lambda prediction: _whole(getattr(prediction, field))[:, :, index]


def _flow(prediction: Prediction) -> Tensor:
    visible = _whole(prediction.flow_visible_logit)
    return torch.cat([_whole(prediction.flow_delta), visible[..., None]], -1)


def _whole(value: Tensor | None) -> Tensor:
    if value is None:
        raise LookupError("a decoder that the configuration has made no prediction")
    return value


def prove_decoders(policy: Policy, frame: int, *, expression: str, seed: int = 0) -> tuple[Cell, ...]:
    """Cells decoder <- group for one frame's predictions, by gradient and by replacement.

    Args:
        policy: Its zero-initialised parameters are drawn meanwhile.
        frame: Whose predictions are decoded.
        expression: Python that makes the subject, for reproducers.
        seed: Of the trunk outputs and images, which are random.
    """
    names = {reader.name for reader in readers(policy.config)}
    table, declared, gradient, perturbation = _measure(policy, frame, seed)
    reading = torch.tensor([group.name in names for group in table.groups])
    rows = reading[table.group] & (table.frame == frame)
    found = Findings(declared=declared, expected=declared, rows=rows, gradient=gradient, perturbation=perturbation)
    again = Reproduction(expression=expression, mode=str(frame), seed=seed, function="decoder_influence")
    return tuple(cell for cell in judge(table, found, again) if cell.attended not in names)


def decoder_influence(
    subject: PolicySubject, frame: str, row: int, column: int, *, seed: int = 0
) -> tuple[float, float]:
    """The influence of one trunk output on one decoder output: (gradient, change when its group is replaced)."""
    _, _, gradient, perturbation = _measure(subject.policy, int(frame), seed)
    return float(gradient.magnitude[row, column]), float(perturbation.magnitude[row, column])


def _measure(policy: Policy, frame: int, seed: int) -> tuple[TokenTable, Tensor, Evidence, Evidence]:
    """Layout of trunk outputs and readers, the declared pairs, and what both methods measured."""
    wanted = readers(policy.config)
    table, spec = _table(policy, wanted)
    declared = spec.mask(table)
    with _drawn(policy), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decode = _decoder(policy, frame)
        hidden = torch.randn(1, *_sizes(policy), device=policy.mask.device)
        gradient = _gradients(table, wanted, decode, hidden, frame)
        perturbation = _perturbations(table, wanted, decode, hidden, frame, declared)
    return table, declared, gradient, perturbation


def _sizes(policy: Policy) -> tuple[int, int, int]:
    return policy.layout.n_frames, policy.layout.frame_length, policy.config.trunk.width


def _table(policy: Policy, wanted: list[Reader]) -> tuple[TokenTable, Spec]:
    """Trunk outputs and, as further tokens of every frame, what is decoded from them."""
    groups = [Group(name=group.name, count=group.count) for group in policy.layout.groups]
    groups += [Group(name=reader.name, count=1) for reader in wanted]
    rules = [Rule(attender=(reader.name,), attended=reader.groups, same="all") for reader in wanted]
    table = TokenTable(groups=tuple(groups), n_frames=policy.layout.n_frames)
    return table, Spec(name="decoders", rules=tuple(rules))


def _decoder(policy: Policy, frame: int) -> Callable[[Tensor], Prediction]:
    """Trunk outputs to the prediction of one frame, with images that are encoded once."""
    config, device = policy.config, policy.mask.device
    shape = (config.window.n_obs_steps, len(config.views))
    size = config.image_size
    rgb = torch.randint(0, 256, (shape[1], 3, size, size), dtype=torch.uint8, device=device)
    with torch.no_grad():
        images = policy.embedding.encode_images(rgb)
    start = torch.rand(1, 1, POINTS, 3, device=device)
    decoders = ALL_DECODERS & {*config.foresight, "action", "progress"}

    def decode(hidden: Float[Tensor, "b t n d"]) -> Prediction:
        b = len(hidden)
        image_of = torch.arange(shape[1], device=device).expand(b, *shape)
        seen = Embedded(tokens=hidden.flatten(1, 2), images=images, image_of=image_of, shape=(b, *shape))
        flow_start = start.expand(b, -1, -1, -1) if "flow" in config.foresight else None
        return policy.decode(
            hidden, seen, frames=torch.tensor([frame]), flow_start=flow_start, decoders=frozenset(decoders)
        )

    return decode


def _row(table: TokenTable, reader: Reader, frame: int) -> Tensor:
    return table.positions(table.index(reader.name), frame)


def _value(reader: Reader, prediction: Prediction, frame: int) -> Tensor:
    """What a reader says about the frame; actions and progress come for all frames."""
    value = reader.value(prediction)
    return value[:, frame] if reader.name in ("action", "progress") else value


def _gradients(
    table: TokenTable, wanted: list[Reader], decode: Callable[[Tensor], Prediction], hidden: Tensor, frame: int
) -> Evidence:
    """D (value . u) / d hidden for every reader; groups read without a gradient stay unmeasured."""
    found = Evidence.of(table.length)
    columns = _columns(table, hidden)
    x = hidden.clone().requires_grad_()
    prediction = decode(x)
    for reader in wanted:
        value = _value(reader, prediction, frame)
        direction = torch.randn_like(value)
        direction = direction / direction.norm()
        options = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
        (gradient,) = torch.autograd.grad(value, x, direction, **options)
        size = gradient[0].abs().amax(-1).flatten().double().cpu()
        hidden_from_gradient = torch.tensor([group.name in reader.detached for group in table.groups])
        size[hidden_from_gradient[table.group[columns]]] = torch.nan
        found.add(_row(table, reader, frame), columns, size, alone=True)
    return found


def _columns(table: TokenTable, hidden: Tensor) -> Tensor:
    """Positions in the table of the trunk outputs, frame after frame."""
    length = table.length // table.n_frames
    return torch.cat([torch.arange(hidden.shape[2]) + frame * length for frame in range(table.n_frames)])


@torch.no_grad()
def _perturbations(
    table: TokenTable,
    wanted: list[Reader],
    decode: Callable[[Tensor], Prediction],
    hidden: Tensor,
    frame: int,
    declared: Tensor,
) -> Evidence:
    """Every group of the frame by itself; of the other frames, group by group, all frames before or after at once."""
    columns = _columns(table, hidden)
    place = {int(position): index for index, position in enumerate(columns)}
    trials: list[Trial] = []
    for group in sorted(set(table.group[columns].tolist())):
        keys = table.positions(group)
        when = table.frame[keys]
        parts = (keys[when == frame], keys[when < frame], keys[when > frame])
        trials += [Trial(keys=part, block=True) for part in parts if len(part)]
    flat = hidden.flatten(1, 2)
    clean = decode(hidden)
    found = Evidence.of(table.length)
    for trial in trials:
        moved = Trial(keys=torch.tensor([place[int(key)] for key in trial.keys]), block=True)
        made = decode(replace(flat, [moved], seed=1).unflatten(1, hidden.shape[1:3]))
        change = torch.full((1, table.length), torch.nan)
        for reader in wanted:
            before, after = (_value(reader, prediction, frame) for prediction in (clean, made))
            change[0, _row(table, reader, frame)] = (before - after).abs().max().cpu()
        note_trials(found, [trial], change, declared)
    return found


@contextmanager
def _drawn(policy: Policy) -> Generator[None, None, None]:
    """Zero-initialised parameters drawn, evaluation mode, no gradients of parameters; restored afterwards."""
    parts = [part for part in (policy.images, policy.flow, policy.action, policy.progress) if part is not None]
    parameters = [parameter for part in parts for parameter in part.parameters()]
    zeros = [parameter for parameter in parameters if not bool(parameter.any())]
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    training = policy.training
    try:
        policy.eval()
        for parameter in trained:
            parameter.requires_grad_(False)
        for part in parts:
            redraw_zeros(part)
        yield
    finally:
        policy.train(training)
        for parameter in trained:
            parameter.requires_grad_(True)
        with torch.no_grad():
            for parameter in zeros:
                parameter.zero_()
