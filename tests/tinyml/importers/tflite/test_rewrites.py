# SPDX-License-Identifier: Apache-2.0
"""What is rewritten before operators are read: shapes that a file computes, float islands, dilated
convolutions, ids brought into range; and int8 functions that only LiteRT has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.tinyml.importers.tflite.files import (
    RELU,
    SAME,
    VALID,
    assert_equal_to_micro,
    chain,
    edited,
    file,
    int8,
    ints,
)
from tests.tinyml.single_op import ids, random_feeds, weights_and_bias
from tinyml.errors import ImportModelError
from tinyml.importers.tflite import import_tflite, why_not_micro
from tinyml.ir import DType, Quantisation, Tensor
from tinyml.ir.execute import outputs
from tinyml.runtimes.interpreters import LiteRt
from tinyml.writers.tflite import write_tflite

RNG = np.random.default_rng(11)
T = schema.TensorType


def assert_equal_to_litert(data: bytes, lsb: int = 0):
    graph = import_tflite(data)
    runtime = LiteRt(data)
    for feed in random_feeds(graph, np.random.default_rng(0), 3):
        seen = runtime.run(feed)[graph.outputs[0]]
        ours = outputs(graph, feed)[0]
        assert seen.shape == ours.shape
        assert np.abs(seen.astype(int) - ours).max() <= lsb
    assert_equal_to_micro(write_tflite(graph))
    return graph


def bools(data: bytes, *names: str) -> bytes:
    def change(model):
        for tensor in model.subgraphs[0].tensors:
            if tensor.name.decode() in names:
                tensor.type = T.BOOL

    return edited(data, change)


def real(name: str, shape, data=None) -> Tensor:
    return Tensor(name, tuple(shape), DType.FLOAT32, None, data)


# Shapes.


def test_the_shape_that_keras_takes_apart_before_a_reshape_is_known():
    x, whole = int8("x", (1, 3, 4, 2)), ids("whole", (4,))
    first, size = ids("first", ()), ids("size", (2,))
    data = chain([
        ("SHAPE", [x], whole, "ShapeOptions", {"outType": T.INT32}),
        ("STRIDED_SLICE", [whole, ints("b", 0), ints("e", 1), ints("s", 1)], first,
         "StridedSliceOptions", {"shrinkAxisMask": 1}),
        ("PACK", [first, replace(ints("rest", 24), shape=(), data=np.array(24, np.int32))], size,
         "PackOptions", {"valuesCount": 2}),
        ("RESHAPE", [x, size], int8("y", (1, 24)), None, {}),
    ])  # fmt: skip
    graph = assert_equal_to_micro(data)
    assert [n.op.kind for n in graph.nodes] == ["reshape"]


def test_products_of_sizes_give_open_tensors_their_true_shape():
    """A Dense layer on three axes, as Keras leaves it with an open batch: the file declares
    (1, 4) for what has 6 rows."""
    x, whole, parts = int8("x", (1, 6, 4)), ids("whole", (3,)), ids("parts", (2,))
    rows, size = ids("rows", ()), ids("size", (2,))
    constants = weights_and_bias(RNG, (5, 4), 0, 0.05)
    four = replace(ints("four", 4), shape=(), data=np.array(4, np.int32))
    data = chain([
        ("SHAPE", [x], whole, "ShapeOptions", {"outType": T.INT32}),
        ("GATHER", [whole, ints("which", 0, 1)], parts, "GatherOptions", {}),
        ("REDUCE_PROD", [parts, ints("axis", 0)], rows, "ReducerOptions", {}),
        ("PACK", [rows, four], size, "PackOptions", {"valuesCount": 2}),
        ("RESHAPE", [x, size], int8("flat", (1, 4)), None, {}),
        ("FULLY_CONNECTED", [int8("flat", (1, 4)), *constants], int8("made", (1, 5), 0.4),
         "FullyConnectedOptions", {}),
        ("RESHAPE", [int8("made", (1, 5), 0.4), ints("back", 1, 6, 5)],
         int8("y", (1, 6, 5), 0.4), None, {}),
    ])  # fmt: skip

    def opened(model):
        for tensor in model.subgraphs[0].tensors:
            if tensor.name in (b"flat", b"made"):
                tensor.shapeSignature = [-1, tensor.shape[1]]

    data = edited(data, opened)
    graph = assert_equal_to_litert(data, 1)
    assert "'flat' as (1, 4), it is (6, 4)" in why_not_micro(data)
    assert graph.tensors["made"].shape == (6, 5)


def test_a_fill_of_constants_is_a_constant():
    zero = Tensor("zero", (), DType.INT8, Quantisation.per_tensor(0.05, 3), np.array(3, np.int8))
    data = chain([
        ("FILL", [ints("size", 1, 4), zero], int8("filled", (1, 4)), "FillOptions", {}),
        ("MAXIMUM", [int8("x", (1, 4)), int8("filled", (1, 4))], int8("y", (1, 4)),
         "MaximumMinimumOptions", {}),
    ])  # fmt: skip
    assert_equal_to_micro(data)


@pytest.mark.parametrize("size", [(1 << 30, 1 << 30), (-1, 4), (1 << 21,)])
def test_a_fill_of_anything_else_is_refused(size):
    zero = Tensor("zero", (), DType.INT8, Quantisation.per_tensor(0.05, 3), np.array(3, np.int8))
    filled = int8("filled", (1, 4))
    with pytest.raises(ImportModelError, match="FILL"):
        import_tflite(chain([
            ("FILL", [ints("size", *size), zero], filled, "FillOptions", {}),
            ("MAXIMUM", [int8("x", (1, 4)), filled], int8("y", (1, 4)),
             "MaximumMinimumOptions", {}),
        ]))  # fmt: skip


# Float islands.


@pytest.mark.parametrize("kind", ["ELU", "NEG", "EXP", "SQUARE", "ABS", "TANH", "COS", "FLOOR"])
def test_an_elementwise_island_is_a_table(kind):
    x = int8("x", (1, 256), 0.02, -7)
    data = chain([
        ("DEQUANTIZE", [x], real("a", x.shape), None, {}),
        (kind, [real("a", x.shape)], real("b", x.shape), None, {}),
        ("QUANTIZE", [real("b", x.shape)], int8("y", x.shape, 0.04, 11), None, {}),
    ])  # fmt: skip
    graph = assert_equal_to_micro(data)
    assert [n.op.kind for n in graph.nodes] == ["table"]


def test_islands_are_followed_through_formulas_and_movement():
    x, y = int8("x", (1, 2, 8), 0.02, -7), int8("z", (1, 2, 4), 0.05, 60)
    half = real("half", (), np.array(0.5, np.float32))
    wide = (1, 2, 12)
    data = chain([
        ("DEQUANTIZE", [x], real("a", x.shape), None, {}),
        ("EXP", [real("a", x.shape)], real("b", x.shape), None, {}),
        ("MUL", [real("b", x.shape), real("a", x.shape)], real("c", x.shape), "MulOptions", {}),
        ("ADD", [real("c", x.shape), half], real("d", x.shape), "AddOptions",
         {"fusedActivationFunction": RELU}),
        ("DEQUANTIZE", [y], real("e", y.shape), None, {}),
        ("CONCATENATION", [real("d", x.shape), real("e", y.shape)], real("f", wide),
         "ConcatenationOptions", {"axis": 2}),
        ("QUANTIZE", [real("f", wide)], int8("y", wide, 0.03, -50), None, {}),
    ])  # fmt: skip
    graph = assert_equal_to_micro(data)
    assert [n.op.kind for n in graph.nodes] == ["table", "table", "concatenation"]


def test_an_island_without_end_is_refused():
    steps = [("DEQUANTIZE", [int8("x", (1, 4))], real("r0", (1, 4)), None, {})]
    for index in range(200):
        steps.append(("NEG", [real(f"r{index}", (1, 4))], real(f"r{index + 1}", (1, 4)), None, {}))
    steps.append(("QUANTIZE", [real("r200", (1, 4))], int8("y", (1, 4)), None, {}))
    with pytest.raises(ImportModelError, match="NEG"):
        import_tflite(chain(steps))


# int8 functions of LiteRT.


@pytest.mark.parametrize(
    ("kind", "options", "fields"),
    [
        ("EXP", None, {}),
        ("LOG", None, {}),
        ("GELU", "GeluOptions", {"approximate": False}),
        ("GELU", "GeluOptions", {"approximate": True}),
    ],
)
def test_an_int8_function_equals_litert(kind, options, fields):
    x = int8("x", (1, 256), 0.01, -128 if kind == "LOG" else 4)
    data = file(kind, [x], int8("y", (1, 256), 0.03, -12), options, **fields)
    data = edited(data, lambda m: setattr(m.operatorCodes[0], "version", 2 if options is None
                                          else 1))  # fmt: skip
    assert_equal_to_litert(data, 1 if kind == "LOG" else 0)


def test_copies_side_by_side():
    data = file("TILE", [int8("x", (1, 3, 2)), ints("times", 1, 2, 3)], int8("y", (1, 6, 6)))
    graph = import_tflite(data)
    feed = random_feeds(graph, np.random.default_rng(0), 1)[0]
    np.testing.assert_array_equal(outputs(graph, feed)[0], np.tile(feed["x"], (1, 2, 3)))


# Ids.


def embedding(rows: int) -> bytes:
    table = Tensor("table", (7, 3), DType.INT8, Quantisation.per_tensor(0.05, 3),
                   RNG.integers(-128, 128, (7, 3)).astype(np.int8))  # fmt: skip
    x = ids("x", (1, 4))
    low, more, picked = ids("low", (1, 4)), ids("more", (1, 4)), ids("picked", (1, 4))
    return bools(chain([
        ("LESS", [x, ints("zero", 0)], low, "LessOptions", {}),
        ("ADD", [x, ints("rows", rows)], more, "AddOptions", {}),
        ("SELECT_V2", [low, more, x], picked, "SelectV2Options", {}),
        ("GATHER", [table, picked], int8("y", (1, 4, 3)), "GatherOptions", {}),
    ]), "low")  # fmt: skip


def test_bringing_ids_into_range_is_left_out():
    # TFLite-Micro has no SELECT_V2 of int32.
    graph = assert_equal_to_litert(embedding(7))
    assert [n.op.kind for n in graph.nodes] == ["gather"]


def test_another_shift_of_ids_is_refused():
    with pytest.raises(ImportModelError, match=r"'more' \(ADD\)"):
        import_tflite(embedding(6))


# Dilation.


def dilated(kind: str, pads: tuple[int, ...], crops: tuple[int, ...], zero: int = 0) -> bytes:
    height, width, block = 8, 6, (2, 3)
    x = int8("x", (1, height, width, 4))
    tall, broad = (height + pads[0] + pads[1]) // 2, (width + pads[2] + pads[3]) // 3
    inner = int8("inner", (6, tall, broad, 4))
    made = int8("made", (6, tall - 2, broad - 1, 4), 0.4, -20)
    out = (1, (tall - 2) * 2 - crops[0] - crops[1], (broad - 1) * 3 - crops[2] - crops[3], 4)
    shape, axis = ((4, 3, 2, 4), 0) if kind == "CONV_2D" else ((1, 3, 2, 4), 3)
    options = "Conv2DOptions" if kind == "CONV_2D" else "DepthwiseConv2DOptions"
    fields = {"padding": VALID, "strideH": 1, "strideW": 1, "dilationHFactor": 1,
              "dilationWFactor": 1}  # fmt: skip
    if axis == 3:
        fields["depthMultiplier"] = 1

    def sides(name, values):
        flat = ints(name, *values)
        return replace(flat, shape=(2, 2), data=flat.values.reshape(2, 2))

    return chain([
        ("SPACE_TO_BATCH_ND", [x, ints("block", *block), sides("pads", pads)], inner, None, {}),
        (kind, [inner, *weights_and_bias(RNG, shape, axis, 0.05)], made, options, fields),
        ("BATCH_TO_SPACE_ND", [made, ints("same", *block), sides("crops", crops)],
         int8("y", out, 0.4, -20), None, {}),
    ])  # fmt: skip


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D"])
@pytest.mark.parametrize(
    ("pads", "crops"),
    [((0, 0, 0, 0), (0, 0, 0, 0)), ((2, 2, 3, 3), (0, 0, 0, 0)), ((2, 4, 1, 2), (0, 1, 0, 2))],
)
def test_space_to_batch_around_a_convolution_is_its_dilation(kind, pads, crops):
    data = dilated(kind, pads, crops)
    graph = assert_equal_to_litert(data)
    assert [n.op.kind for n in graph.nodes] == [kind.lower().replace("_2d", "2d")]
    if any(pads):
        # TFLite-Micro pads with whatever its memory holds.
        assert "pads with an integer that is never set" in why_not_micro(data)
    else:
        assert_equal_to_micro(data)
        assert why_not_micro(data) == ""


def test_padding_that_is_cropped_again_is_refused():
    with pytest.raises(ImportModelError, match="SPACE_TO_BATCH_ND"):
        import_tflite(dilated("CONV_2D", (2, 2, 3, 3), (4, 0, 0, 0)))


def test_a_convolution_with_padding_of_its_own_is_no_dilation():
    data = edited(dilated("CONV_2D", (0, 0, 0, 0), (0, 0, 0, 0)), _padded)
    with pytest.raises(ImportModelError, match="BATCH_TO_SPACE_ND"):
        import_tflite(data)


def _padded(model) -> None:
    model.subgraphs[0].operators[1].builtinOptions.padding = SAME
