"""Reduced inference is the full forward pass: tokens left out, rows left out, images and instructions encoded once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from model.attention import Capture, visible_keys
from model.batch import Frame, Observation
from model.config import PolicyConfig, TokenConfig, WindowConfig, preset
from model.inference import Engine
from model.policy import Policy
from tests.policy_factories import composite_tiny, make_observation, make_policy, row, small
from trainer.data.state import relative_pose, rotation_matrix

TOLERANCE = 1e-6
"""Of float32 actions, whose entries are of the order of 1."""
EXACT = 1e-12
"""Of float64 trunk outputs, likewise."""
STEPS = 9


def _window(config: PolicyConfig, **changes: int) -> PolicyConfig:
    return replace(config, window=WindowConfig(**{**_fields(config.window), **changes}))


def _fields(window: WindowConfig) -> dict[str, int]:
    return {name: getattr(window, name) for name in WindowConfig.__slots__}


CONFIGS: dict[str, Callable[[], PolicyConfig]] = {
    "tiny": lambda: preset("tiny"),
    "composite": composite_tiny,
    "strided": lambda: _window(preset("tiny"), obs_stride=2),
    "token_causal": lambda: replace(
        preset("tiny"), tokens=TokenConfig(flow=2, future=3, input_causality="token", query_group_attn="none")
    ),
    "act_sees_future": lambda: replace(preset("tiny"), tokens=replace(preset("tiny").tokens, act_sees_future=True)),
    **{name: lambda name=name: small(name) for name in ("foresight", "foresight_2d", "gr_mg")},
    "no_flow": lambda: replace(preset("tiny"), foresight=("depth", "future")),
    "one_view": lambda: replace(
        preset("tiny"), views=("static",), stats=replace(preset("tiny").stats, depth_mean=(1.0,), depth_std=(1.0,))
    ),
}


class Film:
    """A random episode: what an engine is shown step by step, and the windows that a policy would be shown."""

    def __init__(self, config: PolicyConfig, *, batch: int = 1, seed: int = 0, steps: int = STEPS):
        self.config, rng = config, np.random.default_rng(seed)
        size, views = config.image_size, len(config.views)
        self.rgb = torch.from_numpy(rng.integers(0, 256, (steps, batch, views, 3, size, size), np.uint8))
        pose = np.concatenate([rng.normal(size=(batch, steps, 3)), rng.normal(size=(batch, steps, 4))], 2)
        self.gripper = torch.from_numpy(rng.integers(0, 2, (steps, batch)))
        self.state = np.concatenate([pose, np.zeros((batch, steps, 1))], 2)
        self.text = make_observation(config, batch=batch, seed=seed).text

    def frame(self, step: int) -> Frame:
        T = np.broadcast_to(np.eye(4), (len(self.state), 4, 4)).copy()
        T[:, :3, :3], T[:, :3, 3] = rotation_matrix(self.state[:, step, 3:7]), self.state[:, step, :3]
        return Frame(rgb=self.rgb[step], T_base_tool=torch.from_numpy(T), gripper=self.gripper[step])

    def observation(self, step: int, first: int = 0) -> Observation:
        """The window whose newest frame is `step`, of an episode that began at step `first`."""
        window, batch = self.config.window, len(self.state)
        count = min(window.n_obs_steps, (step - first) // window.obs_stride + 1)
        steps = [step - window.obs_stride * back for back in range(count - 1, -1, -1)]
        blank = make_observation(self.config, batch=batch)
        rgb, arm, gripper = (torch.zeros_like(x) for x in (blank.rgb, blank.state_arm, blank.state_gripper))
        rgb[:, :count] = self.rgb[steps].transpose(0, 1)
        arm[:, :count] = torch.from_numpy(np.stack([relative_pose(state[steps]) for state in self.state]))
        gripper[:, :count] = self.gripper[steps].T
        return replace(
            blank,
            rgb=rgb,
            text=self.text,
            state_arm=arm,
            state_gripper=gripper,
            frame_mask=(torch.arange(window.n_obs_steps) < count).expand(batch, -1),
        )


def full_pass(policy: Policy, observation: Observation) -> Tensor:
    """The newest chunk of every window, from a forward pass that leaves nothing out: that is what a capture needs."""
    with torch.no_grad():
        out = policy(observation, frames=torch.arange(policy.layout.n_frames), capture=Capture(layers=())).action
    chunk = out[torch.arange(len(out)), observation.frame_mask.sum(1) - 1]
    return torch.cat([chunk[..., :6], chunk[..., 6:].sigmoid()], -1)


@pytest.fixture(scope="module", params=list(CONFIGS))
def policy(request: pytest.FixtureRequest) -> Policy:
    return make_policy(CONFIGS[request.param]())


def _lengths(observation: Observation, lengths: list[int]) -> Observation:
    mask = torch.arange(observation.rgb.shape[1]) < torch.tensor(lengths)[:, None]
    return replace(observation, frame_mask=mask, rgb=observation.rgb * mask[..., None, None, None, None])


def test_act_is_the_full_pass_for_windows_of_any_length(policy: Policy) -> None:
    observation = _lengths(make_observation(policy.config, batch=4), [1, 3, 2, 3])
    views = torch.ones(4, len(policy.config.views), dtype=torch.bool)
    views[3, 1:] = False
    observation = replace(observation, view_mask=views)
    together = policy.act(observation)
    assert torch.allclose(together, full_pass(policy, observation), atol=TOLERANCE)
    for index in range(4):
        assert torch.allclose(policy.act(row(observation, index)), together[index : index + 1], atol=TOLERANCE)


def test_left_out_tokens_and_rows_change_nothing_in_float64(policy: Policy) -> None:
    """Before any decoder, and for every group of queries."""
    exact = make_policy(policy.config).double()
    observation = _lengths(make_observation(policy.config, batch=3), [1, 3, 2])
    groups = [group for group in exact.layout.groups if group.name in exact.embedding.queries]
    with torch.no_grad():
        tokens = exact.embedding(observation).tokens
        keys = exact.mask & _keys(exact, observation)[:, None]
        hidden = exact.trunk(tokens, keys[:, None])[0][:, exact.layout.prefix_length :]
        hidden = hidden.unflatten(1, (exact.layout.n_frames, -1))
        for names in [(group.name,) for group in groups] + [tuple(group.name for group in groups)]:
            out = exact.newest(tokens, observation.frame_mask, observation.view_mask, names)
            for name in names:
                for index, newest in enumerate((0, 2, 1)):
                    expected = hidden[index, newest, exact.layout.within_frame(name)]
                    assert (out[name][index] - expected).abs().max() < EXACT, name


def _keys(policy: Policy, observation: Observation) -> Tensor:
    return visible_keys(policy.layout, policy.config.views, observation.frame_mask, observation.view_mask)


def test_an_engine_is_the_full_pass_at_every_step(policy: Policy) -> None:
    """From the first frame, through young windows, until the window has slid on; two streams side by side."""
    film = Film(policy.config, batch=2)
    engine = Engine(policy)
    engine.reset(film.text, goal_rgb=film.observation(0).goal_rgb)
    for step in range(STEPS):
        expected = full_pass(policy, film.observation(step))
        assert torch.allclose(engine.act(film.frame(step)), expected, atol=TOLERANCE), step


def test_an_engine_without_a_wrist_camera() -> None:
    policy = make_policy(preset("tiny"))
    film, views = Film(policy.config, batch=2), torch.tensor([[True, False], [True, True]])
    engine = Engine(policy)
    engine.reset(film.text, view_mask=views)
    for step in range(4):
        expected = full_pass(policy, replace(film.observation(step), view_mask=views))
        assert torch.allclose(engine.act(film.frame(step)), expected, atol=TOLERANCE)


def test_reset_forgets_the_episode_before() -> None:
    policy = make_policy(preset("tiny"))
    film, other, engine = Film(policy.config), Film(policy.config, seed=1), Engine(policy)
    engine.reset(other.text)
    for step in range(5):
        engine.act(other.frame(step))
    engine.reset(film.text)
    for step in range(4):
        expected = full_pass(policy, film.observation(step))
        assert torch.allclose(engine.act(film.frame(step)), expected, atol=TOLERANCE)


def test_one_stream_begins_anew_while_the_other_goes_on() -> None:
    """Then their windows have different lengths, and their instructions are their own."""
    policy = make_policy(_window(preset("tiny"), obs_stride=2))
    film, engine = Film(policy.config, batch=2), Engine(policy)
    engine.reset(film.text)
    for step in range(5):
        engine.act(film.frame(step))
    text = film.text.roll(1, 0)
    engine.reset(text[1:], streams=[1])
    young = replace_text(film, text)
    for step in range(5, STEPS):
        action = engine.act(film.frame(step))
        assert torch.allclose(action[:1], full_pass(policy, film.observation(step))[:1], atol=TOLERANCE)
        assert torch.allclose(action[1:], full_pass(policy, young.observation(step, first=5))[1:], atol=TOLERANCE)


def replace_text(film: Film, text: Tensor) -> Film:
    other = Film(film.config, batch=len(text))
    other.text = text
    return other


def test_every_image_and_instruction_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, calls = make_policy(preset("tiny")), {"images": 0, "texts": 0, "decoders": 0}

    def count(module: torch.nn.Module, name: str) -> None:
        def hook(_: torch.nn.Module, arguments: tuple[Tensor, ...]) -> None:
            calls[name] += len(arguments[0]) if arguments else 1

        module.register_forward_pre_hook(hook)

    count(policy.embedding.image, "images")
    count(policy.embedding.text, "texts")
    for decoder in (policy.images, policy.flow, policy.action.encoder):
        assert decoder is not None
        count(decoder, "decoders")
    film, engine = Film(policy.config), Engine(policy)
    engine.reset(film.text)
    for step in range(STEPS):
        engine.act(film.frame(step))
    assert calls == {"images": 2 * STEPS, "texts": 1, "decoders": 0}


def test_the_last_layer_computes_only_the_action(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = make_policy(preset("tiny"))
    rows: list[int] = []
    for block in policy.trunk.blocks:
        block.mlp.register_forward_pre_hook(lambda _, arguments: rows.append(arguments[0].shape[1]))
    policy.act(make_observation(policy.config))
    assert rows == [3 * 12 + 4 + 1, 1]


@pytest.mark.parametrize("name", ["tiny", "composite", "strided"])
def test_flow_comes_from_the_same_pass(name: str) -> None:
    policy = make_policy(CONFIGS[name]())
    film, engine = Film(policy.config, batch=2), Engine(policy)
    engine.reset(film.text)
    start = torch.rand(2, 11, 3, generator=torch.Generator().manual_seed(3))
    for step in range(6):
        observation = film.observation(step)
        decision = engine.act_with_flow(film.frame(step), start)
        newest = observation.frame_mask[0].sum()[None] - 1
        with torch.no_grad():
            expected = policy(observation, frames=newest, flow_start=start[:, None])
        assert torch.allclose(decision.action, full_pass(policy, observation), atol=TOLERANCE)
        assert torch.allclose(decision.flow_delta, expected.flow_delta[:, 0], atol=TOLERANCE)
        assert torch.allclose(decision.flow_visible_logit, expected.flow_visible_logit[:, 0], atol=TOLERANCE)


def test_what_an_engine_refuses() -> None:
    policy = make_policy(preset("tiny"))
    film, engine = Film(policy.config), Engine(policy)
    with pytest.raises(ValueError, match="reset"):
        engine.act(film.frame(0))
    with pytest.raises(ValueError, match="reset"):
        engine.reset(film.text, streams=[0])
    engine.reset(["push it left", "push it right"])
    with pytest.raises(ValueError, match="1 streams act, 2 were begun"):
        engine.act(film.frame(0))
    with pytest.raises(ValueError, match="no flow"):
        Engine(make_policy(CONFIGS["no_flow"]())).act_with_flow(film.frame(0), torch.rand(1, 3, 3))
    policy.train()
    with pytest.raises(ValueError, match="eval"):
        engine.reset(film.text)
