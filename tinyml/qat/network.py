# SPDX-License-Identifier: Apache-2.0
"""A compiled network as a PyTorch module that rounds wherever its integer form does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from tinyml.errors import QuantisationError
from tinyml.ir.graph import Node
from tinyml.ir.operator import Rule
from tinyml.ir.tensor import Array
from tinyml.ops import DepthwiseConv2D
from tinyml.ops.weighted import Weighted
from tinyml.qat.fake import fake_quantise, fake_quantise_weights
from tinyml.qat.operators import spelling
from tinyml.quantize.choose import Quantised
from tinyml.quantize.quantizer import quantise


class RoundedNetwork(nn.Module):
    """Computes in float32 what the export computes in integers: layer by layer the same integer,
    or its neighbour where a sum lies between two. Its parameters are the weights and biases of
    convolutions and fully connected layers, batch normalisations folded in. Grids stay as they
    were chosen; those of weights follow the weights.

    Args:
        quantised: of `tinyml.quantize.choose`, of a network with one output.

    Raises:
        QuantisationError: an operator cannot be trained under rounding, named.
    """

    def __init__(self, quantised: Quantised) -> None:
        super().__init__()
        self._quantised = quantised
        graph, real = quantised.graph, quantised.float_graph
        if len(graph.outputs) != 1 or graph.variables or graph.scaling is not None:
            raise QuantisationError(
                "only networks of one output and without state can be trained under rounding"
            )
        self._steps = [(n, spelling(n), real.producer(n.output)) for n in graph.nodes]
        self._parameter_of: dict[str, str] = {}
        for node in real.nodes:
            if isinstance(node.op, Weighted):
                for tensor in real.ins(node)[1:]:
                    self._hold(tensor.name, tensor.values)

    def _hold(self, tensor: str, values: Array) -> None:
        if tensor not in self._parameter_of:
            plain = "".join(c if c.isalnum() else "_" for c in tensor)
            name = f"{plain}_{len(self._parameter_of)}"
            self._parameter_of[tensor] = name
            self.register_parameter(name, nn.Parameter(torch.from_numpy(values.copy())))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Inputs and output (batch, ...) in the layout of the user's model."""
        return self._run(inputs, rounds=True)

    def exact(self, *inputs: Tensor) -> Tensor:
        """The same network and weights without rounding."""
        return self._run(inputs, rounds=False)

    def _run(self, inputs: tuple[Tensor, ...], *, rounds: bool) -> Tensor:
        graph = self._quantised.graph
        values: dict[str, Tensor] = {}
        for name, given in zip(graph.inputs, inputs, strict=True):
            layout = graph.source_layout.get(name)
            value = given if layout is None else given.permute(layout)
            values[name] = self._rounded(name, value) if rounds else value
        for node, compute, real in self._steps:
            made = compute(node.op, self._inputs(node, real, values, rounds=rounds))
            if rounds and node.op.rule is not Rule.SAME_AS_INPUT:
                made = self._rounded(node.output, made)
            values[node.output] = made
        name = graph.outputs[0]
        layout = graph.source_layout.get(name)
        found = values[name]
        return found if layout is None else found.permute([layout.index(i) for i in range(4)])

    def _rounded(self, tensor: str, value: Tensor) -> Tensor:
        held = self._quantised.graph.tensors[tensor]
        return value if held.quant is None else fake_quantise(value, held.quant, held.dtype)

    def _inputs(
        self, node: Node, real: Node | None, values: dict[str, Tensor], *, rounds: bool
    ) -> list[Tensor]:
        """What a node reads: activations, parameters, and other constants as they are held."""
        ins = self._quantised.graph.ins(node)
        found = []
        for index, tensor in enumerate(ins):
            if tensor.data is None:
                found.append(values[tensor.name])
                continue
            assert real is not None  # requantisations, which only integers need, read no constant
            exact = self._quantised.float_graph.tensors[real.inputs[index]]
            if exact.name in self._parameter_of:
                found.append(cast("Tensor", getattr(self, self._parameter_of[exact.name])))
            elif rounds:
                found.append(torch.from_numpy(tensor.q.dequantise(tensor.data)))
            else:
                found.append(torch.from_numpy(exact.values))
        if rounds and isinstance(node.op, Weighted):
            axis = 3 if isinstance(node.op, DepthwiseConv2D) else 0
            found[1:] = fake_quantise_weights(found[1], found[2], axis, ins[0].q.s)
        return found

    def trained(self) -> Quantised:
        """The float graph with the weights as they are now, and its integers."""
        graph = self._quantised.float_graph.copy()
        for tensor, name in self._parameter_of.items():
            values = cast("Tensor", getattr(self, name)).detach().numpy()
            held = graph.tensors[tensor]
            graph.tensors[tensor] = replace(held, data=np.array(values, np.float32))
        made = quantise(graph, self._quantised.calibration, self._quantised.wide)
        return replace(self._quantised, graph=made, float_graph=graph)

    def save(self, path: Path) -> None:
        """Writes ONNX that states every grid; ``tinyml export FILE.onnx`` keeps them."""
        from tinyml.writers.onnx import write_onnx

        path.write_bytes(write_onnx(self.trained().graph))
