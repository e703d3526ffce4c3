# SPDX-License-Identifier: Apache-2.0
"""What the passes share that make a chain of nodes one operator."""

from __future__ import annotations

from abc import abstractmethod
from typing import Generic, TypeVar

from tinyml.ir.graph import Graph, Node
from tinyml.passes.manager import Pass

Chain = TypeVar("Chain")


class Fusion(Pass, Generic[Chain]):
    """Fuses the chain around each node that has one; ensures that no chain is left."""

    @abstractmethod
    def chain(self, graph: Graph, node: Node) -> Chain | None:
        """The chain that this node marks, None where there is none."""

    @abstractmethod
    def fuse(self, graph: Graph, chain: Chain) -> None:
        """Puts one operator in the chain's place."""

    @property
    @abstractmethod
    def what(self) -> str:
        """What a chain computes, for people."""

    def run(self, graph: Graph) -> None:
        for node in list(graph.nodes):
            chain = self.chain(graph, node)
            if chain is not None:
                self.fuse(graph, chain)

    def ensures(self, graph: Graph) -> str | None:
        left = next((n for n in graph.nodes if self.chain(graph, n)), None)
        return f"the {self.what} at '{left.name}' is left" if left else None
