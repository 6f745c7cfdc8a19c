"""A process of its own that turns a torch file into a safetensors file: `python -I torch_child.py SOURCE TARGET BYTES`.

The only place where a torch file is ever read, always with `weights_only=True`, and with no more than BYTES of memory:
if the file breaks out of that reader, or fills the memory, it does so here and not in the process that asked. Imports
nothing of this repository.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import save_file


def tensors_of(stored: Any) -> dict[str, torch.Tensor]:
    """The tensors of a state dict, alone or as Lightning and others wrap it."""
    if not isinstance(stored, Mapping):
        raise ValueError("it holds no named tensors")
    for key in ("state_dict", "model"):
        if isinstance(stored.get(key), Mapping):
            stored = stored[key]
            break
    found = {str(name): value for name, value in stored.items() if isinstance(value, torch.Tensor)}
    if not found:
        raise ValueError("it holds no named tensors")
    return {name: value.detach().clone().contiguous() for name, value in found.items()}


def main(source: str, target: str, most_bytes: str) -> int:
    """Returns 0, or 1 with one line on stderr."""
    resource.setrlimit(resource.RLIMIT_AS, (int(most_bytes), int(most_bytes)))
    try:
        save_file(tensors_of(torch.load(source, map_location="cpu", weights_only=True)), target)
    except Exception as error:  # whatever the file makes the reader do, it is one line for the user
        sys.stderr.write(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
