# SPDX-License-Identifier: Apache-2.0
"""Training of text models on a small corpus: it learns, resumes, and refuses damage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("tokenizers")

from tinyml.errors import DatasetError
from tinyml.text.tokenizer import CLS, MASK, PAD, SEP
from tinyml.zoo.embbert.model import Classifier, EmbBertConfig
from tinyml.zoo.embbert.texts import TextDataset, Texts, message_text
from tinyml.zoo.embbert.train import (
    TextRecipe,
    load_half,
    pretraining_batch,
    train_classifier,
)

CONFIG = EmbBertConfig(vocabulary=200, length=40, width=32, reduced=8, layers=2, kernel=4)
RECIPE = TextRecipe(pretraining_epochs=1, epochs=3, batch=16, pair_length=24, short=16, rate=5e-3)
GOOD = ("a lovely film", "what a fine story", "great acting and music", "we loved it")
BAD = ("a dull film", "what a poor story", "bad acting and noise", "we hated it")


def texts(count: int, seed: int) -> Texts:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count).astype(np.int64)
    kinds = (BAD, GOOD)
    made = [
        ". ".join(kinds[label][int(i)] for i in rng.integers(0, 4, int(rng.integers(2, 6))))
        for label in labels
    ]
    return Texts(tuple(made), labels)


@pytest.fixture
def data() -> TextDataset:
    parts = texts(160, 0), texts(40, 1), texts(60, 2)
    return TextDataset("tiny", ("bad", "good"), *parts, "as it is", "made here")


def quiet(step: int, steps: int, loss: float) -> None:
    pass


def test_it_learns_and_writes_everything(data: TextDataset, tmp_path: Path):
    seen: list[tuple[int, int]] = []
    facts = train_classifier(
        data, CONFIG, RECIPE, tmp_path, "t", lambda step, steps, loss: seen.append((step, steps))
    )
    assert facts["test_accuracy"] > 0.9
    assert facts["pretraining"][0]["mlm_loss"] > 0
    steps = seen[-1][1]
    assert [s for s, _ in seen] == list(range(1, steps + 1))
    assert json.loads((tmp_path / "t.json").read_text()) == facts
    assert (tmp_path / "t.svg").stat().st_size > 0
    assert (tmp_path / "t.tokenizer.json").exists()
    assert not (tmp_path / "t.checkpoint").exists()
    load_half(Classifier(CONFIG, 2), tmp_path / "t.npz")


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("at", [0.4, 0.7, 0.99])
def test_a_stopped_run_ends_as_if_it_had_not_been(data: TextDataset, tmp_path: Path, at: float):
    def stop(step: int, steps: int, loss: float) -> None:
        if step > at * steps:
            raise StoppedError

    whole = train_classifier(data, CONFIG, RECIPE, tmp_path / "whole", "t", quiet)
    with pytest.raises(StoppedError):
        train_classifier(data, CONFIG, RECIPE, tmp_path / "parts", "t", stop)
    parts = train_classifier(data, CONFIG, RECIPE, tmp_path / "parts", "t", quiet)
    for phase in ("pretraining", "history"):
        assert len(parts[phase]) == len(whole[phase])
        for found, wanted in zip(parts[phase], whole[phase], strict=True):
            assert found == pytest.approx(wanted, rel=1e-3)
    with np.load(tmp_path / "whole/t.npz") as a, np.load(tmp_path / "parts/t.npz") as b:
        for key in a.files:
            np.testing.assert_allclose(a[key], b[key], atol=1e-3)


def test_a_checkpoint_of_another_recipe_is_refused_and_kept(data: TextDataset, tmp_path: Path):
    def stop(step: int, steps: int, loss: float) -> None:
        if step == steps:
            raise StoppedError

    with pytest.raises(StoppedError):
        train_classifier(data, CONFIG, RECIPE, tmp_path, "t", stop)
    kept = (tmp_path / "t.checkpoint").read_bytes()
    with pytest.raises(DatasetError, match=r"t\.checkpoint belongs to a run with another recipe"):
        train_classifier(data, CONFIG, replace(RECIPE, epochs=1), tmp_path, "t", quiet)
    assert (tmp_path / "t.checkpoint").read_bytes() == kept


def test_a_damaged_checkpoint_is_named(data: TextDataset, tmp_path: Path):
    (tmp_path / "t.checkpoint").write_bytes(b"junk")
    with pytest.raises(DatasetError, match=r"t\.checkpoint cannot be read"):
        train_classifier(data, CONFIG, RECIPE, tmp_path, "t", quiet)


def test_masking():
    pairs = [([10 + i] * 20, [50 + i] * 20) for i in range(30)]
    rng = np.random.default_rng(0)
    totals = np.zeros(4)
    for _ in range(30):
        ids, masked, targets, is_random = pretraining_batch(pairs, range(30), rng, 200)
        assert bool((ids[:, 0] == CLS).all())
        assert not bool((masked & ((ids == PAD) | (ids == SEP))).any())
        original = torch.zeros_like(ids)
        original[masked] = targets
        shown = ids[masked]
        totals += (
            float((shown == MASK).float().mean()),
            float((shown == targets).float().mean()),
            float(masked.float().sum() / (ids >= 5).float().sum()),
            float(is_random.float().mean()),
        )
    mask, kept, part, swapped = totals / 30
    assert mask == pytest.approx(0.8, abs=0.03)
    assert kept == pytest.approx(0.1, abs=0.03)
    assert part == pytest.approx(0.17, abs=0.03)  # of tokens still shown: 0.15 / (1 - 0.12)
    assert swapped == pytest.approx(0.5, abs=0.08)


def test_text_of_messages():
    plain = b"Subject: =?utf-8?q?Caf=C3=A9?=\nReceived: from x\n\nHello there\n"
    assert message_text(plain) == "Café\nHello there"
    html = (
        b"Subject: Buy\nContent-Type: text/html; charset=nonsense\n\n"
        b"<html><style>p {}</style><p>Now &amp; here</p></html>"
    )
    assert message_text(html) == "Buy\nNow & here"
    assert message_text(b"") == ""
    assert message_text(b"\xff\xfe\x00 not mail at all") != "x"
