# SPDX-License-Identifier: Apache-2.0
"""The program of `tinyml classify`: raw text in, label out on the emulated boards, as in Python."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("tokenizers")

from tests.firmware.hand_model import need
from tests.tinyml.text.test_device import MESSAGES
from tinyml.export import Compiled, compile_model, write_c_folder
from tinyml.importers.pytorch import module_to_onnx
from tinyml.ir.execute import outputs
from tinyml.runtimes.build import build_program, firmware_root
from tinyml.runtimes.compiled import run_command
from tinyml.samples import Samples
from tinyml.source import Source
from tinyml.targets import load_target
from tinyml.text.device import TextModel, write_text_model
from tinyml.text.tokenizer import encode, train_tokenizer
from tinyml.zoo.embbert.deploy import deployable
from tinyml.zoo.embbert.model import Classifier, EmbBertConfig

LENGTH = 20
CONFIG = EmbBertConfig(vocabulary=300, length=32, width=32, reduced=8, layers=2, kernel=8)
TEXTS = [*(m.encode() for m in MESSAGES[:5]), b"", b'caf\xc3\xa9 \xff "quoted" ' + b"y" * 300]


@pytest.mark.parametrize("board", ["cortex-m4", "cortex-m55"])
def test_the_device_says_what_python_says(tmp_path: Path, board: str):
    target = load_target(board)
    need(target)
    tokenizer = train_tokenizer(MESSAGES[:400], CONFIG.vocabulary)
    torch.manual_seed(0)
    module = deployable(Classifier(CONFIG, 2), LENGTH)
    source = Source("net", "net", module_to_onnx(module, [(1, LENGTH)], ids=True), {})
    calibration = Samples("messages", {"": encode(tokenizer, MESSAGES[:40], LENGTH)})
    made = compile_model(source, target, calibration)
    write_c_folder(made.c_model, "net", tmp_path / "c")
    sources = tmp_path / "text"
    write_text_model(TextModel(tokenizer, ("no", "yes")), sources)
    application = [firmware_root() / "text" / "classify.c", *sorted(sources.glob("*.c"))]
    build = tmp_path / "build"
    program = build_program(tmp_path / "c", "net", target, build, application=application)
    for text in TEXTS:
        (tmp_path / "text.txt").write_bytes(text)
        command = run_command(program, target, None)
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        said = done.stdout + done.stderr
        scores = _scores(made, encode(tokenizer, [text.decode("utf-8", "replace")], LENGTH))
        found = re.search(r"scores (-?\d+) (-?\d+)  tokens (\d+)", said)
        assert found is not None, said
        assert [int(found[1]), int(found[2])] == scores
        assert said.startswith(("no", "yes")[int(np.argmax(scores))])
    # The last text has all that may be wrong with one.
    for warning in ("text cut", "a word cut", "unknown characters 2", "bytes skipped 1"):
        assert warning in said or (warning == "text cut" and int(found[3]) < LENGTH)


def _scores(made: Compiled, ids: np.ndarray) -> list[int]:
    graph = made.graph
    values = outputs(graph, {graph.inputs[0]: ids})[0].ravel().astype(int)
    return [int(v) for v in values - graph.tensors[graph.outputs[0]].q.z]
