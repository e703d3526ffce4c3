# SPDX-License-Identifier: Apache-2.0
"""Arrays of training replies as bytes: dense, or with positions as a bitmap, 16 or 32 bits, or by
the job's mask. The rules are those of `index_coding` in protocol.cddl."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleet.wire.messages import Dtype, IndexCoding

Values = NDArray[np.float32]
Positions = NDArray[np.int64]
DTYPES: dict[Dtype, np.dtype[Any]] = {
    Dtype.F32: np.dtype("<f4"),
    Dtype.F16: np.dtype("<f2"),
    Dtype.I8: np.dtype("i1"),
}


def mask_bytes(mask: NDArray[np.bool_]) -> bytes:
    """One bit a weight, least significant first."""
    return np.packbits(mask, bitorder="little").tobytes()


def mask_from(data: bytes, size: int) -> NDArray[np.bool_]:
    """The inverse. Raises ValueError for another size."""
    if len(data) != (size + 7) // 8:
        raise ValueError(f"a mask of {size} weights has {(size + 7) // 8} bytes, not {len(data)}")
    return np.unpackbits(np.frombuffer(data, np.uint8), count=size, bitorder="little").astype(bool)


def decode(
    data: bytes,
    coding: IndexCoding,
    dtype: Dtype,
    size: int,
    mask: NDArray[np.bool_] | None = None,
) -> tuple[Positions, Values]:
    """Positions, ascending, and values of an array over ``size`` weights.

    Args:
        mask: of the job; where it has one, ``dense`` means every weight still.

    Raises:
        ValueError: the bytes do not fit the coding, positions repeat or go beyond, or a value is
            not finite.
    """
    kind = DTYPES[dtype]
    match coding:
        case IndexCoding.DENSE:
            positions, rest = np.arange(size, dtype=np.int64), data
        case IndexCoding.MASK:
            if mask is None:
                raise ValueError("values by a mask that the job does not have")
            positions, rest = np.flatnonzero(mask).astype(np.int64), data
        case IndexCoding.BITMAP:
            room = (size + 7) // 8
            positions = np.flatnonzero(mask_from(data[:room], size)).astype(np.int64)
            rest = data[room:]
        case IndexCoding.U16 | IndexCoding.U32:
            width = 2 if coding is IndexCoding.U16 else 4
            count, over = divmod(len(data), width + kind.itemsize)
            if over:
                raise ValueError(f"{len(data)} bytes are no whole number of values")
            positions = np.frombuffer(data[: count * width], f"<u{width}").astype(np.int64)
            rest = data[count * width :]
            if np.any(np.diff(positions) <= 0) or np.any(positions >= size):
                raise ValueError("positions repeat or go beyond the weights")
    if len(rest) != len(positions) * kind.itemsize:
        raise ValueError(
            f"{len(positions)} values take {len(positions) * kind.itemsize} bytes, not {len(rest)}"
        )
    values = np.frombuffer(rest, kind).astype(np.float32)
    if not np.all(np.isfinite(values)):
        raise ValueError("a value is not finite")
    return positions, values


def encode(positions: Positions, values: Values, coding: IndexCoding, size: int) -> bytes:
    """float32 values with their positions; what simulated devices send."""
    plain = values.astype("<f4").tobytes()
    match coding:
        case IndexCoding.DENSE | IndexCoding.MASK:
            return plain
        case IndexCoding.BITMAP:
            present = np.zeros(size, bool)
            present[positions] = True
            return mask_bytes(present) + plain
        case IndexCoding.U16:
            return positions.astype("<u2").tobytes() + plain
        case IndexCoding.U32:
            return positions.astype("<u4").tobytes() + plain


def cheapest(count: int, size: int) -> IndexCoding:
    """The coding of ``count`` of ``size`` positions that takes fewest bytes."""
    if count == size:
        return IndexCoding.DENSE
    width = 2 if size <= 1 << 16 else 4
    if width * count < (size + 7) // 8:
        return IndexCoding.U16 if width == 2 else IndexCoding.U32
    return IndexCoding.BITMAP
