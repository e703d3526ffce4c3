# SPDX-License-Identifier: Apache-2.0
"""The runtimes other people wrote: TFLite-Micro, LiteRT and onnxruntime, from Python."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyml.errors import TinymlError
from tinyml.ir.graph import Graph
from tinyml.ir.tensor import Array

if TYPE_CHECKING:
    from collections.abc import Iterator

Feed = Mapping[str, Array]

# What TFLite-Micro needs beside tensors: its own records, and scratch buffers.
_ARENA_SLACK = 1 << 20


@contextmanager
def _quiet() -> Iterator[None]:
    """Drops what C++ libraries print to standard error about themselves."""
    saved = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)


class TfliteMicro:
    """TFLite-Micro's interpreter with its reference kernels, the oracle.

    Args:
        model: a .tflite file's bytes.
        graph: its graph, for the order of inputs and outputs.
    """

    def __init__(self, model: bytes, graph: Graph) -> None:
        from tflite_micro.python.tflite_micro import runtime

        self._inputs, self._outputs = list(graph.inputs), list(graph.outputs)
        self._tensors = {n: graph.tensors.get(n) for n in (*graph.inputs, *graph.outputs)}
        try:
            # Its default arena is a multiple of the file, too small for large activations.
            arena = (
                _ARENA_SLACK
                + 16 * len(model)
                + 4 * sum(t.bytes for t in graph.tensors.values() if not t.is_constant)
            )
            self._interpreter: Any = runtime.Interpreter.from_bytes(model, arena_size=arena)
        except Exception as error:
            raise TinymlError(f"TFLite-Micro refuses the model: {error}") from None

    def run(self, feed: Feed) -> list[Array]:
        """The outputs of one sample as the graph's integers, also where the file has floats."""
        for index, name in enumerate(self._inputs):
            value, tensor = feed[name], self._tensors[name]
            real = self._interpreter.get_input_details(index)["dtype"] is np.float32
            if real and tensor is not None and tensor.quant is not None:
                value = tensor.quant.dequantise(value)
            self._interpreter.set_input(value, index)
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            raise TinymlError(f"TFLite-Micro cannot run the model: {error}") from None
        return [self._integers(i, name) for i, name in enumerate(self._outputs)]

    def _integers(self, index: int, name: str) -> Array:
        value, tensor = np.array(self._interpreter.get_output(index)), self._tensors[name]
        if value.dtype != np.float32 or tensor is None or tensor.quant is None:
            return value
        return tensor.quant.quantise(value, tensor.dtype)


class LiteRt:
    """LiteRT, keeping every intermediate tensor.

    Args:
        model: a .tflite file's bytes.
        reference: its reference kernels; else the ones that LiteRT has of every operator.
    """

    def __init__(self, model: bytes, *, reference: bool = True) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        try:
            with _quiet():
                self._interpreter: Any = Interpreter(
                    model_content=model,
                    experimental_op_resolver_type=OpResolverType.BUILTIN_REF
                    if reference
                    else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                    experimental_preserve_all_tensors=True,
                )
                self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise TinymlError(f"LiteRT refuses the model: {error}") from None
        self._names = {d["name"]: d["index"] for d in self._interpreter.get_tensor_details()}

    def run(self, feed: Feed) -> dict[str, Array]:
        """Every tensor of one sample by name."""
        for name, value in feed.items():
            self._interpreter.set_tensor(self._names[name], value)
        self._interpreter.invoke()
        return {n: self._interpreter.get_tensor(i) for n, i in self._names.items()}


class OnnxRuntime:
    """onnxruntime on an ONNX model.

    Args:
        model: the model's bytes.
        optimise: whether onnxruntime may replace quantise/dequantise pairs by int8 kernels.
    """

    def __init__(self, model: bytes, *, optimise: bool = True) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        level = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = (
            level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
        )
        try:
            self._session: Any = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise TinymlError(f"onnxruntime refuses the model: {error}") from None
        self._inputs = [i.name for i in self._session.get_inputs()]
        self._takes_ids = [i.type == "tensor(int32)" for i in self._session.get_inputs()]

    def run_samples(self, values: Sequence[Array]) -> list[Array]:
        """`run` on samples as files hold them: ids may be stored as reals."""
        pairs = zip(values, self._takes_ids, strict=True)
        return self.run([v.astype(np.int32) if ids else v for v, ids in pairs])

    def run(self, values: Sequence[Array]) -> list[Array]:
        """The outputs for inputs in the model's own order and layout."""
        return list(self._session.run(None, dict(zip(self._inputs, values, strict=True))))


def to_onnx_layout(array: Array) -> Array:
    """An NHWC array as the NCHW that ONNX models take; other ranks unchanged."""
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2)) if array.ndim == 4 else array


def from_onnx_layout(array: Array) -> Array:
    """The inverse of `to_onnx_layout`."""
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if array.ndim == 4 else array
