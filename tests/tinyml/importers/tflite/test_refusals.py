# SPDX-License-Identifier: Apache-2.0
"""What the importer refuses, and that each refusal names the thing and a way out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.tinyml.importers.tflite.files import (
    RELU,
    SAME,
    VALID,
    bias,
    chain,
    edited,
    file,
    int8,
    ints,
    weights,
)
from tests.tinyml.single_op import flags, ids, wide
from tinyml.errors import ImportModelError
from tinyml.importers.tflite import import_tflite
from tinyml.ir import DType, Quantisation, Tensor

X, Y = int8("x", (1, 24)), int8("y", (1, 3), 0.08, 11)
IMAGE = int8("x", (1, 7, 6, 4))
CONV = {"padding": SAME, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
POOL = {"strideH": 1, "strideW": 1, "filterHeight": 2, "filterWidth": 2}
DENSE = file("FULLY_CONNECTED", [X, weights((3, 24)), bias(1, 2, 3)], Y, "FullyConnectedOptions")


def refusal(data: bytes) -> ImportModelError:
    with pytest.raises(ImportModelError) as caught:
        import_tflite(data)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value


def changed(data: bytes, tensor: int | None = None, operator: bool = False, **fields) -> bytes:
    """The file with fields of the model, of one tensor or of its first operator replaced."""

    def change(model):
        target = model
        if operator:
            target = model.subgraphs[0].operators[0]
        elif tensor is not None:
            target = model.subgraphs[0].tensors[tensor]
        for key, value in fields.items():
            assert hasattr(target, key)
            setattr(target, key, value)

    return edited(data, change)


def quantised(tensor: int, **fields) -> bytes:
    """The dense layer with the quantisation of one tensor changed."""

    def change(model):
        for key, value in fields.items():
            assert hasattr(model.subgraphs[0].tensors[tensor].quantization, key)
            setattr(model.subgraphs[0].tensors[tensor].quantization, key, value)

    return edited(DENSE, change)


def dense_of(*ins: Tensor, out: Tensor = Y, **fields) -> bytes:
    return file("FULLY_CONNECTED", ins, out, "FullyConnectedOptions", **fields)


def clone_subgraph(model) -> None:
    model.subgraphs = [model.subgraphs[0]] * 2


def swap_operators(model) -> None:
    model.subgraphs[0].operators.reverse()


def name_no_options(model) -> None:
    model.subgraphs[0].operators[0].builtinOptionsType = schema.BuiltinOptions.AddOptions
    model.subgraphs[0].operators[0].builtinOptions = schema.AddOptionsT()


TWO = chain([("RELU", [X], int8("a", (1, 24)), None, {}),
             ("TANH", [int8("a", (1, 24))], int8("y", (1, 24), 1 / 128, 0), None, {})])  # fmt: skip


def cyclic(model) -> None:
    model.subgraphs[0].operators[0].inputs = [2]


def written_twice(model) -> None:
    model.subgraphs[0].operators[1].outputs = [1]


def outside(model) -> None:
    buffer = next(b for b in model.buffers if b.data is not None)
    buffer.data, buffer.offset, buffer.size = None, 1 << 40, 72


def unary(kind: str, scale: float, zero: int, options=None, **fields) -> bytes:
    return file(kind, [X], int8("y", (1, 24), scale, zero), options, **fields)


def pool(x: Tensor, out: Tensor, **fields) -> bytes:
    return file("MAX_POOL_2D", [x], out, "Pool2DOptions", **{**POOL, "padding": VALID, **fields})


def pads(*values: int) -> Tensor:
    data = np.array(values, np.int32).reshape(-1, 2)
    return Tensor("pads", data.shape, DType.INT32, None, data)


def lowest(value: int) -> Tensor:
    return Tensor("lowest", (1,), DType.INT8, IMAGE.q, np.array([value], np.int8))


def conv_of(*ins: Tensor, out=(1, 7, 6, 5), **fields) -> bytes:
    return file("CONV_2D", ins, int8("y", out), "Conv2DOptions", **{**CONV, **fields})


def bool_file(kind: str, ins: list[Tensor], options: str) -> bytes:
    return file(kind, ins, flags("y", (1, 24)), options)


PADDED = chain([
    ("PADV2", [IMAGE, pads(0, 0, 1, 1, 0, 0, 0, 0), lowest(-128)], int8("a", (1, 9, 6, 4)),
     None, {}),
    ("MAX_POOL_2D", [int8("a", (1, 9, 6, 4))], int8("y", (1, 8, 5, 4)), "Pool2DOptions",
     {**POOL, "padding": VALID}),
])  # fmt: skip
PER_CHANNEL = Quantisation.per_channel(np.full(24, 0.1), 1)
T = schema.TensorType

# What the message must hold, and the file.
REFUSED = {
    "empty": ("empty", b""),
    "no flatbuffer": ("TFL3", b"PK\x03\x04 a zip archive"),
    "identifier only": ("damaged", b"\x08\x00\x00\x00TFL3"),
    "schema version": ("version 2", changed(DENSE, version=2)),
    "several subgraphs": ("2 subgraphs", edited(DENSE, clone_subgraph)),
    "no subgraph": ("no subgraphs", changed(DENSE, subgraphs=[])),
    "no operators": ("no operators", edited(
        DENSE, lambda m: setattr(m.subgraphs[0], "operators", []))),
    "no inputs": ("no inputs", edited(DENSE, lambda m: setattr(m.subgraphs[0], "inputs", []))),
    "no outputs": ("no outputs", edited(DENSE, lambda m: setattr(m.subgraphs[0], "outputs", []))),
    "input twice": ("'x' is listed twice", edited(
        DENSE, lambda m: setattr(m.subgraphs[0], "inputs", [0, 0]))),
    "constant input": ("'w' holds constant", edited(
        DENSE, lambda m: setattr(m.subgraphs[0], "inputs", [1]))),
    "unwritten output": ("no operator writes the output 'w'", edited(
        DENSE, lambda m: setattr(m.subgraphs[0], "outputs", [1]))),
    "tensor index": ("tensor index 99", changed(DENSE, operator=True, inputs=[0, 99, 2])),
    "negative index": ("tensor index -2", changed(DENSE, operator=True, inputs=[0, -2, 2])),
    "output index": ("tensor index -1", changed(DENSE, operator=True, outputs=[-1])),
    "operator code": ("operator code 5", changed(DENSE, operator=True, opcodeIndex=5)),
    "buffer index": ("'w' names buffer 9", changed(DENSE, tensor=1, buffer=9)),
    "buffer size": ("'w' are 72 bytes", changed(DENSE, tensor=1, shape=[3, 25])),
    "buffer outside": ("bytes 1099511627776", edited(DENSE, outside)),
    "other file": ("another file", changed(DENSE, tensor=1, externalBuffer=1)),
    "out of order": ("(TANH) reads 'a' before", edited(TWO, swap_operators)),
    "cycle": ("(RELU) reads 'y' before", edited(TWO, cyclic)),
    "written twice": ("'a' is written twice", edited(TWO, written_twice)),
    "unsupported operator": ("COS (layer 'y')", unary("COS", 0.1, 0)),
    "custom operator": ("custom operator 'Mine' (layer 'y')", edited(
        unary("CUSTOM", 0.1, 0), lambda m: setattr(m.operatorCodes[0], "customCode", b"Mine"))),
    "unknown operator": ("operator 9999", edited(
        DENSE, lambda m: setattr(m.operatorCodes[0], "builtinCode", 9999))),
    "float": ("'x' is FLOAT32", changed(unary("TANH", 1 / 128, 0), tensor=0, type=T.FLOAT32)),
    "hybrid": ("hybrid: layer 'y' (FULLY_CONNECTED)", changed(DENSE, tensor=0, type=T.FLOAT32)),
    "float output": ("'y' is FLOAT32", changed(DENSE, tensor=3, type=T.FLOAT32)),
    "uint8": ("'x' is uint8", changed(DENSE, tensor=0, type=T.UINT8)),
    "int16": ("'y' is int16", changed(DENSE, tensor=3, type=T.INT16)),
    "int32 input": ("zero point of the int32 tensor 'x'", changed(DENSE, tensor=0, type=T.INT32)),
    "unknown type": ("'x' is type 77", changed(DENSE, tensor=0, type=77)),
    "dynamic": ("'x' has the dynamic shape (1, -1)", changed(
        DENSE, tensor=0, shapeSignature=[1, -1])),
    "dynamic batch of 2": ("dynamic shape (-1, 24)", changed(
        DENSE, tensor=0, shape=[2, 24], shapeSignature=[-1, 24])),
    "shape of 0": ("'x' has the shape (1, 0)", changed(DENSE, tensor=0, shape=[1, 0])),
    "huge shape": ("'x' has the shape", changed(DENSE, tensor=0, shape=[1 << 30, 1 << 30])),
    "nine axes": ("'x' has 9 axes", changed(DENSE, tensor=0, shape=[1] * 9)),
    "sparse": ("'w' is sparse", changed(DENSE, tensor=1, sparsity=schema.SparsityParametersT())),
    "state": ("keeps state between runs in 'a'", edited(
        changed(TWO, tensor=1, isVariable=True), swap_operators)),
    "no input scale": ("'x' has no", changed(DENSE, tensor=0, quantization=None)),
    "no weight scale": ("'w' have no quantisation", changed(DENSE, tensor=1, quantization=None)),
    "no output scale": ("'y' has no quantisation", changed(DENSE, tensor=3, quantization=None)),
    "scale of 0": ("'x' has a scale", quantised(0, scale=[0.0])),
    "scale not finite": ("'w' has a scale", quantised(1, scale=[float("nan")])),
    "zero point out of range": ("tensor 'x' is out of range", quantised(0, zeroPoint=[1 << 40])),
    "bias zero point": ("tensor 'b' is out of range", quantised(2, zeroPoint=[1])),
    "zero points missing": ("3 scales and 2 zero", quantised(1, scale=[0.1] * 3, zeroPoint=[0, 0])),
    "scales of no axis": ("'w' has 5 scales", quantised(1, scale=[0.1] * 5, zeroPoint=[0])),
    "axis out of range": ("fit no axis", quantised(
        1, scale=[0.1] * 3, zeroPoint=[0], quantizedDimension=7)),
    "blockwise": ("'w' has a custom or blockwise", quantised(
        1, detailsType=schema.QuantizationDetails.CustomQuantization,
        details=schema.CustomQuantizationT())),
    "weight zero point": ("'w' have a zero point", dense_of(X, weights((3, 24), zero=2))),
    "weights along inputs": ("along axis 1", dense_of(
        X, replace(weights((3, 24)), quant=PER_CHANNEL))),
    "weights computed": ("'w' are no int8 constant", dense_of(X, int8("w", (3, 24)))),
    "weights of rank 4": ("not of rank 2", dense_of(X, weights((3, 1, 1, 24)))),
    "bias computed": ("'b' is no int32 constant", dense_of(X, weights((3, 24)), int8("b", (3,)))),
    "bias too short": ("do not fit", dense_of(X, weights((3, 24)), bias(1, 2))),
    "per-channel activation": ("'x' has no per-tensor", dense_of(
        replace(X, quant=PER_CHANNEL), weights((3, 24)))),
    "per-channel constant": ("'c' is quantised per channel", file(
        "ADD", [X, replace(weights((1, 24)), name="c", quant=PER_CHANNEL)], int8("y", (1, 24)),
        "AddOptions")),
    "shuffled weights": ("shuffled", dense_of(X, weights((3, 24)), weightsFormat=1)),
    "inputs do not divide": ("does not hold", dense_of(int8("x", (1, 25)), weights((3, 24)))),
    "too few inputs": ("inputs [0]", changed(DENSE, operator=True, inputs=[0])),
    "left-out weights": ("inputs [0, -1]", changed(DENSE, operator=True, inputs=[0, -1])),
    "two outputs": ("2 outputs", edited(
        DENSE, lambda m: (m.subgraphs[0].tensors.append(m.subgraphs[0].tensors[3]),
                          setattr(m.subgraphs[0].operators[0], "outputs", [3, 4])))),
    "wrong options": ("AddOptions, not FullyConnectedOptions", edited(DENSE, name_no_options)),
    "no options": ("NONE, not Conv2DOptions", file(
        "CONV_2D", [IMAGE, weights((5, 1, 1, 4))], int8("y", (1, 7, 6, 5)))),
    "batch of 99": ("one image", pool(int8("x", (99, 7, 6, 4)), int8("y", (99, 6, 5, 4)))),
    "batches that differ": ("one image", pool(int8("x", (2, 7, 6, 4)), int8("y", (3, 6, 5, 4)))),
    "pool of rank 0": ("one image", pool(int8("x", ()), int8("y", ()))),
    "stride of 0": ("stride (0, 1)", conv_of(IMAGE, weights((5, 1, 1, 4)), strideH=0)),
    "dilation below 1": ("dilation (-3, 1)", conv_of(
        IMAGE, weights((5, 1, 1, 4)), dilationHFactor=-3)),
    "padding scheme": ("padding scheme 7", conv_of(IMAGE, weights((5, 1, 1, 4)), padding=7)),
    "grouped unevenly": ("5 filters of 2 of 4 channels", conv_of(IMAGE, weights((5, 1, 1, 2)))),
    "fused tanh": ("activation TANH", conv_of(
        IMAGE, weights((5, 1, 1, 4)), fusedActivationFunction=4)),
    "declared shape": ("makes (1, 7, 6, 5), the file declares 'y' as (1, 7, 6, 4)", conv_of(
        IMAGE, weights((5, 1, 1, 4)), out=(1, 7, 6, 4))),
    "window too large": ("larger than", pool(
        IMAGE, int8("y", (1, 1, 1, 4)), filterHeight=100, filterWidth=2)),
    "window of any size": ("kernel (1073741824, 2)", pool(
        IMAGE, int8("y", (1, 1, 1, 4)), filterHeight=1 << 30, filterWidth=2)),
    "no broadcast": ("do not broadcast", file(
        "MUL", [X, int8("z", (1, 5))], int8("y", (1, 24)), "MulOptions")),
    "mean of axes apart": ("(1, 3) are not neighbours", file(
        "MEAN", [IMAGE, ints("axes", 1, 3)], int8("y", (1, 1, 6, 1)), "ReducerOptions",
        keepDims=True)),
    "mean of a number": ("() has no axes", file(
        "MEAN", [int8("x", ()), ints("axes", 1)], int8("y", ()), "ReducerOptions")),
    "axes computed": ("'axes' is computed at run time", file(
        "MEAN", [IMAGE, int8("axes", (2,))], int8("y", (1, 1, 1, 4)), "ReducerOptions")),
    "axes of int8": ("no short vector of int32", file(
        "MEAN", [IMAGE, lowest(1)], int8("y", (1, 1, 1, 4)), "ReducerOptions")),
    "beta": ("beta 2.0", unary("SOFTMAX", 1 / 256, -128, "SoftmaxOptions", beta=2.0)),
    "softmax scale": ("computes scale 0.00390625", unary(
        "SOFTMAX", 0.001, -128, "SoftmaxOptions", beta=1.0)),
    "logistic scale": ("computes scale 0.00390625", unary("LOGISTIC", 0.1, 0)),
    "tanh zero point": ("zero point 0", unary("TANH", 1 / 128, 5)),
    "relu6 scale": ("differ in scale", unary("RELU6", 0.06, 3)),
    "slope": ("the slope nan", unary("LEAKY_RELU", 0.1, 0, "LeakyReluOptions",
                                     alpha=float("nan"))),
    "reshape scale": ("differ in scale", unary("RESHAPE", 0.06, 3)),
    "reshape shape": ("(5, -1) where", file("RESHAPE", [X, ints("s", 5, -1)], int8("y", (1, 24)))),
    "reshape size": ("does not hold", file("RESHAPE", [X], int8("y", (1, 25)))),
    "squeeze": ("sizes of 1", file("SQUEEZE", [X], int8("y", (3, 8)))),
    "permutation": ("does not permute", file(
        "TRANSPOSE", [X, ints("p", 0, 0)], int8("y", (1, 24)))),
    "negative padding": ("the widths", file(
        "PAD", [X, pads(0, 0, -1, 1)], int8("y", (1, 24)), "PadOptions")),
    "padding value computed": ("'v' is computed at run time", file(
        "PADV2", [IMAGE, pads(0, 0, 1, 1, 0, 0, 0, 0), int8("v", (1,))],
        int8("y", (1, 9, 6, 4)))),
    "padding before a maximum of another shape": ("(1, 9, 5, 4) instead of (1, 9, 6, 4)", chain([
        ("PADV2", [IMAGE, pads(0, 0, 1, 1, 0, 0, 0, 0), lowest(-128)], int8("a", (1, 9, 5, 4)),
         None, {}),
        ("MAX_POOL_2D", [int8("a", (1, 9, 5, 4))], int8("y", (1, 8, 4, 4)), "Pool2DOptions",
         {**POOL, "padding": VALID})])),
    "comparison of int16": ("int16, int16 to bool", bool_file(
        "LESS", [wide("x", (1, 24), 0.01), wide("z", (1, 24), 0.01)], "LessOptions")),
    "comparison of two types": ("int8, int32 to bool", bool_file(
        "EQUAL", [X, ids("z", (1, 24))], "EqualOptions")),
    "logic of integers": ("int8, int8 to bool", bool_file(
        "LOGICAL_AND", [X, int8("z", (1, 24))], "LogicalAndOptions")),
    "choice by an integer": ("a condition of int8", file(
        "SELECT_V2", [X, int8("a", (1, 24)), int8("b", (1, 24))], int8("y", (1, 24)))),
    "choice between grids": ("differ in scale", file(
        "SELECT_V2", [flags("f", (1, 24)), int8("a", (1, 24), 0.1), int8("b", (1, 24))],
        int8("y", (1, 24)))),
    "logarithm's scale": ("computes scale 0.0625", unary("LOG_SOFTMAX", 0.1, 127)),
    "length's scale": ("computes scale 0.0078125", unary("L2_NORMALIZATION", 0.1, 0)),
    "concatenation axis": ("axis 3 of rank 2", file(
        "CONCATENATION", [X, X], int8("y", (1, 48)), "ConcatenationOptions", axis=3)),
    "concatenation scale": ("'z' and 'y' differ in scale", file(
        "CONCATENATION", [X, int8("z", (1, 2), 0.1)], int8("y", (1, 26)), "ConcatenationOptions",
        axis=1)),
    "concatenation clamp": ("fused activation", file(
        "CONCATENATION", [X, X], int8("y", (1, 48)), "ConcatenationOptions", axis=1,
        fusedActivationFunction=RELU)),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_the_refusal_names_the_thing(case):
    wanted, data = REFUSED[case]
    assert wanted in refusal(data).message


def test_the_file_that_the_cases_change_is_accepted():
    assert [n.op.kind for n in import_tflite(DENSE).nodes] == ["fully_connected"]
    assert [n.op.kind for n in import_tflite(TWO).nodes] == ["relu", "tanh"]
    assert [n.op.kind for n in import_tflite(PADDED).nodes] == ["max_pool2d"]


def test_every_unsupported_operator_is_listed_with_the_supported_ones():
    error = refusal(chain([
        ("CEIL", [X], int8("first", (1, 24)), None, {}),
        ("RELU", [int8("first", (1, 24))], int8("fine", (1, 24)), None, {}),
        ("COS", [int8("fine", (1, 24))], int8("second", (1, 24)), None, {}),
    ]))  # fmt: skip
    assert "CEIL (layer 'first'), COS (layer 'second')" in error.message
    assert "fine" not in error.message
    assert "CONV_2D" in error.hint and "SOFTMAX" in error.hint


def test_an_open_batch_is_one():
    graph = import_tflite(changed(DENSE, tensor=0, shapeSignature=[-1, 24]))
    assert graph.tensors["x"].shape == (1, 24)


def test_a_missing_file_and_a_damaged_one_are_named(tmp_path: Path):
    with pytest.raises(ImportModelError, match=r"gone\.tflite cannot be read"):
        import_tflite(tmp_path / "gone.tflite")
    (tmp_path / "m.tflite").write_bytes(DENSE[: len(DENSE) // 2])
    with pytest.raises(ImportModelError, match=r"m\.tflite: "):
        import_tflite(tmp_path / "m.tflite")
    with pytest.raises(ImportModelError, match="cannot be read"):
        import_tflite(tmp_path)


def aliased(count: int) -> bytes:
    """One tensor with a long name, listed ``count`` times, and one operator that reads it."""
    b = flatbuffers.Builder(1024)
    name = b.CreateString("n" * count)
    schema.TensorStart(b)
    schema.TensorAddName(b, name)
    schema.TensorAddType(b, schema.TensorType.INT8)
    tensor = schema.TensorEnd(b)
    schema.OperatorStart(b)
    operator = schema.OperatorEnd(b)
    schema.SubGraphStartTensorsVector(b, count)
    for _ in range(count):
        b.PrependUOffsetTRelative(tensor)
    tensors = b.EndVector()
    schema.SubGraphStartOperatorsVector(b, count)
    for _ in range(count):
        b.PrependUOffsetTRelative(operator)
    operators = b.EndVector()
    schema.SubGraphStart(b)
    schema.SubGraphAddTensors(b, tensors)
    schema.SubGraphAddOperators(b, operators)
    subgraph = schema.SubGraphEnd(b)
    schema.ModelStartSubgraphsVector(b, 1)
    b.PrependUOffsetTRelative(subgraph)
    subgraphs = b.EndVector()
    schema.ModelStart(b)
    schema.ModelAddVersion(b, 3)
    schema.ModelAddSubgraphs(b, subgraphs)
    b.Finish(schema.ModelEnd(b), file_identifier=b"TFL3")
    return bytes(b.Output())


@pytest.mark.timeout(20)
def test_a_small_file_that_describes_a_huge_model_is_refused_at_once():
    data = aliased(50_000)  # 450 kB that would unpack to 2.5 GB of names
    assert "describes more than it can hold" in refusal(data).message
