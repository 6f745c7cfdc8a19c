"""Gradients against finite differences in float64: every loss term, all geometry, what decoders are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from model.attention import Attention, attention_probabilities, use_attention
from model.batch import Prediction
from model.config import ImageEncoderConfig, LossWeights, PatchDecoderConfig, PolicyConfig, preset
from model.decoders.future import warp
from model.decoders.images import restore_patches
from model.decoders.patch import patchify, unpatchify
from model.geometry import flow_in_camera, flow_in_image, invert, matrix_to_euler, project, rigid, unproject
from model.inference import relative_arm
from model.losses import kl_to_standard_normal, loss_terms, masked_mean
from tests.policy_factories import make_observation, make_targets
from trainer.episodes.rotations import rotation_matrix

SIZE = 8


def _config(
    loss: LossWeights | None = None,
    *,
    norm_pix: bool = False,
    predict_depth: bool = True,
    coordinates: Literal["image", "camera"] = "image",
) -> PolicyConfig:
    """Eight pixels a side in patches of four: few numbers, every term."""
    tiny = preset("tiny")
    decoder = PatchDecoderConfig(patch_size=4, width=32, layers=1, heads=2)
    return replace(
        tiny,
        image_size=SIZE,
        image=ImageEncoderConfig(kind="stub", width=32, patch_size=4),
        depth=decoder,
        future=decoder,
        flow=replace(tiny.flow, predict_depth=predict_depth, coordinates=coordinates),
        norm_pix=norm_pix,
        loss=loss or LossWeights(flow_velocity=0.1),
    )


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _case(config: PolicyConfig) -> tuple[Prediction, Callable[[str, Tensor], Tensor]]:
    """A prediction, and all its loss terms as a function of one of its fields; masks and weights are mixed."""
    observation, targets = make_observation(config, batch=2), make_targets(config, batch=2, frames=(2,), points=3)
    rng = torch.Generator().manual_seed(5)
    mixed = {
        name: torch.rand(getattr(targets, name).shape, generator=rng) > 0.3
        for name in ("depth_valid", "future_depth_valid", "future_mask", "action_mask")
    }
    weight = torch.tensor([0.0, 0.1, 1.0])[torch.randint(3, targets.flow_weight.shape, generator=rng)]
    mixed |= {"action": targets.action.double()}
    targets = replace(targets, **mixed, flow_weight=weight, progress=torch.rand(2, 3, generator=rng))
    views = (2, 1, 2, SIZE, SIZE)
    prediction = Prediction(
        depth=0.7 + 0.1 * _random(*views),
        future_rgb=0.5 + 0.1 * _random(2, 1, 2, 3, SIZE, SIZE, seed=1),
        future_depth=0.7 + 0.1 * _random(*views, seed=2),
        flow_delta=0.1 * _random(*targets.flow_delta.shape, seed=3),
        flow_visible_logit=_random(*targets.flow_weight.shape, seed=4),
        action=_random(*targets.action.shape, seed=5),
        progress=_random(2, 3, seed=6),
        latent_mean=_random(2, 3, 4, seed=7),
        latent_logvar=_random(2, 3, 4, seed=8),
    )

    def terms(field: str, value: Tensor) -> Tensor:
        found = loss_terms(replace(prediction, **{field: value}), targets, observation, config)
        return torch.stack([item.double() for item in found.values()])

    return prediction, terms


FIELDS = (
    "depth", "future_rgb", "future_depth", "flow_delta", "flow_visible_logit", "action", "progress", "latent_mean",
    "latent_logvar",
)  # fmt: skip
FORMS: dict[str, tuple[PolicyConfig, tuple[str, ...]]] = {
    "default": (_config(), FIELDS),
    "norm_pix": (_config(norm_pix=True), ("future_rgb",)),
    "flow_2d": (_config(predict_depth=False), ("flow_delta",)),
    "flow_camera": (_config(coordinates="camera"), ("flow_delta",)),
    **{
        f"depth_{form}": (_config(LossWeights(depth_form=form)), ("depth", "future_depth"))
        for form in ("l1", "silog", "ssi")
    },
    **{
        f"flow_{form}": (_config(LossWeights(flow_form=form, flow_velocity=0.1)), ("flow_delta",))
        for form in ("l1", "mse")
    },
}


@pytest.mark.parametrize(("form", "field"), [(form, field) for form, (_, fields) in FORMS.items() for field in fields])
def test_loss_terms(form: str, field: str) -> None:
    prediction, terms = _case(FORMS[form][0])
    value = getattr(prediction, field).requires_grad_()
    assert gradcheck(lambda x: terms(field, x), (value,), atol=1e-6, fast_mode=True)  # along random directions
    gradient = torch.autograd.grad(terms(field, value).sum(), value)[0]
    assert gradient.any(), "the term does not depend on what it judges"


def test_means_and_divergence() -> None:
    x, y = _random(3, 4).requires_grad_(), _random(3, 4, seed=1).requires_grad_()
    weight = torch.rand(3, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert gradcheck(lambda value: masked_mean(value.square(), weight), (x,))
    assert gradcheck(kl_to_standard_normal, (x, y))


def _rotation(seed: int = 0) -> Tensor:
    return torch.from_numpy(rotation_matrix(_random(2, 4, seed=seed).numpy()))


def _pose(seed: int = 0) -> Tensor:
    return rigid(_rotation(seed), _random(2, 3, seed=seed + 50))


def _camera() -> Tensor:
    return torch.tensor([[90.0, 0, 31], [0, 80, 33], [0, 0, 1]], dtype=torch.float64).expand(2, -1, -1).clone()


def _ahead() -> Tensor:
    """Points in front of a camera, or pixels with their depth."""
    return _random(2, 3, seed=9) * 0.1 + torch.tensor([0.1, -0.2, 1.5], dtype=torch.float64)


def _flow() -> tuple[Tensor, Tensor, Tensor]:
    """Two start points, one in each of two views, their displacements and the cameras."""
    return _ahead()[None, None], 0.1 * _random(1, 1, 2, 2, 3), _camera()[None]


OPERATIONS: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = {
    "unproject": (unproject, (_ahead(), _camera())),
    "project": (project, (_ahead(), _camera())),
    "invert": (invert, (_pose(),)),
    "rigid": (rigid, (_rotation(), _random(2, 3))),
    "matrix_to_euler": (matrix_to_euler, (_rotation(),)),
    "flow_in_camera": (flow_in_camera, _flow()),
    "flow_in_image": (flow_in_image, _flow()),
    "relative_arm": (relative_arm, (_pose()[None],)),
    "patchify": (lambda x: patchify(x, 2), (_random(1, 3, 4, 4),)),
    "unpatchify": (lambda x: unpatchify(x, 2), (_random(1, 4, 12),)),
    "restore_patches": (lambda x: restore_patches(x, _random(1, 3, 4, 4, seed=1), 2), (_random(1, 3, 4, 4),)),
    "attention": (
        lambda q, k: attention_probabilities(q, k, torch.ones(3, 3).tril().bool()[None, None]),
        (_random(1, 2, 3, 4), _random(1, 2, 3, 4, seed=1)),
    ),
}


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_operations(name: str) -> None:
    operation, inputs = OPERATIONS[name]
    many = sum(value.numel() for value in inputs) > 100
    assert gradcheck(operation, tuple(value.clone().requires_grad_() for value in inputs), atol=1e-6, fast_mode=many)


def test_every_operation_of_geometry_is_checked() -> None:
    import model.geometry as geometry

    defined = {
        name
        for name, value in vars(geometry).items()
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", "") == geometry.__name__
    }
    assert defined <= OPERATIONS.keys()


def test_warp() -> None:
    """Between pixel centres; at them bilinear interpolation has a kink."""
    assert gradcheck(
        lambda image, motion: warp(image, 0.05 * motion),
        (_random(1, 2, 6, 6).requires_grad_(), _random(1, 2, 3, 3, seed=1).requires_grad_()),
        eps=1e-7,
        atol=1e-5,
    )


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_masked_attention(implementation: str) -> None:
    torch.manual_seed(0)
    attention = Attention(8, 2).double()
    use_attention(attention, implementation)  # pyright: ignore[reportArgumentType]
    mask = torch.ones(4, 4).tril().bool()[None, None]
    assert gradcheck(lambda x: attention(x, mask=mask)[0], (_random(2, 4, 8).requires_grad_(),))
