"""Which trunk outputs each decoder reads: proved separately from the trunk, with zero-initialised heads drawn.

Dimensions: b batch, t frame, v view, n token of a frame, d width, p point.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from model.batch import Prediction
from model.embedding import Embedded
from model.policy import ALL_DECODERS, Policy

from .declared import Rule, Spec
from .evidence import Evidence
from .findings import Findings, Reproduction
from .perturbation import Trial, note_trials, replace
from .policy import PolicySubject, redraw_zeros
from .readers import POINTS, Reader, readers
from .report import Cell, Group
from .sequence import TokenTable
from .verdict import judge


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
    start = torch.rand(1, 1, POINTS * len(config.flow_views), 3, device=device)
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
        (gradient,) = torch.autograd.grad(
            (value * direction).sum() / direction.norm(),
            x,
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
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
    """Every group of the frame by itself and all other frames at once; these one by one where that shows a change."""
    columns = _columns(table, hidden)
    place = torch.full((table.length,), -1).index_copy(0, columns, torch.arange(len(columns)))
    when = table.frame[columns]
    parts = [columns[table.group[columns] == group] for group in table.group[columns].unique()]
    found, clean = Evidence.of(table.length), decode(hidden)

    def run(trials: list[Trial]) -> bool:
        change = torch.full((len(trials), table.length), torch.nan)
        for trial, moved in zip(trials, change, strict=True):
            there = Trial(keys=place[trial.keys], block=True)
            made = decode(replace(hidden.flatten(1, 2), [there], seed=1).unflatten(1, hidden.shape[1:3]))
            for reader in wanted:
                before, after = (_value(reader, prediction, frame) for prediction in (clean, made))
                moved[_row(table, reader, frame)] = (before - after).abs().max().cpu()
        return note_trials(found, trials, change, declared)

    own = [Trial(keys=keys[table.frame[keys] == frame], block=True) for keys in parts]
    others = columns[when != frame]
    if run([*own, *([Trial(keys=others, block=False)] if len(others) else [])]):
        split = [keys[side] for keys in parts for side in (table.frame[keys] < frame, table.frame[keys] > frame)]
        run([Trial(keys=keys, block=True) for keys in split if len(keys)])
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
