# SPDX-License-Identifier: Apache-2.0
"""Records of the fast kernels for additions and multiplications of one shape."""

from __future__ import annotations

DUAL_MULTIPLY = ("dsp", "mve")  # instruction sets that have these kernels
_LARGEST_SHIFT = 22  # see firmware/kernels/common/requantise.h


def rounding_constant(zero_point: int, shift: int) -> int:
    """Half of what a right shift drops, and the zero point before the shift."""
    return ((2 * zero_point + 1) << shift) >> 1


def add_record(
    zero_points: tuple[int, int, int],
    fine: tuple[int, int],
    of_out: tuple[int, int],
    bounds: tuple[int, int],
) -> list[int] | None:
    """tml_add_dsp_data_t, or None where the kernel does not hold.

    Args:
        zero_points: of the input with the larger scale, of the other, of the output.
        fine, of_out: (multiplier, shift) of the other input and of the output.
    """
    multiplier, shift = fine
    if shift == 0 and multiplier == 1 << 30:
        # Equal scales: nearly twice as much, of which the shift takes half, rounds to the same.
        multiplier, shift = (1 << 31) - 1, -1
    if not (_is_short(shift) and _is_short(of_out[1])):
        return None
    wide_zero, fine_zero, out_zero = zero_points
    return [
        -(wide_zero << 19),
        -(fine_zero << 21),
        *(multiplier, -shift, rounding_constant(0, -shift)),
        *(of_out[0], -of_out[1], rounding_constant(out_zero, -of_out[1])),
        *bounds,
    ]


def mul_record(
    zero_points: tuple[int, int, int], of_out: tuple[int, int], bounds: tuple[int, int]
) -> list[int] | None:
    """tml_mul_dsp_data_t, or None where the kernel does not hold."""
    if not _is_short(of_out[1]):
        return None
    constant = rounding_constant(zero_points[2], -of_out[1])
    return [*zero_points[:2], of_out[0], -of_out[1], constant, *bounds]


def _is_short(shift: int) -> bool:
    return 1 <= -shift <= _LARGEST_SHIFT
