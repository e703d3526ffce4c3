# SPDX-License-Identifier: Apache-2.0
"""Every form of every operator, against TFLite-Micro on the same file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.tinyml.importers.tflite.files import (
    RELU,
    RELU6,
    SAME,
    VALID,
    assert_equal_to_micro,
    bias,
    chain,
    edited,
    file,
    int8,
    ints,
    spread,
    weights,
)
from tests.tinyml.single_op import flags, ids, random_feeds, weights_and_bias, wide
from tinyml.errors import ImportModelError
from tinyml.importers.tflite import import_tflite
from tinyml.importers.tflite.operators import SUPPORTED
from tinyml.ir import DType, Graph, Node, Quantisation, Tensor
from tinyml.ir.execute import outputs
from tinyml.ir.fixedpoint import quantise_multiplier, requantise
from tinyml.ops import MaskedSoftmax
from tinyml.passes import C_PASSES, run_passes
from tinyml.plan import plan_memory
from tinyml.runtimes.interpreters import TfliteMicro
from tinyml.verify import reference_outputs, verify_interpreters
from tinyml.writers.onnx import write_onnx
from tinyml.writers.tflite import write_tflite

TABLE = Tensor(
    "table", (7, 3), DType.INT8, Quantisation.per_tensor(0.05, 3),
    np.arange(-10, 11).astype(np.int8).reshape(7, 3),
)  # fmt: skip
SAME_GRID = replace(TABLE, name="c", shape=(4,), data=np.array([-9, 0, 5, 99], np.int8))
RNG = np.random.default_rng(7)
IMAGE = int8("x", (1, 7, 6, 4))
CONV = {"strideH": 2, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
POOL = {"strideH": 2, "strideW": 3, "filterHeight": 3, "filterWidth": 2}
CONSTANT = Tensor(
    "c",
    (4,),
    DType.INT8,
    Quantisation.per_tensor(0.02, -7),
    np.array([-128, 0, 5, 127], np.int8),
)


def conv(padding, out, fused=0, **fields):
    ins = [IMAGE, *weights_and_bias(RNG, (5, 3, 2, 4), 0, 0.05)]
    options = {**CONV, **fields, "padding": padding, "fusedActivationFunction": fused}
    return file("CONV_2D", ins, int8("y", out, 0.4, -20), "Conv2DOptions", **options)


def depthwise(padding, out, channels=4, fused=0):
    ins = [IMAGE, *weights_and_bias(RNG, (1, 3, 2, channels), 3, 0.05)]
    options = {**CONV, "padding": padding, "depthMultiplier": channels // 4}
    return file("DEPTHWISE_CONV_2D", ins, int8("y", out, 0.1, -20), "DepthwiseConv2DOptions",
                fusedActivationFunction=fused, **options)  # fmt: skip


def dense(*constants, x=(1, 24), out=(1, 3), fused=0, **fields):
    return file("FULLY_CONNECTED", [int8("x", x), *constants], int8("y", out, 0.08, 11),
                "FullyConnectedOptions", fusedActivationFunction=fused, **fields)  # fmt: skip


def binary(kind, a, b, out, fused=0):
    options = f"{kind.title()}Options"
    return file(kind, [a, b], int8("y", out, 0.07, -9), options, fusedActivationFunction=fused)


def mean(keep, out, *axes):
    return file("MEAN", [IMAGE, ints("axes", *axes)], int8("y", out, 0.03, -5),
                "ReducerOptions", keepDims=keep)  # fmt: skip


def pool(kind, padding, out, fused=0):
    return file(kind, [IMAGE], int8("y", out), "Pool2DOptions", padding=padding,
                fusedActivationFunction=fused, **POOL)  # fmt: skip


def unary(kind, scale, zero, options=None, **fields):
    x = int8("x", (1, 256), 0.045, 17)
    return file(kind, [x], int8("y", (1, 256), scale, zero), options, **fields)


def padded_max():
    pads = replace(ints("pads", 0, 0, 2, 1, 0, 1, 0, 0), shape=(4, 2))
    pads = replace(pads, data=pads.values.reshape(4, 2))
    lowest = Tensor("lowest", (1,), DType.INT8, IMAGE.q, np.array([-128], np.int8))
    inner = int8("inner", (1, 10, 7, 4))
    return chain([
        ("PADV2", [IMAGE, pads, lowest], inner, "PadV2Options", {}),
        ("MAX_POOL_2D", [inner], int8("y", (1, 4, 2, 4)), "Pool2DOptions",
         {"padding": VALID, **POOL}),
    ])  # fmt: skip


def pad():
    pads = replace(ints("pads", 0, 0, 2, 1, 0, 1, 0, 3), shape=(4, 2))
    pads = replace(pads, data=pads.values.reshape(4, 2))
    return file("PAD", [IMAGE, pads], int8("y", (1, 10, 7, 7)), "PadOptions")


def mirror(mode):
    pads = replace(ints("pads", 0, 0, 2, 1, 0, 1, 0, 3), shape=(4, 2))
    pads = replace(pads, data=pads.values.reshape(4, 2))
    return file("MIRROR_PAD", [IMAGE, pads], int8("y", (1, 10, 7, 7)), "MirrorPadOptions",
                mode=mode)  # fmt: skip


def reshape(*given, **fields):
    options = "ReshapeOptions" if fields else None
    return file("RESHAPE", [IMAGE, *given], int8("y", (1, 168)), options, **fields)


def transposed(padding, out, kernel, stride, *, wide_bias=False, x=IMAGE):
    size = ints("size", *out)
    shape = (out[3], *kernel, x.shape[3])
    y = int8("y", out, 0.4, -20) if not wide_bias else wide("y", out, 0.02)
    options = {"padding": padding, "strideH": stride[0], "strideW": stride[1]}
    dtype = DType.INT64 if wide_bias else DType.INT32
    constants = weights_and_bias(RNG, shape, 0, x.q.s, bias_dtype=dtype)
    return file("TRANSPOSE_CONV", [size, constants[0], x, constants[1]], y,
                "TransposeConvOptions", **options)  # fmt: skip


def resized(out, **fields):
    return file("RESIZE_BILINEAR", [IMAGE, ints("size", *out)], int8("y", (1, *out, 4)),
                "ResizeBilinearOptions", **fields)  # fmt: skip


def padded_by(value, out, *widths):
    pads = replace(ints("pads", *widths), shape=(4, 2))
    pads = replace(pads, data=pads.values.reshape(4, 2))
    padding = Tensor("value", (1,), DType.INT8, IMAGE.q, np.array([value], np.int8))
    return file("PADV2", [IMAGE, pads, padding], int8("y", out), "PadV2Options")


def compare(kind, a, b):
    options = "".join(part.title() for part in kind.split("_")) + "Options"
    return file(kind, [a, b], flags("y", (1, 7, 6, 4)), options)


def logic(kind, *ins):
    return file(kind, ins, flags("y", (1, 7, 6, 4)))


def positions(kind, out, axis):
    options = "ArgMaxOptions" if kind == "ARG_MAX" else "ArgMinOptions"
    return file(kind, [IMAGE, ints("axis", axis)], Tensor("y", out, DType.INT32), options,
                outputType=schema.TensorType.INT32)  # fmt: skip


WIDE_IMAGE = wide("x", (1, 7, 6, 4), 0.001)
SLOPES = Tensor(
    "slopes", (1, 1, 4), DType.INT8, Quantisation.per_tensor(0.01, 9),
    np.array([-128, -3, 60, 127], np.int8).reshape(1, 1, 4),
)  # fmt: skip
ONE = int8("x", (1, 1, 6, 4))
FILES = {
    "transposed conv same": transposed(SAME, (1, 14, 12, 5), (3, 3), (2, 2)),
    "transposed conv same cut": transposed(SAME, (1, 13, 11, 2), (4, 5), (2, 2)),
    "transposed conv valid": transposed(VALID, (1, 15, 13, 3), (3, 3), (2, 2)),
    "transposed conv valid gaps": transposed(VALID, (1, 20, 17, 3), (2, 2), (3, 3)),
    "transposed conv stride 1": transposed(SAME, (1, 7, 6, 3), (3, 2), (1, 1)),
    "transposed conv uneven": transposed(SAME, (1, 7, 18, 3), (1, 7), (1, 3)),
    "transposed conv int16": transposed(
        SAME, (1, 14, 12, 5), (3, 3), (2, 2), wide_bias=True, x=WIDE_IMAGE),
    "grouped conv": file(
        "CONV_2D", [IMAGE, *weights_and_bias(RNG, (6, 3, 2, 2), 0, 0.05)],
        int8("y", (1, 4, 6, 6), 0.4, -20), "Conv2DOptions", padding=SAME, **CONV),
    "bilinear": resized((14, 9)),
    "bilinear smaller": resized((3, 4)),
    "bilinear corners": resized((13, 1), alignCorners=True),
    "bilinear halves": resized((14, 12), halfPixelCenters=True),
    "prelu": file("PRELU", [IMAGE, SLOPES], int8("y", IMAGE.shape, 0.07, 40)),
    "reduce min": file("REDUCE_MIN", [IMAGE, ints("axes", 1, 2)], int8("y", (1, 4)),
                       "ReducerOptions"),
    "reverse": file("REVERSE_V2", [IMAGE, ints("axes", 1)], int8("y", IMAGE.shape)),
    "transpose five": file(
        "TRANSPOSE", [int8("x", (1, 3, 4, 2, 5)), ints("p", 0, 1, 2, 4, 3)],
        int8("y", (1, 3, 4, 5, 2)), "TransposeOptions"),
    "average pool int16": file(
        "AVERAGE_POOL_2D", [WIDE_IMAGE], wide("y", (1, 4, 2, 4), 0.001), "Pool2DOptions",
        padding=SAME, **POOL),
    "max pool int16": file(
        "MAX_POOL_2D", [WIDE_IMAGE], wide("y", (1, 3, 2, 4), 0.001), "Pool2DOptions",
        padding=VALID, **POOL),
    "conv same": conv(SAME, (1, 4, 6, 5)),
    "conv valid relu": conv(VALID, (1, 3, 5, 5), RELU),
    "conv valid relu6 dilated": conv(VALID, (1, 3, 3, 5), RELU6, dilationWFactor=3, strideW=1),
    "conv per tensor": file(
        "CONV_2D", [IMAGE, weights((5, 3, 2, 4)), bias(1, -2000, 3, 4000, 5)],
        int8("y", (1, 4, 6, 5), 0.2, 4), "Conv2DOptions", padding=SAME, **CONV),
    "conv without bias": file(
        "CONV_2D", [IMAGE, weights((5, 3, 2, 4))], int8("y", (1, 4, 6, 5), 0.2, 4),
        "Conv2DOptions", padding=SAME, **CONV),
    "depthwise same": depthwise(SAME, (1, 4, 6, 4)),
    "depthwise multiplier valid relu": depthwise(VALID, (1, 3, 5, 8), 8, RELU),
    "fully connected per channel": dense(*weights_and_bias(RNG, (3, 24), 0, 0.05), fused=RELU),
    "fully connected per tensor": dense(weights((3, 24)), bias(100, -3000, 70)),
    "fully connected without bias": dense(weights((3, 24)), fused=RELU6),
    "fully connected on an image": dense(weights((3, 24)), x=(1, 3, 2, 4)),
    "fully connected keeping axes": dense(
        weights((3, 24)), x=(1, 5, 24), out=(1, 5, 3), keepNumDims=True),
    "add": binary("ADD", int8("a", (1, 7, 6, 4)), int8("b", (1, 7, 6, 4), 0.02, 9), (1, 7, 6, 4)),
    "add broadcast relu": binary("ADD", IMAGE, CONSTANT, (1, 7, 6, 4), RELU),
    "add ranks differ": binary("ADD", int8("a", (6, 4)), IMAGE, (1, 7, 6, 4)),
    "sub relu6": binary("SUB", IMAGE, CONSTANT, (1, 7, 6, 4), RELU6),
    "mul": binary("MUL", IMAGE, CONSTANT, (1, 7, 6, 4)),
    "mul itself": binary("MUL", IMAGE, IMAGE, (1, 7, 6, 4), RELU),
    "mean": mean(True, (1, 1, 1, 4), 1, 2),
    "mean other order": mean(True, (1, 1, 1, 4), 2, 1),
    "mean negative axes": mean(True, (1, 1, 1, 4), -3, -2),
    "mean dropping axes": mean(False, (1, 4), 1, 2),
    "average pool same": pool("AVERAGE_POOL_2D", SAME, (1, 4, 2, 4)),
    "average pool valid relu": pool("AVERAGE_POOL_2D", VALID, (1, 3, 2, 4), RELU),
    "average pool relu6": pool("AVERAGE_POOL_2D", VALID, (1, 3, 2, 4), RELU6),
    "max pool same": pool("MAX_POOL_2D", SAME, (1, 4, 2, 4)),
    "max pool valid relu6": pool("MAX_POOL_2D", VALID, (1, 3, 2, 4), RELU6),
    "max pool after padding": padded_max(),
    "softmax": unary("SOFTMAX", 1 / 256, -128, "SoftmaxOptions", beta=1.0),
    "logistic": unary("LOGISTIC", 1 / 256, -128),
    "tanh": unary("TANH", 1 / 128, 0),
    "relu": unary("RELU", 0.03, -100),
    "relu6": unary("RELU6", 0.045, 17),
    "leaky relu": unary("LEAKY_RELU", 0.04, 3, "LeakyReluOptions", alpha=0.15),
    "hard swish": unary("HARD_SWISH", 0.035, -70, "HardSwishOptions"),
    "quantize": unary("QUANTIZE", 0.031, -77),
    "reshape by tensor": reshape(ints("shape", -1, 168)),
    "reshape by options": reshape(newShape=[1, -1]),
    "reshape by output": reshape(),
    "squeeze": file("SQUEEZE", [ONE], int8("y", (6, 4)), "SqueezeOptions", squeezeDims=[0, 1]),
    "expand dims": file("EXPAND_DIMS", [ONE, ints("axis", 0)], int8("y", (1, 1, 1, 6, 4)),
                        "ExpandDimsOptions"),
    "transpose": file("TRANSPOSE", [IMAGE, ints("perm", 0, 3, 1, 2)], int8("y", (1, 4, 7, 6)),
                      "TransposeOptions"),
    "pad": pad(),
    "concatenation": file("CONCATENATION", [int8("a", (1, 2, 3)), int8("b", (1, 2, 4))],
                          int8("y", (1, 2, 7)), "ConcatenationOptions", axis=-1),
    "padding by a value": padded_by(5, (1, 9, 6, 5), 0, 0, 1, 1, 0, 0, 0, 1),
    "padding by the zero point": padded_by(IMAGE.q.z, (1, 9, 6, 4), 0, 0, 1, 1, 0, 0, 0, 0),
    "padding by the lowest of channels": padded_by(-128, (1, 7, 6, 6), 0, 0, 0, 0, 0, 0, 1, 1),
    "less": compare("LESS", IMAGE, CONSTANT),
    "less or equal": compare("LESS_EQUAL", IMAGE, CONSTANT),
    "greater": compare("GREATER", int8("a", (1, 1, 6, 1)), IMAGE),
    "greater or equal": compare("GREATER_EQUAL", IMAGE, int8("b", (4,), 0.02, 9)),
    "equal": compare("EQUAL", IMAGE, int8("b", (1, 7, 6, 4))),
    "not equal": compare("NOT_EQUAL", ids("a", (1, 7, 6, 4)), ids("b", (4,))),
    "logical and": logic("LOGICAL_AND", flags("a", (1, 7, 6, 4)), flags("b", (6, 1))),
    "logical or": logic("LOGICAL_OR", flags("a", (1, 7, 6, 4)), flags("b", (1, 7, 6, 4))),
    "logical not": logic("LOGICAL_NOT", flags("a", (1, 7, 6, 4))),
    "select": file("SELECT_V2", [flags("f", (6, 4)), IMAGE, SAME_GRID], int8("y", (1, 7, 6, 4)),
                   "SelectV2Options"),
    "log softmax": unary("LOG_SOFTMAX", 1 / 16, 127, "LogSoftmaxOptions"),
    "l2 normalization": unary("L2_NORMALIZATION", 1 / 128, 0, "L2NormOptions"),
    "arg max": positions("ARG_MAX", (1, 7, 6), -1),
    "arg min": positions("ARG_MIN", (1, 7, 6), 3),
    "arg max of rows": positions("ARG_MAX", (1, 6, 4), 1),
    "abs": unary("ABS", 0.05, -9, "AbsOptions"),
    "rsqrt": file("RSQRT", [int8("x", (1, 9), 0.045, -128)], int8("y", (1, 9), 0.02, -5)),
    "sum": file("SUM", [IMAGE, ints("axes", -1)], int8("y", (1, 7, 6), 0.2, 4), "ReducerOptions"),
    "mean of the last axis": file("MEAN", [IMAGE, ints("axes", 3)], int8("y", (1, 7, 6, 1)),
                                  "ReducerOptions", keepDims=True),
    "reduce max": file("REDUCE_MAX", [IMAGE, ints("axes", 1, 2)], int8("y", (1, 4)),
                       "ReducerOptions"),
    "maximum": file("MAXIMUM", [IMAGE, SAME_GRID], int8("y", (1, 7, 6, 4)),
                    "MaximumMinimumOptions"),
    "minimum": file("MINIMUM", [IMAGE, int8("b", (1, 7, 6, 4))], int8("y", (1, 7, 6, 4)),
                    "MaximumMinimumOptions"),
    "squared difference": file(
        "SQUARED_DIFFERENCE", [IMAGE, CONSTANT], int8("y", (1, 7, 6, 4), 0.3, -128),
        "SquaredDifferenceOptions"),
    "batch matmul": file(
        "BATCH_MATMUL", [int8("a", (2, 5, 3)), int8("b", (2, 5, 4), 0.02, -9)],
        int8("y", (2, 3, 4), 0.1, 3), "BatchMatMulOptions", adjX=True),
    "batch matmul, right side turned": file(
        "BATCH_MATMUL", [int8("a", (2, 3, 5)), int8("b", (2, 4, 5), 0.02, -9)],
        int8("y", (2, 3, 4), 0.1, 3), "BatchMatMulOptions", adjY=True),
    "slice": file("SLICE", [IMAGE, ints("begin", 0, 2, 1, 1), ints("size", 1, 4, -1, 2)],
                  int8("y", (1, 4, 5, 2)), "SliceOptions"),
    "strided slice": file(
        "STRIDED_SLICE",
        [IMAGE, ints("begin", 0, -5, 1, 2), ints("end", 1, 7, 0, 3), ints("strides", 1, 2, 1, 1)],
        int8("y", (1, 3, 5)), "StridedSliceOptions", endMask=4, shrinkAxisMask=8),
    "pack": file("PACK", [int8("a", (6, 4)), int8("b", (6, 4))], int8("y", (6, 2, 4)),
                 "PackOptions", valuesCount=2, axis=1),
    "gather": file("GATHER", [TABLE, ids("ids", (1, 5))], int8("y", (1, 5, 3)), "GatherOptions",
                   axis=0),
    "embedding lookup": file("EMBEDDING_LOOKUP", [ids("ids", (5,)), TABLE], int8("y", (5, 3))),
    "space to depth": file("SPACE_TO_DEPTH", [int8("x", (1, 6, 4, 3))], int8("y", (1, 3, 2, 12)),
                           "SpaceToDepthOptions", blockSize=2),
    "depth to space": file("DEPTH_TO_SPACE", [int8("x", (1, 2, 3, 8))], int8("y", (1, 4, 6, 2)),
                           "DepthToSpaceOptions", blockSize=2),
    "elu": unary("ELU", 0.03, -80),
    "resize nearest": file(
        "RESIZE_NEAREST_NEIGHBOR", [IMAGE, ints("size", 14, 4)], int8("y", (1, 14, 4, 4)),
        "ResizeNearestNeighborOptions"),
    "resize nearest, half pixels": file(
        "RESIZE_NEAREST_NEIGHBOR", [IMAGE, ints("size", 5, 13)], int8("y", (1, 5, 13, 4)),
        "ResizeNearestNeighborOptions", halfPixelCenters=True),
    "resize nearest, corners": file(
        "RESIZE_NEAREST_NEIGHBOR", [IMAGE, ints("size", 5, 13)], int8("y", (1, 5, 13, 4)),
        "ResizeNearestNeighborOptions", alignCorners=True),
    "mirror pad": mirror(schema.MirrorPadMode.REFLECT),
    "mirror pad symmetric": mirror(schema.MirrorPadMode.SYMMETRIC),
    "broadcast to": file("BROADCAST_TO", [int8("x", (6, 1)), ints("shape", 2, 6, 4)],
                         int8("y", (2, 6, 4)), "BroadcastToOptions"),
    "quantize to int16": file("QUANTIZE", [IMAGE], wide("y", (1, 7, 6, 4), 0.0002)),
    "softmax to int16": file(
        "SOFTMAX", [int8("x", (3, 20))],
        replace(wide("y", (3, 20), 2**-16), quant=Quantisation.per_tensor(2**-16, -32768)),
        "SoftmaxOptions", beta=1.0),
    "int16 fully connected": file(
        "FULLY_CONNECTED",
        [wide("x", (2, 24), 0.001), weights((3, 24)),
         replace(bias(1, 2, 3, scale=0.00001), dtype=DType.INT64,
                 data=np.array([9, -900, 5], np.int64))],
        wide("y", (2, 3), 0.002), "FullyConnectedOptions"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_the_references_equal_tflite_micro(case):
    graph = assert_equal_to_micro(FILES[case])
    assert {n.name for n in graph.nodes} == {"y"}


@pytest.mark.parametrize("case", FILES)
def test_the_import_can_be_written_and_still_runs_the_same(case):
    assert_equal_to_micro(write_tflite(import_tflite(FILES[case])))


def test_every_supported_operator_has_a_case():
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    seen = set()
    for data in FILES.values():
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
        seen |= {names[c.builtinCode] for c in model.operatorCodes}
    # Those of test_state.py and of the tests below.
    elsewhere = {"SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM", "CALL_ONCE", "VAR_HANDLE"}
    elsewhere |= {"READ_VARIABLE", "ASSIGN_VARIABLE", "DEQUANTIZE"}
    elsewhere |= {"SPLIT", "SPLIT_V", "UNPACK"}
    # What TFLite-Micro has not on int8: test_rewrites.py.
    elsewhere |= {"EXP", "GELU", "LOG", "SQRT", "TILE"}
    assert seen | elsewhere == set(SUPPORTED)


SPREAD = {
    "split": spread("SPLIT", [ints("axis", 3), IMAGE],
                    [int8(n, (1, 7, 6, 2)) for n in "ab"], "SplitOptions", numSplits=2),
    "split by sizes": spread(
        "SPLIT_V", [IMAGE, ints("sizes", 1, 4, 2), ints("axis", -3)],
        [int8(n, (1, d, 6, 4)) for n, d in (("a", 1), ("b", 4), ("c", 2))],
        "SplitVOptions", numSplits=3),
    "unpack": spread("UNPACK", [int8("x", (3, 2, 4))],
                     [int8(n, (3, 4)) for n in "ab"], "UnpackOptions", num=2, axis=1),
}  # fmt: skip


def masked_softmax(padding=0):
    """What `MaskedSoftmax.to_tflite` writes for 3 rows of 20 keys."""
    op = MaskedSoftmax(padding)
    scores = int8("x", (1, 3, 20), 0.09, -7)
    out = Tensor("y", (1, 3, 20), DType.INT16, op.fixed_quantisation())
    tensors = {"x": scores, "ids": ids("ids", (1, 20)), "y": out}
    node = Node(op, ("x", "ids"), "y", "l")
    return write_tflite(Graph("g", tensors, [node], ["x", "ids"], ["y"]))


def test_a_masked_softmax_is_one_operator():
    graph = import_tflite(masked_softmax(padding=3))
    assert [n.op for n in graph.nodes] == [MaskedSoftmax(3)]
    assert_equal_to_micro(masked_softmax(padding=3))


def _other_offset(model):
    names = [t.name.decode() for t in model.subgraphs[0].tensors]
    stored = model.subgraphs[0].tensors[names.index("y_offset")]
    model.buffers[stored.buffer].data = np.array([32767], "<i4").view(np.uint8)


def _other_grid(model):
    names = [t.name.decode() for t in model.subgraphs[0].tensors]
    model.subgraphs[0].tensors[names.index("y_full")].quantization.scale = [2.0**-15]


def _other_beta(model):
    for operator in model.subgraphs[0].operators:
        if isinstance(operator.builtinOptions, schema.SoftmaxOptionsT):
            operator.builtinOptions.beta = 0.5


@pytest.mark.parametrize("change", [_other_offset, _other_grid, _other_beta])
def test_other_spellings_of_a_masked_softmax_are_refused(change):
    with pytest.raises(ImportModelError, match=r"SOFTMAX|CAST"):
        import_tflite(edited(masked_softmax(), change))


@pytest.mark.parametrize("case", SPREAD)
def test_several_outputs(case):
    graph = assert_equal_to_micro(SPREAD[case])
    assert len(graph.outputs) == len(set(graph.outputs)) > 1


def test_a_choice_by_a_comparison():
    shape = (1, 7, 6, 4)
    data = chain([
        ("GREATER", [IMAGE, CONSTANT], flags("f", shape), "GreaterOptions", {}),
        ("LOGICAL_NOT", [flags("f", shape)], flags("g", shape), None, {}),
        ("RESHAPE", [flags("g", shape)], flags("h", (6, 7, 4)), None, {}),
        ("RESHAPE", [flags("h", (6, 7, 4))], flags("i", shape), None, {}),
        ("SELECT_V2", [flags("i", shape), IMAGE, int8("z", (1, 1, 1, 1))], int8("y", shape),
         None, {}),
    ])  # fmt: skip
    graph = assert_equal_to_micro(data)
    assert [n.op.kind for n in graph.nodes][::4] == ["compare", "select"]


BATCH = int8("x", (3, 7, 6, 4))
BATCHES = {
    "convolution": file(
        "CONV_2D", [BATCH, *weights_and_bias(RNG, (5, 3, 2, 4), 0, 0.05)],
        int8("y", (3, 4, 6, 5), 0.4, -20), "Conv2DOptions", padding=SAME, **CONV),
    "depthwise": file(
        "DEPTHWISE_CONV_2D", [BATCH, *weights_and_bias(RNG, (1, 3, 2, 4), 3, 0.05)],
        int8("y", (3, 4, 6, 4), 0.4, -20), "DepthwiseConv2DOptions", padding=SAME,
        depthMultiplier=1, **CONV),
    "transposed": transposed(SAME, (3, 14, 12, 5), (3, 3), (2, 2), x=BATCH),
    "average pool": file("AVERAGE_POOL_2D", [BATCH], int8("y", (3, 4, 2, 4)), "Pool2DOptions",
                         padding=SAME, **POOL),
    "max pool": file("MAX_POOL_2D", [BATCH], int8("y", (3, 4, 2, 4)), "Pool2DOptions",
                     padding=SAME, **POOL),
    "bilinear": file("RESIZE_BILINEAR", [BATCH, ints("size", 14, 9)], int8("y", (3, 14, 9, 4)),
                     "ResizeBilinearOptions"),
    "nearest": file("RESIZE_NEAREST_NEIGHBOR", [BATCH, ints("size", 14, 9)],
                    int8("y", (3, 14, 9, 4)), "ResizeNearestNeighborOptions"),
    "space to depth": file("SPACE_TO_DEPTH", [int8("x", (2, 6, 4, 3))], int8("y", (2, 3, 2, 12)),
                           "SpaceToDepthOptions", blockSize=2),
    "depth to space": file("DEPTH_TO_SPACE", [int8("x", (2, 2, 3, 8))], int8("y", (2, 4, 6, 2)),
                           "DepthToSpaceOptions", blockSize=2),
}  # fmt: skip


@pytest.mark.parametrize("case", BATCHES)
def test_batches_of_images(case):
    graph = assert_equal_to_micro(BATCHES[case])
    plan_memory(run_passes(graph, C_PASSES))


def test_float_inputs_and_outputs_stand_for_the_integers_beside_them():
    real_in, real_out = Tensor("real", (1, 24)), Tensor("result", (1, 24))
    x, y = int8("x", (1, 24), 0.05, 3), int8("y", (1, 24), 0.04, -7)
    data = chain([
        ("QUANTIZE", [real_in], x, None, {}),
        ("RELU", [x], y, None, {}),
        ("DEQUANTIZE", [y], real_out, None, {}),
    ])  # fmt: skip
    graph = import_tflite(data)
    assert (graph.inputs, graph.outputs) == (["x"], ["y"])
    micro = TfliteMicro(data, graph)
    for feed in random_feeds(graph, np.random.default_rng(0), 4):
        np.testing.assert_array_equal(micro.run(feed)[0], outputs(graph, feed)[0])


def test_a_float_island_is_refused_with_its_layer():
    x, real = int8("x", (1, 4)), Tensor("island", (1, 4))
    shifts = Tensor("c", (4,), DType.FLOAT32, None, np.arange(4, dtype=np.float32))
    data = chain([
        ("DEQUANTIZE", [x], real, None, {}),
        ("ADD", [real, shifts], replace(real, name="sum"), "AddOptions", {}),
        ("QUANTIZE", [replace(real, name="sum")], int8("y", (1, 4)), None, {}),
    ])  # fmt: skip
    with pytest.raises(ImportModelError, match=r"'island' \(DEQUANTIZE\).*float island"):
        import_tflite(data)


def test_per_tensor_fully_connected_forms_its_multiplier_as_tflite_micro_does():
    """A bias at the edge of rounding tells a product of scales in double from one in single
    precision; TFLite-Micro computes the former, LiteRT the latter."""
    rng = np.random.default_rng(3)
    told_apart = 0
    for _ in range(60):
        of_x, of_w, of_y = (
            float(np.float32(rng.uniform(*r))) for r in ((0.001, 0.01), (0.001, 0.01), (0.05, 0.1))
        )
        double = quantise_multiplier(of_x * of_w / of_y)
        single = quantise_multiplier(float(np.float32(of_x) * np.float32(of_w)) / of_y)
        halves = (rng.integers(-120, 120, 200) + 0.5) / (of_x * of_w / of_y)
        biases = np.concatenate([np.floor(halves), np.ceil(halves)]).astype(np.int64)
        apart = biases[requantise(biases, *double) != requantise(biases, *single)]
        if not len(apart):
            continue
        told_apart += 1
        out = int8("y", (1, 1), of_y, 0)
        ins = [int8("x", (1, 2), of_x, 0), weights((1, 2), of_w), bias(int(apart[0]))]
        ins[2] = replace(ins[2], quant=Quantisation.per_tensor(of_x * of_w, 0))
        data = file("FULLY_CONNECTED", ins, out, "FullyConnectedOptions")
        graph = import_tflite(data)
        feed = {"x": np.zeros((1, 2), np.int8)}
        np.testing.assert_array_equal(
            TfliteMicro(data, graph).run(feed)[0], outputs(graph, feed)[0]
        )
    assert told_apart > 5


def test_a_bias_without_quantisation_takes_the_scale_of_the_products():
    no_scale = replace(bias(100, -3000, 70), quant=None)
    graph = import_tflite(dense(weights((3, 24)), no_scale))
    constant = graph.tensors[graph.nodes[0].inputs[2]]
    assert constant.q.scale == pytest.approx((0.0005,) * 3)
    assert constant.values.tolist() == [100, -3000, 70]


def test_buffers_behind_the_flatbuffer_are_read():
    inline = dense(weights((3, 24)), bias(100, -3000, 70))
    tail = bytearray()

    def move(model):
        for buffer in model.buffers:
            if buffer.data is not None and len(buffer.data):
                # Offsets of one width, so that a second pack has the same length.
                buffer.offset, buffer.size = 1 << 20, len(buffer.data)
                tail.extend(bytes(buffer.data))
                buffer.data = None

    front = edited(inline, move)
    position = len(front)

    def place(model):
        nonlocal position
        for buffer in model.buffers:
            if buffer.offset:
                buffer.offset = position
                position += buffer.size

    moved = edited(front, place) + bytes(tail)
    graph, again = import_tflite(inline), import_tflite(moved)
    assert graph.nodes == again.nodes
    for name in graph.tensors:
        if graph.tensors[name].is_constant:
            np.testing.assert_array_equal(again.tensors[name].values, graph.tensors[name].values)


def test_the_page_lists_what_is_supported():
    page = (Path(__file__).parents[4] / "docs" / "formats.md").read_text(encoding="utf-8")
    part = page.partition("## int8 TFLite")[2]
    listed = part.partition("Operators: ")[2].partition(".\n")[0]
    assert tuple(listed.replace("\n", " ").split(", ")) == SUPPORTED


@pytest.mark.parametrize("case", ["elu", "select", "less", "log softmax", "arg min"])
def test_every_runtime_takes_what_is_written_again(case):
    graph = import_tflite(FILES[case])
    feeds = random_feeds(graph, np.random.default_rng(0), 2)
    written = write_tflite(graph), write_onnx(graph)
    checks = verify_interpreters(graph, *written, feeds, reference_outputs(graph, feeds))
    assert checks[0].max_lsb == 0
    assert all(c.samples == len(feeds) for c in checks)
