# SPDX-License-Identifier: Apache-2.0
"""A forecaster from PyTorch to C: raw series in, raw forecast out, the same on every runtime."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tinyml.errors import TinymlError  # noqa: E402
from tinyml.export import export, verify_export  # noqa: E402
from tinyml.importers.pytorch import module_to_onnx  # noqa: E402
from tinyml.measure import run_export  # noqa: E402
from tinyml.opened import open_export  # noqa: E402
from tinyml.ops import Gate, Softmax  # noqa: E402
from tinyml.quantize import QuantiseOptions  # noqa: E402
from tinyml.samples import Samples  # noqa: E402
from tinyml.source import Source  # noqa: E402
from tinyml.targets import load_target  # noqa: E402
from tinyml.zoo.ttm.model import TinyTimeMixer, TtmConfig  # noqa: E402

MIXED = TtmConfig(24, 4, 6, 8, 2, 1, 8, 1, targets=2, exogenous=1, mix_channels=True)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """Two channels forecast, one known ahead, channels mixed; random weights."""
    torch.manual_seed(0)
    model = TinyTimeMixer(MIXED).eval()
    torch.nn.init.normal_(model.head.fcm_block.mlp.weight, std=0.1)
    onnx = module_to_onnx(model, [(1, 24, 3), (1, 4, 1)])
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.standard_normal((40, 28, 3)), axis=1) * (1, 50, 0.01) + (20, 1000, 0)
    walk = walk.astype(np.float32)
    walk[3] = (7, -250, 0.5)  # a constant series: its deviation is 0
    inputs = {"past": walk[:, :24], "future": np.ascontiguousarray(walk[:, 24:, 2:])}
    samples = Samples("walks", inputs, None, False, np.ascontiguousarray(walk[:, 24:, :2]))
    source = Source("walks", "mixer", onnx, {"file": "mixer"})
    folder = tmp_path_factory.mktemp("forecast") / "out"
    options = QuantiseOptions(sensitivity=True)
    export(source, load_target("host"), samples.take(24), samples, folder, options)
    return folder


def test_the_report(exported):
    report = json.loads((exported / "report.json").read_text())
    assert report["forecast"]["samples"] == 40 and report["forecast"]["snr_db"] > 30
    assert report["scaling"]["outputs"] == [0] and report["scaling"]["futures"] == [["future", 2]]
    ends = {p["name"]: p["dtype"] for p in (*report["inputs"], *report["outputs"])}
    assert set(ends.values()) == {"int16"}
    assert sum(r["share"] for r in report["sensitivity"]) == pytest.approx(1)
    page = (exported / "report.html").read_text()
    assert "What each layer costs" in page and "forecast SNR" in page


def test_verified_from_the_files_alone(exported):
    checks = verify_export(exported)[1]
    assert all(c.max_lsb == 0 for c in checks if c.runtime.startswith(("TFLite-Micro", "C on")))


def test_gates_of_the_stream_are_int16_and_one_operator(exported):
    """Six of them; the channel mixer's gate writes no stream and stays int8."""
    nodes = open_export(exported).c_graph.nodes
    assert sum(isinstance(n.op, Gate) for n in nodes) == 6
    assert sum(isinstance(n.op, Softmax) for n in nodes) == 1


def test_c_takes_and_gives_the_users_units(exported):
    opened = open_export(exported)
    assert opened.c_feeds[0]["past"].dtype == np.int32
    result = run_export(exported, on_target=False, samples=2, layers=False)
    channels = np.array(result.outputs[0]).reshape(4, 2)
    last = opened.c_feeds[0]["past"][0, -1] * opened.report["scaling"]["unit"]
    assert abs(channels[0, 0] - last[0]) < 30 and abs(channels[0, 1] - last[1]) < 1500


def test_a_constant_series_forecasts_itself(exported):
    """In C as in float: its deviation is the root of epsilon."""
    result = run_export(exported, on_target=False, samples=4, layers=False)
    np.testing.assert_allclose(np.array(result.outputs[3]).reshape(4, 2), [[7, -250]] * 4, atol=0.1)


def test_a_changed_file_is_refused(exported, tmp_path):
    copied = tmp_path / "copy"
    copied.mkdir()
    for path in exported.rglob("*"):
        target = copied / path.relative_to(exported)
        target.mkdir() if path.is_dir() else target.write_bytes(path.read_bytes())
    data = bytearray((copied / "samples.npz").read_bytes())
    data[100] ^= 1
    (copied / "samples.npz").write_bytes(bytes(data))
    with pytest.raises(TinymlError, match="changed after the export"):
        open_export(copied)
