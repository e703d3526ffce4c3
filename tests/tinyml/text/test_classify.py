# SPDX-License-Identifier: Apache-2.0
"""`tinyml classify`: raw texts to labels by an export's firmware, and texts that are none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("tokenizers")

from tests.tinyml.test_cli import tinyml
from tests.tinyml.text.test_device import MESSAGES
from tinyml.export import export
from tinyml.importers.pytorch import module_to_onnx
from tinyml.ir.execute import outputs
from tinyml.opened import open_export
from tinyml.samples import Samples
from tinyml.source import Source
from tinyml.targets import load_target
from tinyml.text.device import TextModel
from tinyml.text.tokenizer import encode, load_tokenizer, train_tokenizer
from tinyml.zoo.embbert.deploy import deployable
from tinyml.zoo.embbert.model import Classifier, EmbBertConfig

LENGTH = 20
CONFIG = EmbBertConfig(vocabulary=300, length=32, width=32, reduced=8, layers=2, kernel=8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    tokenizer = train_tokenizer(MESSAGES[:400], CONFIG.vocabulary)
    torch.manual_seed(0)
    module = deployable(Classifier(CONFIG, 2), LENGTH)
    onnx = module_to_onnx(module, [(1, LENGTH)], ids=True)
    source = Source("net", "net", onnx, {}, text=TextModel(tokenizer, ("no", 'a "yes"')))
    samples = Samples("messages", {"": encode(tokenizer, MESSAGES[:24], LENGTH)})
    folder = tmp_path_factory.mktemp("text") / "out"
    export(source, load_target("host"), samples, samples.take(8), folder)
    return folder


def test_labels_are_those_of_the_integers(exported: Path):
    texts = [m for m in MESSAGES[30:36] if m.strip()]
    done = tinyml("classify", exported, *texts, "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["model"] == "net" and made["place"] == "host"
    graph = open_export(exported).graph
    tokenizer = load_tokenizer(exported / "text" / "tokenizer.json")
    quant = graph.tensors[graph.outputs[0]].q
    for text, said in zip(texts, made["texts"], strict=True):
        ids = encode(tokenizer, [text], LENGTH)
        scores = outputs(graph, {graph.inputs[0]: ids})[0].ravel().astype(int) - quant.z
        assert said["scores"] == scores.tolist()
        assert said["label"] == ("no", 'a "yes"')[int(np.argmax(scores))]
        shares = np.exp(scores * quant.s)
        assert said["probability"] == pytest.approx(shares.max() / shares.sum())
        assert said["tokens"] == int((ids != 0).sum())
        assert said["truncated"] == (len(tokenizer.encode(text).ids) >= LENGTH)


def test_how_a_text_was_read_is_said(exported: Path, tmp_path: Path):
    (tmp_path / "bytes.txt").write_bytes(b"ok \xff\xfe caf\xc3\xa9 \xe2\x82\xac")
    (tmp_path / "long.txt").write_bytes(b" " * 9000 + b"word")
    files = [x for f in ("bytes.txt", "long.txt") for x in ("--file", tmp_path / f)]
    done = tinyml("classify", exported, "word " * 40, "y" * 300, *files, "--json")
    long, word, odd, spaces = json.loads(done.stdout)["texts"]
    assert long["truncated"] and long["tokens"] == LENGTH
    assert word["word_cut"]
    assert (odd["skipped_bytes"], odd["unknown"]) == (2, 1) and odd["label"] is not None
    # What lies behind the first 8 KiB is not read, and that is said.
    assert spaces["truncated"] and spaces["label"] is None and done.returncode == 1
    shown = tinyml("classify", exported, "word " * 40, os.fsdecode(b"ok \xff"))
    assert shown.returncode == 0, shown.stderr
    assert "cut after 20 tokens" in shown.stdout and "1 bytes skipped" in shown.stdout


@pytest.mark.parametrize("text", ["", "  \n ", os.fsdecode(b"\xff\xfe")])
def test_texts_without_a_token_have_no_label(exported: Path, text: str):
    done = tinyml("classify", exported, "a word", text)
    assert done.returncode == 1
    assert "no token in it" in done.stdout
    assert "1 of 2 texts hold not one token to classify" in " ".join(done.stderr.split())


def test_what_cannot_be_classified(exported: Path, tmp_path: Path):
    def said(*arguments: object) -> str:
        done = tinyml("classify", *arguments)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        return " ".join(done.stderr.split())

    assert "there is no text to classify" in said(exported)
    gone = tmp_path / "gone.txt"
    assert f"{gone} cannot be read: No such file" in said(exported, "--file", gone)
    assert "is no export" in said(tmp_path, "a text")
    assert "host is not emulated" in said(exported, "a text", "--on", "qemu")


def test_an_export_of_another_model_reads_no_text(tmp_path: Path):
    torch.manual_seed(0)
    onnx = module_to_onnx(torch.nn.Linear(4, 2).eval(), [(1, 4)])
    samples = Samples("noise", {"": np.random.default_rng(0).standard_normal((8, 4)).astype("f4")})
    export(Source("line", "line", onnx, {}), load_target("host"), samples, None, tmp_path / "out")
    done = tinyml("classify", tmp_path / "out", "a text")
    assert done.returncode == 1
    assert "is no export of a text model" in " ".join(done.stderr.split())
