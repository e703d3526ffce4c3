# SPDX-License-Identifier: Apache-2.0
"""Files that TensorFlow makes of networks nobody here made: the integers of TFLite-Micro, or of
LiteRT where TFLite-Micro cannot run the file, or a refusal that names the operator."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from bench.unseen import cmsis_estimate
from bench.unseen_models import UNSEEN, convert
from tests.tinyml.single_op import random_feeds
from tinyml.errors import ImportModelError
from tinyml.export import export, verify_export
from tinyml.source import open_source
from tinyml.targets import load_target
from tinyml.verify import reference_outputs, verify_file

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed"
)
REFUSED = {"activations": "DIV"}
QUICK = ("dense_batch", "temporal_closed", "u_net", "unrolled_gru")


def check(name: str, folder: Path) -> str:
    path = folder / f"{name}.tflite"
    path.write_bytes(convert(UNSEEN[name]))
    source = open_source(str(path), None)
    graph = source.int8
    assert graph is not None and source.tflite is not None
    feeds = random_feeds(graph, np.random.default_rng(0), 2)
    expected = reference_outputs(graph, feeds)
    return verify_file(graph, source.tflite, source.not_micro, feeds, expected).runtime


@pytest.mark.parametrize("name", QUICK)
def test_a_file_that_tensorflow_made(tmp_path, name):
    # TFLite-Micro fills no shape that is computed at run time.
    judge = "LiteRT" if name == "unrolled_gru" else "TFLite-Micro"
    assert check(name, tmp_path).startswith(judge)


def test_the_estimate_stays_below_what_was_measured(shared_data):
    """Of person_detect, whose instructions under TFLite-Micro with CMSIS-NN are known."""
    graph = open_source(str(shared_data / "models" / "person_detect.tflite"), None).int8
    assert graph is not None
    assert 0.88 < (cmsis_estimate(graph) or 0) / 22_928_449 < 0.92


@pytest.mark.long
@pytest.mark.parametrize("name", [n for n in UNSEEN if n not in (*QUICK, *REFUSED)])
def test_every_other_file(tmp_path, name):
    assert check(name, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_the_matter(tmp_path, name):
    with pytest.raises(ImportModelError, match=REFUSED[name]):
        check(name, tmp_path)


def test_a_batch_of_four_is_exported_and_verified_again(tmp_path):
    path = tmp_path / "dense.tflite"
    path.write_bytes(convert(UNSEEN["dense_batch"]))
    report = export(open_source(str(path), None), load_target("host"), None, None, tmp_path / "out")
    assert all(c["max_lsb"] <= (c["allowed_lsb"] or 0) for c in report["checks"][:2])
    _, checks = verify_export(tmp_path / "out")
    assert {c.samples for c in checks} == {16}
