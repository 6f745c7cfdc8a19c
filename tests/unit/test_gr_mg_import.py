"""A checkpoint with the backbone's public names: every tensor finds its place, and the forward pass is theirs."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from model.config import ImageEncoderConfig, PolicyConfig, TextEncoderConfig, preset
from model.errors import CheckpointError, UnsafeFileError
from model.gr_mg import convert, rules
from model.policy import Policy
from model.weights import compare_weights
from tests.gr_mg_factories import gr_mg_tensors
from tests.policy_factories import make_observation, small
from trainer.loop import import_gr_mg
from trainer.loop.checkpoint import load_checkpoint
from trainer.loop.torch_file import read_tensors

transformers: Any = importlib.import_module("transformers")


def importable() -> PolicyConfig:
    """The small backbone with MLPs and latents as wide as its checkpoints have them."""
    config = small("gr_mg")
    return replace(config, trunk=replace(config.trunk, dropout=0.0))


def imported(config: PolicyConfig) -> tuple[Policy, dict[str, Tensor]]:
    tensors = gr_mg_tensors(config)
    ours, unknown = convert(tensors, config)
    policy = Policy(config).eval()
    report = compare_weights(policy, ours)
    assert report.ok, report.listing()
    assert unknown == ()
    policy.load_state_dict(ours)
    return policy, {name.removeprefix("model."): value for name, value in tensors.items()}


def test_every_tensor_of_the_full_size_has_one_place() -> None:
    """21.29 M in the trunk. The encoders are stand-ins: they are not part of the map."""
    config = replace(
        preset("gr_mg"),
        image=ImageEncoderConfig(kind="stub", width=768),
        text=TextEncoderConfig(width=512, heads=8, vocabulary=2),
    )
    policy = Policy(config)
    ours, unknown = convert(gr_mg_tensors(config), config)
    report = compare_weights(policy, ours)
    assert unknown == ()
    assert not report.reshaped
    assert not report.unexpected
    assert all(name.startswith("embedding.text.") for name in report.missing)
    names = [rule.ours for rule in rules(config)]
    assert len(names) == len(set(names)) == len(ours)
    assert sum(value.numel() for value in policy.trunk.parameters()) == 21_294_336


def test_trunk_is_gpt2_under_the_backbones_mask() -> None:
    """Against the library's GPT-2 with the same tensors, zero positions, and query columns as padding."""
    config = importable()
    policy, theirs = imported(config)
    n, width = policy.layout.length, config.trunk.width
    sizes = transformers.GPT2Config(
        vocab_size=1, n_positions=n, n_embd=width, n_layer=config.trunk.layers, n_head=config.trunk.heads,
        activation_function="relu",
    )  # fmt: skip
    library = transformers.GPT2Model(sizes).eval()
    state = {name.removeprefix("transformer."): value for name, value in theirs.items() if "transformer." in name}
    state |= {"wte.weight": torch.zeros(1, width), "wpe.weight": torch.zeros(n, width)}
    library.load_state_dict(state)
    x = torch.randn(2, n, width)
    seen = torch.zeros(2, n, dtype=torch.int64)
    seen[:, policy.layout.inputs()] = 1
    with torch.no_grad():
        expected = library(inputs_embeds=x, attention_mask=seen).last_hidden_state
        ours, _ = policy.trunk(x, policy.mask[None, None])
    assert torch.allclose(ours, expected, atol=1e-5)


def _vit_block(x: Tensor, theirs: dict[str, Tensor], name: str, heads: int) -> Tensor:
    """The block of the backbone's decoders, from its public layout."""

    def layer(part: str, value: Tensor) -> Tensor:
        return functional.linear(value, theirs[f"{name}.{part}.weight"], theirs[f"{name}.{part}.bias"])

    def norm(part: str, value: Tensor) -> Tensor:
        shape = value.shape[-1:]
        return functional.layer_norm(value, shape, theirs[f"{name}.{part}.weight"], theirs[f"{name}.{part}.bias"])

    b, n, c = x.shape
    q, k, v = layer("attn.qkv", norm("norm1", x)).reshape(b, n, 3, heads, c // heads).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-1, -2) / (c // heads) ** 0.5).softmax(-1)
    x = x + layer("attn.proj", (weights @ v).transpose(1, 2).reshape(b, n, c))
    return x + layer("mlp.fc2", functional.gelu(layer("mlp.fc1", norm("norm2", x))))


def test_action_decoder_is_theirs() -> None:
    config = importable()
    policy, theirs = imported(config)
    act, k = torch.randn(4, 1, config.trunk.width), config.window.chunk_size

    def linear(name: str, value: Tensor) -> Tensor:
        return functional.linear(value, theirs[f"{name}.weight"], theirs[f"{name}.bias"])

    steps = theirs["action_mask_token_embedding.weight"] + theirs["action_decoder_positional_embeddings.weight"]
    style = linear("embed_style_vector", torch.zeros(4, 1, config.action.latent))
    y = torch.cat([style, linear("proj_action_output_embed", act), steps.expand(4, -1, -1)], 1)
    y = _vit_block(y, theirs, "decode_action.0", config.action.heads)[:, -k:]
    expected = torch.cat([linear("pred_arm_act", y), linear("pred_gripper_act", y)], -1)
    assert torch.allclose(policy.action(act), expected, atol=1e-5)


def test_progress_decoder_is_theirs() -> None:
    config = importable()
    policy, theirs = imported(config)
    prog = torch.randn(4, 1, config.trunk.width)
    condition = functional.linear(
        prog, theirs["proj_progress_output_embed.weight"], theirs["proj_progress_output_embed.bias"]
    )
    y = torch.cat([condition, theirs["progress_mask_token_embedding.weight"].expand(4, 1, -1)], 1)
    y = _vit_block(y, theirs, "decode_progress.0", config.progress_decoder.heads)[:, 1]
    expected = functional.linear(y, theirs["pred_progress.weight"], theirs["pred_progress.bias"]).sigmoid()[:, 0]
    assert policy.progress is not None
    assert torch.allclose(policy.progress(prog), expected, atol=1e-5)


def test_future_image_decoder_is_theirs() -> None:
    config = importable()
    policy, theirs = imported(config)
    assert policy.images.future is not None
    queries = torch.randn(3, config.tokens.future, config.trunk.width)
    embedded = functional.linear(queries, theirs["decoder_embed.weight"], theirs["decoder_embed.bias"])
    patches = (theirs["mask_token"][0] + theirs["decoder_pos_embed"]).expand(3, -1, -1)
    y = _vit_block(torch.cat([embedded, patches], 1), theirs, "decoder_blocks.0", config.future.heads)
    y = functional.layer_norm(y, y.shape[-1:], theirs["decoder_norm.weight"], theirs["decoder_norm.bias"])
    y = functional.linear(y, theirs["decoder_pred.weight"], theirs["decoder_pred.bias"])[:, config.tokens.future :]
    side, p = config.image_size // 8, 8
    expected = y.reshape(3, side, side, p, p, 3).permute(0, 5, 1, 3, 2, 4).reshape(3, 3, side * p, side * p)
    features = policy.embedding.encode_images(torch.zeros(3, 3, 32, 32, dtype=torch.uint8)).features
    painted, depth = policy.images.future(queries, features, torch.zeros(3, 3, 32, 32), None)
    assert depth is None
    assert torch.allclose(painted, expected, atol=1e-5)


def test_resampler_is_theirs() -> None:
    config = importable()
    policy, theirs = imported(config)
    heads, name = config.resampler.heads, "perceiver_resampler"

    def norm(part: str, value: Tensor) -> Tensor:
        weight, bias = theirs[f"{name}.{part}.weight"], theirs[f"{name}.{part}.bias"]
        return functional.layer_norm(value, value.shape[-1:], weight, bias)

    def split(value: Tensor) -> Tensor:
        return value.unflatten(-1, (heads, -1)).transpose(1, 2)

    patches = torch.randn(2, 16, config.image.width)
    x, latents = patches + theirs[f"{name}.media_pos_emb"][0], theirs[f"{name}.latents"].expand(2, -1, -1)
    for i in range(config.resampler.layers):
        at = f"layers.{i}"
        media, own = norm(f"{at}.0.norm_media", x), norm(f"{at}.0.norm_latents", latents)
        k, v = (torch.cat([media, own], 1) @ theirs[f"{name}.{at}.0.to_kv.weight"].T).chunk(2, -1)
        q = split(own @ theirs[f"{name}.{at}.0.to_q.weight"].T)
        mixed = functional.scaled_dot_product_attention(q, split(k), split(v)).transpose(1, 2).flatten(2)
        latents = latents + mixed @ theirs[f"{name}.{at}.0.to_out.weight"].T
        inner = norm(f"{at}.1.0", latents) @ theirs[f"{name}.{at}.1.1.weight"].T
        latents = latents + functional.gelu(inner) @ theirs[f"{name}.{at}.1.3.weight"].T
    assert torch.allclose(policy.embedding.resampler(patches)[0], norm("norm", latents), atol=1e-5)


def test_state_is_read_in_metres_and_radians() -> None:
    """Ours divides the pose by the units of an action first; the weights make up for it."""
    config = replace(importable(), stats=replace(importable().stats, action_metres_per_unit=0.02))
    policy, theirs = imported(config)
    arm = torch.randn(2, 3, 6)
    expected = functional.linear(arm, theirs["embed_arm_state.weight"], theirs["embed_arm_state.bias"])
    assert torch.allclose(policy.embedding.state.arm(arm / policy.embedding.state_scale), expected, atol=1e-5)


def test_an_imported_policy_acts() -> None:
    config = importable()
    policy, _ = imported(config)
    action = policy.act(make_observation(config))
    assert action.shape == (2, 3, 7)
    assert action.isfinite().all()


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setattr(import_gr_mg, "preset", lambda name: importable())

    def run(path: Path) -> int:
        out = ["--out", str(tmp_path / "out"), "--image-weights", "random", "--text-weights", "random"]
        return import_gr_mg.main([str(path), *out])

    return run


@pytest.mark.parametrize("kind", ["safetensors", "ckpt"])
def test_import_command(kind: str, command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors, path = gr_mg_tensors(importable()), tmp_path / f"policy.{kind}"
    if kind == "safetensors":
        save_file(tensors, path)
    else:
        torch.save({"state_dict": tensors, "epoch": 3}, path)
    assert command(path) == 0
    assert "0 do not" in capsys.readouterr().out
    loaded = load_checkpoint(tmp_path / "out")
    assert loaded.config.stats.action_metres_per_unit == 0.02
    assert loaded.metadata["imported"]["file"] == path.name
    assert torch.equal(loaded.policy.embedding.time.detach(), tensors["model.embed_timestep.weight"])
    assert "imported name by name" in (tmp_path / "out" / "card.md").read_text()


def test_everything_that_does_not_fit_is_listed(command: Any, tmp_path: Path) -> None:
    tensors = gr_mg_tensors(importable())
    for i in range(2):
        del tensors[f"model.transformer.h.{i}.ln_1.weight"], tensors[f"model.transformer.h.{i}.ln_1.bias"]
    tensors |= {f"model.surprise{i}": torch.zeros(1) for i in range(7)}
    tensors["model.embed_lang.weight"] = torch.zeros(64, 5)
    save_file(tensors, tmp_path / "policy.safetensors")
    with pytest.raises(CheckpointError) as caught:
        command(tmp_path / "policy.safetensors")
    message = str(caught.value)
    assert [f"unexpected: surprise{i}" in message for i in range(7)] == [True] * 7
    for i in range(2):
        assert f"missing: trunk.blocks.{i}.attention_norm.weight" in message
        assert f"missing: trunk.blocks.{i}.attention_norm.bias" in message
    assert "reshaped: embedding.text_token.weight: file (64, 5), policy (64, 12)" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("decoder_pos_embed", torch.zeros(1, 16, 32), "not the fixed position embedding"),
        ("mask_token", torch.zeros(32), "mask_token"),
        ("transformer.h.0.attn.c_attn.weight", torch.zeros(64, 100), "no three equal parts"),
    ],
)
def test_tensors_of_another_architecture_are_named(name: str, value: Tensor, message: str) -> None:
    tensors = gr_mg_tensors(importable()) | {f"model.{name}": value}
    with pytest.raises(CheckpointError, match=message):
        convert(tensors, importable())


class _Runs:
    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        return print, ("code ran",)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "policy.ckpt"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "trap": _Runs()}, path)
    with pytest.raises(UnsafeFileError, match="only plain tensors are"):
        read_tensors(path)
    assert "code ran" not in capfd.readouterr().out


def test_files_without_tensors_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        read_tensors(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(UnsafeFileError, match="not read"):
        read_tensors(tmp_path / "text.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UnsafeFileError, match="holds no named tensors"):
        read_tensors(tmp_path / "list.pt")
    monkeypatch.setattr("trainer.loop.torch_file.MAX_BYTES", 3)
    with pytest.raises(UnsafeFileError, match="at most 0 MiB"):
        read_tensors(tmp_path / "list.pt")


def test_the_reader_imports_nothing_of_ours() -> None:
    child = Path(str(import_gr_mg.__file__)).with_name("torch_child.py")
    code = f"import runpy, sys; runpy.run_path({str(child)!r}); assert not {{'model', 'trainer'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
