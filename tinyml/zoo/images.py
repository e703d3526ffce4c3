# SPDX-License-Identifier: Apache-2.0
"""Image models of the zoo: the TinyNet family."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyml.errors import DatasetError
from tinyml.samples import Samples, checked_samples
from tinyml.zoo.entry import WEIGHTS, ZooModel, load_user_weights, require_torch

if TYPE_CHECKING:
    from torch import nn

    from tinyml.zoo.entry import Advance
    from tinyml.zoo.tinynet import TinyNetConfig

# Depth and width of the family at the size of a digit: four stages, stem stride 1.
_MNIST_STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (1, 3, 1, 6, 80))

# Fine-tuning under rounding: how many images ranges are measured on. Weights are nearly right from
# the start: a few hundred steps at a rate that keeps what was learned do, whatever the data's size.
_QAT_IMAGES = 128
_QAT_EPOCHS, _QAT_EPOCH_IMAGES = 4, 6400
_QAT_RATE = 2e-4


@dataclass(frozen=True)
class ImageModel(ZooModel):
    """A TinyNet."""

    def _config(self) -> TinyNetConfig:
        from tinyml.zoo.tinynet import FAMILY, TinyNetConfig

        if self.name == "tinynet-mnist":
            return TinyNetConfig(
                0.5, 1.0, 28, 10, 1, stem=16, stem_stride=1, head=128, stages=_MNIST_STAGES
            )
        member = self.name.removesuffix("-10").removesuffix("-photos")
        if member != self.name:
            return replace(FAMILY[member], classes=10)
        return FAMILY[self.name]

    def describe(self, facts: dict[str, Any]) -> str:
        return f"accuracy {100 * facts['test_accuracy']:.2f} % on {facts['test_images']:,} images"

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """(1, channels, height, width)."""
        config = self._config()
        return (1, config.input_channels, config.resolution, config.resolution)

    def build(self) -> nn.Module:
        torch = require_torch()
        from tinyml.zoo.tinynet import TinyNet

        with torch.random.fork_rng():
            torch.manual_seed(0)
            return TinyNet(self._config())

    def load(self, weights: Path | None = None) -> nn.Module:
        """The model in evaluation mode.

        Args:
            weights: the user's own: a .npz of `save_weights`, or a state dict
                (.safetensors, .pth, .pt) with timm's names. Without it the shipped weights;
                where none are shipped, seeded random ones whose batch statistics were settled
                on real images.

        Raises:
            DatasetError: the weights cannot be read or do not fit.
        """
        require_torch()
        from tinyml.zoo.tinynet import adopt_state
        from tinyml.zoo.train import load_weights

        model = self.build()
        shipped = WEIGHTS / f"{self.name}.npz"
        if weights is not None:
            load_user_weights(weights, model, adopt_state)
        elif shipped.exists():
            load_weights(model, shipped)
        else:
            self._settle(model)
        return model.eval()

    def _settle(self, model: nn.Module) -> None:
        """Runs real images through random weights so that batch statistics are true ones."""
        torch = require_torch()
        from tinyml.zoo.data import at_resolution, load_dataset

        images = load_dataset(self.dataset).train_x[:64]
        batch = torch.from_numpy(at_resolution(images, self.input_shape[2]))
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # a plain average
        model.train()
        with torch.no_grad():
            for start in range(0, len(batch), 16):
                model(batch[start : start + 16])

    def to_onnx(self, weights: Path | None = None) -> bytes:
        from tinyml.importers.pytorch import module_to_onnx

        return module_to_onnx(self.load(weights), [self.input_shape])

    def samples(self, role: str, weights: Path | None = None) -> Samples:
        return image_samples(self.dataset, role, self.input_shape[2])

    def train(self, folder: Path, advance: Advance, epochs: int | None = None) -> dict[str, Any]:
        if not self.trainable:
            return super().train(folder, advance, epochs)
        require_torch()
        from tinyml.zoo.data import load_dataset
        from tinyml.zoo.train import Recipe, train

        # Larger images and fewer of them: smaller batches, and a rate to match.
        recipe = Recipe() if self.name == "tinynet-mnist" else Recipe(batch=64, rate=3e-3)
        if epochs is not None:
            recipe = replace(recipe, epochs=epochs)
        data = load_dataset(self.dataset)
        return train(self.build, data, recipe, folder, self.name, advance)

    def train_qat(
        self, folder: Path, advance: Advance, epochs: int | None = None
    ) -> dict[str, Any]:
        """Fine-tunes the shipped weights under int8 rounding. Writes NAME-qat.onnx, which states
        the grids that the weights were trained for, and the facts and curves as `train` does;
        their accuracies are the rounded network's.

        Raises:
            DatasetError: no weights are shipped for this model.
        """
        if self.facts is None:
            raise DatasetError(
                f"'{self.name}' has no shipped weights to fine-tune",
                "Use tinyml.qat.prepare_qat in your own training loop.",
            )
        torch = require_torch()
        from tinyml.qat import RoundedNetwork, prepare_qat
        from tinyml.zoo.data import load_dataset
        from tinyml.zoo.train import Recipe, accuracy, train

        data = load_dataset(self.dataset)
        batches = torch.from_numpy(data.train_x[:: max(1, len(data.train_x) // _QAT_IMAGES)])
        network = prepare_qat(self.load(), [batches[:_QAT_IMAGES]])
        before = {
            "float_accuracy_before": accuracy(self.load(), data.test_x, data.test_y),
            "rounded_accuracy_before": accuracy(network, data.test_x, data.test_y),
        }

        def store(trained: nn.Module, path: Path) -> None:
            assert isinstance(trained, RoundedNetwork)
            trained.save(path.with_name(f"{path.name}.onnx"))

        recipe = Recipe(
            epochs=epochs or _QAT_EPOCHS,
            batch=64,
            rate=_QAT_RATE,
            decay=0.0,
            images=_QAT_EPOCH_IMAGES,
        )
        name = f"{self.name}-qat"
        return train(lambda: network, data, recipe, folder, name, advance, store, before)


def image_samples(dataset: str, role: str, side: int | None = None) -> Samples:
    """A split of an image data set, scaled to ``side`` pixels where given."""
    from tinyml.zoo.data import at_resolution, load_dataset

    data = load_dataset(dataset)
    images, labels = {
        "calibration": (data.train_x, data.train_y),
        "test": (data.test_x, data.test_y),
    }[role]
    if side is not None:
        images = at_resolution(images, side)
    split = "training split" if role == "calibration" else "test split"
    return checked_samples(f"{data.name}, {split}", {"": images}, labels if len(labels) else None)


IMAGE_MODELS = (
    ImageModel("tinynet-mnist", "TinyNet", "digits of 28x28 pixels, 10 classes", "mnist", True),
    ImageModel("tinynet-a", "TinyNet", "paper's A, 192x192, 1000 classes", "photo-patches"),
    ImageModel("tinynet-b", "TinyNet", "paper's B, 188x188, 1000 classes", "photo-patches"),
    ImageModel("tinynet-c", "TinyNet", "paper's C, 184x184, 1000 classes", "photo-patches"),
    ImageModel("tinynet-d", "TinyNet", "paper's D, 152x152, 1000 classes", "photo-patches"),
    ImageModel("tinynet-e", "TinyNet", "paper's E, 106x106, 1000 classes", "photo-patches"),
    ImageModel("tinynet-e-10", "TinyNet", "E with a classifier of 10 classes", "photo-patches"),
    ImageModel("tinynet-e-photos", "TinyNet", "E, which of ten photographs", "photographs", True),
)
