# SPDX-License-Identifier: Apache-2.0
"""Damaged and hostile ONNX files, float and quantised: only an error that names the matter may
escape, in little time and memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType

from tests.tinyml.importers.test_onnx_qdq import float_model, quantised
from tinyml.errors import TinymlError
from tinyml.importers.onnx import import_onnx
from tinyml.source import open_source

SIZES = (0, -1, 1, 3, 1 << 31, (1 << 62) + 1, -(1 << 63))
REALS = (0.0, -1.0, float("nan"), float("inf"), 1e-45, 3e38)
MOST_BYTES = 64 << 20


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("seeds")
    return [
        float_model().SerializeToString(),
        quantised(folder, True, QuantType.QUInt8).read_bytes(),
    ]


@pytest.fixture
def survives(tmp_path) -> Callable[[bytes], bool]:
    """Whether a file is accepted; anything but TinymlError fails the test."""

    def read(data: bytes) -> bool:
        path = tmp_path / "damaged.onnx"
        path.write_bytes(data)
        try:
            source = open_source(str(path), None)
            if source.needs_calibration:
                import_onnx(source.onnx)
        except TinymlError as error:
            assert error.message
            return False
        return True

    return read


def test_the_seeds_themselves_are_read(seeds, survives):
    assert all(survives(data) for data in seeds)


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    made = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        made[int(rng.integers(len(made)))] = int(rng.integers(256))
    return bytes(made)


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(len(data)))]


def spliced(data: bytes, rng: np.random.Generator) -> bytes:
    a, b = sorted(int(v) for v in rng.integers(len(data), size=2))
    return data[:b] + data[a:]


@pytest.mark.parametrize("damage", [flipped, cut, spliced])
def test_damaged_bytes(seeds, survives, damage):
    _damage_bytes(seeds, survives, damage, 40)


@pytest.mark.long
@pytest.mark.parametrize("damage", [flipped, cut, spliced])
def test_damaged_bytes_at_length(seeds, survives, damage):
    _damage_bytes(seeds, survives, damage, 2000)


def _damage_bytes(seeds, survives, damage, count):
    rng, refused = np.random.default_rng(3), 0
    for index in range(count):
        refused += not survives(damage(seeds[index % len(seeds)], rng))
    assert refused > count // 10


def wrong_field(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """One field of a valid model set to something else."""
    graph = model.graph
    node = graph.node[int(rng.integers(len(graph.node)))]
    constant = graph.initializer[int(rng.integers(len(graph.initializer)))]
    match int(rng.integers(11)):
        case 0:
            dims = graph.input[0].type.tensor_type.shape.dim
            dims[int(rng.integers(len(dims)))].dim_value = _one(rng, SIZES)
        case 1:
            constant.dims[:] = [_one(rng, SIZES) for _ in range(int(rng.integers(5)))]
        case 2:
            constant.raw_data = constant.raw_data[: int(rng.integers(len(constant.raw_data) + 1))]
        case 3:
            constant.data_type = int(rng.integers(24))
        case 4:
            constant.name = "elsewhere"
        case 5:
            node.input[int(rng.integers(len(node.input)))] = str(node.output[0])
        case 6:
            other = graph.node[int(rng.integers(len(graph.node)))]
            node.op_type = other.op_type
        case 7:
            for attribute in node.attribute:
                attribute.ints[:] = [_one(rng, SIZES) for _ in attribute.ints]
                attribute.i = _one(rng, SIZES)
                attribute.f = _one(rng, REALS)
        case 8:
            shape = constant.dims
            if constant.data_type == TensorProto.FLOAT:
                values = np.full(shape, _one(rng, REALS), np.float32)
                constant.CopyFrom(numpy_helper.from_array(values, constant.name))
        case 9:
            model.opset_import[0].version = int(rng.integers(-2, 40))
        case _:
            graph.node.insert(0, graph.node.pop())


def _one(rng, values):
    return values[int(rng.integers(len(values)))]


def test_one_wrong_field(seeds, survives):
    _wrong_fields(seeds, survives, 150)


@pytest.mark.long
def test_one_wrong_field_at_length(seeds, survives):
    _wrong_fields(seeds, survives, 5000)


def _wrong_fields(seeds, survives, count):
    rng, refused = np.random.default_rng(4), 0
    for index in range(count):
        model = onnx.load_from_string(seeds[index % len(seeds)])
        wrong_field(model, rng)
        refused += not survives(model.SerializeToString())
    assert refused > count // 4


def model_of(nodes, constants, opset=17) -> bytes:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    stored = [numpy_helper.from_array(v, k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "net", [x], [y], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    return bytes(model.SerializeToString())


N = helper.make_node
HUGE = {
    "constant of shape": ([N("ConstantOfShape", ["s"], ["c"])], {"s": np.array([1 << 40, 4])}),
    "expand": ([N("Expand", ["a", "s"], ["c"])],
               {"a": np.ones((1, 4), np.float32), "s": np.array([1 << 40, 4])}),
    "tile": ([N("Tile", ["a", "s"], ["c"])],
             {"a": np.ones((1, 4), np.float32), "s": np.array([1 << 40, 1])}),
    "range": ([N("Range", ["a", "b", "d"], ["r"]), N("Cast", ["r"], ["c"], to=TensorProto.FLOAT)],
              {"a": np.array(0), "b": np.array(1 << 40), "d": np.array(1)}),
    "product": ([N("MatMul", ["a", "b"], ["m"]), N("ReduceSum", ["m"], ["c"])],
                {"a": np.ones((1 << 16, 1), np.float32), "b": np.ones((1, 1 << 16), np.float32)}),
    "pad": ([N("Pad", ["a", "p"], ["c"])],
            {"a": np.ones((1, 4), np.float32), "p": np.array([0, 0, 1 << 40, 0])}),
}  # fmt: skip


@pytest.mark.parametrize("case", HUGE)
def test_constants_that_a_small_file_makes_huge_take_no_memory(survives, case):
    nodes, constants = HUGE[case]
    data = model_of([*nodes, N("Add", ["x", "c"], ["y"])], constants)
    tracemalloc.start()
    try:
        assert not survives(data)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


def test_a_cycle_is_refused(survives):
    nodes = [N("Add", ["x", "b"], ["a"]), N("Relu", ["a"], ["b"]), N("Relu", ["b"], ["y"])]
    assert not survives(model_of(nodes, {}))


@pytest.mark.parametrize(
    "location", ["../../../../etc/passwd", "/etc/passwd", "gone.bin", "", "damaged.onnx"]
)
def test_data_elsewhere_are_refused(survives, location):
    data = model_of([N("Add", ["x", "c"], ["y"])], {"c": np.ones((1, 4), np.float32)})
    model = onnx.load_from_string(data)
    constant = model.graph.initializer[0]
    constant.ClearField("raw_data")
    constant.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "1000000"), ("length", "16")):
        entry = constant.external_data.add()
        entry.key, entry.value = key, value
    assert not survives(model.SerializeToString())
