# SPDX-License-Identifier: Apache-2.0
"""The state of one import: tensors of the file as tensors of the Graph, nodes in order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

import numpy as np

from tinyml.errors import ImportModelError
from tinyml.importers.tflite.file import StoredModel, StoredOperator, StoredTensor, damaged
from tinyml.ir.graph import Graph, Node
from tinyml.ir.operator import Operator, Rule, Shape
from tinyml.ir.tensor import Array, DType, Quantisation, Tensor
from tinyml.ops import (
    ArgMax,
    ArgMin,
    Compare,
    Gather,
    Logical,
    LogicalNot,
    MaskedSoftmax,
    Requantise,
    Select,
    Softmax,
    SquaredDifference,
    Sum,
)

_DTYPES = {
    "INT8": DType.INT8,
    "UINT8": DType.UINT8,
    "INT16": DType.INT16,
    "INT32": DType.INT32,
    "INT64": DType.INT64,
    "BOOL": DType.BOOL,
}
# The values that a zero point may take.
_ZERO_POINTS = {
    DType.INT8: range(-128, 128),
    DType.UINT8: range(256),
    DType.INT16: range(-32768, 32768),
    DType.INT32: range(1),
    DType.INT64: range(1),
    DType.BOOL: range(1),
}
# The types that kernels take to which types, where they may differ.
_CONVERSIONS: dict[type[Operator], set[tuple[DType, DType]]] = {
    Requantise: {
        *((a, b) for a in (DType.INT8, DType.INT16) for b in (DType.INT8, DType.INT16)),
        *((a, DType.INT32) for a in (DType.INT8, DType.INT16)),
        (DType.INT8, DType.UINT8),
        (DType.UINT8, DType.INT8),
    },
    Softmax: {
        (DType.INT8, DType.INT8),
        (DType.INT16, DType.INT16),
        (DType.INT8, DType.INT16),
    },
    MaskedSoftmax: {(DType.INT8, DType.INT16)},
    ArgMax: {(DType.INT8, DType.INT32)},
    ArgMin: {(DType.INT8, DType.INT32)},
}
# Whole numbers and truth values, which have no scale.
_PLAIN = (DType.INT32, DType.BOOL)
_MOVED = (DType.INT8, DType.INT16, *_PLAIN)
# What TFLite-Micro has on int16, though the quantiser keeps it int8: LiteRT gets it wrong.
_ALSO_INT16 = (SquaredDifference, Sum)
# How far a fixed scale may be from the one a kernel computes on, as TFLite-Micro has it.
_NEAR = 1e-3
# Operators that own the variables they read.
_RECURRENT = ("SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM")
# No microcontroller holds a tensor of more elements; a larger one is a damaged file.
_MAX_ELEMENTS = 1 << 28
FULL_INTEGER_HINT = (
    "Convert the model with full-integer int8 quantisation: int8 weights, activations, inputs and "
    "outputs."
)


class Unsupported(Exception):  # noqa: N818 - a verdict on an operator, not a failure
    """A form of a supported operator that the compiler does not support."""


class Reader:
    """Builds a Graph; `operators.py` holds the translators that drive it.

    Args:
        name: the graph's name.
        model: the decoded file.
    """

    def __init__(self, name: str, model: StoredModel) -> None:
        self.graph = Graph(name, {}, [], [], [])
        self.model = model
        self._names: dict[int, str] = {}
        self._repeats: dict[str, int] = {}
        self._ready: set[int] = set()
        self._layer = ""
        # Float inputs and outputs stand for the integers beside their QUANTIZE or DEQUANTIZE.
        self.float_inputs: dict[int, int] = {}
        self.float_outputs: dict[int, int] = {}
        # Resource variables by their shared name: handles, first values, the variable, and the
        # tensor that holds its value at this point of the file.
        self.handles: dict[int, str] = {}
        self.first_values: dict[str, Array] = {}
        self.resources: dict[str, str] = {}
        self.values: dict[str, str] = {}
        self._readers: dict[int, list[StoredOperator]] = {}
        for operator in model.operators:
            for index in operator.inputs:
                self._readers.setdefault(index, []).append(operator)
        # Tensors that exist only inside a following maximum: their source and padding.
        self.lowest_padding: dict[int, tuple[int, tuple[int, int, int, int]]] = {}

    # The subgraph.

    def open(self) -> None:
        """Adds the model's inputs.

        Raises:
            ImportModelError: there are none, or one has a type that no kernel takes.
        """
        if not self.model.inputs or not self.model.outputs:
            raise damaged("the model has no inputs or no outputs")
        for index in self.model.inputs:
            stored = self.model.tensors[index]
            if index in self._ready:
                raise damaged(f"the input '{stored.name}' is listed twice")
            self._check_static(stored)
            if stored.type == "FLOAT32":
                self.graph.inputs.append(self._quantised_input(index).name)
                self._ready.add(index)
                continue
            if stored.type not in ("INT8", "INT16", "UINT8", "INT32", "BOOL"):
                self._refuse_type(stored)
            tensor = self.tensor(index)
            if tensor.data is not None:
                raise damaged(f"the input '{tensor.name}' holds constant data")
            self._ready.add(index)
            self.graph.inputs.append(tensor.name)

    def _quantised_input(self, index: int) -> Tensor:
        """The integers that a float input becomes."""
        readers = self.readers(index)
        if not readers or any(r.kind != "QUANTIZE" or len(r.outputs) != 1 for r in readers):
            self._refuse_type(self.model.tensors[index])
        made = [self._convert(self.model.tensors[r.outputs[0]]) for r in readers]
        if any(t.dtype is not made[0].dtype or t.quant != made[0].quant for t in made):
            raise ImportModelError(
                f"the float input '{made[0].name}' is quantised in several ways",
                "Give the model integer inputs.",
            )
        self.float_inputs[index] = readers[0].outputs[0]
        return self.tensor(readers[0].outputs[0])

    def begin(self, operator: StoredOperator, layer: str) -> None:
        """Names the operator whose nodes follow and checks that its inputs exist by now.

        Raises:
            ImportModelError: operators are out of order or form a cycle, or two write one tensor.
        """
        self._layer = layer
        for index in operator.inputs:
            if index == -1 or index in self._ready:
                continue
            stored = self.model.tensors[index]
            if stored.variable and operator.kind in _RECURRENT:
                continue
            if stored.variable:
                raise ImportModelError(
                    f"layer '{layer}' ({operator.kind}) keeps state between runs in "
                    f"'{stored.name}'; so may LSTM, SVDF and resource variables only",
                    "Make the state an input and an output of the model.",
                )
            if not self._has_data(stored):
                raise damaged(
                    f"layer '{layer}' ({operator.kind}) reads '{stored.name}' before any operator "
                    "writes it: the operators are out of order or form a cycle"
                )
        for index in operator.outputs:
            if index in self._ready or self._has_data(self.model.tensors[index]):
                raise damaged(f"'{self.model.tensors[index].name}' is written twice")
            self._ready.add(index)

    def close(self) -> None:
        """Adds the model's outputs and drops what they do not depend on.

        Raises:
            ImportModelError: an output is never written.
        """
        for index in self.model.outputs:
            if index not in self._ready or index in self.lowest_padding:
                raise damaged(f"no operator writes the output '{self.model.tensors[index].name}'")
        outputs = [self.float_outputs.get(i, i) for i in self.model.outputs]
        self.graph.outputs = [self.tensor(i).name for i in outputs]
        held = [o for o in self.graph.outputs if o in self.graph.variables]
        if held:
            raise ImportModelError(
                f"the output '{held[0]}' is a variable as it was before the run",
                "Return what the variable is assigned instead.",
            )
        self.graph.sweep()

    def _has_data(self, stored: StoredTensor) -> bool:
        return stored.external != 0 or (
            stored.buffer < len(self.model.buffers) and self.model.buffers[stored.buffer].size > 0
        )

    # What translators read.

    def tensor(self, index: int) -> Tensor:
        """The graph tensor of a TFLite tensor, added on first use.

        Raises:
            ImportModelError: its type, shape, data or quantisation is damaged or unsupported.
        """
        if index not in self._names:
            self._names[index] = self._add(self._convert(self.model.tensors[index]))
        return self.graph.tensors[self._names[index]]

    def output(self, operator: StoredOperator, index: int = 0) -> Tensor:
        """An output of the operator."""
        return self.tensor(operator.outputs[index])

    def alias(self, index: int, tensor: str) -> None:
        """States that a TFLite tensor is a tensor of the graph."""
        self._names[index] = tensor

    def variable(self, index: int, initial: Array | None = None, name: str = "") -> Tensor:
        """A variable of the type of a TFLite tensor.

        Args:
            initial: its first value, by default real zero.
        """
        made = self._convert(self.model.tensors[index])
        made = replace(made, name=name or made.name, data=None)
        if made.dtype not in (DType.INT8, DType.INT16):
            raise Unsupported(f"the variable '{made.name}' is {made.dtype.value}")
        zero = made.quant.z if made.quant and made.quant.axis is None else 0
        value = np.full(made.shape, zero, made.dtype.numpy) if initial is None else initial
        if value.dtype != made.dtype.numpy or value.size != made.elements:
            raise Unsupported(f"the variable '{made.name}' starts as another type")
        made = self.graph.tensors[self._add(made)]
        self.graph.variables[made.name] = value.reshape(made.shape).copy()
        return made

    def constant(self, operator: StoredOperator, index: int, dtype: DType) -> tuple[int, ...]:
        """A small constant input, flattened.

        Raises:
            Unsupported: it is computed at run time, of another type, or long.
        """
        tensor = self.tensor(operator.inputs[index])
        if tensor.data is None:
            raise Unsupported(f"'{tensor.name}' is computed at run time; a constant is supported")
        if tensor.dtype is not dtype or tensor.elements > 16:
            raise Unsupported(f"'{tensor.name}' is no short vector of {dtype.value}")
        return tuple(int(v) for v in tensor.data.ravel())

    def readers(self, index: int) -> list[StoredOperator]:
        """The operators that read a tensor."""
        return self._readers.get(index, [])

    # What translators write.

    def add_constant(self, tensor: Tensor) -> Tensor:
        """Adds a constant that the file does not have."""
        return self.graph.tensors[self._add(tensor)]

    def apply(
        self,
        op: Operator,
        activations: Sequence[Tensor],
        operator: StoredOperator,
        weights: Sequence[Tensor] = (),
    ) -> None:
        """Appends the node that writes the operator's first output."""
        self.apply_to(op, activations, self.output(operator), weights)

    def apply_to(
        self,
        op: Operator,
        activations: Sequence[Tensor],
        out: Tensor,
        weights: Sequence[Tensor] = (),
    ) -> None:
        """Appends the node that writes a tensor."""
        ins = [*activations, *weights]
        shape = op.infer([t.shape for t in ins])
        if shape != out.shape:
            raise Unsupported(f"it makes {shape}, the file declares '{out.name}' as {out.shape}")
        self._append(op, activations, ins, out)

    def apply_between(
        self,
        op: Operator,
        activations: Sequence[Tensor],
        like: Tensor,
        weights: Sequence[Tensor] = (),
    ) -> Tensor:
        """Appends a node whose output the file does not have, quantised as ``like``."""
        ins = [*activations, *weights]
        shape: Shape = op.infer([t.shape for t in ins])
        name = self._add(Tensor(f"{like.name}_inner", shape, like.dtype, like.quant))
        out = self.graph.tensors[name]
        self._append(op, activations, ins, out)
        return out

    def _append(
        self, op: Operator, activations: Sequence[Tensor], ins: Sequence[Tensor], out: Tensor
    ) -> None:
        moves = op.rule is Rule.SAME_AS_INPUT or op.aligns_inputs
        self._check_types(op, activations, out, moves)
        for tensor in (*activations, out):
            plain = moves or tensor is out or isinstance(op, Compare | Logical | LogicalNot)
            if tensor.dtype in _PLAIN and plain:
                continue
            if tensor.quant is None:
                raise Unsupported(f"'{tensor.name}' has no quantisation: its scale is missing")
            if tensor.quant.axis is not None:
                raise Unsupported(f"'{tensor.name}' is quantised per channel, as weights are")
        # Kernels that move or select integers do not look at scales.
        moved = activations if op.aligns_inputs or op.rule is Rule.SAME_AS_INPUT else ()
        for tensor in moved:
            if tensor.dtype is not out.dtype:
                continue  # ids
            if tensor.quant != out.quant:
                raise Unsupported(
                    f"'{tensor.name}' and '{out.name}' differ in scale or zero point; TFLite-Micro "
                    "copies the integers"
                )
        if op.rule is Rule.FIXED and not _is_fixed(op, ins[0], out):
            fixed = op.fixed_quantisation(out.dtype)
            raise Unsupported(
                f"'{out.name}' has scale {out.q.s:.6g} and zero point {out.q.z}; TFLite-Micro "
                f"computes scale {fixed.s:.6g} and zero point {fixed.z}"
            )
        self.graph.nodes.append(Node(op, tuple(t.name for t in ins), out.name, self._layer))

    @staticmethod
    def _check_types(op: Operator, activations: Sequence[Tensor], out: Tensor, moves: bool) -> None:
        """Raises Unsupported where no kernel takes these types."""
        conversions = _CONVERSIONS.get(type(op))
        types = [t.dtype for t in activations]
        if conversions is not None:
            if (types[0], out.dtype) not in conversions:
                raise Unsupported(f"{types[0].value} to {out.dtype.value}")
            return
        if isinstance(op, Compare | Logical | LogicalNot):
            fine = (DType.INT8, DType.INT32) if isinstance(op, Compare) else (DType.BOOL,)
            if out.dtype is not DType.BOOL or len(set(types)) != 1 or types[0] not in fine:
                raise Unsupported(f"{', '.join(t.value for t in types)} to {out.dtype.value}")
            return
        if isinstance(op, Select):
            if types[0] is not DType.BOOL:
                raise Unsupported(f"a condition of {types[0].value}; bool is supported")
            activations, types = activations[1:], types[1:]
        if isinstance(op, Gather):
            if types[-1] is not DType.INT32:
                raise Unsupported(f"ids of {types[-1].value}; int32 is supported")
            types = types[:-1]
        known = _MOVED if moves else (DType.INT8, DType.INT16)
        for tensor in (*activations, out):
            if tensor.dtype in types and tensor.dtype not in known:
                raise Unsupported(f"'{tensor.name}' is {tensor.dtype.value}; int8 is supported")
        if any(t is not out.dtype for t in types):
            raise Unsupported(
                f"'{out.name}' is {out.dtype.value}, its inputs are "
                f"{', '.join(t.value for t in types)}"
            )
        if out.dtype is DType.INT16 and not moves:
            if not (op.has_int16 or isinstance(op, _ALSO_INT16)):
                raise Unsupported(f"{op.kind} of int16, which TFLite-Micro has not")
            shifted = [t for t in (*activations, out) if t.quant and t.quant.zero_point != (0,)]
            if shifted:
                raise Unsupported(f"the int16 tensor '{shifted[0].name}' has a zero point")

    def _add(self, tensor: Tensor) -> str:
        """Adds a tensor under its name, made unique in a time that repeats do not square."""
        name = tensor.name
        while name in self.graph.tensors:
            self._repeats[tensor.name] = self._repeats.get(tensor.name, 0) + 1
            name = f"{tensor.name}_{self._repeats[tensor.name]}"
        return self.graph.add(replace(tensor, name=name))

    # One tensor.

    def _convert(self, stored: StoredTensor) -> Tensor:
        name = stored.name or "tensor"
        if stored.type not in _DTYPES:
            self._refuse_type(stored)
        if stored.sparse:
            raise ImportModelError(
                f"tensor '{name}' is sparse", "Convert the model without sparsity encoding."
            )
        if stored.external:
            raise ImportModelError(
                f"the data of tensor '{name}' lie in another file",
                "Convert the model with its buffers in the .tflite file.",
            )
        if any(d <= 0 for d in stored.shape) or math.prod(stored.shape) > _MAX_ELEMENTS:
            raise damaged(f"tensor '{name}' has the shape {stored.shape}")
        dtype = _DTYPES[stored.type]
        data = self._data(name, stored, dtype)
        quant = None if dtype is DType.BOOL else _quantisation(name, stored, dtype)
        return Tensor(name, stored.shape, dtype, quant, data)

    @staticmethod
    def _check_static(stored: StoredTensor) -> None:
        """Only inputs decide: TFLite-Micro makes every other tensor of the shape in the file."""
        if stored.signature is None:
            return
        # Keras marks the batch as unknown; the file's shape says 1, and TFLite-Micro obeys it.
        unknown = [i for i, d in enumerate(stored.signature) if d < 0]
        batch_of_one = unknown == [0] and stored.shape[:1] == (1,)
        if unknown and not batch_of_one:
            raise ImportModelError(
                f"tensor '{stored.name}' has the dynamic shape {stored.signature}",
                "Fix every size before conversion; only the batch may be open.",
            )

    def _data(self, name: str, stored: StoredTensor, dtype: DType) -> Array | None:
        if not self._has_data(stored):
            return None
        raw = self.model.buffers[stored.buffer]
        needed = math.prod(stored.shape) * dtype.bytes
        if raw.size != needed:
            raise damaged(
                f"the data of '{name}' are {raw.size} bytes, "
                f"its shape {stored.shape} needs {needed}"
            )
        if dtype is DType.BOOL:
            return np.asarray(raw != 0).reshape(stored.shape)
        little = np.frombuffer(raw, dtype.numpy.newbyteorder("<"))
        return little.astype(dtype.numpy, copy=False).reshape(stored.shape)

    def _refuse_type(self, stored: StoredTensor) -> NoReturn:
        message = f"tensor '{stored.name}' is {stored.type}; int8 models are supported"
        if stored.type == "FLOAT32":
            hybrid = next((o for o in self.model.operators if self._is_hybrid(o)), None)
            if hybrid is not None:
                layer = self.model.tensors[hybrid.outputs[0]].name
                message += (
                    f"; the model is hybrid: layer '{layer}' ({hybrid.kind}) multiplies float "
                    "activations by int8 weights"
                )
        raise ImportModelError(message, FULL_INTEGER_HINT)

    def _is_hybrid(self, operator: StoredOperator) -> bool:
        if len(operator.inputs) < 2 or not operator.outputs or min(operator.inputs[:2]) < 0:
            return False
        x, weights = (self.model.tensors[i] for i in operator.inputs[:2])
        return x.type == "FLOAT32" and weights.type == "INT8" and self._has_data(weights)


def _is_fixed(op: Operator, x: Tensor, out: Tensor) -> bool:
    """Whether the output has the grid that the kernel computes on."""
    if isinstance(op, Softmax) and x.dtype is not out.dtype:
        scale, zero = 2.0**-16, -32768
    else:
        fixed = op.fixed_quantisation(out.dtype)
        scale, zero = fixed.s, fixed.z
    near = _NEAR if out.dtype is DType.INT16 else 0.0
    return abs(out.q.s - scale) <= near * scale and out.q.z == zero


def _quantisation(name: str, stored: StoredTensor, dtype: DType) -> Quantisation | None:
    given = stored.quant
    if given.custom:
        raise ImportModelError(
            f"tensor '{name}' has a custom or blockwise quantisation",
            "Quantise per tensor, or per channel for weights.",
        )
    if not given.scale:
        return None
    if not all(math.isfinite(s) and s > 0 for s in given.scale):
        raise damaged(f"tensor '{name}' has a scale that is not positive")
    zeros = given.zero_point or (0,)
    if len(zeros) == 1:
        zeros = zeros * len(given.scale)
    if len(zeros) != len(given.scale):
        raise damaged(f"'{name}' has {len(given.scale)} scales and {len(zeros)} zero points")
    if any(z not in _ZERO_POINTS[dtype] for z in zeros):
        raise damaged(f"a zero point of the {dtype.value} tensor '{name}' is out of range")
    if len(given.scale) == 1:
        return Quantisation(given.scale, zeros)
    # A bias follows its weights' output channels; converters write any axis there.
    axis = 0 if dtype in (DType.INT32, DType.INT64) else given.axis
    if not 0 <= axis < len(stored.shape) or stored.shape[axis] != len(given.scale):
        raise damaged(f"'{name}' has {len(given.scale)} scales, which fit no axis of its shape")
    return Quantisation(given.scale, zeros, axis)
