# SPDX-License-Identifier: Apache-2.0
"""Records of the fast kernels for operators on elements, for cores with dual multiplications."""

from __future__ import annotations

from tinyml.ir.fixedpoint import requantise

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
    left_shift: int,
    *,
    negative: bool = False,
) -> list[int] | None:
    """tml_add_dsp_data_t, or None where the kernel does not hold.

    Args:
        zero_points: of the input with the larger scale, of the other, of the output.
        fine, of_out: (multiplier, shift) of the other input and of the output.
        left_shift: bits that operands gain before they are aligned.
        negative: whether the input with the larger scale is subtracted.
    """
    multiplier, shift = fine
    if shift == 0 and multiplier == 1 << 30:
        # Equal scales: nearly twice as much, of which the shift takes half, rounds to the same.
        multiplier, shift = (1 << 31) - 1, -1
    if not (_is_short(shift) and _is_short(of_out[1])):
        return None
    wide_zero, fine_zero, out_zero = zero_points
    return [
        -(wide_zero << (left_shift - 1)),
        -(fine_zero << (left_shift + 1)),
        *(multiplier, -shift, rounding_constant(0, -shift)),
        *(of_out[0], -of_out[1], rounding_constant(out_zero, -of_out[1])),
        *bounds,
        -1 if negative else 0,
    ]


def mul_record(
    zero_points: tuple[int, int, int], of_out: tuple[int, int], bounds: tuple[int, int]
) -> list[int] | None:
    """tml_mul_dsp_data_t, or None where the kernel does not hold."""
    if not _is_short(of_out[1]):
        return None
    constant = rounding_constant(zero_points[2], -of_out[1])
    return [*zero_points[:2], of_out[0], -of_out[1], constant, *bounds]


def holds_lowest_product(of_out: tuple[int, int]) -> bool:
    """Whether the product of two lowest int16 values, which doubled saturates one below what it
    should be, is requantised to the same nonetheless."""
    multiplier, right = of_out[0], -of_out[1]
    high = (((1 << 31) - 1) * multiplier + (1 << 31)) >> 32
    seen = (high + rounding_constant(0, right)) >> right
    return seen == int(requantise(1 << 30, *of_out))


def requantise_record(
    zero_points: tuple[int, int], of_out: tuple[int, int], largest: int
) -> list[int] | None:
    """tml_requantise_dsp_data_t, or None where the kernel does not hold.

    Args:
        zero_points: of the input and the output.
        of_out: (multiplier, shift).
        largest: the magnitude of an input less its zero point.
    """
    multiplier, shift = of_out
    left, right = max(shift, 0) + 1, max(-shift, 0)
    if (largest << left) >= 1 << 31 or right > _LARGEST_SHIFT:
        return None
    constant = rounding_constant(zero_points[1], right)
    return [left, -(zero_points[0] << left), multiplier, right, constant, -1 if right else 0]


def _is_short(shift: int) -> bool:
    return 1 <= -shift <= _LARGEST_SHIFT
