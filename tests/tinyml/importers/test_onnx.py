# SPDX-License-Identifier: Apache-2.0
"""The float importer against onnxruntime, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tinyml.errors import ImportModelError
from tinyml.importers.onnx import import_onnx
from tinyml.importers.onnx.registry import TRANSLATORS
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
    "log softmax": ([("LogSoftmax", "x", {"axis": 1})], {}),
    "add per channel": ([("Add", "xc", {})], {"c": floats(4, 1, 1)}),
    "divide": ([("Div", "xc", {})], {"c": abs(floats(1)) + 0.5}),
    "subtract": ([("Sub", "xx", {})], {}),
    "pad": ([("Pad", "xp", {})], {"p": integers(0, 0, 1, 2, 0, 0, 0, 1)}),
    "transpose": ([("Transpose", "x", {"perm": [0, 2, 1, 3]})], {}),
    "concat": ([("Concat", "xx", {"axis": 1})], {}),
    "flatten": ([("Flatten", "x", {})], {}),
    "reshape": ([("Reshape", "xs", {})], {"s": integers(0, -1, 6)}),
    "unsqueeze": ([("Unsqueeze", "xa", {})], {"a": integers(0)}),
    "conv in groups": ([("Conv", "xwb", {"group": 2, "pads": [1, 1, 1, 1]})],
                       {"w": floats(6, 2, 3, 3), "b": floats(6)}),
    "transposed conv": ([("ConvTranspose", "xwb", {"strides": [2, 2], "pads": [1, 1, 1, 1],
                                                   "output_padding": [1, 0]})],
                        {"w": floats(4, 3, 3, 4), "b": floats(3)}),
    "transposed conv, stride larger than kernel": ([("ConvTranspose", "xw", {"strides": [3, 3]})],
                                                   {"w": floats(4, 2, 2, 2)}),
    "max pool ceil, window in padding": ([("MaxPool", "x", {"kernel_shape": [2, 2], "ceil_mode": 1,
                                          "strides": [3, 3], "pads": [1, 1, 1, 1]})], {}),
    "global max": ([("GlobalMaxPool", "x", {})], {}),
    "depth to space": ([("DepthToSpace", "x", {"blocksize": 2})], {}),
    "pixel shuffle": ([("DepthToSpace", "x", {"blocksize": 2, "mode": "CRD"})], {}),
    "upsample": ([("Resize", ["x", "", "f"], {"mode": "nearest", "nearest_mode": "floor",
                   "coordinate_transformation_mode": "asymmetric"})],
                 {"f": np.array([1, 1, 2, 3], np.float32)}),
    "nearest at half pixels": ([("Resize", ["x", "", "", "s"], {"mode": "nearest"})],
                               {"s": integers(1, 4, 5, 11)}),
    "bilinear": ([("Resize", ["x", "", "f"], {"mode": "linear",
                   "coordinate_transformation_mode": "half_pixel"})],
                 {"f": np.array([1, 1, 2, 2], np.float32)}),
    "bilinear, aligned": ([("Resize", ["x", "", "", "s"], {"mode": "linear",
                            "coordinate_transformation_mode": "align_corners"})],
                          {"s": integers(1, 4, 13, 11)}),
    "reduce max": ([("ReduceMax", "xa", {})], {"a": integers(2, 3)}),
    "reduce min": ([("ReduceMin", "xa", {"keepdims": 0})], {"a": integers(1)}),
    "reduce sum": ([("ReduceSum", "xa", {})], {"a": integers(-1)}),
    "mean of distant axes": ([("ReduceMean", "xa", {"keepdims": 0})], {"a": integers(1, 3)}),
    "batch norm as a mean of all": ([("ReduceMean", "x", {})], {}),
    "length of a vector": ([("ReduceL2", "xa", {})], {"a": integers(1)}),
    "sum of sizes": ([("ReduceL1", "xa", {"keepdims": 0})], {"a": integers(2, 3)}),
    "sum of squares": ([("ReduceSumSquare", "xa", {})], {"a": integers(3)}),
    "instance norm": ([("InstanceNormalization", "xgo", {})], {"g": floats(4), "o": floats(4)}),
    "gather": ([("Gather", "xi", {"axis": 1})], {"i": integers(3, 0, 0, -1)}),
    "gather neighbours": ([("Gather", "xi", {"axis": 2})], {"i": integers(2, 3, 4)}),
    "gather one": ([("Gather", "xi", {"axis": 3})], {"i": np.array(-2, np.int64)}),
    "expand": ([("Expand", "xs", {})], {"s": integers(1, 4, 7, 6)}),
    "tile": ([("Tile", "xs", {})], {"s": integers(1, 2, 1, 3)}),
    "largest of two": ([("Max", "xc", {})], {"c": floats(1, 4, 1, 1)}),
    "smallest of three": ([("Min", "xcd", {})], {"c": floats(4, 1, 1), "d": floats(1)}),
    "parametric relu": ([("PRelu", "xs", {})], {"s": floats(4, 1, 1)}),
    "clip": ([("Clip", "xlh", {})], {"l": np.float32(-0.5), "h": np.float32(0.75)}),
    "elu": ([("Elu", "x", {"alpha": 0.7})], {}),
    "selu": ([("Selu", "x", {})], {}),
    "leaky relu that falls": ([("LeakyRelu", "x", {"alpha": -0.2})], {}),
    "cube": ([("Pow", "xe", {})], {"e": np.float32(3)}),
    "slice with steps": ([("Slice", "xbeas", {})],
                         {"b": integers(1, 0), "e": integers(4, 6), "a": integers(1, -1),
                          "s": integers(2, 3)}),
}  # fmt: skip
for _kind in ("Abs", "Atan", "Ceil", "Celu", "Cos", "Erf", "Exp", "Floor", "HardSigmoid", "Mish",
              "Neg", "Round", "Shrink", "Sign", "Sin", "Softplus", "Softsign", "Tan",
              "ThresholdedRelu"):  # fmt: skip
    CASES[_kind] = ([(_kind, "x", {})], {})

SEQUENCE = (1, 6, 12)
SEQUENCE_CASES = {
    "conv": ([("Conv", "xwb", {"pads": [2, 0], "strides": [2]})],
             {"w": floats(5, 6, 3), "b": floats(5)}),
    "conv same": ([("Conv", "xw", {"auto_pad": "SAME_LOWER", "strides": [2]})],
                           {"w": floats(5, 6, 3)}),
    "depthwise": ([("Conv", "xw", {"group": 6, "pads": [1, 1]})], {"w": floats(6, 1, 3)}),
    "conv in groups": ([("Conv", "xw", {"group": 3})], {"w": floats(9, 2, 3)}),
    "transposed conv": ([("ConvTranspose", "xw", {"strides": [2], "pads": [1, 0]})],
                        {"w": floats(6, 3, 4)}),
    "max pool": ([("MaxPool", "x", {"kernel_shape": [3], "strides": [2]})], {}),
    "average pool": ([("AveragePool", "x", {"kernel_shape": [3], "pads": [1, 1]})], {}),
    "global average": ([("GlobalAveragePool", "x", {})], {}),
    "upsample": ([("Resize", ["x", "", "f"], {"mode": "nearest", "nearest_mode": "floor",
                   "coordinate_transformation_mode": "asymmetric"})],
                 {"f": np.array([1, 1, 2], np.float32)}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_operator_equals_onnxruntime(case):
    [(kind, names, attributes)], initialisers = CASES[case]
    node = helper.make_node(kind, list(names), ["y"], **attributes)
    assert_equal_to_onnxruntime(build([node], IMAGE, initialisers))


@pytest.mark.parametrize("case", SEQUENCE_CASES)
def test_operator_on_a_sequence_equals_onnxruntime(case):
    [(kind, names, attributes)], initialisers = SEQUENCE_CASES[case]
    node = helper.make_node(kind, list(names), ["y"], **attributes)
    assert_equal_to_onnxruntime(build([node], SEQUENCE, initialisers))


@pytest.mark.parametrize("kind", ["Log", "Sqrt", "Reciprocal", "Acos", "Asin"])
def test_function_of_small_positive_reals_equals_onnxruntime(kind):
    nodes = [helper.make_node("Sigmoid", ["x"], ["a"]), helper.make_node(kind, ["a"], ["y"])]
    assert_equal_to_onnxruntime(build(nodes, IMAGE))


def test_division_by_an_activation_equals_onnxruntime():
    nodes = [
        helper.make_node("Exp", ["x"], ["a"]),
        helper.make_node("Sqrt", ["a"], ["b"]),
        helper.make_node("Div", ["x", "b"], ["c"]),
        helper.make_node("Div", ["c", "a"], ["y"]),
    ]
    assert_equal_to_onnxruntime(build(nodes, IMAGE))


def test_group_norm_equals_onnxruntime():
    nodes = [
        helper.make_node("GroupNormalization", ["x", "g", "o"], ["a"], num_groups=2),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    constants = {"g": floats(4), "o": floats(4)}
    assert_equal_to_onnxruntime(build(nodes, IMAGE, constants, opset=21))


def test_normalised_vectors_equal_onnxruntime():
    nodes = [
        helper.make_node("ReduceL2", ["x", "a"], ["n"]),
        helper.make_node("Clip", ["n", "l"], ["c"]),
        helper.make_node("Expand", ["c", "s"], ["e"]),
        helper.make_node("Div", ["x", "e"], ["y"]),
    ]
    model = build(nodes, IMAGE, {"a": integers(1), "l": np.float32(1e-12), "s": integers(*IMAGE)})
    assert_equal_to_onnxruntime(model)
    graph = run_passes(import_onnx(model.SerializeToString()), FLOAT_PASSES)
    assert "gather" not in [n.op.kind for n in graph.nodes]


CHOICES = {
    "softplus": [("Mul", "xo", "a"), ("Softplus", "a", "b"), ("Greater", "at", "c"),
                 ("Where", "cxb", "y")],
    "threshold": [("LessOrEqual", "xt", "c"), ("Where", "cox", "y")],
    "shrink": [("Abs", "x", "a"), ("Less", "at", "c"), ("Where", "cox", "y")],
}  # fmt: skip


@pytest.mark.parametrize("case", CHOICES)
def test_choice_by_a_number_equals_onnxruntime(case):
    nodes = [helper.make_node(kind, list(ins), [out]) for kind, ins, out in CHOICES[case]]
    constants = {"o": np.float32(1.25), "t": np.float32(0.5)}
    model = build(nodes, IMAGE, constants)
    assert_equal_to_onnxruntime(model)
    graph = run_passes(import_onnx(model.SerializeToString()), FLOAT_PASSES)
    assert [n.op.kind for n in graph.nodes] == ["piecewise"]


def test_choice_between_two_tensors_is_refused():
    nodes = [
        helper.make_node("Softmax", ["x"], ["a"]),
        helper.make_node("Greater", ["x", "t"], ["c"]),
        helper.make_node("Where", ["c", "a", "x"], ["y"]),
    ]
    assert "a choice between" in refused(build(nodes, IMAGE, {"t": np.float32(0)})).message


def test_split_equals_onnxruntime():
    nodes = [
        helper.make_node("Split", ["x", "s"], ["a", "b"], axis=1),
        helper.make_node("Concat", ["b", "a"], ["y"], axis=1),
    ]
    assert_equal_to_onnxruntime(build(nodes, IMAGE, {"s": integers(1, 3)}))


def test_channel_shuffle_is_one_pick():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Reshape", ["a", "s"], ["b"]),
        helper.make_node("Transpose", ["b"], ["c"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["c", "t"], ["d"]),
        helper.make_node("Conv", ["d", "v"], ["y"]),
    ]
    weights = {"w": floats(6, 4, 1, 1), "v": floats(3, 6, 1, 1)}
    shapes = {"s": integers(1, 2, 3, 7, 6), "t": integers(1, 6, 7, 6)}
    model = build(nodes, IMAGE, weights | shapes)
    assert_equal_to_onnxruntime(model)
    graph = run_passes(import_onnx(model.SerializeToString()), FLOAT_PASSES)
    assert [n.op.kind for n in graph.nodes] == ["conv2d", "gather", "conv2d"]


def test_layers_of_a_sequence_are_fused():
    nodes = [
        helper.make_node("Pad", ["x", "p"], ["a"]),
        helper.make_node("Conv", ["a", "w"], ["b"]),
        helper.make_node("BatchNormalization", ["b", "s", "o", "m", "v"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "k"], ["e"]),
        helper.make_node("ReduceMean", ["e", "i"], ["y"], keepdims=0),
    ]
    model = build(nodes, SEQUENCE, {
        "p": integers(0, 0, 2, 0, 0, 0), "w": floats(5, 6, 3), "k": floats(4, 5, 1),
        "s": floats(5), "o": floats(5), "m": floats(5), "v": abs(floats(5)) + 0.1,
        "i": integers(2)})  # fmt: skip
    assert_equal_to_onnxruntime(model)
    graph = run_passes(import_onnx(model.SerializeToString()), FLOAT_PASSES)
    kinds = [n.op.kind for n in graph.nodes if n.op.kind != "reshape"]
    assert kinds == ["transpose", "conv2d", "conv2d", "mean"]


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
            helper.make_node("LpNormalization", ["x"], ["a"], name="first"),
            helper.make_node("Relu", ["x"], ["b"], name="fine"),
            helper.make_node("Einsum", ["b"], ["y"], name="second", equation="abcd->abdc"),
        ],
        IMAGE,
    )
    error = refused(model)
    assert "LpNormalization (layer 'first')" in error.message
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


def test_groups_that_do_not_fit_are_refused():
    model = build([helper.make_node("Conv", ["x", "w"], ["y"], group=3)], IMAGE,
                  {"w": floats(4, 2, 3, 3)})  # fmt: skip
    assert "groups" in refused(model).message


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


def test_the_page_lists_every_operator():
    page = (Path(__file__).parents[3] / "docs" / "formats.md").read_text(encoding="utf-8")
    part = page[page.index("## PyTorch and float ONNX") : page.index("## Quantised ONNX")]
    listed = set(re.findall(r"\w+", part[part.index("Operators:") :])) - {"Operators"}
    assert listed == set(TRANSLATORS) - {"QuantizeLinear", "DequantizeLinear"}
