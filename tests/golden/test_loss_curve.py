"""Twenty updates of the tiny preset from seed 0: a change without numerical effect gives these losses again.

After a change that is meant to alter them: `python tests/golden/test_loss_curve.py` writes the new curve.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CURVE = Path(__file__).with_name("loss_curve.json")
STEPS = 20


def train_curve(folder: Path) -> list[dict[str, float]]:
    """Total loss and gradient norm of every update."""
    from tests.factories import make_recording
    from trainer.episodes.packed import save_packed
    from trainer.loop.train import main

    save_packed(make_recording(length=20, size=(32, 32), frame_stride=1), folder / "episodes" / "e0", encoding="mapped")
    options = "--preset tiny --batch-size 2 --warmup-steps 5 --workers 0 --threads 1 --device cpu --precision fp32"
    options += f" --flow-points 8 --log-every 1 --steps {STEPS} --data {folder / 'episodes'} --out {folder / 'run'}"
    main(options.split())
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return [{name: json.loads(line)[name] for name in ("loss", "grad_norm")} for line in lines]


def test_the_loss_curve_is_the_recorded_one(tmp_path: Path) -> None:
    recorded, now = json.loads(CURVE.read_text()), train_curve(tmp_path)
    # Processors round matrix products differently, and twenty updates let the difference grow.
    for name, tolerance in (("loss", 1e-4), ("grad_norm", 1e-3)):
        assert [line[name] for line in now] == pytest.approx([line[name] for line in recorded], rel=tolerance), name


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as temporary:
        CURVE.write_text(json.dumps(train_curve(Path(temporary)), indent=1) + "\n")
