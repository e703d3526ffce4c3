# SPDX-License-Identifier: Apache-2.0
"""The tokenizer's settings, from its specification."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tokenizers")

from tinyml.errors import DatasetError
from tinyml.text.tokenizer import (
    ALPHABET,
    CLS,
    PAD,
    UNK,
    encode,
    load_tokenizer,
    train_tokenizer,
)

CORPUS = ["The quick brown fox jumps over the lazy dog, the end."] * 20


def test_special_tokens_and_alphabet_come_first():
    tokenizer = train_tokenizer(CORPUS, 90)
    assert len(ALPHABET) == 67
    assert '"' not in ALPHABET
    vocabulary = tokenizer.get_vocab()
    names = sorted(vocabulary, key=vocabulary.__getitem__)
    assert names[:5] == ["[PAD]", "[UNK]", "[CLS]", "[MASK]", "[SEP]"]
    assert sorted(names[5:72]) == sorted(ALPHABET)
    assert len(names) == 90


def test_normalisation_and_unknown_characters():
    tokenizer = train_tokenizer(CORPUS, 90)
    same = [tokenizer.encode(t).ids for t in ("The DOG", "thé dog", "  the\tdog\x00")]
    assert same[0] == same[1] == same[2]
    assert UNK in tokenizer.encode('say "dog"').ids
    # Special tokens in a text are text.
    assert max(tokenizer.encode("[SEP] [PAD]").ids) > 4
    assert min(tokenizer.encode("[SEP] [PAD]").ids) > 4


def test_ids_are_cut_and_padded():
    tokenizer = train_tokenizer(CORPUS, 90)
    ids = encode(tokenizer, ["the " * 50, "dog", ""], 12)
    assert ids.dtype == np.int32
    assert ids.shape == (3, 12)
    assert (ids[:, 0] == CLS).all()
    assert (ids[0] != PAD).all()
    assert ids[2].tolist() == [CLS] + [PAD] * 11


def test_it_is_stored_and_read(tmp_path: Path):
    tokenizer = train_tokenizer(CORPUS, 90)
    tokenizer.save(str(tmp_path / "t.json"))
    again = load_tokenizer(tmp_path / "t.json")
    assert again.encode("the fox [SEP]").ids == tokenizer.encode("the fox [SEP]").ids


@pytest.mark.parametrize("content", ["", "{}", "junk", '{"model": {"type": "BPE"}}'])
def test_damaged_files_are_refused(tmp_path: Path, content: str):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(DatasetError):
        load_tokenizer(tmp_path / "t.json")
    with pytest.raises(DatasetError, match="does not exist"):
        load_tokenizer(tmp_path / "gone.json")
