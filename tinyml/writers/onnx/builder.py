# SPDX-License-Identifier: Apache-2.0
"""The vocabulary in which operators spell themselves as ONNX.

Activations of rank 4 are NHWC in the graph and NCHW here, the layout of ONNX convolutions and
of the user's own model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tinyml.ir.tensor import Array, DType, Tensor
from tinyml.ops.window import Window

OPSET = 21
IR_VERSION = 10
_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
_TYPES = {
    DType.FLOAT32: TensorProto.FLOAT,
    DType.INT8: TensorProto.INT8,
    DType.UINT8: TensorProto.UINT8,
    DType.INT16: TensorProto.INT16,
    DType.INT32: TensorProto.INT32,
    DType.INT64: TensorProto.INT64,
    DType.BOOL: TensorProto.BOOL,
}


class OnnxBuilder:
    """Collects the nodes and initialisers of one ONNX graph.

    Args:
        name: the graph's name.
        taken: names of the graph's tensors, which no value of the builder's own may have.
    """

    def __init__(self, name: str, taken: Iterable[str] = ()) -> None:
        self._name = name
        self._taken = frozenset(taken)
        self._nodes: list[onnx.NodeProto] = []
        self._initialisers: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._reals: dict[str, str] = {}
        self._count = 0

    @staticmethod
    def order(rank: int) -> tuple[int, ...]:
        """For each ONNX axis, the graph axis it is."""
        return _TO_NCHW if rank == 4 else tuple(range(rank))

    def axis(self, axis: int, rank: int) -> int:
        """The ONNX axis that a graph axis becomes."""
        return self.order(rank).index(axis)

    def _info(self, tensor: Tensor) -> onnx.ValueInfoProto:
        shape = [tensor.shape[i] for i in self.order(len(tensor.shape))]
        return helper.make_tensor_value_info(tensor.name, _TYPES[tensor.dtype], shape)

    def input(self, tensor: Tensor) -> None:
        """Declares a model input."""
        self._inputs.append(self._info(tensor))

    def output(self, tensor: Tensor) -> None:
        """Declares a model output."""
        self._outputs.append(self._info(tensor))

    def initialiser(self, array: Array, name: str = "") -> str:
        """Stores values as they are and returns their name."""
        name = self._fresh(name or "const")
        self._initialisers.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def scalar(self, value: float) -> str:
        """A float32 scalar."""
        return self.initialiser(np.array(value, np.float32))

    def integers(self, values: Sequence[int]) -> str:
        """A vector of int64."""
        return self.initialiser(np.array(values, np.int64))

    def node(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Appends an operator with one output and returns that output's name."""
        output = self._fresh(kind)
        self._append(kind, inputs, output, attributes)
        return output

    def _fresh(self, stem: str) -> str:
        """A name that is neither a tensor's nor given out before."""
        while True:
            self._count += 1
            name = f"{stem}_{self._count}"
            if name not in self._taken:
                return name

    def _append(
        self, kind: str, inputs: Sequence[str], output: str, attributes: dict[str, Any]
    ) -> None:
        self._nodes.append(
            helper.make_node(kind, list(inputs), [output], name=f"{output}_node", **attributes)
        )

    def read(self, tensor: Tensor) -> str:
        """The float value of a tensor: an activation, or a constant in ONNX layout."""
        if tensor.data is not None:
            return self.constant(tensor, self.order(len(tensor.shape)))
        if tensor.name not in self._reals:
            parameters = self._parameters(tensor)
            self._reals[tensor.name] = self.node("DequantizeLinear", [tensor.name, *parameters])
        return self._reals[tensor.name]

    def read_as(self, tensor: Tensor, permutation: Sequence[int]) -> str:
        """The float value of a tensor with the graph's axes in another order. Its integers are
        moved: onnxruntime takes a float that is transposed for integers, of either sign, and
        refuses the model that it made."""
        if tensor.data is not None:
            return self.constant(tensor, permutation)
        return self.node(
            "DequantizeLinear",
            [self._moved(tensor.name, permutation), *self._parameters(tensor)],
        )

    def write_as_stored(self, tensor: Tensor, value: str) -> None:
        """Quantises a float value that has the graph's layout; see `read_as`."""
        if len(tensor.shape) != 4:
            self.write(tensor, value)
            return
        integers = self.node("QuantizeLinear", [value, *self._parameters(tensor)])
        self.write_integers(tensor, self.to_nchw(integers, tensor.shape))

    def _moved(self, value: str, permutation: Sequence[int]) -> str:
        perm = [self.axis(a, len(permutation)) for a in permutation]
        same = perm == list(range(len(perm)))
        return value if same else self.node("Transpose", [value], perm=perm)

    def constant(self, tensor: Tensor, permutation: Sequence[int]) -> str:
        """The float value of an integer constant whose axes are permuted first."""
        data = tensor.values.transpose(permutation)
        if tensor.dtype is DType.INT64:
            # ONNX dequantises no int64.
            return self.initialiser(tensor.q.dequantise(tensor.values).transpose(permutation))
        stored = self.initialiser(data, tensor.name)
        axis = tensor.q.axis
        attributes = {} if axis is None else {"axis": tuple(permutation).index(axis)}
        return self.node("DequantizeLinear", [stored, *self._parameters(tensor)], **attributes)

    def write(self, tensor: Tensor, value: str) -> None:
        """Quantises a float value into the graph's tensor."""
        self._append("QuantizeLinear", [value, *self._parameters(tensor)], tensor.name, {})

    def integers_of(self, tensor: Tensor) -> str:
        """The integers of a tensor, for operators that only move them."""
        return tensor.name if tensor.data is None else self.initialiser(tensor.values)

    def in_place(self, tensor: Tensor) -> str:
        """The integers of a tensor in ONNX layout, for operators that select them one by one."""
        if tensor.data is None:
            return tensor.name
        return self.initialiser(tensor.values.transpose(self.order(len(tensor.shape))))

    def read_rows(self, tensor: Tensor) -> str:
        """The float value of a tensor as (rows, last axis of the graph); moved as integers."""
        if len(tensor.shape) <= 2 or tensor.data is not None:
            return self.to_nhwc(self.read(tensor), tensor.shape)
        value = self.to_nhwc(tensor.name, tensor.shape)
        flat = self.node("Reshape", [value, self.integers((-1, tensor.shape[-1]))])
        return self.node("DequantizeLinear", [flat, *self._parameters(tensor)])

    def write_rows(self, tensor: Tensor, value: str) -> None:
        """Quantises what `read_rows` gives the shape of."""
        if len(tensor.shape) <= 2:
            self.write(tensor, value)
            return
        flat = self.node("QuantizeLinear", [value, *self._parameters(tensor)])
        whole = self.node("Reshape", [flat, self.integers(tensor.shape)])
        self.write_integers(tensor, self.to_nchw(whole, tensor.shape))

    def write_integers(self, tensor: Tensor, value: str) -> None:
        """States that integers computed by integer operators are the graph's tensor."""
        self._append("Identity", [value], tensor.name, {})

    def table(self, x: Tensor, values: Array, out: Tensor) -> None:
        """An elementwise function of an int8 tensor by its 256 results, values[i] for i - 128."""
        position = self.node("Cast", [x.name], to=onnx.TensorProto.INT32)
        index = self.node("Add", [position, self.initialiser(np.array(128, np.int32))])
        self.write_integers(out, self.node("Gather", [self.initialiser(values), index], axis=0))

    def cast(self, tensor: Tensor, value: str) -> None:
        """Turns an integer value into the graph's tensor of plain integers."""
        self._append("Cast", [value], tensor.name, {"to": _TYPES[tensor.dtype]})

    def _parameters(self, tensor: Tensor) -> list[str]:
        scale = np.array(tensor.q.scale, np.float32)
        zero = np.array(tensor.q.zero_point, tensor.dtype.numpy)
        if tensor.q.axis is None:
            scale, zero = scale.reshape(()), zero.reshape(())
        return [self.initialiser(scale), self.initialiser(zero)]

    @staticmethod
    def window(window: Window) -> dict[str, Any]:
        """The attributes of a convolution or pooling window."""
        top, bottom, left, right = window.padding
        return {
            "kernel_shape": list(window.kernel),
            "strides": list(window.stride),
            "dilations": list(window.dilation),
            "pads": [top, left, bottom, right],
        }

    def to_nhwc(self, value: str, shape: Sequence[int]) -> str:
        """A rank-4 value in the graph's layout; other ranks unchanged."""
        return self.node("Transpose", [value], perm=_TO_NHWC) if len(shape) == 4 else value

    def to_nchw(self, value: str, shape: Sequence[int]) -> str:
        """The inverse of `to_nhwc`."""
        return self.node("Transpose", [value], perm=_TO_NCHW) if len(shape) == 4 else value

    def finish(self) -> bytes:
        """The serialised model, after ONNX's own checker has passed it."""
        graph = helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, self._initialisers
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="tinyml",
        )
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())
