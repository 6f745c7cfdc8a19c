"""One optimizer update: forward, losses, backward, guard, clip, step, average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.optim import AdamW

from model.batch import Observation, Targets
from model.config import PolicyConfig
from model.losses import active_latents, loss_terms, total_loss
from model.policy import Policy

from .ema import Ema

Precision = Literal["fp32", "bf16"]
CLIP_NORM = 1.0
WATCHED = frozenset({"latent_active"})
FORESIGHT = frozenset({"depth", "future", "flow"})
ALL_DECODERS = FORESIGHT | {"action", "progress"}


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What one update did.

    Attributes:
        terms: Every loss term, unweighted, and `total`, the weighted sum that was minimised.
        watched: What is not minimised but says how training goes: `latent_active`, the dimensions of the action CVAE's
            posterior that vary over the batch (phase 2).
        grad_norm: Before clipping.
        applied: False when loss or gradient was not finite and the update was skipped.
    """

    terms: dict[str, float]
    watched: dict[str, float]
    grad_norm: float
    applied: bool


class Updater:
    """Makes updates of one policy. Under DDP, `policy` is what gets wrapped; nothing else here changes.

    Args:
        policy: On `device`, in float32.
        config: Its configuration, with the loss weights.
        precision: bf16 runs the forward pass under autocast; weights, losses and optimizer stay float32.
        seed: All random draws of update n (dropout, the action latent) are a function of (seed, n), so a resumed run
            needs no generator state.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        config: PolicyConfig,
        optimizer: AdamW,
        ema: Ema,
        precision: Precision,
        device: torch.device,
        seed: int,
        compiled: bool = False,
    ) -> None:
        self.policy, self._optimizer, self._ema = policy, optimizer, ema
        self._config, self._device, self._seed = config, device, seed
        self._autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
        # The compiled wrapper is only ever called; names and state stay those of the plain policy.
        self._forward = torch.compile(policy, dynamic=False) if compiled else policy

    def update(self, batches: Sequence[tuple[Observation, Targets]], *, step: int, lr: float, phase: int) -> StepResult:
        """Applies update number `step` from the gradients of `batches` together (more than one = accumulation)."""
        torch.manual_seed(self._seed * 1_000_003 + step)
        self.policy.train()
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._optimizer.zero_grad(set_to_none=True)
        summed: dict[str, torch.Tensor] = {}
        for observation, targets in batches:
            terms, watched = self._terms(observation, targets, phase)
            total = total_loss(terms, self._config.loss, with_action=phase == 2)
            (total / len(batches)).backward()
            for name, value in {**terms, "total": total, **watched}.items():
                summed[name] = summed.get(name, torch.zeros((), device=self._device)) + value.detach() / len(batches)
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), CLIP_NORM)
        # One transfer for everything that is read on the host: the only point where a GPU is waited for.
        values = torch.stack([norm, *summed.values()]).float().tolist()
        finite = bool(torch.isfinite(torch.tensor(values)).all())
        if finite:
            self._optimizer.step()
            self._ema.update()
        named = dict(zip(summed, values[1:], strict=True))
        watched = {name: named.pop(name) for name in WATCHED & named.keys()}
        return StepResult(terms=named, watched=watched, grad_norm=values[0], applied=finite)

    def _terms(
        self, observation: Observation, targets: Targets, phase: int
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """The loss terms, and what is watched beside them."""
        observation = observation.to(self._device, non_blocking=True)
        targets = targets.to(self._device, non_blocking=True)
        with self._autocast:
            prediction = self._forward(
                observation,
                frames=targets.frames,
                flow_start=targets.flow_start,
                action=targets.action if phase == 2 else None,
                decoders=ALL_DECODERS if phase == 2 else FORESIGHT,
            )
        watched: dict[str, torch.Tensor] = {}
        if prediction.latent_mean is not None:
            acted = observation.frame_mask & targets.action_mask.any(-1)
            watched["latent_active"] = active_latents(prediction.latent_mean, acted)
        return loss_terms(prediction, targets, observation, self._config), watched
