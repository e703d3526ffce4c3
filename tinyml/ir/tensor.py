# SPDX-License-Identifier: Apache-2.0
"""Tensors and their quantisation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class DType(Enum):
    """Element type of a tensor."""

    FLOAT32 = "float32"
    INT8 = "int8"
    UINT8 = "uint8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    BOOL = "bool"  # 0 or 1 in a byte

    @property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.value)

    @property
    def bytes(self) -> int:
        return int(self.numpy.itemsize)

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the greatest integer of an integer type."""
        if self is DType.BOOL:
            return 0, 1
        info = np.iinfo(self.numpy)
        return int(info.min), int(info.max)


@dataclass(frozen=True)
class Quantisation:
    """Affine map real = scale * (integer - zero_point), per tensor or per slice of one axis.

    Args:
        scale: float32, one value, or one per slice along ``axis``. Positive and finite.
        zero_point: int32, as many values as ``scale``.
        axis: the axis of a per-channel map, None for a per-tensor one.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None

    def __post_init__(self) -> None:
        if len(self.scale) != len(self.zero_point):
            raise ValueError("scale and zero_point differ in length")
        if self.axis is None and len(self.scale) != 1:
            raise ValueError("a per-tensor quantisation has one scale")
        if not all(math.isfinite(s) and s > 0 for s in self.scale):
            raise ValueError(f"scales must be positive and finite: {self.scale}")

    @staticmethod
    def per_tensor(scale: float, zero_point: int) -> Quantisation:
        """A per-tensor map; the scale is rounded to float32, the type that files carry."""
        return Quantisation((float(np.float32(scale)),), (int(zero_point),))

    @staticmethod
    def per_channel(scale: Array, axis: int) -> Quantisation:
        """A symmetric map with one scale per slice of ``axis``."""
        scales = tuple(float(s) for s in np.asarray(scale, np.float32))
        return Quantisation(scales, (0,) * len(scales), axis)

    @property
    def s(self) -> float:
        """The scale of a per-tensor map."""
        if self.axis is not None:
            raise ValueError("per-channel quantisation has no single scale")
        return self.scale[0]

    @property
    def z(self) -> int:
        """The zero point of a per-tensor map."""
        if self.axis is not None:
            raise ValueError("per-channel quantisation has no single zero point")
        return self.zero_point[0]

    def _shaped(self, values: tuple[Any, ...], dtype: Any, rank: int) -> Array:
        if self.axis is None:
            return np.asarray(values[0], dtype)
        shape = [1] * rank
        shape[self.axis] = len(values)
        return np.asarray(values, dtype).reshape(shape)

    def quantise(self, real: Array, dtype: DType = DType.INT8) -> Array:
        """Nearest integers (ties to even), saturated to ``dtype``."""
        info = np.iinfo(dtype.numpy)
        scale = self._shaped(self.scale, np.float64, real.ndim)
        zero = self._shaped(self.zero_point, np.float64, real.ndim)
        grid = np.rint(real.astype(np.float64) / scale) + zero
        return np.asarray(np.clip(grid, info.min, info.max), dtype.numpy)

    def dequantise(self, integers: Array) -> Array:
        """Real values as float32."""
        scale = self._shaped(self.scale, np.float64, integers.ndim)
        zero = self._shaped(self.zero_point, np.float64, integers.ndim)
        return np.asarray((integers.astype(np.float64) - zero) * scale, np.float32)


@dataclass(frozen=True)
class Tensor:
    """A value in the graph: an activation, or a constant when ``data`` is set.

    Args:
        name: unique in its graph.
        shape: static sizes; images are NHWC, batch 1.
        dtype: element type. Activations are int8, or int16 with zero point 0; ids are int32.
        quant: how integers map to reals; None for plain integers, and for float32 unless the
            model's file states the grid its integers will have.
        data: the constant's values, of ``shape`` and ``dtype``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType = DType.FLOAT32
    quant: Quantisation | None = None
    data: Array | None = None

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * self.dtype.bytes

    @property
    def is_constant(self) -> bool:
        return self.data is not None

    @property
    def q(self) -> Quantisation:
        """The quantisation of a tensor that must have one."""
        if self.quant is None:
            raise ValueError(f"tensor '{self.name}' is not quantised")
        return self.quant

    @property
    def values(self) -> Array:
        """The data of a tensor that must be constant."""
        if self.data is None:
            raise ValueError(f"tensor '{self.name}' is not a constant")
        return self.data

    def with_data(self, data: Array, quant: Quantisation | None = None) -> Tensor:
        """The same name holding other values."""
        return replace(
            self, shape=tuple(data.shape), dtype=DType(data.dtype.name), data=data, quant=quant
        )
