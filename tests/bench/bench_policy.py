"""The full-size policy against a plain way of running it, in one run on one device: acting, 3D foresight, training.

Random weights of the full size: time does not depend on the values. On a GPU both run under bf16 autocast and acting is
compiled into CUDA graphs; on a CPU both run in float32. FORESIGHT_BENCH_PRESET, _STEPS (control steps timed), _UPDATES
(training steps timed) and _WINDOWS (a training batch) change what is measured. The plain way is in `plain_policy`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from model.batch import Frame, Observation, Targets
from model.config import preset
from model.inference import Engine
from model.losses import loss_terms, total_loss
from model.policy import ALL_DECODERS, Policy
from tests.bench.plain_policy import eager_attention, plain_act, plain_forward
from tests.factories import make_recording
from trainer.data.windows import Sampling, WindowBatches, WindowDataset
from trainer.episodes.memory import MemoryEpisode
from trainer.loop.options import FROZEN_SEGMENT
from trainer.loop.setup import choose_device

FLOW_POINTS = 384
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Cost:
    """What some work takes each time. `processor`: seconds of all cores together, which a busy machine bends less."""

    seconds: list[float]
    processor: list[float]
    gflop: float
    memory_gb: float

    def times(self, other: Cost, target: str = "") -> str:
        """How many times `other` this takes."""
        wall, processor = np.median(self.seconds), np.median(self.processor)
        return (
            f"{wall / np.median(other.seconds):.2f} of wall time, {processor / np.median(other.processor):.2f} of "
            f"processor time, {self.gflop / other.gflop:.2f} of GFLOP{target}"
        )


class Bench:
    """Measures work on one device and prints one line for each."""

    def __init__(self) -> None:
        self.device = choose_device("auto")
        self.gpu = self.device.type == "cuda"
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.gpu)
        self.peak = self._matmul_peak()
        say(f"peak: {self.peak / 1e3:.2f} TFLOP/s, a product of square matrices in {'bf16' if self.gpu else 'fp32'}")

    def cost(self, name: str, work: Callable[[], object], n: int, *, count: Callable[[], object] | None = None) -> Cost:
        """Times `work` n times after an untimed one, in which the operations of `count` (or `work`) are counted."""
        with FlopCounterMode(display=False) as counter, self.autocast:
            (count or work)()
        for _ in range(5 if self.gpu else 0):
            self._once(work)
        self._reset_memory()
        wall, processor = zip(*(self._once(work) for _ in range(n)), strict=True)
        cost = Cost(list(wall), list(processor), counter.get_total_flops() / 1e9, self._memory_gb())
        ms = 1e3 * np.percentile(cost.seconds, [50, 95])
        share = cost.gflop / np.median(wall) / self.peak
        say(
            f"  {name:47} p50 {ms[0]:9.2f} ms  p95 {ms[1]:9.2f} ms  {cost.gflop:9.1f} GFLOP  "
            f"{100 * share:5.1f} % of peak  {cost.memory_gb:6.2f} GB  n = {n}"
        )
        return cost

    def _once(self, work: Callable[[], object]) -> tuple[float, float]:
        """Seconds of wall and of processor time."""
        self.synchronise()
        start, processor = time.perf_counter(), time.process_time()
        with self.autocast:
            work()
        self.synchronise()
        return time.perf_counter() - start, time.process_time() - processor

    def synchronise(self) -> None:
        """Waits for the device."""
        if self.gpu:
            torch.cuda.synchronize()

    def _matmul_peak(self) -> float:
        """GFLOP/s."""
        size, dtype = (8192, torch.bfloat16) if self.gpu else (2048, torch.float32)
        a = torch.randn(size, size, device=self.device, dtype=dtype)
        return 2 * size**3 / min(self._once(lambda: a @ a)[0] for _ in range(8)) / 1e9

    def _reset_memory(self) -> None:
        if self.gpu:
            torch.cuda.reset_peak_memory_stats()
        else:
            CLEAR.write_text("5")  # Linux: forget the peak of resident memory

    def _memory_gb(self) -> float:
        """Most memory held since `_reset_memory`, weights included."""
        if self.gpu:
            return torch.cuda.max_memory_allocated() / 1e9
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e9


class Film:
    """Random frames of one endless episode, as an engine is shown them and as windows."""

    def __init__(self, policy: Policy, bench: Bench):
        self.config, self.device, self.autocast = policy.config, bench.device, bench.autocast
        rng, size = np.random.default_rng(0), policy.config.image_size
        shape = (policy.config.window.n_obs_steps, 1, len(policy.config.views), 3, size, size)
        self.rgb = torch.from_numpy(rng.integers(0, 256, shape, np.uint8)).to(self.device)
        self.text = policy.tokenize(["put the red bowl on the plate"]).to(self.device)
        pose = torch.eye(4, dtype=torch.float64, device=self.device)[None]
        self.frames = [Frame(rgb=rgb, T_base_tool=pose, gripper=self._zeros(1)) for rgb in self.rgb]
        self.goal = self.rgb[0, :, 0] if policy.config.goal_image else None

    def observation(self) -> Observation:
        """The window that ends with the newest frame."""
        steps, views = self.config.window.n_obs_steps, len(self.config.views)
        return Observation(
            rgb=self.rgb.transpose(0, 1),
            view_mask=torch.ones(1, views, dtype=torch.bool, device=self.device),
            text=self.text,
            state_arm=torch.zeros(1, steps, 6, device=self.device),
            state_gripper=self._zeros(1, steps),
            frame_mask=torch.ones(1, steps, dtype=torch.bool, device=self.device),
            goal_rgb=self.goal,
        )

    def engine(self, policy: Policy, *, compiled: bool = False) -> tuple[Engine, Tensor]:
        """One that has seen a whole window, and the action it came to."""
        engine = Engine(policy, compiled=compiled)
        with self.autocast:
            engine.reset(self.text, goal_rgb=self.goal)
            actions = [engine.act(frame) for frame in self.frames]
        return engine, actions[-1]

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int64, device=self.device)


def main() -> None:
    """Prints one line for each way of running."""
    bench, config = Bench(), preset(os.environ.get("FORESIGHT_BENCH_PRESET", "foresight"))
    torch.manual_seed(0)
    policy = Policy(config).to(bench.device)
    kind = "random weights" if config.image.weights is None else config.image.weights
    say(f"{config.name}, {kind}, {bench.device}, {policy.layout.length} tokens, {torch.get_num_threads()} CPU threads")
    policy.eval().requires_grad_(False)
    _acting(bench, policy)
    if "flow" in config.foresight:
        _foresight(bench, policy)
    policy.train().requires_grad_(True)
    _training(bench, policy)


def _acting(bench: Bench, policy: Policy) -> None:
    """One control step of one stream."""
    steps, film = _number("STEPS", 200 if bench.gpu else 5), Film(policy, bench)
    observation = film.observation()
    say("acting, one control step, batch 1")
    seen: list[Tensor] = []
    with eager_attention(policy):
        plain = bench.cost("plain", lambda: seen.append(plain_act(policy, observation)), steps)
    whole = bench.cost("ours, window without memory (Policy.act)", lambda: policy.act(observation), steps)
    (engine, action), frame = film.engine(policy), film.frames[-1]
    ours = bench.cost("ours, every image encoded once (Engine)", lambda: engine.act(frame), steps)
    say(f"  largest difference of the action: {(action - seen[-1]).abs().max():.1e}")
    if bench.gpu:
        fast, _ = film.engine(policy, compiled=True)
        ours = bench.cost("ours, compiled", lambda: fast.act(frame), steps, count=lambda: engine.act(frame))
    say(f"  plain / ours:           {plain.times(ours, f' (target {5 if bench.gpu else 3})')}")
    say(f"  plain / without memory: {plain.times(whole)}")


def _foresight(bench: Bench, policy: Policy) -> None:
    """What FLOW tokens cost while acting: turn by turn, so that drifts of the machine hit both alike."""
    without = Policy(replace(policy.config, foresight=("depth", "future"))).to(bench.device).eval()
    without.embedding.image, without.embedding.text = policy.embedding.image, policy.embedding.text
    film, rounds = Film(policy, bench), _number("STEPS", 200 if bench.gpu else 5)
    engines = [film.engine(item, compiled=bench.gpu)[0] for item in (policy, without)]
    frame, seconds = film.frames[-1], np.zeros((rounds, 2))
    for turn in range(-1, rounds):
        for index, engine in enumerate(engines):
            bench.synchronise()
            start = time.perf_counter()
            with bench.autocast:
                engine.act(frame)
            bench.synchronise()
            seconds[max(turn, 0), index] = time.perf_counter() - start
    with_flow, plain = 1e3 * np.median(seconds, 0)
    difference = 1e3 * np.median(seconds[:, 0] - seconds[:, 1])
    say("cost of 3D foresight while acting (FLOW tokens, same engine)")
    say(
        f"  with {with_flow:.2f} ms, without {plain:.2f} ms, median difference {difference:.2f} ms, n = {rounds} "
        f"(target 1 ms on one H100-class GPU; the paper reports 6 ms)"
    )


def _training(bench: Bench, policy: Policy) -> None:
    """Forward and backward pass of one batch: all frames supervised, unless said otherwise."""
    config, updates = policy.config, _number("UPDATES", 20 if bench.gpu else 2)
    windows = _number("WINDOWS", 32 if bench.gpu else FROZEN_SEGMENT)
    shared, targets = _batch(bench, policy, windows, config.window.n_obs_steps, FLOW_POINTS)
    own = Observation(**{item.name: getattr(shared, item.name) for item in fields(Observation)})
    say(f"training, forward and backward, {windows} windows, all frames supervised, {FLOW_POINTS} flow points a frame")

    def step(observation: Observation, truth: Targets, *, plainly: bool = False) -> None:
        policy.zero_grad(set_to_none=True)
        if plainly:
            prediction = plain_forward(policy, observation, truth, decoders=ALL_DECODERS)
        else:
            prediction = policy(observation, frames=truth.frames, flow_start=truth.flow_start, action=truth.action)
        terms = loss_terms(prediction, truth, observation, config)
        total_loss(terms, config.loss, with_action=True).backward()

    with eager_attention(policy):
        plain = bench.cost("plain", lambda: step(own, targets, plainly=True), updates)
    alone = bench.cost("ours, every window for itself", lambda: step(own, targets), updates)
    ours = bench.cost(f"ours, segments of {FROZEN_SEGMENT} windows", lambda: step(shared, targets), updates)
    say(f"  plain / ours:                    {plain.times(ours, ' (target 2)')}")
    say(f"  plain / every window for itself: {plain.times(alone)}")
    fewer, less = _batch(bench, policy, windows, 2, 192)
    light = bench.cost("computes less: 2 frames supervised, 192 points", lambda: step(fewer, less), updates)
    say(f"  plain / computes less:           {plain.times(light)}")


def _batch(bench: Bench, policy: Policy, windows: int, supervised: int, points: int) -> tuple[Observation, Targets]:
    """A batch of segments as training gets it, of synthetic episodes."""
    config = policy.config
    episodes = [
        MemoryEpisode(make_recording(length=40, size=(128, 128), frame_stride=1, seed=seed)) for seed in range(4)
    ]
    dataset = WindowDataset(episodes, config, policy.tokenize)
    sampling = Sampling(
        batch_size=windows,
        supervised=supervised,
        flow_points=points,
        windows_per_segment=min(FROZEN_SEGMENT, windows),
    )
    observation, targets = WindowBatches(dataset, sampling, epoch=0)[0]
    return observation.to(bench.device), targets.to(bench.device)


def _number(name: str, default: int) -> int:
    return int(os.environ.get(f"FORESIGHT_BENCH_{name}", default))


def say(line: str) -> None:
    """One line, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
