# SPDX-License-Identifier: Apache-2.0
"""Random sliding windows."""

from __future__ import annotations

from hypothesis import assume
from hypothesis import strategies as st

from tinyml.ops import Window


def same_padding(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[int, int, int, int]:
    """TFLite's SAME: as many outputs as strides fit, the odd element at the end."""
    pads: list[int] = []
    for axis in range(2):
        outputs = -(-size[axis] // stride[axis])
        extent = (kernel[axis] - 1) * dilation[axis] + 1
        total = max((outputs - 1) * stride[axis] + extent - size[axis], 0)
        pads += [total // 2, total - total // 2]
    return pads[0], pads[1], pads[2], pads[3]


@st.composite
def windows(
    draw: st.DrawFn,
    size: tuple[int, int],
    *,
    dilated: bool = False,
    paddings: tuple[str, ...] = ("SAME", "VALID", "explicit"),
) -> Window:
    """A window that fits an input of ``size``, with one kind of padding."""
    kernel = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    stride = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    factor = st.integers(1, 3) if dilated else st.just(1)
    dilation = draw(factor), draw(factor)
    kind = draw(st.sampled_from(paddings))
    padding = (0, 0, 0, 0)
    if kind == "SAME":
        padding = same_padding(size, kernel, stride, dilation)
    elif kind == "explicit":
        rows = st.integers(0, kernel[0] - 1)
        columns = st.integers(0, kernel[1] - 1)
        padding = draw(rows), draw(rows), draw(columns), draw(columns)
    window = Window(kernel, stride, dilation, padding)
    rows_spanned, columns_spanned = window.extent
    assume(size[0] + padding[0] + padding[1] >= rows_spanned)
    assume(size[1] + padding[2] + padding[3] >= columns_spanned)
    return window
