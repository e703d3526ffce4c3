# SPDX-License-Identifier: Apache-2.0
"""The command as a user types it: what it makes, and what it says of bad input."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.tinyml.runtimes.test_kernels import bouquet
from tinyml.samples import integer_feeds, load_samples
from tinyml.writers.tflite import write_tflite

RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return (0.3 * RNG.standard_normal(shape)).astype(np.float32)


def small_cnn(channels: int = 8, size: int = 12, kind: str = "Relu") -> onnx.ModelProto:
    """Convolution, depthwise convolution, pooling, classifier, softmax."""
    flat = channels * (size // 2) ** 2
    constants = {
        "w1": floats(channels, 3, 3, 3),
        "b1": floats(channels),
        "w2": floats(channels, 1, 3, 3),
        "w3": floats(10, flat),
        "b3": floats(10),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node(kind, ["a"], ["b"], name="activation"),
        helper.make_node("Conv", ["b", "w2"], ["c"], pads=[1, 1, 1, 1], group=channels),
        helper.make_node("MaxPool", ["c"], ["d"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("Gemm", ["e", "w3", "b3"], ["f"], name="classifier", transB=1),
        helper.make_node("Softmax", ["f"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "cnn",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def tinyml(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from tinyml.cli import main; sys.argv[0] = 'tinyml'; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    onnx.save(small_cnn(), folder / "cnn.onnx")
    x = RNG.standard_normal((260, 3, 12, 12)).astype(np.float32)
    np.savez(folder / "samples.npz", x=x)
    np.savez(folder / "labelled.npz", x=x[:50], y=np.arange(50) % 10)
    return folder


@pytest.fixture(scope="module")
def exported(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("arm-none-eabi-gcc") is None or shutil.which("qemu-system-arm") is None:
        pytest.skip("the Arm compiler or emulator is not installed")
    out = tmp_path_factory.mktemp("exports") / "cnn"
    done = tinyml(
        *("export", inputs / "cnn.onnx", "--calibration", inputs / "samples.npz"),
        *("--test", inputs / "labelled.npz", "--target", "cortex-m4", "--out", out, "--json"),
    )
    assert done.returncode == 0, done.stderr + done.stdout
    report = json.loads(done.stdout)
    assert report["memory"]["arena"] >= report["memory"]["arena_lower_bound"]
    assert report["accuracy"]["samples"] == 50
    return out


def test_export_makes_three_models_that_agree(exported: Path):
    names = {p.name for p in exported.iterdir()}
    assert names == {"model.tflite", "model.onnx", "c", "samples.npz", "report.json", "report.html"}
    report = json.loads((exported / "report.json").read_text())
    exact = [c for c in report["checks"] if c["allowed_lsb"] == 0]
    assert {c["max_lsb"] for c in exact} == {0}
    assert any("mps2-an386" in c["runtime"] for c in exact)
    assert any("TFLite-Micro" in c["runtime"] for c in exact)
    assert report["instructions"] > report["model"]["macs"]
    assert report["inputs"][0]["permuted_from_source"] == [0, 2, 3, 1]


def test_the_page_stands_alone(exported: Path):
    page = (exported / "report.html").read_text()
    assert page.count("<svg") == 4
    assert "src=" not in page
    assert "<link" not in page


def test_the_c_folder_compiles_by_itself(exported: Path, tmp_path: Path):
    sources = [*(exported / "c").glob("*.c"), *(exported / "c" / "kernels").glob("*.c")]
    command = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{exported / 'c'}", "-c"]
    subprocess.run([*command, *map(str, sources)], check=True, cwd=tmp_path)


def test_verify_repeats_the_comparison(exported: Path):
    done = tinyml("verify", exported, "--json")
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["verified"] is True


def test_verify_finds_a_changed_weight(exported: Path, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    source = next((copy / "c").glob("*_weights.c"))
    text = source.read_text()
    source.write_text(text.replace("    7", "    8", 1) if "    7" in text else text + "\n")
    done = tinyml("verify", copy)
    assert done.returncode == 1
    assert "_weights.c was changed after the export" in done.stderr


def test_a_wrong_kernel_is_blamed_by_layer(exported: Path, tmp_path: Path):
    """A compiler that miscompiles one kernel: only that layer differs, and it is named."""
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    kernel = copy / "c" / "kernels" / "max_pool.c"
    changed = kernel.read_text().replace("a > b ? a : b", "a < b ? a : b")
    assert changed != kernel.read_text()
    kernel.write_text(changed)
    report = json.loads((copy / "report.json").read_text())
    key = "c/kernels/max_pool.c"
    report["files"][key]["sha256"] = hashlib.sha256(kernel.read_bytes()).hexdigest()
    (copy / "report.json").write_text(json.dumps(report))
    done = tinyml("verify", copy)
    assert done.returncode == 1
    assert "first operator that differs is max_pool2d" in done.stderr.replace("\n", " ")


def test_run_counts_instructions_and_layers(exported: Path):
    first = tinyml("run", exported, "--on", "qemu", "--layers", "--json")
    second = tinyml("run", exported, "--on", "qemu", "--layers", "--json")
    assert first.returncode == 0, first.stdout
    assert first.stdout == second.stdout
    host = json.loads(tinyml("run", exported, "--json").stdout)
    result = json.loads(first.stdout)
    assert result["outputs"] == host["outputs"]
    assert host["instructions"] == []
    assert abs(sum(result["outputs"][0]) - 1) < 0.05
    counted = sum(layer["instructions"] for layer in result["layers"])
    assert 0.9 * counted < result["instructions"][0] < 1.1 * counted


@pytest.mark.parametrize("name", ["model.tflite", "model.onnx", ""])
def test_inspect_lists_operators(exported: Path, name: str):
    done = tinyml("inspect", exported / name, "--json")
    assert done.returncode == 0, done.stdout
    rows = json.loads(done.stdout)
    report = json.loads((exported / "report.json").read_text())
    assert sum(r["macs"] for r in rows) == report["model"]["macs"]


def test_export_again_replaces_the_earlier_one(inputs: Path, exported: Path, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    (copy / "stale").write_text("x")
    done = tinyml("export", inputs / "cnn.onnx", "--calibration", inputs / "samples.npz",
                  "--target", "host", "--out", copy)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not (copy / "stale").exists()


def test_dry_run_writes_nothing(inputs: Path, tmp_path: Path):
    done = tinyml("export", inputs / "cnn.onnx", "--calibration", inputs / "samples.npz",
                  "--out", tmp_path / "out", "--dry-run")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Nothing was written" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_report_shows_what_export_showed(exported: Path):
    done = tinyml("report", exported)
    assert done.returncode == 0
    assert "Verified against the integer reference" in done.stdout
    stored = json.loads((exported / "report.json").read_text())
    assert json.loads(tinyml("report", exported, "--json").stdout) == stored


def test_targets_and_zoo_list():
    assert "cortex-m55" in tinyml("targets").stdout
    models = json.loads(tinyml("zoo", "list", "--json").stdout)
    assert {"tinynet-mnist", "tinynet-e"} <= {m["name"] for m in models}
    # One model with a measured quality and one of which only the cost was measured.
    measured = {m["name"]: m["measured"] for m in models}
    reached = measured["tinynet-mnist"]["quality"]["int8"]
    assert reached > 0.99
    assert measured["mlperf-kws"]["quality"] is None
    count = measured["mlperf-kws"]["targets"]["cortex-m4"]["instructions"]
    said = tinyml("zoo", "list", COLUMNS="250").stdout
    assert f"{count:,}" in said and f"{reached:.2%}" in said


# What a user does wrong: one clear error, status 1, nothing left behind.


def refused(folder: Path, *arguments: object, **environment: str) -> str:
    out = folder / "refused"
    done = tinyml("export", *arguments, "--out", out, **environment)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()
    assert not list(folder.glob(".refused*"))
    return " ".join(done.stderr.split())


def test_unsupported_operator(inputs: Path, tmp_path: Path):
    onnx.save(small_cnn(kind="Hardmax"), tmp_path / "m.onnx")
    said = refused(tmp_path, tmp_path / "m.onnx", "--calibration", inputs / "samples.npz")
    assert "Hardmax (layer 'activation')" in said
    assert "Supported ONNX operators: Abs," in said


def test_wrong_shaped_calibration(inputs: Path, tmp_path: Path):
    np.savez(tmp_path / "bad.npz", x=np.zeros((4, 3, 10, 12), np.float32))
    said = refused(tmp_path, inputs / "cnn.onnx", "--calibration", tmp_path / "bad.npz")
    assert "shape (3, 10, 12), the model takes (3, 12, 12)" in said


@pytest.mark.parametrize("array", [np.zeros((0, 3, 12, 12)), np.float32(3), np.array(["a"])])
def test_empty_calibration(inputs: Path, tmp_path: Path, array: np.ndarray):
    np.savez(tmp_path / "bad.npz", x=array)
    said = refused(tmp_path, inputs / "cnn.onnx", "--calibration", tmp_path / "bad.npz")
    assert "bad.npz holds" in said


def test_nan_calibration(inputs: Path, tmp_path: Path):
    x = np.zeros((4, 3, 12, 12), np.float32)
    x[2, 0, 0, 0] = np.nan
    np.savez(tmp_path / "bad.npz", x=x)
    said = refused(tmp_path, inputs / "cnn.onnx", "--calibration", tmp_path / "bad.npz")
    assert "sample 2" in said


def test_no_calibration(inputs: Path, tmp_path: Path):
    assert "needs calibration samples" in refused(tmp_path, inputs / "cnn.onnx")


def test_damaged_calibration(inputs: Path, tmp_path: Path):
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 not a zip")
    said = refused(tmp_path, inputs / "cnn.onnx", "--calibration", tmp_path / "bad.npz")
    assert "no readable .npy or .npz" in said


def test_nan_weights(inputs: Path, tmp_path: Path):
    model = small_cnn()
    weights = numpy_helper.to_array(model.graph.initializer[2]).copy()
    weights[0, 0, 0, 0] = np.nan
    model.graph.initializer[2].CopyFrom(numpy_helper.from_array(weights, "w2"))
    onnx.save(model, tmp_path / "m.onnx")
    said = refused(tmp_path, tmp_path / "m.onnx", "--calibration", inputs / "samples.npz")
    assert "NaN" in said


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_truncated_onnx(inputs: Path, tmp_path: Path, keep: float):
    data = (inputs / "cnn.onnx").read_bytes()
    length = int(keep if keep >= 1 else keep * len(data))
    (tmp_path / "m.onnx").write_bytes(data[:length])
    said = refused(tmp_path, tmp_path / "m.onnx", "--calibration", inputs / "samples.npz")
    assert "m.onnx" in said or "model" in said


def test_a_model_too_large_for_ram(tmp_path: Path):
    onnx.save(small_cnn(channels=32, size=80), tmp_path / "m.onnx")
    np.savez(tmp_path / "s.npz", x=RNG.standard_normal((4, 3, 80, 80)).astype(np.float32))
    said = refused(tmp_path, tmp_path / "m.onnx", "--calibration", tmp_path / "s.npz",
                   "--target", "cortex-m0")  # fmt: skip
    assert "cortex-m0 has 16,384 B" in said
    assert "B too many" in said
    assert "the peak is at" in said


def path_without(folder: Path, prefix: str) -> str:
    """A PATH with the system's programs but those whose name starts with ``prefix``."""
    if shutil.which("arm-none-eabi-gcc") is None or shutil.which("qemu-system-arm") is None:
        pytest.skip("the Arm compiler or emulator is not installed")
    folder.mkdir()
    for tool in Path("/usr/bin").iterdir():
        if not tool.name.startswith(prefix):
            (folder / tool.name).symlink_to(tool)
    return str(folder)


@pytest.mark.parametrize("tool", ["arm-none-eabi-gcc", "qemu-system-arm"])
def test_a_missing_tool_is_named_with_its_package(inputs: Path, tmp_path: Path, tool: str):
    path = path_without(tmp_path / "bin", tool)
    said = refused(
        tmp_path, inputs / "cnn.onnx", "--calibration", inputs / "samples.npz", PATH=path
    )
    assert f"'{tool}' is not installed" in said
    assert "apt-get install gcc-arm-none-eabi qemu-system-arm" in said


@pytest.mark.parametrize("spec", ["gone.onnx", "model.xyz", "zoo:tinynet-z", "cli.py:nothing"])
def test_no_such_model(inputs: Path, tmp_path: Path, spec: str):
    said = refused(tmp_path, spec, "--calibration", inputs / "samples.npz")
    assert spec.removesuffix(":nothing").removeprefix("zoo:") in said


def test_a_folder_with_other_files_is_left_alone(inputs: Path, tmp_path: Path):
    (tmp_path / "precious.txt").write_text("keep")
    done = tinyml("export", inputs / "cnn.onnx", "--calibration", inputs / "samples.npz",
                  "--out", tmp_path)  # fmt: skip
    assert done.returncode == 1
    assert (tmp_path / "precious.txt").read_text() == "keep"


def test_errors_are_json_for_programs(tmp_path: Path):
    done = tinyml("export", "gone.onnx", "--out", tmp_path / "o", "--json")
    assert done.returncode == 1
    assert "gone.onnx" in json.loads(done.stdout)["error"]


@pytest.mark.parametrize("command", ["verify", "run", "report"])
def test_a_folder_that_is_no_export(tmp_path: Path, command: str):
    done = tinyml(command, tmp_path)
    assert done.returncode == 1
    assert "is no export" in done.stderr


@pytest.fixture(scope="module")
def int8_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("int8") / "someones.tflite"
    path.write_bytes(write_tflite(bouquet(5, 4, 6)))
    return path


def test_an_int8_tflite_file_compiles_without_calibration(int8_file: Path, tmp_path: Path):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    out = tmp_path / "out"
    done = tinyml("export", int8_file, "--target", "host", "--out", out, "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    report = json.loads(done.stdout)
    assert report["verified_on"] == "seeded random integers and extremes"
    assert report["output_snr_db"] is None
    runtimes = [c["runtime"] for c in report["checks"] if c["max_lsb"] == 0]
    assert "TFLite-Micro interpreter on someones.tflite" in runtimes
    assert "C on the host" in runtimes
    assert (out / "report.html").read_text().count("<svg") == 1
    assert tinyml("verify", out, "--json").returncode == 0


def test_int8_samples_of_an_int8_model_are_taken_as_they_are(tmp_path: Path):
    graph = bouquet(5, 1, 4)
    shape = graph.tensors[graph.inputs[0]].shape
    integers = RNG.integers(-128, 128, (3, *shape[1:])).astype(np.int8)
    np.savez(tmp_path / "x.npz", x=integers)
    feeds = integer_feeds(graph, load_samples(tmp_path / "x.npz"))
    for feed, wanted in zip(feeds, integers, strict=True):
        np.testing.assert_array_equal(feed[graph.inputs[0]][0], wanted)


def test_calibrating_an_int8_model_is_refused(int8_file: Path, inputs: Path, tmp_path: Path):
    done = tinyml(
        *("export", int8_file, "--out", tmp_path / "o", "--calibration", inputs / "samples.npz")
    )
    assert done.returncode == 1
    assert "is int8 already" in done.stderr
