# SPDX-License-Identifier: Apache-2.0
"""QuantizeLinear and DequantizeLinear: the grids a file states.

uint8 grids become int8 ones: both integers and zero point move by 128, the reals stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx

from tinyml.importers.onnx.registry import Unsupported, attributes_of, translates
from tinyml.ir.tensor import Array, DType, Quantisation
from tinyml.ops.stated_grid import StatedGrid

if TYPE_CHECKING:
    from tinyml.importers.onnx.importer import Translation


@dataclass(frozen=True)
class Stored:
    """How the file stores a constant.

    Args:
        scale: float32 (channels,), one for a per-tensor map.
        zero_point: as many, of the int8 form.
        axis: of the channels.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int

    def along(self, axis: int, made: int) -> Quantisation:
        """The map of the constant.

        Args:
            axis: the only axis of the file's constant that may have channels.
            made: the axis that becomes in the Graph.

        Raises:
            Unsupported: the channels are on another axis.
        """
        if len(self.scale) == 1:
            return Quantisation(self.scale, self.zero_point)
        if self.axis != axis:
            raise Unsupported(f"weights quantised along axis {self.axis}; axis {axis} is supported")
        return Quantisation(self.scale, self.zero_point, made)


def _along(values: Array, node: onnx.NodeProto, shape: tuple[int, ...]) -> Array:
    if values.size == 1:
        return values.reshape(())
    axis = int(attributes_of(node).get("axis", 1))
    aligned = [1] * len(shape)
    aligned[axis] = values.size
    if attributes_of(node).get("block_size", 0) or values.size != shape[axis]:
        raise ValueError(f"{node.op_type} in blocks is not supported")
    return values.reshape(aligned)


def dequantised_constant(node: onnx.NodeProto, given: list[Array]) -> Array:
    """What a DequantizeLinear makes of constants: float32.

    Args:
        given: integers, scale and, if any, zero point.
    """
    integers = given[0].astype(np.float64)
    if len(given) > 2:
        integers = integers - _along(given[2].astype(np.float64), node, integers.shape)
    scale = _along(given[1].astype(np.float64), node, integers.shape)
    return np.asarray(integers * scale, np.float32)


def quantised_constant(node: onnx.NodeProto, given: list[Array]) -> Array:
    """What a QuantizeLinear makes of constants: integers of the zero point's type, or uint8.

    Args:
        given: reals, scale and, if any, zero point.
    """
    zero = given[2] if len(given) > 2 else np.zeros(given[1].shape, np.uint8)
    if zero.dtype not in (np.int8, np.uint8, np.int16, np.uint16, np.int32):
        raise ValueError(f"{node.op_type} to {zero.dtype} is not supported")
    scale = _along(given[1].astype(np.float32), node, given[0].shape)
    grid = np.rint(given[0].astype(np.float32) / scale)
    grid = grid + _along(zero.astype(np.float64), node, given[0].shape)
    limits = np.iinfo(zero.dtype)
    return np.asarray(np.clip(grid, limits.min, limits.max), zero.dtype)


def stored_constant(node: onnx.NodeProto, given: list[Array]) -> Stored | None:
    """What a DequantizeLinear of constants tells; None where its integers are not 8 bits.

    Args:
        given: integers, scale and, if any, zero point.
    """
    integers, scale = given[0], given[1].ravel()
    if integers.dtype not in (np.int8, np.uint8) or attributes_of(node).get("block_size", 0):
        return None
    zero = np.zeros(scale.size, np.int64) if len(given) < 3 else given[2].ravel().astype(np.int64)
    if integers.dtype == np.uint8:
        zero = zero - 128
    axis = int(attributes_of(node).get("axis", 1)) % max(integers.ndim, 1)
    return Stored(tuple(float(s) for s in scale), tuple(int(z) for z in zero), axis)


def _grid(t: Translation, node: onnx.NodeProto, kind: np.dtype[np.generic]) -> Quantisation:
    scale, zero = t.constant(node, 1), t.constant(node, 2)
    if scale is None or scale.size != 1 or attributes_of(node).get("block_size", 0):
        raise Unsupported("an activation with more than one scale")
    if zero is not None:
        kind = zero.dtype
    if kind not in (np.int8, np.uint8):
        raise Unsupported(f"activations of {kind}; int8 and uint8 are supported")
    point = 0 if zero is None else int(zero.ravel()[0])
    return Quantisation.per_tensor(
        float(scale.ravel()[0]), point - (128 if kind == np.uint8 else 0)
    )


def _state(t: Translation, value: str, quant: Quantisation) -> str:
    """The tensor of a value, on a grid."""
    name = t.read(value)
    tensor = t.graph.tensors[name]
    if tensor.dtype is not DType.FLOAT32:
        raise Unsupported(f"ids of {tensor.dtype.value} as activations")
    if name in t.graph.inputs and tensor.quant is None:
        t.graph.tensors[name] = tensor = t.on_grid(tensor, quant)
    return name if tensor.quant == quant else t.apply(StatedGrid(quant), [name])


@translates("QuantizeLinear")
def _quantise(t: Translation, node: onnx.NodeProto) -> None:
    if attributes_of(node).get("output_dtype", 0) not in (
        0,
        onnx.TensorProto.INT8,
        onnx.TensorProto.UINT8,
    ):
        raise Unsupported("activations that are not int8 or uint8")
    signed = attributes_of(node).get("output_dtype", 0) == onnx.TensorProto.INT8
    kind = np.dtype(np.int8 if signed else np.uint8)
    quant = _grid(t, node, kind)
    zero = t.constant(node, 2)
    t.integers[node.output[0]] = (kind if zero is None else zero.dtype, quant)
    t.bind(node.output[0], _state(t, node.input[0], quant))


@translates("DequantizeLinear")
def _dequantise(t: Translation, node: onnx.NodeProto) -> None:
    kind, known = t.integers.get(node.input[0], (np.dtype(np.int8), None))
    quant = _grid(t, node, kind)
    if known is not None and known != quant:
        raise Unsupported("another scale or zero point than its QuantizeLinear")
    t.bind(node.output[0], _state(t, node.input[0], quant))
