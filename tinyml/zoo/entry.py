# SPDX-License-Identifier: Apache-2.0
"""What every model of the zoo is."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyml.errors import DatasetError, ToolMissingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from tinyml.samples import Samples
    from tinyml.text.device import TextModel

    Advance = Callable[[int, int, float], None]

WEIGHTS = Path(__file__).parent / "weights"
# Written by `make bench-zoo`.
MEASURED = Path(__file__).parent / "measured.json"


@dataclass(frozen=True)
class ZooModel(ABC):
    """One entry. A family of models is a subclass.

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

    @property
    def stored(self) -> str:
        """The name under which weights are shipped; entries may share one set."""
        return self.name

    @property
    def facts(self) -> dict[str, Any] | None:
        """What the training run recorded, None when no weights are shipped."""
        path = WEIGHTS / f"{self.stored}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    @property
    def measured(self) -> dict[str, Any] | None:
        """What `make bench-zoo` measured: ``parameters`` of the float network, ``quality``
        (measure, float, int8, samples, data) and by target instructions, flash and RAM in bytes;
        where it does not fit, the ``problem`` and what weights and arena alone need. None where it
        did not run this model."""
        if not MEASURED.exists():
            return None
        found: dict[str, Any] = json.loads(MEASURED.read_text(encoding="utf-8"))
        return found.get(self.name)

    @property
    def weights_note(self) -> str:
        """Where the weights come from."""
        if (WEIGHTS / f"{self.stored}.npz").exists():
            return "trained, shipped"
        return "seeded random; give your own with --weights"

    @property
    def result(self) -> str:
        """What the training run reached on the test split, "-" when no weights are shipped."""
        facts = self.facts
        return self.describe(facts) if facts else "-"

    @abstractmethod
    def describe(self, facts: dict[str, Any]) -> str:
        """The result that a run's facts record, in a few words."""

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the input, batch size 1 first."""

    @abstractmethod
    def build(self) -> nn.Module:
        """The untrained model, seeded."""

    @abstractmethod
    def load(self, weights: Path | None = None) -> nn.Module:
        """The model in evaluation mode.

        Args:
            weights: the user's own; without it the shipped ones, or where none are shipped
                seeded random ones.

        Raises:
            DatasetError: the weights cannot be read or do not fit.
        """

    @abstractmethod
    def to_onnx(self, weights: Path | None = None) -> bytes:
        """The float model that is compiled, as ONNX. Raises as `load`."""

    def text(self, weights: Path | None = None) -> TextModel | None:
        """The tokenizer that belongs to the weights, and the classes; None of other models than
        those of texts, and where there is no tokenizer yet.

        Raises:
            DatasetError: the tokenizer cannot be read.
        """
        return None

    @abstractmethod
    def samples(self, role: str, weights: Path | None = None) -> Samples:
        """Real inputs for a role, "calibration" or "test". Raises DatasetError.

        Args:
            weights: the user's own, where preparing the inputs is part of the training.
        """

    def train(self, folder: Path, advance: Advance, epochs: int | None = None) -> dict[str, Any]:
        """Trains from scratch and writes weights, facts and curves to ``folder``.

        Args:
            advance: called after each step with (step, steps in all, loss).
            epochs: passes over the data; the recipe's by default.

        Raises:
            DatasetError: there is no recipe for this model, or its data or the checkpoint of a
                stopped run cannot be read.
        """
        from tinyml.zoo.registry import list_models

        raise DatasetError(
            f"'{self.name}' has no training recipe: its data set is out of reach",
            f"Trainable: {', '.join(m.name for m in list_models() if m.trainable)}.",
        )


def require_torch() -> Any:
    """PyTorch. Raises ToolMissingError."""
    try:
        import torch
    except ModuleNotFoundError:
        raise ToolMissingError(
            "the zoo's models need PyTorch",
            "Install the extra: pip install 'tinyml-toolchain[torch]'.",
        ) from None
    return torch


_FIT = (
    "Give a .npz of `tinyml zoo train`, or a plain state dict (.safetensors, .pth, .pt) of this "
    "model."
)


def load_user_weights(
    path: Path, model: nn.Module, adopt: Callable[[nn.Module, Any], None]
) -> None:
    """Loads a user's file into a model.

    Args:
        adopt: loads a state dict, raising DatasetError where it does not fit.

    Raises:
        DatasetError: the file is missing, unreadable or does not fit.
        ToolMissingError: as `read_state`.
    """
    state = read_state(path)
    try:
        adopt(model, state)
    except DatasetError as error:
        raise DatasetError(f"{path} does not fit this model: {error.message}", _FIT) from None


def read_state(path: Path) -> dict[str, Any]:
    """The tensors of a weights file by name; those of a .npz as float32.

    Args:
        path: a .npz of `tinyml zoo train`, or a plain state dict (.safetensors, .pth, .pt). None
            of them is executed.

    Raises:
        DatasetError: the file is missing or unreadable.
        ToolMissingError: PyTorch, or for a .safetensors file its package, is not installed.
    """
    torch = require_torch()
    if not path.is_file():
        raise DatasetError(f"{path} does not exist")
    try:
        if path.suffix == ".npz":
            return _read_npz(path)
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except ToolMissingError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise DatasetError(
            f"{path} holds no readable weights: {reason[0] if reason else error!r}", _FIT
        ) from None
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise DatasetError(f"{path} holds no plain state dict: tensors by name", _FIT)
    return state


def _read_npz(path: Path) -> dict[str, Any]:
    import numpy as np
    import torch

    with np.load(path, allow_pickle=False) as stored:
        return {k: torch.from_numpy(stored[k].astype(np.float32)) for k in stored.files}


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise ToolMissingError(
            f"{path} needs the Python package 'safetensors'",
            "Install the extra: pip install 'tinyml-toolchain[torch]'.",
        ) from None
    return dict(load_file(path))
