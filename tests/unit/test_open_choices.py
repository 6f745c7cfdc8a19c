"""Every question that the paper leaves open has its field, and the model card says what a policy answers."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest
import torch

from model.config import PatchDecoderConfig, PolicyConfig, preset, preset_names
from model.decoders.patch import PatchDecoder
from model.encoders.image_features import ImageFeatures
from model.errors import ConfigError
from model.losses import ACTIVE_VARIANCE, active_latents
from model.open_choices import OPEN, answers
from trainer.loop.card import model_card


@pytest.mark.parametrize("name", preset_names())
def test_every_question_has_an_answer_and_the_card_says_it(name: str) -> None:
    config = preset(name)
    found = list(answers(config))
    assert {answer.question for answer in found} == OPEN.keys()
    card = model_card(config, {})
    for answer in found:
        assert not answer.choices or answer.value in answer.choices
        assert f"| `{answer.field}` |" in card
    assert "| Coordinates of the flow | `flow.coordinates` | image | camera |" in card


def test_every_field_with_a_list_of_choices_is_asked_about() -> None:
    """A choice that is no question of the paper's (sizes aside) stands here with its reason."""
    ours = {
        "depth.activation", "depth.axis_order", "depth.patch_input",  # how our small decoders are built
        "future.activation", "future.axis_order", "future.patch_input", "future_readout", "flow.activation",
        "image.kind", "text.kind",  # which encoder
        "flow.predict_depth", "flow.point_features", "future_depth",  # the paper's baseline; ours
        "action.final_norm", "trunk.checkpointing",
    }  # fmt: skip
    asked = {name for fields in OPEN.values() for name in fields}
    assert not ours & asked
    assert _with_choices(preset("tiny")) - asked == ours


def _with_choices(config: object, prefix: str = "") -> set[str]:
    found: set[str] = set()
    for item in dataclasses.fields(config):  # pyright: ignore[reportArgumentType]
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            found |= _with_choices(value, f"{prefix}{item.name}.")
        elif ("Literal" in str(item.type) and "tuple" not in str(item.type)) or item.type == "bool":
            found.add(f"{prefix}{item.name}")
    return found


def _features(side: int) -> ImageFeatures:
    return ImageFeatures(cls=torch.zeros(1, 4), patches=torch.zeros(1, side**2, 4), maps=())


@pytest.mark.parametrize("stride", [1, 4, 8])
def test_a_coarse_map_is_decoded_small_and_interpolated(stride: int) -> None:
    torch.manual_seed(0)
    config = PatchDecoderConfig(patch_size=8, width=16, layers=1, heads=2, output_stride=stride)
    decoder = PatchDecoder(config, conditioning=4, image_size=32, channels=1, map_channels=(4,))
    assert decoder.head.linear.out_features == (8 // stride) ** 2  # pyright: ignore
    image = decoder(torch.randn(1, 3, 4), _features(4))[0]
    assert image.shape == (1, 1, 32, 32)
    bent = (image.diff(n=2, dim=-1).abs() > 1e-5).float().mean()
    assert bent > 0.9 if stride == 1 else bent < 2 / stride + 0.05  # straight between two decoded values


@pytest.mark.parametrize(
    ("change", "words"), [({"output_stride": 3}, "must divide"), ({"output_stride": 2, "refine": 4}, "refine = 0")]
)
def test_a_stride_that_does_not_fit_is_refused(change: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(PatchDecoderConfig(patch_size=8), **change)


def test_a_config_with_depth_queries_of_the_future_needs_its_own_decoder() -> None:
    config: PolicyConfig = replace(preset("tiny"), future_depth_trunk="own_queries")
    assert config.future_depth_queries
    assert not replace(config, future_depth=False).future_depth_queries
    assert not replace(config, foresight=("depth",)).future_depth_queries


def test_active_latents_are_those_whose_mean_varies() -> None:
    rng = torch.Generator().manual_seed(0)
    mean = torch.randn(50, 4, 3, generator=rng) * torch.tensor([1.0, 0.5, 0.01]) + torch.tensor([5.0, 0.0, 5.0])
    valid = torch.ones(50, 4, dtype=torch.bool)
    assert active_latents(mean, valid) == 2  # a constant offset says nothing
    mean[0, 0, 2] = 1e4
    valid[0, 0] = False
    assert active_latents(mean, valid) == 2  # padding does not count
    assert active_latents(mean[:1, 1:2], valid[:1, 1:2]) == 0
    assert active_latents(mean, torch.zeros_like(valid)) == 0
    just = torch.tensor([[-1.0], [1.0]]) * ACTIVE_VARIANCE**0.5
    assert [int(active_latents(scale * just, torch.ones(2, dtype=torch.bool))) for scale in (0.99, 1.01)] == [0, 1]
