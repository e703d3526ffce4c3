# SPDX-License-Identifier: Apache-2.0
"""Convolutions, pooling and resizing of images (1, c, h, w) and of sequences (1, c, length), which
are images of height 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from tinyml.importers.onnx.registry import Unsupported, attributes_of, translates
from tinyml.importers.transposed import Phases
from tinyml.ir.operator import Operator
from tinyml.ir.tensor import Array, Quantisation
from tinyml.ops import (
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    Gather,
    MaxPool2D,
    Mean,
    Pad,
    ReduceMax,
    Reshape,
    ResizeBilinear,
    Slice,
    Transpose,
    Window,
)

if TYPE_CHECKING:
    from tinyml.importers.onnx.importer import Translation

_TO_NHWC, _TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)
# Between (1, channels, length) and (1, length, channels).
_TURN = (0, 2, 1)


def _image(t: Translation, value: str) -> tuple[str, int]:
    """The tensor of a value as one image (1, h, w, c), and the value's rank."""
    shape = t.shape(value)
    if len(shape) == 4:
        return t.apply(Transpose(_TO_NHWC), [t.read(value)]), 4
    if len(shape) == 3:
        turned = t.apply(Transpose(_TURN), [t.read(value)])
        return t.apply(Reshape((1, 1, shape[2], shape[1])), [turned]), 3
    raise Unsupported(f"{len(shape) - 2}-dimensional windows; 1 and 2 dimensions are supported")


def _give(t: Translation, node: onnx.NodeProto, image: str, rank: int) -> None:
    """Binds an image (1, h, w, c) as the node's output, of the given rank."""
    shape = t.graph.tensors[image].shape
    if rank == 3:
        flat = t.apply(Reshape((1, shape[1] * shape[2], shape[3])), [image])
        t.bind(node.output[0], t.apply(Transpose(_TURN), [flat]))
    else:
        t.bind(node.output[0], t.apply(Transpose(_TO_NCHW), [image]))


def _two(values: Sequence[int], first: int) -> tuple[int, int]:
    """One or two numbers as (height, width)."""
    taken = [int(v) for v in values]
    return (first, taken[0]) if len(taken) == 1 else (taken[0], taken[1])


def _window(given: dict[str, Any], kernel: Sequence[int], size: Sequence[int]) -> Window:
    """The window of a convolution or pooling.

    Args:
        given: the node's attributes.
        kernel: one or two numbers.
        size: of the image, (height, width).
    """
    taps = _two(kernel, 1)
    stride = _two(given.get("strides", (1,) * len(kernel)), 1)
    dilation = _two(given.get("dilations", (1,) * len(kernel)), 1)
    mode = given.get("auto_pad", b"NOTSET").decode()
    padding: tuple[int, ...] = (0, 0, 0, 0)
    if mode == "NOTSET":
        pads = [int(p) for p in given.get("pads", (0,) * 2 * len(kernel))]
        padding = (0, 0, *pads) if len(kernel) == 1 else (pads[0], pads[2], pads[1], pads[3])
    elif mode != "VALID":
        pairs = []
        for axis in range(2):
            span = (taps[axis] - 1) * dilation[axis] + 1
            out = -(-size[axis] // stride[axis])
            total = max((out - 1) * stride[axis] + span - size[axis], 0)
            small, large = total // 2, total - total // 2
            pairs.append((small, large) if mode == "SAME_UPPER" else (large, small))
        padding = (*pairs[0], *pairs[1])
    top, bottom, left, right = padding
    if min(padding) < 0:
        raise Unsupported(f"negative padding {padding}")
    return Window(taps, stride, dilation, (top, bottom, left, right))


def _filters(t: Translation, node: onnx.NodeProto) -> Array:
    """The weights with two dimensions of taps."""
    weights = t.constant(node, 1)
    if weights is None or weights.ndim not in (3, 4):
        raise Unsupported("weights of another rank than 3 and 4")
    return weights[:, :, None] if weights.ndim == 3 else weights


def _bias(t: Translation, node: onnx.NodeProto, channels: int) -> Array:
    bias = t.constant(node, 2)
    return np.zeros(channels, np.float32) if bias is None else bias


@translates("Conv")
def _conv(t: Translation, node: onnx.NodeProto) -> None:
    weights = _filters(t, node)
    given = attributes_of(node)
    group = int(given.get("group", 1))
    bias = _bias(t, node, weights.shape[0])
    x, rank = _image(t, node.input[0])
    _, height, width, channels = t.graph.tensors[x].shape
    window = _window(given, weights.shape[2:] if rank == 4 else weights.shape[3:], (height, width))
    name = node.output[0]
    if group == channels and weights.shape[1] == 1:
        grid = t.stored(node.input[1], 0, 3)
        constants = [t.store(f"{name}_weights", weights.transpose(1, 2, 3, 0), grid)]
        constants.append(t.store(f"{name}_bias", bias))
        _give(t, node, t.apply(DepthwiseConv2D(window), [x, *constants]), rank)
        return
    taken, made = weights.shape[1], weights.shape[0] // group
    if taken * group != channels or made * group != weights.shape[0]:
        raise Unsupported(f"{weights.shape[0]} filters in {group} groups over {channels} channels")
    grid = t.stored(node.input[1], 0, 0)
    filters, parts = weights.transpose(0, 2, 3, 1), []
    for index in range(group):
        mine = slice(index * made, (index + 1) * made)
        part = f"{name}_{index}" if group > 1 else name
        constants = [t.store(f"{part}_weights", filters[mine], _of_rows(grid, mine))]
        constants.append(t.store(f"{part}_bias", bias[mine]))
        source = x
        if group > 1:
            cut = Slice((0, 0, 0, index * taken), (1, height, width, taken))
            source = t.apply(cut, [x])
        parts.append(t.apply(Conv2D(window), [source, *constants]))
    _give(t, node, parts[0] if group == 1 else t.apply(Concatenation(3), parts), rank)


def _of_rows(grid: Quantisation | None, rows: slice) -> Quantisation | None:
    """The grid of some output channels."""
    if grid is None or grid.axis is None:
        return grid
    return Quantisation(grid.scale[rows], grid.zero_point[rows], 0)


@translates("ConvTranspose")
def _conv_transpose(t: Translation, node: onnx.NodeProto) -> None:
    weights = _filters(t, node)
    given = attributes_of(node)
    x, rank = _image(t, node.input[0])
    _, height, width, channels = t.graph.tensors[x].shape
    taps, dims = (weights.shape[2], weights.shape[3]), rank - 2
    stride = _two(given.get("strides", (1,) * dims), 1)
    if given.get("group", 1) != 1 or max(given.get("dilations", (1,))) > 1:
        raise Unsupported("groups or dilations")
    if given.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or "output_shape" in given:
        raise Unsupported("auto_pad or output_shape; pads and output_padding are supported")
    pads = [int(p) for p in given.get("pads", (0,) * 2 * dims)]
    before, after = _two(pads[:dims], 0), _two(pads[dims:], 0)
    extra = _two(given.get("output_padding", (0,) * dims), 0)
    wanted = [
        (size - 1) * stride[axis] + taps[axis] + extra[axis] - before[axis] - after[axis]
        for axis, size in enumerate((height, width))
    ]
    if channels != weights.shape[0] or min(wanted) < 1:
        raise Unsupported(f"weights of {weights.shape} over {channels} channels")
    phases = Phases.of((height, width), (wanted[0], wanted[1]), taps, stride, before)
    grid, filters = t.stored(node.input[1], 1, 0), weights.transpose(1, 2, 3, 0)
    if grid is not None and grid.axis is not None:
        scale = phases.per_channel(np.array(grid.scale))
        grid = Quantisation.per_channel(scale, 0)
    bias = _bias(t, node, weights.shape[1])
    constants = [t.store(f"{node.output[0]}_weights", phases.weights(filters), grid)]
    constants.append(t.store(f"{node.output[0]}_bias", phases.per_channel(bias)))
    made = t.apply(Conv2D(phases.window), [x, *constants])
    for op in phases.moves(t.graph.tensors[made].shape):
        made = t.apply(op, [made])
    _give(t, node, made, rank)


@translates("MaxPool", "AveragePool")
def _pool(t: Translation, node: onnx.NodeProto) -> None:
    given = attributes_of(node)
    if len(node.output) > 1 and node.output[1]:
        raise Unsupported("the positions as a second output")
    x, rank = _image(t, node.input[0])
    _, height, width, _ = t.graph.tensors[x].shape
    window = _window(given, given["kernel_shape"], (height, width))
    if given.get("ceil_mode", 0):
        window = _ceiling(window, (height, width), node.op_type)
    if node.op_type == "MaxPool":
        _give(t, node, t.apply(MaxPool2D(window), [x]), rank)
        return
    if max(window.dilation) > 1:
        raise Unsupported("dilations")
    top, bottom, left, right = window.used_padding(height, width)
    if max(top, bottom, left, right) and given.get("count_include_pad", 0):
        # Padding that counts as zeros is padding by zeros.
        x = t.apply(Pad((0, top, left, 0), (0, bottom, right, 0)), [x])
        window = Window(window.kernel, window.stride)
    _give(t, node, t.apply(AveragePool2D(window), [x]), rank)


def _ceiling(window: Window, size: Sequence[int], kind: str) -> Window:
    """The window whose output size is rounded up; the extra positions see padding."""
    top, bottom, left, right = window.padding
    extra = []
    for axis, before, after in ((0, top, bottom), (1, left, right)):
        span = size[axis] + before + after - window.extent[axis]
        added = -span % window.stride[axis]
        # A window that would begin in the padding behind the input is left out.
        last = (span + added) // window.stride[axis] * window.stride[axis]
        extra.append(0 if last >= size[axis] + before else added)
    if any(extra) and kind == "AveragePool":
        raise Unsupported("ceil_mode whose windows reach beyond the input")
    padding = (top, bottom + extra[0], left, right + extra[1])
    return Window(window.kernel, window.stride, window.dilation, padding)


@translates("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(t: Translation, node: onnx.NodeProto) -> None:
    x, rank = _image(t, node.input[0])
    op: Operator = Mean() if node.op_type == "GlobalAveragePool" else ReduceMax()
    _give(t, node, t.apply(op, [x]), rank)


@translates("DepthToSpace", "SpaceToDepth")
def _pixels(t: Translation, node: onnx.NodeProto) -> None:
    given = attributes_of(node)
    block = int(given["blocksize"])
    x, rank = _image(t, node.input[0])
    _, height, width, channels = t.graph.tensors[x].shape
    if node.op_type == "SpaceToDepth":
        if height % block or width % block:
            raise Unsupported(f"blocks of {block} in {height}x{width}")
        split = (height // block, block, width // block, block * channels)
        made = (1, height // block, width // block, channels * block * block)
    else:
        depth = channels // (block * block)
        if given.get("mode", b"DCR") == b"CRD":
            order = np.arange(channels).reshape(depth, block * block).T
            x = t.apply(Gather(3), [x, t.ids(f"{node.output[0]}_order", order.ravel())])
        split = (height, width, block, block * depth)
        made = (1, height * block, width * block, depth)
    x = t.apply(Reshape(split), [x])
    x = t.apply(Transpose((0, 2, 1, 3)), [x])
    _give(t, node, t.apply(Reshape(made), [x]), rank)


@translates("Resize", "Upsample")
def _resize(t: Translation, node: onnx.NodeProto) -> None:
    given = attributes_of(node)
    x, rank = _image(t, node.input[0])
    _, height, width, _ = t.graph.tensors[x].shape
    wanted, scales = _resized(t, node, (height, width), rank)
    mode = given.get("mode", b"nearest").decode()
    default = "asymmetric" if node.op_type == "Upsample" else "half_pixel"
    where = given.get("coordinate_transformation_mode", default.encode()).decode()
    if mode == "linear":
        if rank != 4 or any(
            wanted[i] != round(s * (height, width)[i]) for i, s in enumerate(scales)
        ):
            raise Unsupported("linear resizing of sequences, or by a scale that is rounded")
        if where not in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
            raise Unsupported(f"the coordinates {where}")
        if where == "pytorch_half_pixel" and min(wanted) == 1:
            raise Unsupported("an output of one pixel")
        op = ResizeBilinear(wanted, where == "align_corners", where.endswith("half_pixel"))
        _give(t, node, t.apply(op, [x]), rank)
        return
    if mode != "nearest":
        raise Unsupported(f"the mode {mode}; nearest and linear are supported")
    rounding = given.get("nearest_mode", b"round_prefer_floor").decode()
    if node.op_type == "Upsample":
        rounding = "floor"
    for axis in range(2):
        size = (height, width)[axis]
        places = _sources(size, wanted[axis], scales[axis], where, rounding)
        if places != list(range(size)):
            ids = t.ids(f"{node.output[0]}_axis_{axis}", np.array(places))
            x = t.apply(Gather(1 + axis), [x, ids])
    _give(t, node, x, rank)


def _resized(
    t: Translation, node: onnx.NodeProto, size: tuple[int, int], rank: int
) -> tuple[tuple[int, int], tuple[float, float]]:
    """The output's height and width, and the factor of each."""
    sizes = t.constant(node, 3)
    scales = t.constant(node, 1 if node.op_type == "Upsample" else 2)
    if t.opset < 11 and node.op_type == "Resize":
        scales = t.constant(node, 1)
    if "axes" in attributes_of(node) or attributes_of(node).get("antialias", 0):
        raise Unsupported("axes or antialias")
    if sizes is not None and sizes.size == rank:
        wanted = _two(sizes.ravel()[2:].tolist(), 1)
        return wanted, (wanted[0] / size[0], wanted[1] / size[1])
    if scales is None or scales.size != rank or np.any(scales.ravel()[:2] != 1):
        raise Unsupported("scales of other axes than height and width")
    taken = [1.0] * (4 - rank) + [float(s) for s in scales.ravel()[2:]]
    made = [math.floor(s * f) for s, f in zip(size, taken, strict=True)]
    if min(made) < 1:
        raise Unsupported(f"an output of {made}")
    return (made[0], made[1]), (taken[0], taken[1])


def _sources(size: int, wanted: int, scale: float, where: str, rounding: str) -> list[int]:
    """The source of each output position. Source: ONNX operator Resize."""
    at = np.arange(wanted, dtype=np.float64)
    if where in ("half_pixel", "pytorch_half_pixel"):
        at = (at + 0.5) / scale - 0.5 if wanted > 1 or where == "half_pixel" else at * 0
    elif where == "align_corners":
        at = at * (size - 1) / (wanted - 1) if wanted > 1 else at * 0
    elif where == "asymmetric":
        at = at / scale
    else:
        raise Unsupported(f"the coordinates {where}")
    if rounding == "round_prefer_floor":
        at = np.ceil(at - 0.5)
    elif rounding == "round_prefer_ceil":
        at = np.floor(at + 0.5)
    else:
        at = np.ceil(at) if rounding == "ceil" else np.floor(at)
    return [int(v) for v in np.clip(at, 0, size - 1)]
