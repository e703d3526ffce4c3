# SPDX-License-Identifier: Apache-2.0
"""Exports that learn, and their streams, through the command line."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from tinyml.cli import app
from tinyml.errors import LearnError, TinymlError
from tinyml.learn import Loss
from tinyml.learn.learner import Facts

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None
    or shutil.which("arm-none-eabi-gcc") is None
    or shutil.which("qemu-system-arm") is None,
    reason="no compilers or emulator",
)


def invoke(*arguments: str) -> str:
    """Runs the command and returns what it printed; errors surface as they are."""
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def write_model(path: Path, sizes: tuple[int, ...], keep: float = 1.0) -> None:
    """A ReLU network of dense layers as ONNX, of whose weights a part is not pruned."""
    rng = np.random.default_rng(0)
    nodes, constants, x = [], [], "x"
    for index, (a, b) in enumerate(itertools.pairwise(sizes)):
        weights = rng.normal(0, (2 / a) ** 0.5, (a, b)).astype(np.float32)
        weights *= rng.random((a, b)) < keep
        bias = rng.normal(0, 0.1, b).astype(np.float32)
        constants += [
            numpy_helper.from_array(weights, f"w{index}"),
            numpy_helper.from_array(bias, f"b{index}"),
        ]
        last = index == len(sizes) - 2
        name = f"net/dense{index}/Gemm"
        made = "y" if last else f"t{index}"
        nodes.append(helper.make_node("Gemm", [x, f"w{index}", f"b{index}"], [made], name=name))
        x = made
        if not last:
            nodes.append(helper.make_node("Relu", [x], [f"r{index}"], name=f"net/relu{index}"))
            x = f"r{index}"
    ports = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, s])
        for n, s in (("x", sizes[0]), ("y", sizes[-1]))
    ]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], constants)
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)


def write_stream(path: Path, inputs: int, count: int, classes: int, flip: int) -> None:
    """Separable classes whose labels are exchanged from sample ``flip`` on."""
    rng = np.random.default_rng(1)
    x = rng.normal(0, 1, (count, inputs)).astype(np.float32)
    y = np.argmax(x[:, :classes], axis=1)
    y[flip:] = (y[flip:] + 1) % classes
    np.savez(path, x=x, y=y)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("export")
    write_model(made / "model.onnx", (6, 16, 8, 3))
    write_stream(made / "data.npz", 6, 700, 3, 350)
    return made


def export(folder: Path, out: str, *options: str) -> dict:
    text = invoke(
        "export",
        str(folder / "model.onnx"),
        "--calibration",
        str(folder / "data.npz"),
        "--out",
        str(folder / out),
        "--json",
        *options,
    )
    return json.loads(text)


@pytest.fixture(scope="module")
def head(folder: Path) -> dict:
    return export(folder, "head", "--learn", "head", "--rate", "0.05")


@pytest.fixture(scope="module")
def whole(folder: Path) -> dict:
    return export(folder, "whole", "--learn", "all", "--optimizer", "momentum", "--rate", "0.02")


def test_report_of_a_frozen_backbone(head: dict):
    learn = head["learn"]
    assert learn["weight_count"] == 8 * 3 + 3
    assert [x["trained"] for x in learn["layers"]] == [27]
    assert learn["layers"][0]["name"] == "net/dense2"
    assert learn["backbone_nodes"] > 0
    assert [c["runtime"] for c in learn["checks"]] == [
        "gradient, C on host",
        "gradient, C on cortex-m4",
    ]
    assert all(c["median_error"] < 1e-5 for c in learn["checks"])
    counts = learn["instructions"]
    assert counts["int8_inference"] < counts["predict"] < counts["step"]
    facts = Facts.from_json(learn)
    assert facts.loss is Loss.CROSS_ENTROPY
    assert facts.ram_bytes == learn["state_bytes"] + learn["work_bytes"]
    assert "learn/model_learn.c" in head["files"]


@pytest.mark.long
def test_report_of_a_whole_network(whole: dict):
    learn = whole["learn"]
    weights = 6 * 16 + 16 + 16 * 8 + 8 + 8 * 3 + 3
    assert learn["weight_count"] == weights
    assert learn["backbone_nodes"] == 0
    assert learn["state_bytes"] >= 2 * 4 * weights
    assert learn["optimizer"] == "momentum"


def test_the_folder_compiles_by_itself(folder: Path, head: dict, tmp_path: Path):
    source = folder / "head" / "learn"
    files = [str(p) for p in [*source.glob("*.c"), *source.glob("runtime/*.c")]]
    command = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-c", f"-I{source}"]
    for file in files:
        subprocess.run([*command, file, "-o", str(tmp_path / "x.o")], check=True)


def test_a_stream_is_learned_alike_here_and_on_the_board(folder: Path, head: dict, tmp_path: Path):
    picture = tmp_path / "way.svg"
    arguments = ["learn", str(folder / "head"), "--data", str(folder / "data.npz"), "--json"]
    here = json.loads(
        invoke(*arguments, "--window", "50", "--plot", str(picture), "--drift", "350")
    )
    there = json.loads(invoke(*arguments, "--on", "qemu", "--window", "50"))
    assert here["learning"] == there["learning"]
    assert here["static"] == there["static"]
    assert there["statuses"] == {"OK": 700}
    assert there["step"] > there["predict"] > 0
    assert here["step"] is None
    rows = there["windows"]
    assert np.mean([r[1] for r in rows[4:7]]) > np.mean([r[2] for r in rows[4:7]]) + 0.1
    assert "drift" in picture.read_text()


@pytest.mark.long
def test_whole_network_learns_more(folder: Path, whole: dict):
    text = invoke("learn", str(folder / "whole"), "--data", str(folder / "data.npz"))
    assert "accuracy, learning" in text
    assert "700 OK" in text


def test_a_budget_on_the_command_line(folder: Path):
    text = invoke(
        "export",
        str(folder / "model.onnx"),
        "--calibration",
        str(folder / "data.npz"),
        "--out",
        str(folder / "never"),
        "--learn",
        "all",
        "--learn-ram",
        "900",
        "--dry-run",
    )
    assert "Learning:" in text
    assert not (folder / "never").exists()


def failing(*arguments: str) -> TinymlError:
    with pytest.raises(TinymlError) as error:
        CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    return error.value


def test_what_goes_wrong_is_named(folder: Path, head: dict, tmp_path: Path):
    model, data = str(folder / "model.onnx"), str(folder / "data.npz")
    common = ("export", model, "--calibration", data, "--out", str(tmp_path / "x"))
    small = failing(*common, "--learn", "all", "--learn-ram", "64")
    assert "alone take" in small.message and "--learn-ram" in small.hint
    assert "no layer 'hed'" in failing(*common, "--learn", "hed").message
    assert (
        "--optimizer cannot be 'adam'"
        in failing(*common, "--learn", "all", "--optimizer", "adam").message
    )
    assert "--loss cannot be" in failing(*common, "--learn", "all", "--loss", "hinge").message
    assert "no standardisation" in failing(*common, "--learn", "all", "--standardise", "x").message
    assert not (tmp_path / "x").exists()
    report = json.loads((folder / "head" / "report.json").read_text())
    del report["learn"]
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "report.json").write_text(json.dumps(report))
    assert "no learner" in failing("learn", str(tmp_path / "plain"), "--data", data).message
    np.savez(tmp_path / "wide.npz", x=np.zeros((4, 9), np.float32), y=np.zeros(4))
    wide = failing("learn", str(folder / "head"), "--data", str(tmp_path / "wide.npz"))
    assert isinstance(wide, LearnError) and "takes 6" in wide.message
    np.savez(tmp_path / "bare.npz", x=np.zeros((4, 6), np.float32))
    assert (
        "no labels"
        in failing("learn", str(folder / "head"), "--data", str(tmp_path / "bare.npz")).message
    )


def test_bad_samples_of_a_stream_are_counted(folder: Path, head: dict, tmp_path: Path):
    x = np.zeros((5, 6), np.float32)
    x[1, 2] = np.nan
    np.savez(tmp_path / "bad.npz", x=x, y=np.array([0, 1, 2, 3, -1]))
    arguments = ("learn", str(folder / "head"), "--data", str(tmp_path / "bad.npz"), "--json")
    seen = json.loads(invoke(*arguments))
    assert seen["statuses"] == {"OK": 2, "BAD_INPUT": 1, "BAD_TARGET": 2}


def test_a_pruned_network_is_smaller_and_equal(folder: Path, tmp_path: Path):
    write_model(tmp_path / "model.onnx", (64, 256, 128, 10), keep=0.05)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=rng.normal(0, 1, (200, 64)).astype(np.float32))
    thin = export(tmp_path, "sparse")
    full = export(tmp_path, "dense", "--sparse", "off")
    assert {x["name"] for x in thin["sparse"]} >= {"net/dense0/Gemm", "net/dense1/Gemm"}
    assert full["sparse"] == []
    assert thin["memory"]["weights"] * 4 < full["memory"]["weights"]
    assert thin["instructions"] < full["instructions"]
    for report in (thin, full):
        c = [x for x in report["checks"] if x["runtime"].startswith("C on")]
        assert len(c) == 2 and all(x["max_lsb"] == 0 for x in c)
