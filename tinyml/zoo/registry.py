# SPDX-License-Identifier: Apache-2.0
"""The models that come with tinyml."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyml.errors import DatasetError, ToolMissingError

if TYPE_CHECKING:
    from torch import nn

    from tinyml.zoo.tinynet import TinyNetConfig
    from tinyml.zoo.train import Advance

WEIGHTS = Path(__file__).parent / "weights"

# Depth and width of the family at the size of a digit: four stages, stem stride 1.
_MNIST_STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (1, 3, 1, 6, 80))


@dataclass(frozen=True)
class ZooModel:
    """One entry.

    Args:
        name: what ``zoo:NAME`` takes.
        family: the architecture.
        description: one line.
        dataset: real data for training, calibration and verification.
        trainable: whether `train` has a recipe for it.
    """

    name: str
    family: str
    description: str
    dataset: str
    trainable: bool = False

    def _config(self) -> TinyNetConfig:
        from tinyml.zoo.tinynet import FAMILY, TinyNetConfig

        if self.name == "tinynet-mnist":
            return TinyNetConfig(
                0.5, 1.0, 28, 10, 1, stem=16, stem_stride=1, head=128, stages=_MNIST_STAGES
            )
        if self.name.endswith("-10"):
            return replace(FAMILY[self.name.removesuffix("-10")], classes=10)
        return FAMILY[self.name]

    @property
    def facts(self) -> dict[str, Any] | None:
        """What the training run recorded, None when no weights are shipped."""
        path = WEIGHTS / f"{self.name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    @property
    def weights_note(self) -> str:
        """Where the weights come from."""
        if (WEIGHTS / f"{self.name}.npz").exists():
            return "trained, shipped"
        return "seeded random; give your own with --weights"

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """(1, channels, height, width)."""
        config = self._config()
        return (1, config.input_channels, config.resolution, config.resolution)

    def build(self) -> nn.Module:
        """The untrained model, seeded."""
        torch = _torch()
        from tinyml.zoo.tinynet import TinyNet

        with torch.random.fork_rng():
            torch.manual_seed(0)
            return TinyNet(self._config())

    def load(self, weights: Path | None = None) -> nn.Module:
        """The model in evaluation mode.

        Args:
            weights: the user's own: a .npz of `save_weights`, or a state dict (.pth, .pt) with
                timm's names. Without it the shipped weights; where none are shipped, seeded
                random ones whose batch statistics were settled on real images.

        Raises:
            DatasetError: the weights cannot be read or do not fit.
        """
        model = self.build()
        shipped = WEIGHTS / f"{self.name}.npz"
        if weights is not None:
            _load_user_weights(model, weights)
        elif shipped.exists():
            from tinyml.zoo.train import load_weights

            load_weights(model, shipped)
        else:
            self._settle(model)
        return model.eval()

    def _settle(self, model: nn.Module) -> None:
        """Runs real images through random weights so that batch statistics are true ones."""
        torch = _torch()
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

    def train(self, folder: Path, advance: Advance, epochs: int | None = None) -> dict[str, Any]:
        """Trains from scratch and writes weights, facts and curves to ``folder``.

        Raises:
            DatasetError: there is no recipe for this model, or its data or the checkpoint of a
                stopped run cannot be read.
        """
        if not self.trainable:
            raise DatasetError(
                f"'{self.name}' has no training recipe: its data set is out of reach",
                f"Trainable: {', '.join(m.name for m in list_models() if m.trainable)}.",
            )
        _torch()
        from tinyml.zoo.data import load_dataset
        from tinyml.zoo.train import Recipe, train

        recipe = Recipe() if epochs is None else Recipe(epochs=epochs)
        data = load_dataset(self.dataset)
        return train(self.build, data, recipe, folder, self.name, advance)


def _torch() -> Any:
    try:
        import torch
    except ModuleNotFoundError:
        raise ToolMissingError(
            "the zoo's models need PyTorch",
            "Install the extra: pip install 'tinyml-toolchain[torch]'.",
        ) from None
    return torch


def _load_user_weights(model: nn.Module, path: Path) -> None:
    torch = _torch()
    from tinyml.zoo.tinynet import adopt_state
    from tinyml.zoo.train import load_weights

    fit = "Give a .npz of `tinyml zoo train`, or a plain state dict (.pth, .pt) of this model."
    try:
        if path.suffix == ".npz":
            load_weights(model, path)
        else:
            adopt_state(model, torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError:
        raise DatasetError(f"{path} does not exist") from None
    except DatasetError as error:
        raise DatasetError(f"{path} does not fit this model: {error.message}", fit) from None
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise DatasetError(
            f"{path} holds no readable weights: {reason[0] if reason else error!r}", fit
        ) from None


_MODELS = (
    ZooModel("tinynet-mnist", "TinyNet", "digits of 28x28 pixels, 10 classes", "mnist", True),
    ZooModel("tinynet-a", "TinyNet", "paper's A, 192x192, 1000 classes", "photo-patches"),
    ZooModel("tinynet-b", "TinyNet", "paper's B, 188x188, 1000 classes", "photo-patches"),
    ZooModel("tinynet-c", "TinyNet", "paper's C, 184x184, 1000 classes", "photo-patches"),
    ZooModel("tinynet-d", "TinyNet", "paper's D, 152x152, 1000 classes", "photo-patches"),
    ZooModel("tinynet-e", "TinyNet", "paper's E, 106x106, 1000 classes", "photo-patches"),
    ZooModel("tinynet-e-10", "TinyNet", "E with a classifier of 10 classes", "photo-patches"),
)


def list_models() -> list[ZooModel]:
    """All entries."""
    return list(_MODELS)


def get_model(name: str) -> ZooModel:
    """An entry by name. Raises DatasetError naming the closest one."""
    for model in _MODELS:
        if model.name == name:
            return model
    names = [m.name for m in _MODELS]
    close = difflib.get_close_matches(name, names, n=1)
    guess = f" Did you mean '{close[0]}'?" if close else ""
    raise DatasetError(f"unknown zoo model '{name}'", f"Models: {', '.join(names)}.{guess}")
