# SPDX-License-Identifier: Apache-2.0
"""The four reference networks of MLPerf Tiny, for measuring what code costs.

Architectures from the benchmark's public description (Banbury et al., MLPerf Tiny Benchmark,
arXiv 2106.07597). Their data sets are not used and their weights are seeded random: instructions,
RAM and flash of an int8 network do not depend on what it has learned.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyml.errors import DatasetError
from tinyml.samples import Samples, checked_samples
from tinyml.zoo.entry import ZooModel, require_torch

if TYPE_CHECKING:
    from torch import nn

NOISE = "seeded noise"
_SAMPLES = {"calibration": (1, 64), "test": (2, 16)}
_SHAPES = {
    "mlperf-kws": (1, 1, 49, 10),
    "mlperf-vww": (1, 3, 96, 96),
    "mlperf-ic": (1, 3, 32, 32),
    "mlperf-ad": (1, 640),
}
# Output channels and stride of each separable block of MobileNetV1 at width 0.25.
_MOBILENET = (
    *((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)),
    *((128, 1),) * 5,
    *((256, 2), (256, 1)),
)


@dataclass(frozen=True)
class BenchmarkModel(ZooModel):
    """One of the four networks."""

    def describe(self, facts: dict[str, Any]) -> str:
        return "-"

    @property
    def weights_note(self) -> str:
        """They are never trained."""
        return "seeded random: for measuring cost"

    @property
    def input_shape(self) -> tuple[int, ...]:
        return _SHAPES[self.name]

    def build(self) -> nn.Module:
        torch = require_torch()
        makers = {
            "mlperf-kws": _keyword_spotting,
            "mlperf-vww": _visual_wake_words,
            "mlperf-ic": _image_classification,
            "mlperf-ad": _anomaly_detection,
        }
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return makers[self.name]()

    def load(self, weights: Path | None = None) -> nn.Module:
        if weights is not None:
            raise DatasetError(f"{self.name} takes no weights", "It is there to measure cost.")
        torch = require_torch()
        model = self.build()
        batch = torch.from_numpy(self._noise("calibration"))
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.momentum = None  # statistics of this batch
        model.train()
        with torch.no_grad():
            model(batch)
        return model.eval()

    def to_onnx(self, weights: Path | None = None) -> bytes:
        from tinyml.importers.pytorch import module_to_onnx

        return module_to_onnx(self.load(weights), [self.input_shape])

    def _noise(self, role: str) -> np.ndarray:
        seed, count = _SAMPLES[role]
        drawn = np.random.default_rng(seed).standard_normal((count, *self.input_shape[1:]))
        return drawn.astype(np.float32)

    def samples(self, role: str, weights: Path | None = None) -> Samples:
        return checked_samples(NOISE, {"": self._noise(role)}, None)


def _layers(*modules: nn.Module) -> nn.Module:
    joined: nn.Module = require_torch().nn.Sequential(*modules)
    return joined


def _conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, *, clamp: bool = True
) -> nn.Module:
    """Convolution, batch normalisation and ReLU; TensorFlow's SAME padding on even sizes."""
    nn = require_torch().nn
    both, after = ((kernel - 1) // 2, 0) if stride == 1 else (0, kernel - 2 if kernel > 1 else 0)
    return _layers(
        nn.ZeroPad2d((both, both + after, both, both + after)),
        nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU() if clamp else nn.Identity(),
    )


def _classifier(pool: tuple[int, int], inputs: int, classes: int) -> nn.Module:
    nn = require_torch().nn
    return _layers(nn.AvgPool2d(pool), nn.Flatten(), nn.Linear(inputs, classes), nn.Softmax(dim=-1))


def _keyword_spotting() -> nn.Module:
    """DS-CNN on 49 frames of 10 MFCCs, 12 words."""
    nn = require_torch().nn
    stem = _layers(
        nn.ZeroPad2d((1, 1, 4, 5)),
        nn.Conv2d(1, 64, (10, 4), 2, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
    )
    blocks = [_layers(_conv(64, 64, 3, groups=64), _conv(64, 64, 1)) for _ in range(4)]
    return _layers(stem, *blocks, _classifier((25, 5), 64, 12))


def _visual_wake_words() -> nn.Module:
    """MobileNetV1, width 0.25, 96x96, person or none."""
    blocks, inputs = [_conv(3, 8, 3, 2)], 8
    for outputs, stride in _MOBILENET:
        depthwise = _conv(inputs, inputs, 3, stride, groups=inputs)
        blocks.append(_layers(depthwise, _conv(inputs, outputs, 1)))
        inputs = outputs
    return _layers(*blocks, _classifier((3, 3), 256, 2))


def _residual(inputs: int, outputs: int, stride: int) -> nn.Module:
    torch = require_torch()

    class Residual(torch.nn.Module):  # type: ignore[name-defined,misc]
        """Two convolutions beside a shortcut."""

        def __init__(self) -> None:
            super().__init__()
            self.first = _conv(inputs, outputs, 3, stride)
            self.second = _conv(outputs, outputs, 3, clamp=False)
            same = inputs == outputs and stride == 1
            self.shortcut = (
                torch.nn.Identity() if same else torch.nn.Conv2d(inputs, outputs, 1, stride)
            )

        def forward(self, x: Any) -> Any:
            return torch.relu(self.second(self.first(x)) + self.shortcut(x))

    return Residual()


def _image_classification() -> nn.Module:
    """ResNet-8 on 32x32 images, 10 classes."""
    return _layers(
        _conv(3, 16, 3),
        _residual(16, 16, 1),
        _residual(16, 32, 2),
        _residual(32, 64, 2),
        _classifier((8, 8), 64, 10),
    )


def _anomaly_detection() -> nn.Module:
    """Fully connected autoencoder on 5 frames of 128 mel bands."""
    nn = require_torch().nn
    sizes = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128)
    layers: list[Any] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
    return _layers(*layers, nn.Linear(128, 640))


BENCHMARK_MODELS = (
    BenchmarkModel("mlperf-kws", "DS-CNN", "MLPerf Tiny keyword spotting, 49x10", NOISE),
    BenchmarkModel("mlperf-vww", "MobileNetV1", "MLPerf Tiny person detection, 96x96", NOISE),
    BenchmarkModel("mlperf-ic", "ResNet-8", "MLPerf Tiny image classification, 32x32", NOISE),
    BenchmarkModel("mlperf-ad", "autoencoder", "MLPerf Tiny anomaly detection, 640", NOISE),
)
