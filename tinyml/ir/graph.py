# SPDX-License-Identifier: Apache-2.0
"""Nodes and the Graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tinyml.ir.operator import Operator
from tinyml.ir.scaling import Scaling
from tinyml.ir.tensor import Array, Tensor


@dataclass(frozen=True)
class Node:
    """One application of an operator.

    Args:
        op: the operator with its attributes.
        inputs: tensor names.
        output: tensor name; every operator has exactly one output.
        name: the layer's name in the user's model, for reports and errors.
        wide: whether it needs int16 whatever the user asked for: a statistic of a normalisation.
    """

    op: Operator
    inputs: tuple[str, ...]
    output: str
    name: str
    wide: bool = False

    def rewired(self, renames: Mapping[str, str]) -> Node:
        """The node reading other tensors."""
        return replace(self, inputs=tuple(renames.get(i, i) for i in self.inputs))


@dataclass
class Graph:
    """A model: nodes in execution order over named tensors.

    Args:
        name: a C identifier.
        tensors: every tensor by name, constants included.
        nodes: in an order in which each tensor is produced before it is read.
        inputs: names of the tensors the caller sets.
        outputs: names of the tensors the caller reads.
        source_layout: for inputs and outputs whose axis order differs from the user's model, the
            permutation that takes the user's array to the graph's.
        scaling: for a forecaster, how its series become the graph's inputs, which are in standard
            units.
        variables: tensors that keep their value between runs, with what they hold at first. Any
            node may read one; one node alone may write it (`Operator.mutates`).
        updates: the variables that take the value of an activation when a run ends.
    """

    name: str
    tensors: dict[str, Tensor]
    nodes: list[Node]
    inputs: list[str]
    outputs: list[str]
    source_layout: dict[str, tuple[int, ...]] = field(default_factory=dict)
    scaling: Scaling | None = None
    variables: dict[str, Array] = field(default_factory=dict)
    updates: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Graph:
        """A graph that can be changed without touching this one (tensors are immutable)."""
        return Graph(
            self.name,
            dict(self.tensors),
            list(self.nodes),
            list(self.inputs),
            list(self.outputs),
            dict(self.source_layout),
            self.scaling,
            dict(self.variables),
            dict(self.updates),
        )

    @property
    def kept(self) -> list[str]:
        """The activations that something beyond the nodes reads: outputs, and what variables
        become."""
        return [*self.outputs, *self.updates.values()]

    def ins(self, node: Node) -> list[Tensor]:
        """The node's input tensors."""
        return [self.tensors[i] for i in node.inputs]

    def out(self, node: Node) -> Tensor:
        """The node's output tensor."""
        return self.tensors[node.output]

    def producer(self, tensor: str) -> Node | None:
        """The node that writes a tensor, None for inputs and constants."""
        return next((n for n in self.nodes if n.output == tensor), None)

    def consumers(self, tensor: str) -> list[Node]:
        """The nodes that read a tensor."""
        return [n for n in self.nodes if tensor in n.inputs]

    def add(self, tensor: Tensor) -> str:
        """Adds a tensor under its name, made unique, and returns that name."""
        name, number = tensor.name, 1
        while name in self.tensors:
            name = f"{tensor.name}_{number}"
            number += 1
        self.tensors[name] = replace(tensor, name=name)
        return name

    def macs(self, node: Node) -> int:
        """Multiply-accumulates of one inference."""
        return node.op.macs([t.shape for t in self.ins(node)], self.out(node).shape)

    def replace_nodes(self, old: Iterable[Node], new: Sequence[Node]) -> None:
        """Puts ``new`` where the last of ``old`` stood and drops the rest of ``old``."""
        ids = {id(n) for n in old}
        last = max(i for i, n in enumerate(self.nodes) if id(n) in ids)
        before = [n for n in self.nodes[:last] if id(n) not in ids]
        after = [n for n in self.nodes[last + 1 :] if id(n) not in ids]
        self.nodes = [*before, *new, *after]

    def rename_reads(self, old: str, new: str) -> None:
        """Makes every reader of ``old``, the graph's outputs included, read ``new``."""
        self.nodes = [n.rewired({old: new}) if old in n.inputs else n for n in self.nodes]
        self.outputs = [new if o == old else o for o in self.outputs]
        self.updates = {k: new if v == old else v for k, v in self.updates.items()}

    def sweep(self) -> None:
        """Drops nodes nothing depends on and tensors nothing names."""
        needed = set(self.kept)
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if node.output in needed:
                kept.append(node)
                needed.update(node.inputs)
        self.nodes = kept[::-1]
        self.variables = {
            k: v for k, v in self.variables.items() if k in needed or k in self.updates
        }
        needed.update(self.variables)
        named = needed | set(self.inputs)
        self.tensors = {k: t for k, t in self.tensors.items() if k in named}

    def check(self) -> None:
        """Raises ValueError where the structure or a shape does not hold."""
        ready = {*self.inputs, *self.variables}
        ready |= {k for k, t in self.tensors.items() if t.is_constant}
        self._check_variables()
        for key, tensor in self.tensors.items():
            if key != tensor.name:
                raise ValueError(f"tensor '{tensor.name}' is filed under '{key}'")
            if tensor.data is not None and (
                tuple(tensor.data.shape) != tensor.shape or tensor.data.dtype != tensor.dtype.numpy
            ):
                raise ValueError(f"constant '{key}' does not have its declared type")
        for node in self.nodes:
            missing = [i for i in node.inputs if i not in ready]
            if missing:
                raise ValueError(f"node '{node.name}' reads {missing} before they exist")
            if node.output in ready:
                raise ValueError(f"tensor '{node.output}' is written twice")
            shape = node.op.infer([t.shape for t in self.ins(node)])
            if shape != self.out(node).shape:
                raise ValueError(
                    f"node '{node.name}' ({node.op.kind}) makes {shape}, "
                    f"its output is declared {self.out(node).shape}"
                )
            ready.add(node.output)
        lost = [o for o in self.kept if o not in ready]
        if lost:
            raise ValueError(f"outputs {lost} are never written")

    def _check_variables(self) -> None:
        writers: dict[str, str] = {}
        for node in self.nodes:
            for index in node.op.mutates:
                name = node.inputs[index]
                if name not in self.variables or name in self.updates or name in writers:
                    raise ValueError(f"node '{node.name}' may not write '{name}'")
                if len(self.consumers(name)) != 1:
                    raise ValueError(f"the variable '{name}' has other readers than its writer")
                writers[name] = node.name
        for name, initial in self.variables.items():
            tensor = self.tensors[name]
            if initial.shape != tensor.shape or initial.dtype != tensor.dtype.numpy:
                raise ValueError(f"the variable '{name}' starts as another type")
        for name, value in self.updates.items():
            if name not in self.variables or value in self.variables:
                raise ValueError(f"'{value}' cannot become the variable '{name}'")
            if self.tensors[value].bytes != self.tensors[name].bytes:
                raise ValueError(f"'{value}' does not fit the variable '{name}'")
