# SPDX-License-Identifier: Apache-2.0
"""What timm's TinyNets are and compute, recorded so that tests need no timm.

`python -m tests.tinyml.zoo.timm_reference` rewrites timm.json; it needs timm and torchvision.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

RECORD = Path(__file__).parent / "timm.json"
LOGITS = 8


def fill(model: nn.Module) -> None:
    """Gives every parameter and statistic a value that depends on its name order alone, of a size
    that keeps signals alive through the network."""
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for name, value in sorted(model.state_dict().items()):
            if name.endswith("num_batches_tracked"):
                continue
            drawn = 2 * rng.random(tuple(value.shape)) - 1
            if name.endswith("running_var"):
                drawn = 1 + 0.5 * drawn
            elif value.ndim > 1:
                drawn *= np.sqrt(6 / value[0].numel())
            elif "bn" in name and name.endswith("weight"):
                drawn = 1 + 0.2 * drawn
            else:
                drawn *= 0.2
            value.copy_(torch.from_numpy(drawn))


def image(side: int) -> Tensor:
    """One image of 3 x side x side, in -2 .. 2."""
    drawn = 4 * np.random.default_rng(1).random((1, 3, side, side)) - 2
    return torch.from_numpy(drawn.astype(np.float32))


def describe(model: nn.Module, side: int) -> dict[str, Any]:
    """Parameter count, a digest of names and shapes in order, and the first logits."""
    names = [f"{name} {tuple(value.shape)}" for name, value in model.state_dict().items()]
    fill(model)
    model.eval()
    with torch.no_grad():
        logits = model(image(side))[0, :LOGITS]
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "names": hashlib.sha256("\n".join(names).encode()).hexdigest(),
        "logits": [float(v) for v in logits],
    }


def record() -> dict[str, Any]:
    """The five members as timm builds them."""
    import timm

    members = {}
    for letter in "abcde":
        model = timm.create_model(f"tinynet_{letter}", pretrained=False)
        side = model.default_cfg["input_size"][1]
        members[f"tinynet-{letter}"] = {"resolution": side, **describe(model, side)}
    return {"timm": timm.__version__, "members": members}


if __name__ == "__main__":
    RECORD.write_text(json.dumps(record(), indent=1) + "\n", encoding="utf-8")
