# SPDX-License-Identifier: Apache-2.0
"""Chooses every scale and makes the integer Graph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinyml.errors import QuantisationError
from tinyml.ir.graph import Graph, Node
from tinyml.ir.operator import Rule, affine
from tinyml.ir.tensor import DType, Quantisation, Tensor
from tinyml.ops import Requantise
from tinyml.quantize.calibrate import Calibration

Grid = tuple[DType, Quantisation]


def check_finite(graph: Graph) -> None:
    """Raises QuantisationError naming the first layer with a NaN or infinite constant."""
    for node in graph.nodes:
        for tensor in graph.ins(node):
            if tensor.data is not None and not np.all(np.isfinite(tensor.data)):
                raise QuantisationError(
                    f"layer '{node.name}' has NaN or infinite values in its constant "
                    f"'{tensor.name}'",
                    "The training diverged or the file is damaged; load a good checkpoint.",
                )


def quantise(graph: Graph, calibration: Calibration, wide: frozenset[str] = frozenset()) -> Graph:
    """The integer graph of a float graph: integer inputs, outputs and everything between.

    Activations are int8 per tensor, asymmetric, or int16, symmetric; weights int8 per channel,
    symmetric; biases int32, or int64 beside int16. Operators that only move integers keep their
    input's grid; operators with a known range get TFLite's fixed grid. A tensor read on another
    grid or in another type than its own is requantised, once for all its readers.

    Args:
        wide: activations and inputs that are int16 (see `quantize.precision`).
    """
    return _Quantiser(graph, calibration, wide).run()


class _Quantiser:
    """The state of one quantisation: float graph in, integer graph out."""

    def __init__(self, graph: Graph, calibration: Calibration, wide: frozenset[str]) -> None:
        self._graph = graph
        self._ranges = calibration.ranges
        self._wide = wide
        self._grids: dict[str, Grid] = {}
        self._converted: dict[tuple[str, Grid], str] = {}
        self._made = Graph(graph.name, {}, [], list(graph.inputs), list(graph.outputs))
        self._made.source_layout = dict(graph.source_layout)
        self._made.scaling = graph.scaling

    def run(self) -> Graph:
        for name in self._graph.inputs:
            tensor = self._graph.tensors[name]
            if tensor.dtype is DType.FLOAT32:
                self._grids[name] = self._stated(tensor) or self._observed(name, self._dtype(name))
                self._made.tensors[name] = _on(tensor, self._grids[name])
            else:  # ids keep their integers
                self._made.tensors[name] = tensor
        for node in self._graph.nodes:
            self._grids[node.output] = self._grid(node)
            self._share(node)
        for node in self._graph.nodes:
            self._node(node)
        self._made.check()
        return self._made

    def _dtype(self, tensor: str) -> DType:
        return DType.INT16 if tensor in self._wide else DType.INT8

    @staticmethod
    def _stated(tensor: Tensor) -> Grid | None:
        """The grid that the model's file gives a float tensor."""
        return None if tensor.quant is None else (DType.INT8, tensor.quant)

    def _observed(self, tensor: str, dtype: DType) -> Grid:
        return dtype, affine(*self._ranges[tensor], dtype)

    def _grid(self, node: Node) -> Grid:
        dtype = self._dtype(node.output)
        stated = self._stated(self._graph.out(node))
        if stated is not None:
            return stated
        if node.op.rule is Rule.FIXED:
            return dtype, node.op.fixed_quantisation(dtype)
        if node.op.rule is Rule.SAME_AS_INPUT:
            source = self._graph.ins(node)[0]
            if source.data is not None:
                constants = node.op.quantise_constants(
                    self._graph.ins(node), [None] * len(node.inputs)
                )
                return DType.INT8, constants[0].q
            return self._as(source.name, dtype)
        return self._observed(node.output, dtype)

    def _as(self, tensor: str, dtype: DType) -> Grid:
        """The grid on which a reader of ``dtype`` sees a tensor."""
        own = self._grids[tensor]
        if own[0] is dtype:
            return own
        if dtype is DType.INT16:
            # Nothing finer is left of it than its int8: on the same scale nothing is rounded.
            return dtype, Quantisation.per_tensor(own[1].s, 0)
        return self._observed(tensor, dtype)

    def _share(self, node: Node) -> None:
        """Lets the producers of inputs that must share the output's grid write it directly."""
        if not node.op.aligns_inputs:
            return
        for name in node.inputs:
            producer = self._graph.producer(name)
            if (
                producer is not None
                and producer.op.rule is Rule.CALIBRATED
                and not producer.op.aligns_inputs
                and self._graph.consumers(name) == [node]
                and self._graph.tensors[name].quant is None
                and self._dtype(name) is self._dtype(node.output)
            ):
                self._grids[name] = self._grids[node.output]

    def _node(self, node: Node) -> None:
        ins, out = self._graph.ins(node), self._graph.out(node)
        grid = self._grids[out.name]
        inputs = list(node.inputs)
        for index, tensor in enumerate(ins):
            if tensor.name in self._grids:
                dtype = node.op.input_dtype(grid[0]) or self._grids[tensor.name][0]
                wanted = grid if node.op.aligns_inputs else self._as(tensor.name, dtype)
                inputs[index] = self._read(tensor, wanted, node)
        known = [self._made.tensors.get(i, t) for i, t in zip(inputs, ins, strict=True)]
        quants = [None if t.is_constant else t.quant for t in known]
        for index, constant in node.op.quantise_constants(known, quants).items():
            if node.op.aligns_inputs:
                values = grid[1].quantise(known[index].values, grid[0])
                constant = known[index].with_data(values, grid[1])
            # A constant shared by two layers may need two scales.
            inputs[index] = self._made.add(constant)
        self._made.tensors[out.name] = _on(out, grid)
        self._made.nodes.append(replace(node, inputs=tuple(inputs)))

    def _read(self, tensor: Tensor, grid: Grid, node: Node) -> str:
        """The tensor on a grid, requantised where that is not its own."""
        if self._grids[tensor.name] == grid:
            return tensor.name
        key = (tensor.name, grid)
        if key not in self._converted:
            name = self._made.add(_on(replace(tensor, name=f"{tensor.name}_requantised"), grid))
            self._made.nodes.append(Node(Requantise(), (tensor.name,), name, f"{node.name} input"))
            self._converted[key] = name
        return self._converted[key]


def _on(tensor: Tensor, grid: Grid) -> Tensor:
    return replace(tensor, dtype=grid[0], quant=grid[1])
