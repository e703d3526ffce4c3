# SPDX-License-Identifier: Apache-2.0
"""Random float networks that can learn, and PyTorch's autograd over them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F

from tinyml.ir import Graph, Node, Operator, Tensor
from tinyml.ir.tensor import Array
from tinyml.learn import Loss
from tinyml.ops import (
    Activation,
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Logistic,
    MaxPool2D,
    Mean,
    Relu,
    Relu6,
    Reshape,
    Tanh,
    Window,
)

KINDS = ("dense", "rows", "conv", "depthwise", "max", "average", "mean", "residual")
FUSED = (Activation.NONE, Activation.RELU, Activation.RELU6)
FUNCTIONS = (Relu, Relu6, Tanh, Logistic)


class Builder:
    """A float graph, node by node."""

    def __init__(self, shape: tuple[int, ...], rng: np.random.Generator, name: str = "net") -> None:
        self.rng = rng
        self.graph = Graph(name, {"x": Tensor("x", shape)}, [], ["x"], ["x"])

    def constant(self, *shape: int) -> str:
        fan_in = max(1, int(np.prod(shape[1:])))
        data = (self.rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)
        return self.graph.add(Tensor("c", shape, data=data))

    def apply(self, op: Operator, *inputs: str) -> str:
        shape = op.infer([self.graph.tensors[i].shape for i in inputs])
        out = self.graph.add(Tensor("t", shape))
        self.graph.nodes.append(Node(op, inputs, out, f"layer{len(self.graph.nodes)}"))
        self.graph.outputs = [out]
        return out

    def shape(self, name: str) -> tuple[int, ...]:
        return self.graph.tensors[name].shape

    def dense(self, x: str, outputs: int, fused: Activation = Activation.NONE) -> str:
        inputs = self.shape(x)[-1]
        return self.apply(
            FullyConnected(fused), x, self.constant(outputs, inputs), self.constant(outputs)
        )

    def conv(self, x: str, outputs: int, window: Window, fused: Activation) -> str:
        weights = self.constant(outputs, *window.kernel, self.shape(x)[3])
        return self.apply(Conv2D(window, fused), x, weights, self.constant(outputs))

    def depthwise(self, x: str, multiplier: int, window: Window, fused: Activation) -> str:
        channels = self.shape(x)[3] * multiplier
        weights = self.constant(1, *window.kernel, channels)
        return self.apply(DepthwiseConv2D(window, fused), x, weights, self.constant(channels))

    def flat(self, x: str) -> str:
        return self.apply(Reshape((1, int(np.prod(self.shape(x))))), x)


def mlp(sizes: tuple[int, ...], seed: int = 0, function: Operator | None = None) -> Graph:
    """Dense layers, tanh between by default."""
    b = Builder((1, sizes[0]), np.random.default_rng(seed), "mlp")
    x = "x"
    for index, outputs in enumerate(sizes[1:]):
        x = b.dense(x, outputs)
        if index < len(sizes) - 2:
            x = b.apply(function or Tanh(), x)
    return b.graph


def random_graph(seed: int, kind: str) -> Graph:
    """A small network around one kind of layer, with a dense head of 2 to 5 outputs."""
    rng = np.random.default_rng(seed)

    def pick(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    def fused() -> Activation:
        return FUSED[pick(0, 2)]

    def function() -> Operator:
        return FUNCTIONS[pick(0, 3)]()

    if kind in ("dense", "rows"):
        rows = 1 if kind == "dense" else pick(2, 4)
        b = Builder((rows, pick(1, 12)), rng)
        x = "x"
        for _ in range(pick(0, 2)):
            x = b.dense(x, pick(1, 9), fused())
            x = b.apply(function(), x) if pick(0, 1) else x
        x = b.flat(x) if rows > 1 else x
        b.dense(x, pick(2, 5))
        return b.graph
    size = (pick(4, 7), pick(4, 7))
    b = Builder((1, *size, pick(1, 4)), rng)
    kernel = (pick(1, 3), pick(1, 3))
    padding = tuple(pick(0, k - 1) for k in (kernel[0], kernel[0], kernel[1], kernel[1]))
    dilation = (pick(1, 2), pick(1, 2)) if size[0] > 5 and size[1] > 5 else (1, 1)
    window = Window(kernel, (pick(1, 2), pick(1, 2)), dilation, padding)  # type: ignore[arg-type]
    x = "x"
    # A trained layer below, so that a delta goes through the one under test.
    if pick(0, 1):
        x = b.conv(x, pick(1, 4), Window((1, 1)), fused())
    if kind == "depthwise":
        x = b.depthwise(x, pick(1, 3), window, fused())
    else:
        x = b.conv(x, pick(1, 5), window, fused())
    if pick(0, 1):
        x = b.apply(function(), x)
    height, width, channels = b.shape(x)[1:]
    if kind == "residual":
        same = Window((3, 3), padding=(1, 1, 1, 1))
        x = b.apply(Add(fused()), b.conv(x, channels, same, fused()), x)
        x = b.apply(Add(), x, b.apply(function(), x))
    pool = Window((pick(1, min(height, 3)), pick(1, min(width, 3))), (pick(1, 2), pick(1, 2)))
    if kind == "max":
        x = b.apply(MaxPool2D(pool), x)
    if kind == "average":
        x = b.apply(AveragePool2D(pool), x)
    if kind == "mean":
        x = b.apply(Mean(), x)
    b.dense(b.flat(x), pick(2, 5))
    return b.graph


def sample_for(graph: Graph, rng: np.random.Generator) -> Array:
    """A random input."""
    return rng.standard_normal(graph.tensors[graph.inputs[0]].shape).astype(np.float32)


def target_for(loss: Loss, outputs: int, rng: np.random.Generator) -> int | Array:
    """A random target."""
    if loss is Loss.CROSS_ENTROPY:
        return int(rng.integers(outputs))
    if loss is Loss.MSE:
        return rng.standard_normal(outputs).astype(np.float32)
    return rng.random(outputs).astype(np.float32)


def torch_gradient(
    graph: Graph, loss: Loss, sample: Array, target: int | Array, trained: set[str] | None = None
) -> tuple[float, Array]:
    """Loss and gradient by PyTorch's autograd in float64, in the order of a learner's weights.

    Args:
        trained: names of the nodes that learn; all by default.
    """
    values = {"x": torch.tensor(sample, dtype=torch.float64)}
    leaves: list[torch.Tensor] = []
    for node in graph.nodes:
        for name in node.inputs:
            data = graph.tensors[name].data
            if data is not None:
                values[name] = torch.tensor(data, dtype=torch.float64, requires_grad=True)
                if trained is None or node.name in trained:
                    leaves.append(values[name])
        values[node.output] = _run(node.op, [values[i] for i in node.inputs])
    logits = values[graph.outputs[0]].reshape(1, -1)
    if loss is Loss.CROSS_ENTROPY:
        value = F.cross_entropy(logits, torch.tensor([int(target)]))
    else:
        wanted = torch.tensor(np.asarray(target, float)).reshape(1, -1)
        function = F.mse_loss if loss is Loss.MSE else F.binary_cross_entropy_with_logits
        value = function(logits, wanted)
    grads = torch.autograd.grad(value, leaves)
    return float(value.detach()), np.concatenate([g.reshape(-1).numpy() for g in grads])


def _run(op: Operator, ins: list[torch.Tensor]) -> torch.Tensor:
    x = ins[0]
    if isinstance(op, Conv2D | DepthwiseConv2D):
        image = _padded(x, op.window, 0.0)
        if isinstance(op, Conv2D):
            weights, groups = ins[1].permute(0, 3, 1, 2), 1
        else:
            weights, groups = ins[1].permute(3, 0, 1, 2), x.shape[3]
        y = F.conv2d(image, weights, ins[2], op.window.stride, 0, op.window.dilation, groups)
        return _fused(op.activation, y.permute(0, 2, 3, 1))
    if isinstance(op, FullyConnected):
        return _fused(op.activation, x @ ins[1].T + ins[2])
    if isinstance(op, MaxPool2D | AveragePool2D):
        pool = F.max_pool2d if isinstance(op, MaxPool2D) else F.avg_pool2d
        return pool(x.permute(0, 3, 1, 2), op.window.kernel, op.window.stride).permute(0, 2, 3, 1)
    if isinstance(op, Mean):
        return x.mean(dim=(1, 2), keepdim=True)
    if isinstance(op, Add):
        return _fused(op.activation, ins[0] + ins[1])
    if isinstance(op, Reshape):
        return x.reshape(op.infer([tuple(x.shape)]))
    functions = {Relu: F.relu, Relu6: F.relu6, Tanh: torch.tanh, Logistic: torch.sigmoid}
    return functions[type(op)](x)


def _padded(x: torch.Tensor, window: Window, value: float) -> torch.Tensor:
    top, bottom, left, right = window.padding
    return F.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom), value=value)


def _fused(activation: Activation, y: torch.Tensor) -> torch.Tensor:
    if activation is Activation.NONE:
        return y
    return F.relu(y) if activation is Activation.RELU else F.relu6(y)


def renamed(graph: Graph, name: str) -> Graph:
    """The graph under another name."""
    return replace(graph.copy(), name=name)
