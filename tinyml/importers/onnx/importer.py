# SPDX-License-Identifier: Apache-2.0
"""Reads a float ONNX model into a float Graph.

Tensors keep the layout of the file. Convolutions and pooling are NHWC in the Graph, so each is
wrapped in two transposes here; the pass `cancel_transposes` removes them.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from tinyml.errors import ImportModelError
from tinyml.importers.names import identifier
from tinyml.importers.onnx import (  # noqa: F401 - register translators
    choices,
    elementwise,
    movement,
    products,
    qdq,
    reductions,
    windows,
)
from tinyml.importers.onnx.qdq import (
    Stored,
    dequantised_constant,
    quantised_constant,
    stored_constant,
)
from tinyml.importers.onnx.registry import TRANSLATORS, Unsupported, attributes_of
from tinyml.ir.graph import Graph, Node
from tinyml.ir.operator import Operator
from tinyml.ir.tensor import Array, DType, Quantisation, Tensor
from tinyml.ops import Reshape

# Larger folded constants are almost surely a mistake (a Tile or Expand of an activation shape).
_MAX_FOLDED_ELEMENTS = 1 << 24


# Operators whose result ONNX cannot tell the type of, which stops a strict inference.
_NOT_INFERRED = ("GroupNormalization",)


def import_onnx(source: Path | bytes, name: str | None = None) -> Graph:
    """A float Graph of an ONNX model with static shapes.

    Args:
        source: a file, or its bytes.
        name: the graph's name; the file's stem by default. Made a C identifier.

    Raises:
        ImportModelError: the file is corrupt, has dynamic shapes, or uses an operator the
            compiler does not support.
    """
    label = name or (source.stem if isinstance(source, Path) else "model")
    model = _load(source)
    _settle_batch(model)
    strict = all(n.op_type not in _NOT_INFERRED for n in model.graph.node)
    try:
        model = shape_inference.infer_shapes(model, strict_mode=strict, data_prop=True)
    except Exception as error:
        raise ImportModelError(
            f"the shapes of '{label}' do not fit together: {_first_line(error)}",
            "Run onnx.checker on the file; re-export it if that fails too.",
        ) from None
    try:
        translation = Translation(identifier(label), model)
        translation.translate()
    # A damaged file that passed ONNX's checker surfaces as any of these.
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ImportModelError(
            f"'{label}' is damaged or inconsistent: {_first_line(error)}",
            "Export or download it again.",
        ) from None
    return translation.graph


# Where PyTorch's exporter records the modules around a node, outermost first.
_SCOPES = "pkg.torch.onnx.name_scopes"


def _layer_name(node: onnx.NodeProto, index: int) -> str:
    """The name a user knows a node by: its PyTorch module where the file tells it."""
    stored = next((p.value for p in node.metadata_props if p.key == _SCOPES), None)
    if stored is not None:
        try:
            module = ast.literal_eval(stored)[-2]
        except (ValueError, SyntaxError, IndexError, TypeError):
            module = ""
        if module:
            return f"{module}/{node.op_type}"
    return node.name or f"{node.op_type}_{index}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _load(source: Path | bytes) -> onnx.ModelProto:
    label = source if isinstance(source, Path) else "the model"
    try:
        model = onnx.load(source) if isinstance(source, Path) else onnx.load_from_string(source)
    except FileNotFoundError as error:
        raise ImportModelError(f"{error.filename or label} does not exist") from None
    except (DecodeError, OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ImportModelError(
            f"{label} is no readable ONNX file: {_first_line(error)}",
            "It may be truncated; export or download it again.",
        ) from None
    if not model.graph.node:
        raise ImportModelError(
            f"{label} holds no operators", "It may be truncated; export or download it again."
        )
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, UnicodeDecodeError) as error:
        raise ImportModelError(
            f"{label} is no valid ONNX model: {_first_line(error)}",
            "Export it again with a released exporter.",
        ) from None
    return model


def _settle_batch(model: onnx.ModelProto) -> None:
    """Sets an unnamed or symbolic batch size to 1; refuses other dynamic sizes."""
    constants = {i.name for i in model.graph.initializer}
    for value in model.graph.input:
        if value.name in constants:
            continue
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.HasField("dim_value") and dim.dim_value > 0:
                continue
            if axis > 0:
                raise ImportModelError(
                    f"input '{value.name}' has no fixed size on axis {axis} "
                    f"('{dim.dim_param or '?'}')",
                    "Microcontroller memory is planned at compile time: export with fixed shapes.",
                )
            dim.dim_value = 1
    # Shapes recorded by the exporter may still carry the symbol.
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")


_INPUT_TYPES: dict[int, DType] = {
    onnx.TensorProto.FLOAT: DType.FLOAT32,
    onnx.TensorProto.INT32: DType.INT32,
    onnx.TensorProto.INT64: DType.INT32,
}

# Inputs that only DequantizeLinear may read: the Graph has their reals, and their grid.
_INTEGER_INPUTS: dict[int, np.dtype[Any]] = {
    onnx.TensorProto.INT8: np.dtype(np.int8),
    onnx.TensorProto.UINT8: np.dtype(np.uint8),
}


# Operators whose results may be far larger than their inputs, by the values of these.
_GROWING = ("ConstantOfShape", "Expand", "Tile", "Range", "Pad", "OneHot", "Resize", "Upsample")

# Operators of two inputs that take one of another shape as repeated.
_SPREADING = ("Add", "Sub", "Mul", "Div", "Max", "Min")


def _elements(value: onnx.ValueInfoProto) -> int | None:
    """The number of elements that shape inference found, None where it is open."""
    kind = value.type.tensor_type
    if not kind.HasField("shape") or not all(d.HasField("dim_value") for d in kind.shape.dim):
        return None
    return int(math.prod(d.dim_value for d in kind.shape.dim))


class Translation:
    """The state of one import: what the translators of `operators.py` work on.

    Args:
        name: the graph's name.
        model: a checked model with inferred shapes.
    """

    def __init__(self, name: str, model: onnx.ModelProto) -> None:
        self.graph = Graph(name, {}, [], [], [])
        self._model = model
        versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
        self._opset = versions[0] if versions else 1
        self._constants: dict[str, Array] = {
            i.name: numpy_helper.to_array(i) for i in model.graph.initializer
        }
        self._sizes = {v.name: _elements(v) for v in model.graph.value_info}
        # The tensor that stands for an ONNX value.
        self._values: dict[str, str] = {}
        self._layer = ""
        # ONNX values that are "ids == constant": the ids and the constant.
        self.conditions: dict[str, tuple[str, int]] = {}
        # ONNX values that say how a tensor compares with a number: it, the relation, the number.
        self.choices: dict[str, tuple[str, str, float]] = {}
        # ONNX values that are scores masked where ids are padding: scores, ids, padding.
        self.masked: dict[str, tuple[str, str, int]] = {}
        # ONNX values that are integers: their type, and their grid where it is known.
        self.integers: dict[str, tuple[np.dtype[Any], Quantisation | None]] = {}
        # Constants that the file stores as 8-bit integers.
        self._stored: dict[str, Stored] = {}

    def translate(self) -> None:
        """Fills the graph."""
        for value in self._model.graph.input:
            if value.name not in self._constants:
                self._input(value)
        unsupported: list[str] = []
        for index, node in enumerate(self._model.graph.node):
            self._layer = _layer_name(node, index)
            if self._fold(node):
                continue
            translator = TRANSLATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
            if translator is None:
                unsupported.append(f"{node.op_type} (layer '{self._layer}')")
                for output in node.output:  # go on, to report every unsupported layer at once
                    self._values[output] = ""
                continue
            if any(self._values.get(i) == "" for i in node.input):
                for output in node.output:
                    self._values[output] = ""
                continue
            try:
                translator(self, node)
            # A damaged node surfaces as any of the built-in ones.
            except (Unsupported, ValueError, KeyError, IndexError, TypeError) as error:
                unsupported.append(f"{node.op_type} (layer '{self._layer}'): {error}")
                for output in node.output:
                    self._values[output] = ""
        if unsupported:
            raise ImportModelError(
                "unsupported: " + "; ".join(unsupported),
                f"Supported ONNX operators: {', '.join(sorted(TRANSLATORS))}.",
            )
        for name in [n for n, (_, quant) in self.integers.items() if quant is None]:
            if self.graph.tensors[self._values[name]].quant is None:
                raise ImportModelError(
                    f"input '{name}' holds integers, and no DequantizeLinear reads it",
                    "The importer takes 8-bit inputs whose scale the file states.",
                )
        for value in self._model.graph.output:
            if value.name in self._constants:
                raise ImportModelError(f"output '{value.name}' does not depend on any input")
            self.graph.outputs.append(self._values[value.name])
        self.graph.sweep()
        self.graph.check()

    def _input(self, value: onnx.ValueInfoProto) -> None:
        kind = value.type.tensor_type.elem_type
        if kind in _INTEGER_INPUTS:
            self.integers[value.name] = (_INTEGER_INPUTS[kind], None)
        elif kind not in _INPUT_TYPES:
            raise ImportModelError(
                f"input '{value.name}' is {onnx.TensorProto.DataType.Name(kind)}",
                "The importer takes inputs of float32, int8 and uint8, and ids of int32 or int64.",
            )
        dtype = _INPUT_TYPES.get(kind, DType.FLOAT32)
        shape = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        if shape and shape[0] != 1:
            raise ImportModelError(
                f"input '{value.name}' has batch size {shape[0]}",
                "Export the model with batch size 1.",
            )
        name = self.graph.add(Tensor(identifier(value.name), shape, dtype))
        self.graph.inputs.append(name)
        self._values[value.name] = name

    def _fold(self, node: onnx.NodeProto) -> bool:
        """Evaluates a node whose result does not depend on the inputs."""
        if node.op_type == "Shape":
            shape = self.shape(node.input[0])
            attributes = attributes_of(node)
            start, end = attributes.get("start", 0), attributes.get("end", len(shape))
            self._constants[node.output[0]] = np.array(shape[start:end], np.int64)
            return True
        if not all(i == "" or i in self._constants for i in node.input):
            return False
        if node.op_type.startswith("Random"):
            return False
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            self._fold_pair(node)
            return True
        if not self._stays_small(node):
            return False
        bare = helper.make_model(
            helper.make_graph(
                [node],
                "fold",
                [
                    helper.make_tensor_value_info(
                        i, helper.np_dtype_to_tensor_dtype(self._constants[i].dtype), None
                    )
                    for i in dict.fromkeys(node.input)
                    if i
                ],
                [onnx.ValueInfoProto(name=o) for o in node.output if o],
            ),
            opset_imports=self._model.opset_import,
        )
        feeds = {i: self._constants[i] for i in node.input if i}
        try:
            results = ReferenceEvaluator(bare).run(None, feeds)
        except Exception:
            # Not evaluated here: the node is translated, or named as unsupported.
            return False
        for output, result in zip([o for o in node.output if o], results, strict=True):
            array = np.asarray(result)
            if array.size > _MAX_FOLDED_ELEMENTS:
                raise ImportModelError(f"constant '{output}' has {array.size} elements")
            self._constants[output] = array
        self._remember(node)
        return True

    def _stays_small(self, node: onnx.NodeProto) -> bool:
        """Whether a node's result fits; a few bytes of a file can ask for any amount of memory.

        Raises:
            ImportModelError: it is known not to.
        """
        sizes = [self._sizes.get(o) for o in node.output if o]
        if any(size is not None and size > _MAX_FOLDED_ELEMENTS for size in sizes):
            raise ImportModelError(
                f"constant '{node.output[0]}' has {max(s or 0 for s in sizes)} elements"
            )
        return node.op_type not in _GROWING or None not in sizes

    def _fold_pair(self, node: onnx.NodeProto) -> None:
        given = [self._constants[i] for i in node.input if i]
        if node.op_type == "QuantizeLinear":
            self._constants[node.output[0]] = quantised_constant(node, given)
            return
        self._constants[node.output[0]] = dequantised_constant(node, given)
        stored = stored_constant(node, given)
        if stored is not None:
            self._stored[node.output[0]] = stored

    def _remember(self, node: onnx.NodeProto) -> None:
        """Keeps what is known of the integers a folded constant is stored as."""
        source, output = node.input[0] if node.input else "", node.output[0]
        stored = self._stored.get(source)
        if stored is not None and node.op_type == "Transpose":
            rank = self._constants[source].ndim
            turn = list(attributes_of(node).get("perm", range(rank)[::-1]))
            self._stored[output] = replace(stored, axis=turn.index(stored.axis))
        elif stored is not None and (
            node.op_type == "Identity" or (node.op_type == "Reshape" and len(stored.scale) == 1)
        ):
            self._stored[output] = stored

    # What translators use.

    @property
    def opset(self) -> int:
        """The version of the default operator set."""
        return self._opset

    def is_constant(self, value: str) -> bool:
        """Whether an ONNX value is known at compile time."""
        return value in self._constants

    def constant(self, node: onnx.NodeProto, index: int) -> Array | None:
        """The constant given as an input, None when the input is left out.

        Raises:
            Unsupported: the input is computed at run time.
        """
        if index >= len(node.input) or not node.input[index]:
            return None
        if node.input[index] not in self._constants:
            raise Unsupported(f"input {index} must be a constant")
        return self._constants[node.input[index]]

    def shape(self, value: str) -> tuple[int, ...]:
        """The shape of an ONNX value."""
        if value in self._constants:
            return tuple(self._constants[value].shape)
        return self.graph.tensors[self._values[value]].shape

    def read(self, value: str) -> str:
        """The tensor of an ONNX value; constants become float32 constants."""
        if value in self._constants:
            data = np.asarray(self._constants[value], np.float32)
            stored = self._stored.get(value)
            whole = stored is not None and len(stored.scale) == 1
            return self.store(value, data, self.stored(value, 0, 0) if whole else None)
        return self._values[value]

    def stored(self, value: str, axis: int, made: int) -> Quantisation | None:
        """How the file stores a constant as integers, if it does; see `Stored.along`."""
        found = self._stored.get(value)
        return None if found is None else found.along(axis, made)

    @staticmethod
    def on_grid(tensor: Tensor, quant: Quantisation) -> Tensor:
        """The float tensor with the grid its integers will have."""
        return replace(tensor, quant=quant)

    def store(self, name: str, data: Array, quant: Quantisation | None = None) -> str:
        """A new float32 constant, with the grid of the file's integers."""
        array = np.ascontiguousarray(data, np.float32)
        return self.graph.add(Tensor(identifier(name), tuple(array.shape), quant=quant, data=array))

    def spread_anyway(self, value: str, elements: int) -> bool:
        """Whether all that reads a value would spread it to so many elements by itself."""
        readers = [n for n in self._model.graph.node if value in n.input]
        known = {v.name: _elements(v) for v in self._model.graph.input} | self._sizes
        return all(
            n.op_type in _SPREADING and any(known.get(i) == elements for i in n.input if i != value)
            for n in readers
        ) and value not in {o.name for o in self._model.graph.output}

    def ids(self, name: str, values: Array) -> str:
        """A new constant of positions."""
        array = np.ascontiguousarray(values, np.int32)
        held = Tensor(identifier(name), tuple(array.shape), DType.INT32, None, array)
        return self.graph.add(held)

    def with_rank(self, tensor: str, rank: int) -> str:
        """The tensor with leading sizes of 1."""
        held = self.graph.tensors[tensor]
        if len(held.shape) == rank:
            return tensor
        shape = (1,) * (rank - len(held.shape)) + held.shape
        if held.data is not None:
            return self.store(f"{tensor}_r{rank}", held.data.reshape(shape), held.quant)
        return self.apply(Reshape(shape), [tensor])

    def apply(self, op: Operator, inputs: Sequence[str], name: str = "") -> str:
        """Appends a node and returns its output tensor."""
        shape = op.infer([self.graph.tensors[i].shape for i in inputs])
        output = self.graph.add(Tensor(identifier(name or f"{self._layer}_{op.kind}"), shape))
        self.graph.nodes.append(Node(op, tuple(inputs), output, self._layer))
        return output

    def bind(self, value: str, tensor: str) -> None:
        """States that a tensor is an ONNX value."""
        self._values[value] = tensor
