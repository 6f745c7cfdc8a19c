"""`python -m trainer import FILE --out DIR`: a policy checkpoint of GR-MG as one of ours."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from model.config import preset
from model.errors import CheckpointError
from model.gr_mg import convert
from model.policy import Policy
from model.weights import CompatibilityReport, compare_weights
from trainer.files import sha256_of

from .checkpoint import save_inference_checkpoint
from .options import RANDOM
from .torch_file import read_tensors

METRES_PER_UNIT, RADIANS_PER_UNIT = 1 / 50, 1 / 20
"""GR-MG scales the actions of CALVIN by 50 and 20."""


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Turn a policy checkpoint of GR-MG, the paper's backbone, into a checkpoint folder of preset gr_mg.

    Every tensor must fit; one that is missing, unexpected or of another shape is listed and nothing is written. A torch
    file is read in a process of its own, plain tensors only.

    Attributes:
        file: A .safetensors, or a torch file (.pt, .pth, .ckpt).
        out: Folder of the checkpoint; must not exist.
        image_weights: The frozen image encoder: a folder or a downloaded hub model (GR-MG: facebook/vit-mae-base), or
            `random`.
        text_weights: The frozen text encoder, alike (GR-MG: openai/clip-vit-base-patch32).
    """

    file: tyro.conf.Positional[Path]
    out: Path
    image_weights: str
    text_weights: str


def main(argv: list[str]) -> int:
    """Imports, says what fitted, returns 0."""
    options = tyro.cli(ImportOptions, args=argv, prog="python -m trainer import")
    if options.out.exists():
        raise CheckpointError(f"--out {options.out}: exists already; choose another folder")
    report = import_gr_mg(options)
    sys.stdout.write(f"{options.out}: {report.listing()}\n")
    return 0


def import_gr_mg(options: ImportOptions) -> CompatibilityReport:
    """Writes the checkpoint folder `options.out`.

    Raises:
        CheckpointError: The file does not fit; the message lists every tensor that does not.
        UnsafeFileError: The file would run code or exhaust memory.
    """
    config = preset("gr_mg")
    weights = {"image": options.image_weights, "text": options.text_weights}
    parts = {
        name: replace(getattr(config, name), weights=None if value == RANDOM else value)
        for name, value in weights.items()
    }
    units = replace(config.stats, action_metres_per_unit=METRES_PER_UNIT, action_radians_per_unit=RADIANS_PER_UNIT)
    config = replace(config, stats=units, **parts)
    ours, unknown = convert(read_tensors(options.file), config)
    policy = Policy(config)
    report = compare_weights(policy, ours)
    report = replace(report, unexpected=(*report.unexpected, *unknown))
    if not report.ok:
        raise CheckpointError(f"{options.file}: no policy of GR-MG as its public code makes it.\n{report.listing()}")
    policy.load_state_dict(ours)
    origin = {"from": "GR-MG", "file": options.file.name, "sha256": sha256_of(options.file)}
    facts = {"weights": "imported", "imported": origin}
    save_inference_checkpoint(options.out, policy, config, facts)
    return report
