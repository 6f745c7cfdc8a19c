"""Decoders: patches in their places, points for themselves, a composite that starts as the current image."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.config import PatchDecoderConfig, PolicyConfig, preset
from model.decoders.action import ActionDecoder, sample_latent
from model.decoders.flow import FlowDecoder, fourier_features
from model.decoders.future import FutureDecoder, warp
from model.decoders.images import patch_statistics, restore_patches
from model.decoders.patch import PatchDecoder, patchify, sincos_position, unpatchify
from model.encoders.image_features import ImageFeatures
from tests.policy_factories import composite_tiny

CHANNELS = (8, 16, 32)


def _features(n: int = 2, size: int = 32) -> ImageFeatures:
    rng = torch.Generator().manual_seed(0)
    maps = [torch.randn(n, c, size // s, size // s, generator=rng) for c, s in zip(CHANNELS, (4, 8, 16), strict=True)]
    patches = maps[-1].flatten(2).transpose(1, 2)
    return ImageFeatures(cls=patches.mean(1), patches=patches, maps=tuple(maps))


def _draw_zeros(module: torch.nn.Module) -> None:
    for parameter in module.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)


def test_patch_order_is_row_column_y_x_channel() -> None:
    image = torch.arange(2 * 3 * 4 * 6.0).reshape(2, 3, 4, 6)[:, :, :, :4]
    patches = patchify(image, 2)
    assert patches.shape == (2, 4, 12)
    expected = [image[0, c, 2 + y, 0 + x] for y in range(2) for x in range(2) for c in range(3)]
    assert patches[0, 2].tolist() == [float(value) for value in expected]
    assert torch.equal(unpatchify(patches, 2), image)


def test_positions_are_distinct() -> None:
    position = sincos_position(8, 32)
    assert position.shape == (64, 32)
    assert (torch.cdist(position, position) + torch.eye(64)).min() > 0.1


@pytest.mark.parametrize(
    "config",
    [
        PatchDecoderConfig(patch_size=8, width=32, layers=1, heads=2),
        PatchDecoderConfig(patch_size=16, width=32, layers=1, heads=2, patch_input="current_features"),
        PatchDecoderConfig(patch_size=16, width=32, layers=1, heads=2, patch_input="current_features", refine=8),
        PatchDecoderConfig(patch_size=8, width=32, layers=2, heads=2, activation="relu", refine=8),
    ],
)
def test_patch_decoder_shapes_and_dependence(config: PatchDecoderConfig) -> None:
    torch.manual_seed(0)
    decoder = PatchDecoder(config, conditioning=16, image_size=32, channels=2, map_channels=CHANNELS)
    tokens, features = torch.randn(2, 5, 16), _features()
    out, coarse = decoder(tokens, features)
    assert out.shape == (2, 2, 32, 32)
    assert coarse is None
    assert not torch.allclose(out, decoder(tokens + 1, features)[0])
    shifted = replace(features, maps=tuple(level + 1 for level in features.maps), patches=features.patches + 1)
    uses_features = config.refine > 0 or config.patch_input == "current_features"
    assert torch.equal(out, decoder(tokens, shifted)[0]) != uses_features


def test_warp_by_nothing_is_the_image() -> None:
    image = torch.randn(1, 3, 32, 32)
    assert torch.allclose(warp(image, torch.zeros(1, 2, 8, 8)), image, atol=1e-5)


def test_warp_looks_up_where_motion_points() -> None:
    """Motion is (x, y) in image sides: out(x) = in(x + motion)."""
    image = torch.randn(1, 1, 32, 32)
    motion = torch.zeros(1, 2, 8, 8)
    motion[:, 0], motion[:, 1] = 4 / 32, -2 / 32
    moved = warp(image, motion)
    assert torch.allclose(moved[..., 2:, :28], image[..., :30, 4:], atol=1e-4)


def _future(config: PolicyConfig) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    torch.manual_seed(0)
    decoder = FutureDecoder(config, CHANNELS)
    rgb, depth = torch.randn(2, 3, 32, 32), torch.randn(2, 1, 32, 32)
    tokens = torch.randn(2, config.tokens.future, config.trunk.width)
    future_rgb, future_depth = decoder(tokens, _features(), rgb, depth)
    return future_rgb, future_depth, rgb, depth


def test_composite_starts_near_the_current_image() -> None:
    future_rgb, future_depth, rgb, depth = _future(composite_tiny())
    assert future_depth is not None
    copy = (future_rgb - rgb).square().mean() / rgb.var()
    assert copy < 0.05
    assert (future_depth - depth).square().mean() / depth.var() < 0.05


def test_composite_leaves_the_current_depth_to_its_own_loss() -> None:
    torch.manual_seed(0)
    config = composite_tiny()
    decoder = FutureDecoder(config, CHANNELS)
    depth = torch.randn(2, 1, 32, 32, requires_grad=True)
    tokens = torch.randn(2, config.tokens.future, config.trunk.width)
    _, future_depth = decoder(tokens, _features(), torch.randn(2, 3, 32, 32), depth)
    assert future_depth is not None
    future_depth.square().sum().backward()
    assert depth.grad is None


def test_absolute_readout_ignores_the_current_image() -> None:
    config = replace(composite_tiny(), future_readout="absolute")
    first = _future(config)[0]
    decoder = FutureDecoder(config, CHANNELS)
    assert first.shape == (2, 3, 32, 32)
    no_depth = replace(config, future_depth=False)
    assert _future(no_depth)[1] is None
    assert sum(decoder.splits) == 4


@pytest.mark.parametrize("attention", ["cross", "full"])
def test_flow_starts_at_zero(attention: str) -> None:
    config = preset("tiny")
    config = replace(config, flow=replace(config.flow, attention=attention))
    decoder = FlowDecoder(config, (32,))
    features = ImageFeatures(cls=torch.zeros(2, 32), patches=torch.zeros(2, 16, 32), maps=(torch.zeros(2, 32, 4, 4),))
    delta, visible, captured = decoder(torch.randn(2, 4, 64), torch.rand(2, 7, 3), features)
    assert delta.shape == (2, 7, 3, 3)
    assert visible.shape == (2, 7, 3)
    assert not delta.any()
    assert not visible.any()
    assert captured == []


def test_cross_flow_of_a_point_does_not_depend_on_the_others() -> None:
    torch.manual_seed(0)
    config = composite_tiny()
    decoder = FlowDecoder(config, CHANNELS)
    _draw_zeros(decoder)
    tokens, start, features = torch.randn(2, 4, 64), torch.rand(2, 9, 3), _features()
    delta, visible, _ = decoder(tokens, start, features)
    few, few_visible, _ = decoder(tokens, start[:, [5, 2]], features)
    assert torch.allclose(delta[:, [5, 2]], few, atol=1e-6)
    assert torch.allclose(visible[:, [5, 2]], few_visible, atol=1e-6)
    assert not torch.allclose(delta[:, 0], delta[:, 1], atol=1e-4)


def test_flow_reads_start_depth_only_if_told() -> None:
    torch.manual_seed(0)
    start = torch.rand(1, 3, 3)
    deeper = start + torch.tensor([0.0, 0.0, 1.0])
    for reads in (False, True):
        config = composite_tiny()
        decoder = FlowDecoder(replace(config, flow=replace(config.flow, start_depth=reads)), CHANNELS)
        _draw_zeros(decoder)
        tokens, features = torch.randn(1, 4, 64), _features(1)
        same = torch.equal(decoder(tokens, start, features)[0], decoder(tokens, deeper, features)[0])
        assert same != reads


def test_lateral_flow_has_no_depth() -> None:
    torch.manual_seed(0)
    config = composite_tiny()
    decoder = FlowDecoder(replace(config, flow=replace(config.flow, predict_depth=False)), CHANNELS)
    _draw_zeros(decoder)
    delta, _, _ = decoder(torch.randn(2, 4, 64), torch.rand(2, 5, 3), _features())
    assert delta[..., :2].all()
    assert not delta[..., 2].any()


def test_point_features_are_those_under_the_point() -> None:
    torch.manual_seed(0)
    decoder = FlowDecoder(composite_tiny(), CHANNELS)
    _draw_zeros(decoder)
    features = _features(1)
    maps = [level.clone() for level in features.maps]
    maps[0][:, :, 1, 6] += 5  # the cell of 4 x 4 pixels at x 24..28, y 4..8
    tokens = torch.randn(1, 4, 64)
    start = torch.tensor([[[26 / 32, 6 / 32, 0.0], [6 / 32, 26 / 32, 0.0]]])
    before, after = (decoder(tokens, start, f)[0] for f in (features, replace(features, maps=tuple(maps))))
    assert not torch.allclose(before[:, 0], after[:, 0], atol=1e-3)
    assert torch.equal(before[:, 1], after[:, 1])


def test_fourier_features_tell_pixels_apart() -> None:
    xy = torch.stack(torch.meshgrid(*[(torch.arange(32) + 0.5) / 32] * 2, indexing="ij"), -1).reshape(-1, 2)
    features = fourier_features(xy, 32)
    assert features.shape == (1024, 128)
    assert (torch.cdist(features, features) + 10 * torch.eye(1024)).min() > 0.5


def test_action_without_a_latent_is_the_prior_mean() -> None:
    torch.manual_seed(0)
    config = preset("tiny")
    decoder = ActionDecoder(config)
    condition = torch.randn(5, 1, config.trunk.width)
    zero = decoder(condition, torch.zeros(5, config.action.latent))
    assert torch.equal(decoder(condition), zero)
    assert zero.shape == (5, config.window.chunk_size, 7)
    assert not torch.allclose(zero, decoder(condition, torch.ones(5, config.action.latent)))
    mean, logvar = decoder.encoder(torch.rand(5, config.window.chunk_size, 7))
    assert mean.shape == logvar.shape == (5, config.action.latent)


def test_latent_samples_have_mean_and_deviation() -> None:
    torch.manual_seed(0)
    mean, logvar = torch.full((20000, 2), 3.0), torch.full((20000, 2), -1.0)
    draws = sample_latent(mean, logvar)
    assert draws.mean().item() == pytest.approx(3.0, abs=0.02)
    assert draws.std().item() == pytest.approx(2.718281828**-0.5, abs=0.02)


def test_restored_patches_have_the_statistics_of_the_current_image() -> None:
    rng = torch.Generator().manual_seed(0)
    current, painted = torch.randn(2, 3, 16, 16, generator=rng), torch.randn(2, 3, 16, 16, generator=rng)
    mean, std = patch_statistics(painted, 8)
    unit = unpatchify((patchify(painted, 8) - mean) / std, 8)
    restored = patch_statistics(restore_patches(unit, current, 8), 8)
    for ours, theirs in zip(restored, patch_statistics(current, 8), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)
