# SPDX-License-Identifier: Apache-2.0
"""Quantised ONNX files: their integers are kept, and onnxruntime gives the same reals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from tinyml.errors import ImportModelError, QuantisationError
from tinyml.export import export
from tinyml.ir.execute import outputs
from tinyml.ops import FullyConnected
from tinyml.ops.weighted import Weighted
from tinyml.passes import c_passes, run_passes
from tinyml.source import open_source
from tinyml.targets import load_target

RNG = np.random.default_rng(5)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def float_model() -> onnx.ModelProto:
    """Convolution, depthwise, pointwise, addition, both poolings, ReLU and a fully connected."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "w2", "b2"], ["c2"], group=6, pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c2", "w3"], ["c3"]),
        helper.make_node("Add", ["c3", "p1"], ["s"]),
        helper.make_node("Relu", ["s"], ["r2"]),
        helper.make_node("AveragePool", ["r2"], ["p2"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p2"], ["f"]),
        helper.make_node("Gemm", ["f", "w4", "b4"], ["y"], transB=1),
    ]
    constants = {
        "w1": floats(6, 3, 3, 3), "b1": floats(6), "w2": floats(6, 1, 3, 3), "b2": floats(6),
        "w3": floats(6, 6, 1, 1), "w4": floats(4, 24), "b4": floats(4),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


class Samples(CalibrationDataReader):
    def __init__(self) -> None:
        self._left = iter([{"x": floats(1, 3, 8, 8)} for _ in range(16)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._left, None)


def quantised(folder: Path, per_channel: bool, activations: QuantType) -> Path:
    given, made = folder / "float.onnx", folder / "quantised.onnx"
    onnx.save(float_model(), given)
    quantize_static(
        given, made, Samples(), quant_format=QuantFormat.QDQ, per_channel=per_channel,
        activation_type=activations, weight_type=QuantType.QInt8,
    )  # fmt: skip
    return made


def constants_of(path: Path) -> dict[str, np.ndarray]:
    return {i.name: numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}


@pytest.mark.parametrize("activations", [QuantType.QInt8, QuantType.QUInt8])
@pytest.mark.parametrize("per_channel", [True, False])
def test_the_files_integers_are_kept(
    tmp_path: Path, per_channel: bool, activations: QuantType
) -> None:
    path = quantised(tmp_path, per_channel, activations)
    source = open_source(str(path), None)
    assert not source.needs_calibration and source.int8 is not None
    graph, stored = source.int8, constants_of(path)
    weighted = [n for n in graph.nodes if isinstance(n.op, Weighted)]
    assert len(weighted) == 4
    kept = [v for v in stored.values() if v.dtype == np.int8 and v.ndim >= 2]
    biases = [v for v in stored.values() if v.dtype == np.int32 and v.ndim == 1]
    for node in weighted:
        weights, bias = (t.values for t in graph.ins(node)[1:])
        assert any(np.array_equal(np.sort(weights.ravel()), np.sort(k.ravel())) for k in kept)
        assert not bias.any() or any(np.array_equal(bias, b) for b in biases)
    _same_as_onnxruntime(path, graph, activations)


def _same_as_onnxruntime(path: Path, graph, activations: QuantType) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    x, y = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    c_graph = run_passes(graph, c_passes())
    off = []
    for _ in range(20):
        real = floats(1, 3, 8, 8)
        wanted = session.run(None, {"x": real})[0]
        feed = {x.name: x.q.quantise(real.transpose(graph.source_layout.get(x.name, (0, 1, 2, 3))))}
        ours = outputs(graph, feed)[0]
        assert np.array_equal(outputs(c_graph, feed)[0], ours)
        off.append(np.abs(ours.astype(int) - y.q.quantise(wanted).astype(int)).max())
    # Each of the layers in a row may round a tie or a fixed-point product the other way.
    assert max(off) <= 2, off


def test_export_without_calibration(tmp_path: Path) -> None:
    path = quantised(tmp_path, True, QuantType.QInt8)
    report = export(open_source(str(path), None), load_target("host"), None, None, tmp_path / "out")
    assert (tmp_path / "out" / "c").is_dir()
    assert report["checks"]


def _pair(value: str, scale: str, zero: str, nodes: list[onnx.NodeProto]) -> str:
    nodes.append(helper.make_node("QuantizeLinear", [value, scale, zero], [f"{value}_q"]))
    nodes.append(helper.make_node("DequantizeLinear", [f"{value}_q", scale, zero], [f"{value}_d"]))
    return f"{value}_d"


def fake_quantised(tmp_path: Path, *, closed: bool = True, zero_of_weights: int = 0) -> Path:
    """As quantisation-aware training exports: float weights behind a pair."""
    nodes: list[onnx.NodeProto] = []
    x, w = _pair("x", "sx", "zx", nodes), _pair("w", "sw", "zw", nodes)
    nodes.append(helper.make_node("Transpose", [w], ["wt"]))
    nodes.append(helper.make_node("MatMul", [x, "wt"], ["m"]))
    nodes.append(helper.make_node("Add", ["m", "b"], ["a"]))
    nodes.append(helper.make_node("Relu", ["a"], ["r"]))
    y = _pair("r", "sy", "zy", nodes) if closed else "r"
    constants = {
        "w": floats(5, 8), "b": floats(5), "sx": np.float32(0.05), "zx": np.int8(3),
        "sw": np.float32(0.03), "zw": np.int8(zero_of_weights),
        "sy": np.float32(0.1), "zy": np.int8(-128),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, [1, 5])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path / "qat.onnx"
    onnx.save(model, path)
    return path


def test_pairs_of_quantisation_aware_training_are_honoured(tmp_path: Path) -> None:
    graph = open_source(str(fake_quantised(tmp_path)), None).int8
    assert graph is not None
    x, y = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    assert (x.q.s, x.q.z) == (pytest.approx(0.05), 3)
    assert (y.q.s, y.q.z) == (pytest.approx(0.1), -128)
    dense = next(n for n in graph.nodes if isinstance(n.op, FullyConnected))
    assert set(graph.ins(dense)[1].q.scale) == {float(np.float32(0.03))}


def test_asymmetric_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(QuantisationError, match="zero points other than 0"):
        open_source(str(fake_quantised(tmp_path, zero_of_weights=4)), None)


def test_a_file_that_leaves_grids_open_needs_samples(tmp_path: Path) -> None:
    assert open_source(str(fake_quantised(tmp_path, closed=False)), None).needs_calibration


def test_another_scale_after_quantising_is_refused(tmp_path: Path) -> None:
    path = fake_quantised(tmp_path)
    model = onnx.load(path)
    last = model.graph.node[-1]
    last.input[1] = "sx"
    onnx.save(model, path)
    with pytest.raises(ImportModelError, match="another scale"):
        open_source(str(path), None)
