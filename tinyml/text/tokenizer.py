# SPDX-License-Identifier: Apache-2.0
"""The byte-pair tokenizer of EmbBERT-Q, trained and run by the `tokenizers` library.

Lower case, accents stripped, words and runs of punctuation apart, spaces gone; 67 printable ASCII
characters, every other character becomes [UNK]. Source: the settings of EmbBERT-Q's published
code (arXiv 2502.10001), with a vocabulary of our own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinyml.errors import DatasetError, ToolMissingError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[MASK]", "[SEP]")
PAD, UNK, CLS, MASK, SEP = range(5)
# Printable ASCII without space, capitals (text is lowered first) and the double quote.
ALPHABET = "".join(chr(c) for c in range(33, 127) if not chr(c).isupper() and chr(c) != '"')


def require_tokenizers() -> Any:
    """The `tokenizers` module. Raises ToolMissingError."""
    try:
        import tokenizers
    except ModuleNotFoundError:
        raise ToolMissingError(
            "text models need the Python package 'tokenizers'",
            "Install the extra: pip install 'tinyml-toolchain[text]'.",
        ) from None
    return tokenizers


def train_tokenizer(texts: Iterable[str], vocabulary: int = 8192) -> Tokenizer:
    """A tokenizer whose merges are learned from ``texts``.

    Args:
        texts: a corpus; its order does not matter.
        vocabulary: entries, the 5 special ones and the alphabet included. Fewer come out when the
            corpus has too few pairs.
    """
    library = require_tokenizers()
    made = library.Tokenizer(library.models.BPE(unk_token="[UNK]"))
    made.normalizer = library.normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=True
    )
    made.pre_tokenizer = library.pre_tokenizers.Whitespace()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIALS),
        initial_alphabet=list(ALPHABET),
        limit_alphabet=len(ALPHABET),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    return _settled(made)


def load_tokenizer(path: Path) -> Tokenizer:
    """Reads a tokenizer.json of `train_tokenizer`.

    Raises:
        DatasetError: the file is missing, damaged, or no tokenizer of these settings.
    """
    library = require_tokenizers()
    try:
        text = path.read_text(encoding="utf-8")
        made = library.Tokenizer.from_str(text)
        stored = json.loads(text)
    except FileNotFoundError:
        raise DatasetError(f"{path} does not exist", "Give the tokenizer of a training run.") from (
            None
        )
    except Exception as error:  # the library raises bare exceptions
        raise DatasetError(f"{path} is no tokenizer: {error}", "Train it again.") from None
    settings = (stored["model"]["type"], (stored["normalizer"] or {}).get("type"))
    if settings != ("BPE", "BertNormalizer"):
        raise DatasetError(f"{path} is a tokenizer of another kind: {settings}")
    return _settled(made)


def _settled(tokenizer: Tokenizer) -> Tokenizer:
    # "[SEP]" inside a text is five characters of that text, never the special token.
    tokenizer.encode_special_tokens = True
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str], length: int) -> NDArray[np.int32]:
    """Token ids, (count, length): [CLS] first, cut at ``length``, [PAD] on the right."""
    ids = np.full((len(texts), length), PAD, np.int32)
    ids[:, 0] = CLS
    for row, found in zip(ids, tokenizer.encode_batch(list(texts)), strict=True):
        kept = found.ids[: length - 1]
        row[1 : 1 + len(kept)] = kept
    return ids
