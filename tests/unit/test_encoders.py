"""Encoders: stable words, exact scales, deterministic stubs."""

from __future__ import annotations

import torch

from model.config import ImageEncoderConfig, ResamplerConfig, TextEncoderConfig, preset
from model.encoders.choose import image_encoder
from model.encoders.image import CompactImageEncoder, StubImageEncoder
from model.encoders.image_features import denormalise_rgb, normalise_rgb, prepare_rgb
from model.encoders.resampler import Resampler
from model.encoders.state import StateEncoder
from model.encoders.text import CompactTextEncoder, tokenize_words


def test_word_ids_are_the_same_everywhere() -> None:
    """CRC-32 of the lower-cased word, plus one; a change would orphan every checkpoint."""
    ids = tokenize_words(["Push the RED block!", ""], 6)
    assert ids.tolist() == [
        [1597642341, 1011183079, 4200685456, 2199623459, 0, 0],
        [1, 0, 0, 0, 0, 0],
    ]


def test_long_instructions_are_cut() -> None:
    assert tokenize_words(["a b c d"], 2).shape == (1, 2)
    assert tokenize_words([], 2).shape == (0, 2)


def test_language_tells_words_and_their_order_apart() -> None:
    torch.manual_seed(0)
    encoder = CompactTextEncoder(TextEncoderConfig(width=32)).eval()
    texts = [
        "push the red block to the left",
        "push the red block to the right",
        "push the blue block to the left",
        "put the red bowl on the blue bowl",
        "put the blue bowl on the red bowl",
    ]
    vectors = encoder(encoder.tokenize(texts))
    distance = torch.cdist(vectors, vectors) + 10 * torch.eye(len(texts))
    assert distance.min() > 1e-3
    assert torch.equal(vectors[:1], encoder(encoder.tokenize(["Push the red block to the LEFT."])))


def test_padding_words_do_not_matter() -> None:
    torch.manual_seed(0)
    encoder = CompactTextEncoder(TextEncoderConfig(width=32)).eval()
    ids = encoder.tokenize(["open the drawer"])
    with torch.no_grad():
        before = encoder(ids)
        encoder.position[3:] += 1.0
        assert torch.allclose(encoder(ids), before, atol=1e-6)


def test_two_tables_keep_colliding_words_apart() -> None:
    """Words that share a row of the first table differ in the second."""
    encoder = CompactTextEncoder(TextEncoderConfig(width=32, vocabulary=8))
    one, other = torch.tensor([[3]]), torch.tensor([[3 + 8]])
    assert not torch.allclose(encoder(one), encoder(other), atol=1e-3)


def test_normalisation_round_trip() -> None:
    rgb = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    assert torch.allclose(denormalise_rgb(prepare_rgb(rgb)), rgb / 255, atol=1e-6)
    grey = normalise_rgb(torch.full((3, 1, 1), 0.5))
    assert torch.allclose(grey[:, 0, 0], torch.tensor([0.0655, 0.1964, 0.4178]), atol=1e-4)


def test_compact_encoder_shapes() -> None:
    encoder = image_encoder(preset("compact").image, 128)
    assert isinstance(encoder, CompactImageEncoder)
    features = encoder(torch.randn(2, 3, 128, 128))
    assert features.cls.shape == (2, 128)
    assert features.patches.shape == (2, 64, 128)
    assert [tuple(level.shape[1:]) for level in features.maps] == [(32, 32, 32), (64, 16, 16), (128, 8, 8)]
    assert encoder.map_channels == (32, 64, 128)
    assert torch.equal(features.maps[-1].flatten(2).transpose(1, 2), features.patches)


def test_compact_encoder_keeps_places() -> None:
    """A change in one corner of the image changes the patch there most."""
    torch.manual_seed(0)
    encoder = CompactImageEncoder(ImageEncoderConfig(width=32, channels=(8, 16), blocks=(0, 1, 1)))
    image = torch.randn(1, 3, 64, 64)
    other = image.clone()
    other[:, :, :16, 48:] += 1
    moved = (encoder(image).patches - encoder(other).patches)[0].norm(dim=1)
    assert moved.argmax() == 3


def test_stub_is_the_same_every_time_and_frozen() -> None:
    config = preset("tiny").image
    first, second = StubImageEncoder(config), StubImageEncoder(config)
    image = torch.randn(2, 3, 32, 32)
    features = first(image)
    assert torch.equal(features.patches, second(image).patches)
    assert features.patches.shape == (2, 16, 32)
    assert list(first.parameters()) == []
    assert first.state_dict() == {}
    other = image.clone()
    other[:, :, 8:16, 24:] += 1
    moved = (features.patches - first(other).patches).norm(dim=2)
    assert (moved > 0).nonzero()[:, 1].tolist() == [7, 7]


def test_resampler_attention_is_over_patches_and_latents() -> None:
    torch.manual_seed(0)
    resampler = Resampler(32, ResamplerConfig(latents=4, layers=2, heads=2, head_dim=16, mlp_ratio=2))
    patches = torch.randn(3, 16, 32)
    latents, attention = resampler(patches, capture=True)
    plain, nothing = resampler(patches)
    assert torch.equal(latents, plain)
    assert nothing == []
    assert [tuple(item.shape) for item in attention] == [(3, 2, 4, 20)] * 2
    assert torch.allclose(attention[0].sum(-1), torch.ones(3, 2, 4), atol=1e-6)


def test_paper_resampler_has_its_size() -> None:
    """GR-MG: 18.90 M parameters at width 768."""
    count = sum(parameter.numel() for parameter in Resampler(768, ResamplerConfig()).parameters())
    assert abs(count - 18.90e6) < 0.02e6


def test_state_reads_pose_and_gripper() -> None:
    torch.manual_seed(0)
    encoder = StateEncoder(16)
    arm, gripper = torch.randn(1, 2, 6), torch.tensor([[0, 1]])
    out = encoder(arm, gripper)
    assert out.shape == (1, 2, 16)
    assert not torch.allclose(out, encoder(arm + 0.1, gripper))
    assert not torch.allclose(out, encoder(arm, 1 - gripper))
