"""Frozen encoders: the features of their own libraries, whole or refused, and no part of what is trained and saved."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.config import ImageEncoderConfig, PolicyConfig, TextEncoderConfig, preset
from model.encoders.choose import frozen_encoders
from model.encoders.clip import ClipTextEncoder
from model.encoders.frozen import ENCODERS_VARIABLE
from model.encoders.image_features import prepare_rgb
from model.encoders.vit import VitImageEncoder
from model.errors import CheckpointError, ConfigError
from model.policy import Policy
from tests.encoder_factories import VOCABULARY, save_clip, save_dinov2, save_mae, save_vit
from tests.policy_factories import make_observation

transformers: Any = importlib.import_module("transformers")
TEXTS = ["push red", "go left", "a"]


def image_config(weights: Path | str | None) -> ImageEncoderConfig:
    return ImageEncoderConfig(
        kind="vit", width=16, patch_size=8, layers=2, heads=2, weights=None if weights is None else str(weights)
    )


def text_config(weights: Path | str | None) -> TextEncoderConfig:
    return TextEncoderConfig(
        kind="clip",
        width=12,
        heads=2,
        vocabulary=len(VOCABULARY),
        max_tokens=10,
        weights=None if weights is None else str(weights),
    )


def pretrained_tiny(image: Path | None, text: Path | None) -> PolicyConfig:
    """The tiny preset with frozen encoders."""
    return replace(preset("tiny"), image=image_config(image), text=text_config(text))


@pytest.fixture(scope="module")
def mae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_mae(tmp_path_factory.mktemp("encoders") / "mae")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("encoders") / "clip")


def _images(size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (3, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def _same(features: Any, tokens: torch.Tensor, registers: int = 0) -> None:
    assert torch.allclose(features.cls, tokens[:, 0], atol=1e-5)
    assert torch.allclose(features.patches, tokens[:, 1 + registers :], atol=1e-5)
    assert torch.equal(features.maps[0].flatten(2).transpose(1, 2), features.patches)


def test_mae_sees_all_patches_in_order(mae: Path) -> None:
    """As the library's MAE does when its shuffling is made to keep the order."""
    images = prepare_rgb(_images())
    library = transformers.ViTMAEModel.from_pretrained(mae, mask_ratio=0.0).eval()
    order = torch.arange(16.0).expand(3, -1)
    with torch.no_grad():
        tokens = library(pixel_values=images, noise=order).last_hidden_state
    encoder = VitImageEncoder(image_config(mae), 32)
    _same(encoder(images), tokens)
    assert torch.equal(encoder(images).patches, encoder(images).patches)
    assert tokens.std() > 0.1


def test_mae_at_another_size_is_interpolated(mae: Path) -> None:
    images = prepare_rgb(_images(48))
    library = transformers.ViTModel.from_pretrained(mae, add_pooling_layer=False).eval()
    with torch.no_grad():
        tokens = library(pixel_values=images, interpolate_pos_encoding=True).last_hidden_state
    _same(VitImageEncoder(image_config(mae), 48)(images), tokens)


@pytest.mark.parametrize("registers", [0, 3])
def test_dinov2_by_the_same_interface(tmp_path: Path, registers: int) -> None:
    folder = save_dinov2(tmp_path / "dino", registers=registers)
    images = prepare_rgb(_images())
    with torch.no_grad():
        tokens = transformers.AutoModel.from_pretrained(folder).eval()(pixel_values=images).last_hidden_state
    assert tokens.shape[1] == 1 + registers + 16
    _same(VitImageEncoder(image_config(folder), 32)(images), tokens, registers)


def test_colours_are_normalised_as_in_pretraining(tmp_path: Path) -> None:
    """By the folder's preprocessor, though the policy prepares images with the statistics of ImageNet."""
    folder = save_vit(tmp_path / "vit", mean=0.4, std=0.3)
    images = _images()
    processor = transformers.ViTImageProcessorPil(do_resize=False, image_mean=[0.4] * 3, image_std=[0.3] * 3)
    pixels = torch.from_numpy(processor(images.numpy(), return_tensors="np")["pixel_values"])
    with torch.no_grad():
        tokens = (
            transformers.ViTModel.from_pretrained(folder, add_pooling_layer=False)
            .eval()(pixel_values=pixels)
            .last_hidden_state
        )
    _same(VitImageEncoder(image_config(folder), 32)(prepare_rgb(images)), tokens)


def test_clip_text_is_the_librarys_unit_vector(clip: Path) -> None:
    tokenizer = transformers.CLIPTokenizer.from_pretrained(clip)
    library = transformers.CLIPModel.from_pretrained(clip).eval()
    with torch.no_grad():
        expected = library.get_text_features(**tokenizer(TEXTS, padding=True, return_tensors="pt")).pooler_output
    encoder = ClipTextEncoder(text_config(clip))
    ids = encoder.tokenize(TEXTS)
    assert ids.shape == (3, 10)
    assert ids[2].tolist() == [53, 27, 54, 0, 0, 0, 0, 0, 0, 0]
    assert torch.allclose(encoder(ids), expected / expected.norm(dim=1, keepdim=True), atol=1e-5)
    assert torch.cdist(expected, expected)[0, 1] > 0.01


def test_long_instructions_keep_their_end_mark(clip: Path) -> None:
    encoder = ClipTextEncoder(text_config(clip))
    assert encoder.tokenize(["push the red block to the left"])[0, [0, -1]].tolist() == [53, 54]


def test_a_text_only_folder_is_the_same_encoder(clip: Path, tmp_path: Path) -> None:
    part = ClipTextEncoder(text_config(save_clip(tmp_path / "text", text_only=True)))
    whole = ClipTextEncoder(text_config(clip))
    assert part.content_hash() == whole.content_hash()
    assert torch.equal(part(part.tokenize(TEXTS)), whole(whole.tokenize(TEXTS)))


def test_random_encoders_are_the_same_every_time_and_touch_no_generator() -> None:
    torch.manual_seed(3)
    first = VitImageEncoder(image_config(None), 32), ClipTextEncoder(text_config(None))
    after = torch.rand(1)
    torch.manual_seed(9)
    second = VitImageEncoder(image_config(None), 32), ClipTextEncoder(text_config(None))
    assert [one.content_hash() for one in first] == [one.content_hash() for one in second]
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), after)
    vectors = first[1](first[1].tokenize(TEXTS))
    assert torch.allclose(vectors.norm(dim=1), torch.ones(3), atol=1e-4)
    assert torch.pdist(vectors).min() > 1e-3


def test_content_hash_sees_every_value(mae: Path) -> None:
    encoder = VitImageEncoder(image_config(mae), 32)
    before = VitImageEncoder(image_config(mae), 32).content_hash()
    with torch.no_grad():
        encoder.model.layernorm.bias[3] += 1e-3
    assert encoder.content_hash() != before


def test_frozen_encoders_are_neither_listed_nor_saved(mae: Path, clip: Path) -> None:
    policy = Policy(pretrained_tiny(mae, clip))
    assert sorted(frozen_encoders(policy)) == ["embedding.image", "embedding.text"]
    names = {name for name, _ in policy.named_parameters()}
    assert set(policy.state_dict()) == names
    assert not [name for name in names if name.startswith(("embedding.image.", "embedding.text."))]
    image = frozen_encoders(policy)["embedding.image"]
    before = image.content_hash()
    policy.train()
    assert not image.model.training
    prediction = policy(make_observation(policy.config), frames=torch.tensor([1]))
    assert prediction.depth is not None
    prediction.depth.sum().backward()
    assert all(value.grad is None for value in image.model.parameters())
    assert frozen_encoders(Policy(pretrained_tiny(mae, clip)))["embedding.image"].content_hash() == before


def test_frozen_encoders_follow_their_policy(mae: Path, clip: Path) -> None:
    policy = Policy(pretrained_tiny(mae, clip)).double()
    for encoder in frozen_encoders(policy).values():
        assert next(encoder.model.parameters()).dtype == torch.float64


def test_a_name_is_looked_up_in_the_folder_of_encoders(
    mae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENCODERS_VARIABLE, str(mae.parent))
    here = VitImageEncoder(image_config(mae), 32).content_hash()
    assert VitImageEncoder(image_config("mae"), 32).content_hash() == here
    assert VitImageEncoder(image_config("/home/somebody/else/mae"), 32).content_hash() == here


def test_absent_weights_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        CheckpointError, match=r"image\.weights = no/such-vit: neither a folder.*hf download no/such-vit"
    ):
        VitImageEncoder(image_config("no/such-vit"), 32)
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        VitImageEncoder(image_config(tmp_path), 32)


def _damage(folder: Path, target: Path, change: Any) -> Path:
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    change(target)
    return target


def _without(name: str) -> Any:
    def change(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        key = next(key for key in sorted(tensors) if name in key)
        del tensors[key]
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return change


def _as_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-64])


def _other_width(folder: Path) -> None:
    data = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(data | {"hidden_size": 32}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("layernorm.weight"), r"lacks 1 tensors.*layernorm\.weight"),
        (_without("position_embeddings"), "lacks 1 tensors"),
        (_as_pickle, r"has no \*\.safetensors"),
        (_truncated, "cannot be read"),
        (_other_width, "cannot be read"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda folder: (folder / "preprocessor_config.json").write_text('{"image_std": [0, 1, 1]}'), "image_std"),
    ],
)
def test_damaged_image_encoders_are_refused(mae: Path, tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        VitImageEncoder(image_config(_damage(mae, tmp_path / "copy", change)), 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("text_projection"), r"lacks 1 tensors.*text_projection"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokeniser"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokeniser cannot be read"),
    ],
)
def test_damaged_text_encoders_are_refused(clip: Path, tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        ClipTextEncoder(text_config(_damage(clip, tmp_path / "copy", change)))


def test_encoders_of_another_size_are_refused(mae: Path, clip: Path) -> None:
    with pytest.raises(CheckpointError, match=r"hidden_size is 16, the policy's image\.width is 32"):
        VitImageEncoder(replace(image_config(mae), width=32), 32)
    with pytest.raises(CheckpointError, match=r"patch_size is 8, the policy's image\.patch_size is 16"):
        VitImageEncoder(replace(image_config(mae), patch_size=16), 32)
    with pytest.raises(CheckpointError, match=r"projects to 12, the policy's text\.width is 16"):
        ClipTextEncoder(replace(text_config(clip), width=16))
    with pytest.raises(CheckpointError, match=r"reads 10 tokens, the policy's text\.max_tokens is 11"):
        ClipTextEncoder(replace(text_config(clip), max_tokens=11))


def test_encoders_that_learn_have_no_weights_elsewhere() -> None:
    with pytest.raises(ConfigError, match=r"image\.weights needs image\.kind = vit"):
        ImageEncoderConfig(weights="mae")
    with pytest.raises(ConfigError, match=r"text\.weights needs text\.kind = clip"):
        TextEncoderConfig(weights="clip")
