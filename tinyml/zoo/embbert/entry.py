# SPDX-License-Identifier: Apache-2.0
"""Text models of the zoo: EmbBERT-Q classifiers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyml.errors import DatasetError
from tinyml.samples import Samples
from tinyml.zoo.entry import WEIGHTS, ZooModel, load_user_weights, require_torch

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from tinyml.text.device import TextModel
    from tinyml.zoo.embbert.model import Classifier, EmbBertConfig
    from tinyml.zoo.entry import Advance

CLASSES = {"spam-assassin": ("ham", "spam"), "vader-sentiment": ("negative", "positive")}


@dataclass(frozen=True)
class TextClassifier(ZooModel):
    """An EmbBERT-Q classifier, compiled for texts of at most ``length`` tokens.

    Args:
        length: tokens of the compiled model, at most the 256 positions that are trained.
        weights_of: the entry whose weights it shares, "" for its own.
    """

    length: int = 256
    weights_of: str = ""

    @property
    def stored(self) -> str:
        return self.weights_of or self.name

    def config(self) -> EmbBertConfig:
        """The published configuration, 357,248 parameters without the head."""
        from tinyml.zoo.embbert.model import EmbBertConfig

        return EmbBertConfig()

    def describe(self, facts: dict[str, Any]) -> str:
        short = self.length <= facts["recipe"]["short"]
        reached = facts["test_accuracy_short" if short else "test_accuracy"]
        return f"accuracy {100 * reached:.2f} % on {facts['test_texts']:,} texts"

    @property
    def input_shape(self) -> tuple[int, int]:
        """(1, tokens)."""
        return (1, self.length)

    def build(self) -> Classifier:
        torch = require_torch()
        from tinyml.zoo.embbert.model import Classifier

        with torch.random.fork_rng():
            torch.manual_seed(0)
            return Classifier(self.config(), len(CLASSES[self.dataset]))

    def load(self, weights: Path | None = None) -> Classifier:
        """The classifier in evaluation mode.

        Args:
            weights: the user's own: a .npz of `tinyml zoo train`, or a state dict
                (.safetensors, .pth, .pt) with the published names. Without it the shipped
                weights; where none are shipped, seeded random ones.

        Raises:
            DatasetError: the weights cannot be read or do not fit.
        """
        require_torch()
        from tinyml.zoo.embbert.train import adopt_state, load_half

        model = self.build()
        shipped = WEIGHTS / f"{self.stored}.npz"
        if weights is not None:
            load_user_weights(weights, model, adopt_state)
        elif shipped.exists():
            load_half(model, shipped)
        return model.eval()

    def tokenizer(self, weights: Path | None = None) -> Tokenizer:
        """The tokenizer that belongs to the weights: NAME.tokenizer.json beside them.

        Raises:
            DatasetError: there is none.
        """
        from tinyml.text.tokenizer import load_tokenizer

        path = self._tokenizer_path(weights)
        if weights is None and not path.exists():
            raise DatasetError(
                f"no tokenizer is shipped for '{self.name}'",
                f"Train one: tinyml zoo train {self.name} --out FOLDER, then give --weights.",
            )
        return load_tokenizer(path)

    def _tokenizer_path(self, weights: Path | None) -> Path:
        folder = WEIGHTS if weights is None else weights.parent
        stem = self.stored if weights is None else weights.stem
        return folder / f"{stem}.tokenizer.json"

    def text(self, weights: Path | None = None) -> TextModel | None:
        from tinyml.text.device import TextModel

        if not self._tokenizer_path(weights).exists():
            return None
        return TextModel(self.tokenizer(weights), CLASSES[self.dataset])

    def to_onnx(self, weights: Path | None = None) -> bytes:
        from tinyml.importers.pytorch import module_to_onnx
        from tinyml.zoo.embbert.deploy import deployable

        return module_to_onnx(
            deployable(self.load(weights), self.length), [self.input_shape], ids=True
        )

    def samples(self, role: str, weights: Path | None = None) -> Samples:
        from tinyml.text.tokenizer import encode
        from tinyml.zoo.embbert.texts import load_texts

        data = load_texts(self.dataset)
        part = data.train if role == "calibration" else data.test
        split = "training split" if role == "calibration" else "test split"
        ids = encode(self.tokenizer(weights), part.texts, self.length)
        return Samples(f"{data.name}, {split}, {self.length} tokens", {"": ids}, part.labels)

    def train(self, folder: Path, advance: Advance, epochs: int | None = None) -> dict[str, Any]:
        require_torch()
        from tinyml.zoo.embbert.texts import load_texts
        from tinyml.zoo.embbert.train import TextRecipe, train_classifier

        recipe = TextRecipe() if epochs is None else TextRecipe(epochs=epochs)
        data = load_texts(self.dataset)
        return train_classifier(data, self.config(), recipe, folder, self.name, advance)


TEXT_MODELS = (
    TextClassifier(
        "embbert-q-spam",
        "EmbBERT-Q",
        "spam or not, e-mails of up to 256 tokens; published configuration",
        "spam-assassin",
        True,
    ),
    TextClassifier(
        "embbert-q-spam-64",
        "EmbBERT-Q",
        "the same weights, compiled for 64 tokens",
        "spam-assassin",
        False,
        64,
        "embbert-q-spam",
    ),
    TextClassifier(
        "embbert-q-sentiment",
        "EmbBERT-Q",
        "negative or positive, reviews and tweets of up to 64 tokens",
        "vader-sentiment",
        True,
        64,
    ),
)
