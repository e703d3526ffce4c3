# SPDX-License-Identifier: Apache-2.0
"""Networks as PyTorch users write them: every runtime has the same integers, near the reals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.tinyml.importers import pytorch_networks  # noqa: E402
from tinyml.export import export  # noqa: E402
from tinyml.samples import Samples  # noqa: E402
from tinyml.source import open_source  # noqa: E402
from tinyml.targets import load_target  # noqa: E402

NETWORKS = [
    "TemporalConvolution",
    "UNet",
    "Shuffle",
    "Upscale",
    "VisionTransformer",
    "Arithmetic",
]
# Decibels: int8 loses some of each, more where many layers follow each other.
LEAST_SNR = 28.0


@pytest.mark.parametrize("name", NETWORKS)
def test_every_runtime_has_the_same_integers(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = getattr(pytorch_networks, name).shape
    x = np.random.default_rng(0).standard_normal((16, *shape)).astype(np.float32)
    samples = Samples("noise", {"": x})
    source = open_source(f"{pytorch_networks.__file__}:{name}", samples.shapes, None, samples)
    # Raises where a runtime differs from the integers by more than is allowed.
    report = export(source, load_target("host"), samples, None, tmp_path / "out")
    assert report["output_snr_db"] > LEAST_SNR
