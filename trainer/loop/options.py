"""The options of `python -m trainer train`, and which of them a resumed run may change."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from model.config import PolicyConfig, from_json, preset
from model.errors import ConfigError

DEFAULT_HOURS = 2.0
RANDOM = "random"
"""In place of an encoder's weights: there are none, and that is meant."""
FROZEN_SEGMENT = 8
"""Windows a segment with a frozen image encoder: 17 frames to encode instead of 80 at the paper's sizes."""
_NEVER_STORED = frozenset({"data", "out", "labels", "resume", "steps", "hours"})
FREE_ON_RESUME = frozenset({"probe", "probe_every", "save_every", "log_every", "workers", "device", "threads"})
"""What a resumed run may change: nothing here decides the numbers of an update."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Train a policy with 3D foresight on episodes.

    First on foresight alone, then with actions, in one run. Ctrl-C or SIGTERM saves and stops; --resume goes on
    exactly where the newest whole checkpoint stands.

    Attributes:
        data: Episodes of any format (PATH#INDEX), or folders with such in them; packed ones are read fastest.
        out: Folder of the run. Must be new or empty, unless --resume.
        labels: A store of `python -m trainer label`: its depth and tracks are targets where an episode has none of its
            own; they count by the configuration's loss.pseudo, and the model card says how many episodes they are of.
        preset: Name of a preset (tiny, compact, foresight, foresight_2d, gr_mg), with overrides if you like
            (foresight+no_flow), or a JSON file with a whole policy configuration.
        image_weights: Frozen image encoder of the big presets: a folder or a downloaded hub model (the paper's is
            facebook/vit-mae-base); `random` for a trial run.
        text_weights: Frozen text encoder of the big presets, alike (the paper's is openai/clip-vit-base-patch32).
        resume: Go on with the run in --out. Options left at their default are taken from it.
        steps: End after this many optimizer updates.
        hours: End after this much training time; the learning rate reaches its floor just then. 2 if neither is given.
        batch_size: Windows a forward pass.
        accumulate: Forward passes an update.
        lr: Peak learning rate.
        warmup_steps: Updates of linear warm-up.
        weight_decay: Of matrices and kernels; norms, biases, embeddings and queries never decay.
        ema_decay: Of the averaged weights, which are what is shown and shipped.
        phase1_fraction: Share of the budget before actions join.
        supervised: Frames of each window whose image and flow are predicted: the newest and some earlier ones.
        flow_points: Points followed in each of these frames.
        random_shift: Shift each window's images and labels by up to 5 % of the image side.
        windows_per_segment: Neighbouring windows whose images are read and encoded once for all of them; a batch holds
            batch_size / windows_per_segment segments, so enlarge both. Default: 8 with a frozen image encoder, where
            encoding costs most, else 1.
        precision: fp32, or bf16 autocast over float32 weights; auto = bf16 where the hardware has it.
        device: auto = a GPU where there is one.
        workers: Processes that load windows; 0 = load in the training process.
        threads: CPU threads for torch; 0 = one a core.
        compile: torch.compile the forward pass (worth it on a GPU).
        seed: Of initialisation, data order and every random draw.
        probe: Held-out episodes re-predicted while training; default: the first training episodes.
        probe_every: Updates between two probe pictures.
        save_every: Updates between two checkpoints.
        log_every: Updates between two lines of metrics.jsonl.
    """

    data: tuple[Path, ...]
    out: Path
    labels: Path | None = None
    preset: str = "compact"
    image_weights: str | None = None
    text_weights: str | None = None
    resume: bool = False
    steps: int | None = None
    hours: float | None = None
    batch_size: int = 16
    accumulate: int = 1
    lr: float = 1e-3
    warmup_steps: int = 200
    weight_decay: float = 0.01
    ema_decay: float = 0.999
    phase1_fraction: float = 0.4
    supervised: int = 2
    flow_points: int = 192
    random_shift: bool = True
    windows_per_segment: int | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: int = 1
    threads: int = 0
    compile: bool = False
    seed: int = 0
    probe: tuple[Path, ...] = ()
    probe_every: int = 250
    save_every: int = 500
    log_every: int = 10

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulate", "lr", "probe_every", "save_every", "log_every"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"--{name.replace('_', '-')} must be > 0, got {getattr(self, name)}")
        for name in ("steps", "hours"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"--{name} must be > 0, got {value}")
        for name in ("warmup_steps", "weight_decay", "workers", "threads", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"--{name.replace('_', '-')} must be >= 0, got {getattr(self, name)}")
        for name in ("ema_decay", "phase1_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"--{name.replace('_', '-')} must be between 0 and 1, got {getattr(self, name)}")

    def segment_size(self, config: PolicyConfig) -> int:
        """Windows a segment for this policy."""
        if self.windows_per_segment is not None:
            return self.windows_per_segment
        return math.gcd(FROZEN_SEGMENT, self.batch_size) if config.image.kind == "vit" else 1

    def policy_config(self) -> PolicyConfig:
        """The preset by name, or the configuration in the file that `preset` names, with its frozen encoders.

        Raises:
            ConfigError: No such preset or file, or a frozen encoder without weights that was not meant to be random.
        """
        config = self._stored_config() if self.preset.endswith(".json") else preset(self.preset)
        for part, given in (("image", self.image_weights), ("text", self.text_weights)):
            encoder = getattr(config, part)
            if encoder.kind not in ("vit", "clip"):
                if given is not None:
                    raise ConfigError(f"--{part}-weights: the {part} encoder of '{config.name}' learns with the policy")
                continue
            weights = given or encoder.weights
            if weights is None:
                raise ConfigError(
                    f"--preset {self.preset}: needs a pretrained {part} encoder; add --{part}-weights FOLDER (or "
                    f"`random` for a trial run whose results mean nothing)"
                )
            changed = dataclasses.replace(encoder, weights=None if weights == RANDOM else weights)
            config = dataclasses.replace(config, **{part: changed})
        return config

    def _stored_config(self) -> PolicyConfig:
        path = Path(self.preset)
        if not path.is_file():
            raise ConfigError(f"--preset {path}: no such file")
        return from_json(path.read_text(encoding="utf-8"))

    def to_json(self) -> dict[str, Any]:
        """Plain values, paths as strings."""
        return json.loads(json.dumps(dataclasses.asdict(self), default=str))

    def facts(self) -> dict[str, Any]:
        """As `to_json`, with names for paths: a checkpoint travels and says nothing about its machine's folders."""
        named = dataclasses.replace(
            self,
            preset=Path(self.preset).name,
            image_weights=_name(self.image_weights),
            text_weights=_name(self.text_weights),
        )
        return json.loads(json.dumps(dataclasses.asdict(named), default=lambda path: Path(path).name))


def _name(weights: str | None) -> str | None:
    """What to call an encoder where folders are nobody's business."""
    return Path(weights).name if weights and Path(weights).is_dir() else weights


def resumed_options(options: TrainOptions, stored: Mapping[str, Any]) -> TrainOptions:
    """The options to go on with: those `stored` in the run, and from the command line what may change.

    Raises:
        ConfigError: An option that decides the numbers was given and differs from the run's.
    """
    changes: dict[str, Any] = {}
    for item in dataclasses.fields(TrainOptions):
        if item.name in _NEVER_STORED or item.name not in stored:
            continue
        was, given = stored[item.name], options.to_json()[item.name]
        if getattr(options, item.name) == item.default:
            changes[item.name] = tuple(map(Path, was)) if item.name == "probe" else was
        elif given != was and item.name not in FREE_ON_RESUME:
            raise ConfigError(
                f"--{item.name.replace('_', '-')} {given}: this run was started with {was}; leave it out, or start a "
                "new run in another --out"
            )
    if options.steps is None and options.hours is None:
        changes |= {"steps": stored.get("steps"), "hours": stored.get("hours")}
    return dataclasses.replace(options, **changes)
