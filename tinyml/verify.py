# SPDX-License-Identifier: Apache-2.0
"""Runs an export on every runtime and compares the integers.

The numpy reference is the definition. C on the host, C on the emulated target and TFLite-Micro
must equal it bit for bit; LiteRT layer by layer but for the exceptions named here; onnxruntime,
whose QDQ form defines no integers, layer by layer within the bound named here, and at the outputs
within what two roundings of one network may lie apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinyml.errors import TinymlError, VerificationError
from tinyml.ir.execute import initial_state, run
from tinyml.ir.graph import Graph, Node
from tinyml.ir.operator import Operator
from tinyml.ir.real import run_real
from tinyml.ir.tensor import Array, DType, Tensor
from tinyml.ops import (
    Abs,
    BatchMatMul,
    Conv2D,
    FullyConnected,
    LeakyRelu,
    Logistic,
    MaskedSoftmax,
    Mul,
    Rsqrt,
    Softmax,
    SquaredDifference,
    Sum,
    Tanh,
)
from tinyml.progress import Progress, silent
from tinyml.runtimes.build import build_program
from tinyml.runtimes.compiled import Feed, run_program
from tinyml.runtimes.interpreters import (
    LiteRt,
    OnnxRuntime,
    TfliteMicro,
    from_onnx_layout,
    to_onnx_layout,
)
from tinyml.targets import Target
from tinyml.writers.onnx import write_onnx
from tinyml.writers.tflite import write_tflite

# LiteRT's exceptions. Its fully connected and matrix product kernels round once where TFLite-Micro
# and CMSIS-NN round twice; its logistic and tanh are tables of the C library's functions, ours
# fixed point; its leaky_relu forms multipliers in single precision.
LITERT_LSB: dict[type, int] = {
    Abs: 1,
    BatchMatMul: 1,
    FullyConnected: 1,
    LeakyRelu: 1,
    Logistic: 1,
    Tanh: 1,
}
# More of them in int16: its product rounds once, and an entry or two of its table of exponentials
# are one higher.
LITERT_INT16_LSB: dict[type, int] = {Mul: 1, Softmax: 4}
# What LiteRT computes wrongly by up to the whole range, by the type of the output. It refuses a
# file with the last of them.
LITERT_WRONG: dict[type, tuple[DType, ...]] = {
    Sum: (DType.INT8, DType.INT16),
    Rsqrt: (DType.INT16,),
    Conv2D: (DType.INT16,),
    SquaredDifference: (DType.INT16,),
}
# QDQ defines no integers: an operator given the reference's integers may round to a neighbour.
ONNX_LSB = 1
# Functions that TFLite computes from int16 tables or with 16-bit multipliers, more roughly than
# onnxruntime in float.
ONNX_INT16_LSB: dict[type, int] = {
    MaskedSoftmax: 9,
    Rsqrt: 4,
    Softmax: 12,
    SquaredDifference: 8,
    Tanh: 4,
}
# TFLite's int16 exponential ends at exp(-10), which it holds as 2 / 32768: so much each far element
# of a softmax row takes from the shares of the others.
ONNX_SOFTMAX_TAIL_LSB = 2
# Layer-by-layer comparison costs as much as the reference itself.
LAYER_SAMPLES = 32


@dataclass(frozen=True)
class Check:
    """One runtime against the reference.

    Args:
        runtime: what ran.
        samples: how many.
        max_lsb: largest difference of any output integer.
        allowed_lsb: the bound of ``max_lsb``; None where there is none.
        scope: what was compared, "outputs" or "every layer".
        rms_lsb, allowed_rms_lsb: root mean square difference of the output integers on the samples
            whose layers were compared, and its bound (`two_roundings`); None where the outputs
            must be equal, or have no grid.
    """

    runtime: str
    samples: int
    max_lsb: int
    allowed_lsb: int | None
    scope: str = "outputs"
    rms_lsb: float | None = None
    allowed_rms_lsb: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def reference_outputs(
    graph: Graph, feeds: Sequence[Feed], progress: Progress = silent
) -> list[list[Array]]:
    """The integer reference's outputs for each sample."""
    advance = progress("Integer reference", len(feeds))
    expected = []
    state = initial_state(graph)
    for feed in feeds:
        values = run(graph, feed, state)
        expected.append([values[name] for name in graph.outputs])
        advance()
    return expected


def verify_interpreters(
    graph: Graph,
    tflite: bytes,
    onnx: bytes | None,
    feeds: Sequence[Feed],
    expected: Sequence[Sequence[Array]],
    progress: Progress = silent,
) -> list[Check]:
    """Compares TFLite-Micro, LiteRT and onnxruntime with the reference.

    Args:
        onnx: None for a model that keeps state, which ONNX cannot.

    Raises:
        VerificationError: naming the runtime, the sample and the first operator that differs.
    """
    checks = [
        verify_tflite_micro(graph, tflite, feeds, expected, progress),
        _check_litert(graph, tflite, feeds[:LAYER_SAMPLES], progress),
    ]
    if onnx is None:
        return checks
    return [
        *checks,
        *_check_onnx(graph, onnx, feeds, expected, progress, optimise=True),
        *_check_onnx(graph, onnx, feeds, expected, progress, optimise=False),
    ]


def verify_tflite_micro(
    graph: Graph,
    tflite: bytes,
    feeds: Sequence[Feed],
    expected: Sequence[Sequence[Array]],
    progress: Progress = silent,
    name: str = "",
) -> Check:
    """Compares the TFLite-Micro interpreter with the reference.

    Args:
        tflite: our file, or the user's own that ``graph`` was read from.
        name: of the user's file.

    Raises:
        VerificationError: naming the sample and the first operator that differs.
    """
    label = f"TFLite-Micro interpreter{f' on {name}' if name else ''}"
    advance = progress(label, len(feeds))
    runtime = TfliteMicro(tflite, graph)
    for index, (feed, wanted) in enumerate(zip(feeds, expected, strict=True)):
        if _difference(runtime.run(feed), wanted):
            every = tuple(n.output for n in graph.nodes)
            exposed = Graph(graph.name, graph.tensors, graph.nodes, graph.inputs, [])
            exposed.outputs = [*graph.outputs, *(e for e in every if e not in graph.outputs)]
            seen = TfliteMicro(write_tflite(graph, expose=every), exposed).run(feed)
            named = dict(zip(exposed.outputs, seen, strict=True))
            _blame("TFLite-Micro", index, graph, feed, named)
        advance()
    return Check(label, len(feeds), 0, 0)


def verify_file(
    graph: Graph,
    tflite: bytes,
    not_micro: str,
    feeds: Sequence[Feed],
    expected: Sequence[Sequence[Array]],
    progress: Progress = silent,
    name: str = "",
) -> Check:
    """Compares the user's own file with the reference: outputs under TFLite-Micro, or every layer
    under LiteRT where TFLite-Micro cannot run the file.

    Args:
        not_micro: why TFLite-Micro is no measure, empty where it may be one.

    Raises:
        VerificationError: naming the sample and the first operator that differs.
    """
    if not not_micro:
        try:
            TfliteMicro(tflite, graph).run(feeds[0])
        except TinymlError:
            not_micro = "it lacks an operator of the file"
    if not not_micro:
        return verify_tflite_micro(graph, tflite, feeds, expected, progress, name)
    label = f"LiteRT on {name} (no TFLite-Micro: {not_micro})"
    advance = progress(f"LiteRT on {name}", len(feeds))
    try:
        runtime = LiteRt(tflite)
    except TinymlError:
        runtime = LiteRt(tflite, reference=False)
    largest, known = 0, 0
    for index, feed in enumerate(feeds[:LAYER_SAMPLES]):
        seen = {**feed, **runtime.run(feed)}
        nodes = [n for n in graph.nodes if _is_seen(graph, n, seen)]
        some = Graph(graph.name, graph.tensors, nodes, graph.inputs, graph.outputs)
        largest = max(largest, _check_layers("LiteRT", index, some, seen, _file_lsb))
        known = len(nodes)
        advance()
    if not known:
        raise VerificationError(
            f"no layer of {name} could be compared with LiteRT: the file's tensors have no names"
        )
    return Check(label, min(len(feeds), LAYER_SAMPLES), largest, 1, f"{known} layers")


def _is_seen(graph: Graph, node: Node, seen: Mapping[str, Array]) -> bool:
    """Whether the file has the node's input and output under their names, in these types."""
    tensors = [graph.out(node), *(t for t in graph.ins(node) if t.data is None)]
    return all(
        t.name in seen and seen[t.name].shape == t.shape and seen[t.name].dtype == t.dtype.numpy
        for t in tensors
    )


def _file_lsb(op: Operator, out: Tensor) -> int | None:
    """Outside its reference kernels LiteRT rounds differently here and there."""
    bound = litert_lsb(op, out)
    return None if bound is None else max(bound, 1)


def _check_litert(graph: Graph, tflite: bytes, feeds: Sequence[Feed], progress: Progress) -> Check:
    """Every layer that LiteRT computes; no sample where it refuses the file."""
    label = "LiteRT reference kernels"
    wide = [type(n.op) for n in graph.nodes if graph.out(n).dtype is DType.INT16]
    if SquaredDifference in wide:
        return Check(f"{label} (no int16 SQUARED_DIFFERENCE)", 0, 0, None, "every layer")
    if graph.variables:
        return Check(f"{label} (the model keeps state)", 0, 0, None, "every layer")
    advance = progress(label, len(feeds))
    bound: Callable[[Operator, Tensor], int | None] = litert_lsb
    try:
        runtime = LiteRt(tflite)
    except TinymlError:
        # It has no reference kernel of ELU.
        runtime, bound, label = LiteRt(tflite, reference=False), _file_lsb, "LiteRT"
    largest = 0
    for index, feed in enumerate(feeds):
        found = _check_layers("LiteRT", index, graph, runtime.run(feed), bound)
        largest = max(largest, found)
        advance()
    bounds = (bound(n.op, graph.out(n)) for n in graph.nodes)
    allowed = max((b for b in bounds if b is not None), default=0)
    return Check(label, len(feeds), largest, allowed, "every layer")


def litert_lsb(op: Operator, out: Tensor) -> int | None:
    """LiteRT's allowed difference from the reference, None where it is wrong."""
    if out.dtype in LITERT_WRONG.get(type(op), ()):
        return None
    return max(
        LITERT_LSB.get(type(op), 0),
        LITERT_INT16_LSB.get(type(op), 0) if out.dtype is DType.INT16 else 0,
    )


def onnx_lsb(op: Operator, out: Tensor) -> int:
    """onnxruntime's allowed difference from the reference."""
    if out.dtype is not DType.INT16:
        return ONNX_LSB
    tail = ONNX_SOFTMAX_TAIL_LSB * out.shape[-1] if isinstance(op, Softmax) else 0
    return ONNX_INT16_LSB.get(type(op), ONNX_LSB) + tail


def _check_onnx(
    graph: Graph,
    onnx: bytes,
    feeds: Sequence[Feed],
    expected: Sequence[Sequence[Array]],
    progress: Progress,
    *,
    optimise: bool,
) -> list[Check]:
    """Every layer within the bound on some samples, and the outputs, where differences have gone
    through the network: within `two_roundings` on the same samples, the largest of all samples."""
    label = f"onnxruntime, optimisation {'on' if optimise else 'off'}"
    advance = progress(label, len(feeds))
    runtime = OnnxRuntime(onnx, optimise=optimise)
    every = tuple(n.output for n in graph.nodes)
    exposed = OnnxRuntime(write_onnx(graph, expose=every), optimise=optimise)
    names = [*graph.outputs, *(n for n in every if n not in graph.outputs)]
    largest = at_output = 0
    outputs: list[list[Array]] = []
    for index, (feed, wanted) in enumerate(zip(feeds, expected, strict=True)):
        values = [to_onnx_layout(feed[n]) for n in graph.inputs]
        seen = [from_onnx_layout(a) for a in runtime.run(values)]
        at_output = max(at_output, _difference(seen, wanted))
        if index < LAYER_SAMPLES:
            outputs.append(seen)
            tensors = [from_onnx_layout(a) for a in exposed.run(values)]
            by_name = {**feed, **dict(zip(names, tensors, strict=True))}
            found = _check_layers(label, index, graph, by_name, onnx_lsb)
            largest = max(largest, found)
        advance()
    layers = min(len(feeds), LAYER_SAMPLES)
    allowed = max((onnx_lsb(n.op, graph.out(n)) for n in graph.nodes), default=ONNX_LSB)
    if any(graph.tensors[n].quant is None for n in graph.outputs):
        apart = bound = None
    else:
        apart = _root_mean_square(outputs, expected[:layers])
        bound = two_roundings(graph, feeds[:layers], expected[:layers])
        # Not "apart > bound", which a value that is no number would pass.
        if not apart <= bound:
            raise VerificationError(
                f"{label}: the outputs lie {apart:.1f} LSB (root mean square) from the integer "
                f"reference; two roundings of this network would lie at most {bound:.1f} LSB apart"
            )
    return [
        Check(label, layers, largest, allowed, "every layer"),
        Check(label, len(feeds), at_output, None, "outputs", apart, bound),
    ]


def two_roundings(
    graph: Graph, feeds: Sequence[Feed], expected: Sequence[Sequence[Array]]
) -> float:
    """How far, root mean square in LSB of the outputs, two runtimes may lie apart that round the
    same network at the same places, each layer to a neighbour of its real value.

    Were their errors independent, sqrt(2) times as far as one lies from the network without
    rounding; what they share brings them nearer. The last rounding may differ by its own LSB.

    Args:
        graph: whose outputs have grids.
        expected: the reference's outputs of ``feeds``.
    """
    real = []
    for feed in feeds:
        values = run_real(graph, feed)
        grids = [graph.tensors[n].q for n in graph.outputs]
        exact = zip(graph.outputs, grids, strict=True)
        real.append([values[n].astype(np.float64) / q.s + q.z for n, q in exact])
    return math.sqrt(2) * _root_mean_square(real, expected) + 1


def _root_mean_square(
    samples: Sequence[Sequence[Array]], wanted: Sequence[Sequence[Array]]
) -> float:
    pairs = [
        (np.asarray(a, np.float64), b)
        for sample, right in zip(samples, wanted, strict=True)
        for a, b in zip(sample, right, strict=True)
    ]
    total = sum(float(np.sum(np.square(a - b))) for a, b in pairs)
    return math.sqrt(total / sum(b.size for _, b in pairs))


def _check_layers(
    runtime: str,
    sample: int,
    graph: Graph,
    seen: Mapping[str, Array],
    allowed: Callable[[Operator, Tensor], int | None],
) -> int:
    """Largest difference of any layer from the reference on the runtime's own inputs, so that an
    allowed difference upstream neither hides nor excuses one downstream.

    Raises:
        VerificationError: a layer differs by more than is allowed; None allows anything.
    """
    largest = 0
    for node in graph.nodes:
        ins, out = graph.ins(node), graph.out(node)
        inputs = [t.data if t.data is not None else seen[t.name] for t in ins]
        off = _difference([seen[out.name]], [node.op.run_int(inputs, ins, out)])
        bound = allowed(node.op, out)
        if bound is None:
            continue
        if off > bound:
            _fail(runtime, sample, node, off)
        largest = max(largest, off)
    return largest


def verify_c(
    graph: Graph,
    c_dir: Path,
    target: Target,
    feeds: Sequence[Feed],
    expected: Sequence[Sequence[Array]],
    build_dir: Path,
    progress: Progress = silent,
) -> Check:
    """Compares the compiled C with the reference.

    Args:
        graph: the int8 graph that the C was written from.
        target: host, or a board that is emulated.

    Raises:
        VerificationError: naming the sample and the first operator that differs.
    """
    label = "C on the host" if target.is_host else f"C on {target.name}"
    advance = progress(label, 1)
    program = build_program(c_dir, graph.name, target, build_dir / "plain")
    outputs = run_program(program, target, graph, feeds).outputs
    for index, (seen, wanted) in enumerate(zip(outputs, expected, strict=True)):
        if _difference(seen, wanted):
            traced = build_program(c_dir, graph.name, target, build_dir / "traced", trace=True)
            traces = run_program(traced, target, graph, [feeds[index]], trace=True).traces[0]
            names = [n.output for n in graph.nodes]
            _blame(label, index, graph, feeds[index], dict(zip(names, traces, strict=True)))
    advance()
    suffix = "" if target.is_host else f" ({target.qemu.machine}, QEMU)" if target.qemu else ""
    return Check(label + suffix, len(feeds), 0, 0)


def _difference(seen: Sequence[Array], wanted: Sequence[Array]) -> int:
    """Largest absolute difference; shapes that differ count as everything."""
    worst = 0
    for a, b in zip(seen, wanted, strict=True):
        if a.shape != b.shape:
            return 255
        worst = max(worst, int(np.max(np.abs(a.astype(np.int64) - b), initial=0)))
    return worst


def _blame(runtime: str, sample: int, graph: Graph, feed: Feed, seen: dict[str, Array]) -> None:
    """Raises for the first node whose recorded output differs from the reference."""
    if graph.variables:
        raise VerificationError(f"{runtime} differs from the reference on sample {sample}")
    wanted = run(graph, feed)
    for node in graph.nodes:
        made, expected = seen[node.output], wanted[node.output]
        if made.size < expected.size:
            expected = expected.ravel()[: made.size]
        off = _difference([made], [expected])
        if off:
            _fail(runtime, sample, node, off)
    raise VerificationError(
        f"{runtime} differs from the reference on sample {sample}, yet every layer agrees when "
        "run alone",
        "An output buffer is overwritten after it was computed; please report this model.",
    )


def _fail(runtime: str, sample: int, node: Node, off: int) -> None:
    raise VerificationError(
        f"{runtime} differs from the integer reference by {off} on sample {sample}; the first "
        f"operator that differs is {node.op.kind} '{node.name}' (tensor '{node.output}')"
    )
