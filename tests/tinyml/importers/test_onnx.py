# SPDX-License-Identifier: Apache-2.0
"""The float importer against onnxruntime, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tinyml.errors import ImportModelError
from tinyml.importers.onnx import import_onnx
from tinyml.ir.execute import outputs
from tinyml.passes import FLOAT_PASSES, run_passes
from tinyml.runtimes.interpreters import OnnxRuntime
from tinyml.samples import checked_samples

RNG = np.random.default_rng(0)


def build(nodes, input_shape, initialisers=(), output="y", opset=18) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["any"])],
        [numpy_helper.from_array(v, k) for k, v in dict(initialisers).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def integers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


IMAGE = (1, 4, 7, 6)

CASES = {
    "conv": ([("Conv", "xwb", {"pads": [1, 0, 1, 2], "strides": [2, 1]})],
             {"w": floats(5, 4, 3, 2), "b": floats(5)}),
    "conv without bias, dilated": ([("Conv", "xw", {"dilations": [2, 2]})],
                                   {"w": floats(5, 4, 3, 2)}),
    "conv same upper": ([("Conv", "xw", {"auto_pad": "SAME_UPPER", "strides": [2, 2]})],
                        {"w": floats(5, 4, 3, 3)}),
    "depthwise": ([("Conv", "xw", {"group": 4, "pads": [1, 1, 1, 1]})], {"w": floats(8, 1, 3, 3)}),
    "batch norm": ([("BatchNormalization", "xsbmv", {})],
                   {"s": floats(4), "b": floats(4), "m": floats(4), "v": abs(floats(4)) + 0.1}),
    "max pool": ([("MaxPool", "x", {"kernel_shape": [3, 2], "strides": [2, 2],
                                    "pads": [1, 0, 1, 1]})], {}),
    "max pool ceil": ([("MaxPool", "x", {"kernel_shape": [2, 2], "strides": [2, 2],
                                         "ceil_mode": 1})], {}),
    "average pool": ([("AveragePool", "x", {"kernel_shape": [2, 2], "strides": [2, 2]})], {}),
    "average pool counting padding": (
        [("AveragePool", "x", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1],
                               "count_include_pad": 1})], {}),
    "global average": ([("GlobalAveragePool", "x", {})], {}),
    "reduce mean": ([("ReduceMean", "xa", {"keepdims": 0})], {"a": integers(2, 3)}),
    "clip 6": ([("Clip", "xlh", {})], {"l": np.float32(0), "h": np.float32(6)}),
    "leaky relu": ([("LeakyRelu", "x", {"alpha": 0.2})], {}),
    "hard swish": ([("HardSwish", "x", {})], {}),
    "softmax over channels": ([("Softmax", "x", {"axis": 1})], {}),
    "add per channel": ([("Add", "xc", {})], {"c": floats(4, 1, 1)}),
    "divide": ([("Div", "xc", {})], {"c": abs(floats(1)) + 0.5}),
    "subtract": ([("Sub", "xx", {})], {}),
    "pad": ([("Pad", "xp", {})], {"p": integers(0, 0, 1, 2, 0, 0, 0, 1)}),
    "transpose": ([("Transpose", "x", {"perm": [0, 2, 1, 3]})], {}),
    "concat": ([("Concat", "xx", {"axis": 1})], {}),
    "flatten": ([("Flatten", "x", {})], {}),
    "reshape": ([("Reshape", "xs", {})], {"s": integers(0, -1, 6)}),
    "unsqueeze": ([("Unsqueeze", "xa", {})], {"a": integers(0)}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_operator_equals_onnxruntime(case):
    [(kind, names, attributes)], initialisers = CASES[case]
    node = helper.make_node(kind, list(names), ["y"], **attributes)
    assert_equal_to_onnxruntime(build([node], IMAGE, initialisers))


def test_squeeze_equals_onnxruntime():
    node = helper.make_node("Squeeze", ["x", "a"], ["y"])
    assert_equal_to_onnxruntime(build([node], (1, 1, 7, 6), {"a": integers(1)}))


def assert_equal_to_onnxruntime(model: onnx.ModelProto) -> None:
    data = model.SerializeToString()
    graph = run_passes(import_onnx(data), FLOAT_PASSES)
    shape = tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)
    x = floats(*shape)
    expected = OnnxRuntime(data, optimise=False).run([x])[0]
    seen = outputs(graph, checked_samples("test", {"": x}, None).fit(graph)[0])[0]
    layout = graph.source_layout.get(graph.outputs[0])
    if layout is not None:
        expected = expected.transpose(layout)
    np.testing.assert_allclose(seen, expected, rtol=1e-4, atol=1e-5)


def test_convolution_flattened_into_a_gemm():
    model = build(
        [
            helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Flatten", ["b"], ["c"]),
            helper.make_node("Gemm", ["c", "g", "h"], ["y"], transB=1, alpha=0.5, beta=2.0),
        ],
        IMAGE,
        {"w": floats(3, 4, 3, 3), "g": floats(10, 126), "h": floats(10)},
    )
    assert_equal_to_onnxruntime(model)
    graph = run_passes(import_onnx(model.SerializeToString()), FLOAT_PASSES)
    assert [n.op.kind for n in graph.nodes] == ["conv2d", "reshape", "fully_connected"]


def test_shapes_computed_in_the_graph_are_folded():
    model = build(
        [
            helper.make_node("Shape", ["x"], ["s"]),
            helper.make_node("Gather", ["s", "zero"], ["n"]),
            helper.make_node("Concat", ["n", "minus"], ["t"], axis=0),
            helper.make_node("Reshape", ["x", "t"], ["y"]),
        ],
        IMAGE,
        {"zero": integers(0), "minus": integers(-1)},
    )
    assert_equal_to_onnxruntime(model)


def refused(model: onnx.ModelProto) -> ImportModelError:
    with pytest.raises(ImportModelError) as caught:
        import_onnx(model.SerializeToString())
    return caught.value


def test_every_unsupported_operator_is_named_with_its_layer():
    model = build(
        [
            helper.make_node("Mish", ["x"], ["a"], name="first"),
            helper.make_node("Relu", ["x"], ["b"], name="fine"),
            helper.make_node("Einsum", ["b"], ["y"], name="second", equation="abcd->abdc"),
        ],
        IMAGE,
    )
    error = refused(model)
    assert "Mish (layer 'first')" in error.message
    assert "Einsum (layer 'second')" in error.message
    assert "fine" not in error.message
    assert "Conv" in error.hint


def test_a_dynamic_size_is_named():
    model = build([helper.make_node("Relu", ["x"], ["y"])], ("batch", 4, "height", 6))
    assert "height" in refused(model).message


def test_a_symbolic_batch_is_one():
    model = build([helper.make_node("Relu", ["x"], ["y"])], ("batch", 4, 7, 6))
    graph = import_onnx(model.SerializeToString())
    assert graph.tensors["x"].shape == IMAGE


def test_integer_inputs_are_refused():
    model = build([helper.make_node("Relu", ["x"], ["y"])], IMAGE)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32
    assert "INT32" in refused(model).message or "Relu" in refused(model).message


def test_grouped_convolution_is_refused():
    model = build([helper.make_node("Conv", ["x", "w"], ["y"], group=2)], IMAGE,
                  {"w": floats(4, 2, 3, 3)})  # fmt: skip
    assert "2 groups" in refused(model).message


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x09\x3a\xff\xff\xff\xff"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ImportModelError):
        import_onnx(path)


def test_truncated_files_are_refused_or_equal(tmp_path: Path):
    model = build([helper.make_node("Conv", ["x", "w"], ["y"])], IMAGE, {"w": floats(5, 4, 3, 2)})
    data = model.SerializeToString()
    for length in range(0, len(data), 7):
        with pytest.raises(ImportModelError):
            import_onnx(data[:length])


def test_damaged_bytes_are_refused_without_a_crash():
    """Only ImportModelError may escape; a byte that changes a weight is no damage."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("MaxPool", ["a"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    data = build(nodes, IMAGE, {"w": floats(2, 4, 3, 3)}).SerializeToString()
    rng = np.random.default_rng(0)
    refused_count = 0
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(int(rng.integers(1, 4))):
            damaged[int(rng.integers(0, len(damaged)))] = int(rng.integers(0, 256))
        try:
            import_onnx(bytes(damaged))
        except ImportModelError:
            refused_count += 1
    assert refused_count > 50


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ImportModelError, match=r"gone\.onnx"):
        import_onnx(tmp_path / "gone.onnx")
