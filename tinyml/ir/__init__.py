# SPDX-License-Identifier: Apache-2.0
"""The Graph: tensors with shape, dtype and quantisation, and an ordered list of operators."""

from tinyml.ir.graph import Graph, Node
from tinyml.ir.operator import Operator, Rule
from tinyml.ir.tensor import DType, Quantisation, Tensor

__all__ = ["DType", "Graph", "Node", "Operator", "Quantisation", "Rule", "Tensor"]
