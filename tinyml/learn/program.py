# SPDX-License-Identifier: Apache-2.0
"""The float part of a learner: its steps forward, and through them backward.

A step reads and writes *values*. Each value has a buffer for what it is and, where something
before it learns, one for the derivative of the loss by it (its delta). Elementwise functions run
in place where nothing else needs their input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np

from tinyml.errors import LearnError
from tinyml.ir.graph import Graph, Node
from tinyml.ir.tensor import Array
from tinyml.learn.options import LearnOptions, Loss
from tinyml.learn.split import WEIGHTED, Split, layer_name
from tinyml.ops import (
    Activation,
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    Logistic,
    MaxPool2D,
    Mean,
    Relu,
    Relu6,
    Reshape,
    Softmax,
    Tanh,
    Window,
)


class Kind(Enum):
    """Layers with weights; the names are those of tml_learn_kind_t."""

    DENSE = "dense"
    CONV2D = "conv2d"
    DEPTHWISE = "depthwise"


class Function(Enum):
    """Elementwise functions; the names are those of tml_learn_activation_t."""

    RELU = "relu"
    RELU6 = "relu6"
    TANH = "tanh"
    SIGMOID = "sigmoid"


@dataclass(frozen=True)
class Layer:
    """Weights as rows, one row being what is updated at a time.

    Args:
        name: the user's.
        kind: dense and conv2d: a row makes one output channel; depthwise: a row is one kernel
            position of all channels.
        weights: float32 (rows, row length); conv2d rows are (kernel_h, kernel_w, in).
        bias: float32 (channels).
        positions: outputs of each channel.
        window: of convolutions.
        shapes: of input and output, NHWC for convolutions.
        rows, biases: half-open ranges that are trained.
        is_output: a dense layer whose outputs are the network's: later classes extend it.
    """

    name: str
    kind: Kind
    weights: Array
    bias: Array
    positions: int
    window: Window | None
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    rows: tuple[int, int]
    biases: tuple[int, int]
    is_output: bool = False

    @property
    def row_length(self) -> int:
        return int(self.weights.shape[1])

    @property
    def channels(self) -> int:
        return len(self.bias)

    @property
    def is_trained(self) -> bool:
        return self.rows[0] < self.rows[1] or self.biases[0] < self.biases[1]

    @property
    def trained_weights(self) -> int:
        """Trained values, biases included."""
        rows = self.rows[1] - self.rows[0]
        return rows * self.row_length + self.biases[1] - self.biases[0]


@dataclass(frozen=True)
class Step:
    """One operation.

    Args:
        op: a Layer, a Function, a Window for pooling (with ``is_max``), "add" or "mean".
        inputs: value numbers.
        output: value number.
        is_max: maximum rather than average pooling.
    """

    op: Layer | Function | Window | str
    inputs: tuple[int, ...]
    output: int
    is_max: bool = False


@dataclass
class Program:
    """Steps in order.

    Args:
        steps: forward; backward is their reverse.
        shapes: of each value.
        output: the value before softmax or sigmoid ("logits").
        outputs: elements of it that are active at first.
        capacity: elements it has room for.
        loss: what its outputs are judged by.
    """

    loss: Loss
    steps: list[Step] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    output: int = 0
    outputs: int = 0
    capacity: int = 0

    def elements(self, value: int) -> int:
        return math.prod(self.shapes[value])

    @property
    def layers(self) -> list[Layer]:
        """Layers with weights, input first."""
        return [s.op for s in self.steps if isinstance(s.op, Layer)]

    @property
    def weight_count(self) -> int:
        """Length of the vector of trained weights."""
        return sum(layer.trained_weights for layer in self.layers)

    def readers(self, value: int) -> list[int]:
        """Indices of the steps that read a value."""
        return [i for i, s in enumerate(self.steps) if value in s.inputs]

    def learning(self) -> set[int]:
        """Values whose delta is needed: something that is trained makes them."""
        found: set[int] = set()
        for step in self.steps:
            trained = isinstance(step.op, Layer) and step.op.is_trained
            if trained or found & set(step.inputs):
                found.add(step.output)
        return found

    def in_place(self, step: Step) -> bool:
        """Whether a function may overwrite its input: nothing else reads it, and its maker's
        derivative does not need it."""
        if not isinstance(step.op, Function) or len(self.readers(step.inputs[0])) > 1:
            return False
        maker = next((s for s in self.steps if s.output == step.inputs[0]), None)
        return maker is not None and not isinstance(maker.op, Function)

    def vector(self) -> Array:
        """The exported values of the trained weights, float32."""
        parts = [np.zeros(0, np.float32)]
        for layer in self.layers:
            parts += [layer.weights[slice(*layer.rows)].ravel(), layer.bias[slice(*layer.biases)]]
        return np.concatenate(parts)

    def train(self, choice: dict[str, tuple[tuple[int, int], tuple[int, int]]]) -> Program:
        """The same program training other rows and biases, by layer name."""
        steps = []
        for step in self.steps:
            if isinstance(step.op, Layer):
                rows, biases = choice.get(step.op.name, ((0, 0), (0, 0)))
                step = replace(step, op=replace(step.op, rows=rows, biases=biases))
            steps.append(step)
        return replace(self, steps=steps)


def build_program(graph: Graph, cut: Split, options: LearnOptions) -> Program:
    """The float nodes behind a cut, as steps.

    Raises:
        LearnError: an operator that has no derivative here, a loss that does not fit the
            network's end, or a layer that cannot take more classes.
    """
    nodes = _without_end(graph, graph.nodes[cut.backbone :], options.loss)
    program = Program(options.loss)
    values: dict[str, int] = {}

    def value(shape: tuple[int, ...]) -> int:
        program.shapes.append(shape)
        return len(program.shapes) - 1

    def step(
        op: Layer | Function | Window | str,
        inputs: tuple[int, ...],
        out: tuple[int, ...],
        is_max: bool = False,
    ) -> int:
        made = value(out)
        program.steps.append(Step(op, inputs, made, is_max))
        return made

    values[cut.features] = value(graph.tensors[cut.features].shape)
    for node in nodes:
        out = graph.out(node).shape
        inputs = tuple(values[i] for i in node.inputs if not graph.tensors[i].is_constant)
        op = node.op
        made: int
        if isinstance(op, WEIGHTED):
            made = step(_layer(graph, node, node.output in cut.trained), inputs, out)
        elif isinstance(op, Reshape):
            made = inputs[0]
        elif type(op) in _FUNCTIONS:
            made = step(_FUNCTIONS[type(op)], inputs, out)
        elif isinstance(op, MaxPool2D | AveragePool2D):
            made = step(op.window, inputs, out, isinstance(op, MaxPool2D))
        elif isinstance(op, Mean):
            made = step("mean", inputs, out)
        elif (
            isinstance(op, Add)
            and len(inputs) == 2
            and graph.ins(node)[0].shape == out == (graph.ins(node)[1].shape)
        ):
            made = step("add", inputs, out)
        else:
            raise LearnError(
                f"layer '{node.name}': {op.kind} cannot learn or pass a gradient on",
                "Layers between the first trained one and the output may be dense, convolution, "
                "depthwise, pooling, mean, ReLU, ReLU6, tanh, sigmoid, reshape or the sum of two "
                "equal shapes. Train later layers only (--learn head).",
            )
        fused = getattr(op, "activation", Activation.NONE)
        if fused is not Activation.NONE:
            made = step(Function[fused.name], (made,), out)
        values[node.output] = made
    program.output = values[nodes[-1].output]
    program.outputs = program.elements(program.output)
    return _with_classes(program, options)


_FUNCTIONS: dict[type, Function] = {
    Relu: Function.RELU,
    Relu6: Function.RELU6,
    Tanh: Function.TANH,
    Logistic: Function.SIGMOID,
}


def _without_end(graph: Graph, nodes: list[Node], loss: Loss) -> list[Node]:
    """The nodes without the softmax or sigmoid that the loss itself applies."""
    last = nodes[-1]
    end = {Loss.CROSS_ENTROPY: Softmax, Loss.BCE: Logistic}.get(loss)
    if end is not None and isinstance(last.op, end):
        nodes = nodes[:-1]
    elif isinstance(last.op, Softmax):
        raise LearnError(
            f"'{graph.name}' ends with softmax, which --loss {loss.value} does not fit",
            "Use --loss cross-entropy.",
        )
    elif loss is Loss.CROSS_ENTROPY and isinstance(last.op, Logistic):
        raise LearnError(
            f"'{graph.name}' ends with a sigmoid, which --loss cross-entropy does not fit",
            "Use --loss bce.",
        )
    if loss is Loss.CROSS_ENTROPY and math.prod(graph.out(nodes[-1]).shape) < 2:
        raise LearnError(
            f"'{graph.name}' has one output: cross-entropy needs one for each class",
            "Use --loss bce for two classes on one output, or --loss mse.",
        )
    return nodes


def _layer(graph: Graph, node: Node, trained: bool) -> Layer:
    x, weights, bias = graph.ins(node)
    out = graph.out(node)
    values = np.asarray(weights.values, np.float32)
    op = node.op
    if isinstance(op, DepthwiseConv2D):
        kind, rows = Kind.DEPTHWISE, values.reshape(-1, values.shape[3])
    elif isinstance(op, Conv2D):
        kind, rows = Kind.CONV2D, values.reshape(values.shape[0], -1)
    else:
        kind, rows = Kind.DENSE, values
    return Layer(
        name=layer_name(node),
        kind=kind,
        weights=rows,
        bias=np.asarray(bias.values, np.float32),
        positions=out.elements // bias.elements,
        window=op.window if isinstance(op, Conv2D | DepthwiseConv2D) else None,
        shapes=(x.shape, out.shape),
        rows=(0, len(rows) if trained else 0),
        biases=(0, bias.elements if trained else 0),
    )


def _with_classes(program: Program, options: LearnOptions) -> Program:
    """Room for further classes in the last layer."""
    outputs = program.outputs
    capacity = outputs if options.classes is None else options.classes
    if capacity < outputs:
        raise LearnError(
            f"room for {capacity} classes was asked for; the network has {outputs} already"
        )
    index = len(program.steps) - 1
    last = program.steps[index]
    layer = last.op
    extends = isinstance(layer, Layer) and layer.kind is Kind.DENSE and layer.positions == 1
    if capacity > outputs:
        if options.loss is not Loss.CROSS_ENTROPY:
            raise LearnError("classes can be added with --loss cross-entropy only")
        if not extends or not layer.is_trained:  # type: ignore[union-attr]
            raise LearnError(
                "classes can be added only where a trained dense layer makes the outputs",
                "Leave --classes out.",
            )
    program.capacity = capacity
    if extends and last.output == program.output:
        assert isinstance(layer, Layer)
        more = capacity - outputs
        wide = replace(
            layer,
            weights=np.pad(layer.weights, ((0, more), (0, 0))),
            bias=np.pad(layer.bias, (0, more)),
            rows=(layer.rows[0], layer.rows[1] + more if layer.rows[1] else 0),
            biases=(layer.biases[0], layer.biases[1] + more if layer.biases[1] else 0),
            is_output=True,
        )
        program.steps[index] = replace(last, op=wide)
        program.shapes[program.output] = (1, capacity)
    return program
