# SPDX-License-Identifier: Apache-2.0
"""One small function per TFLite operator: how it is said in the Graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tinyml.importers.tflite.file import Options, StoredOperator
from tinyml.importers.tflite.islands import table_of
from tinyml.importers.tflite.masks import MASKED_SOFTMAX
from tinyml.importers.tflite.reader import Reader, Unsupported
from tinyml.importers.tflite.tables import TABLE
from tinyml.importers.transposed import Phases
from tinyml.ir.operator import Operator
from tinyml.ir.tensor import DType, Quantisation, Tensor
from tinyml.ops import (
    Abs,
    Activation,
    Add,
    ArgMax,
    ArgMin,
    AveragePool2D,
    BatchMatMul,
    Compare,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    Elu,
    FullyConnected,
    Gather,
    HardSwish,
    L2Normalize,
    LeakyRelu,
    Logical,
    LogicalNot,
    Logistic,
    LogSoftmax,
    Lstm,
    MaskedSoftmax,
    Maximum,
    MaxPool2D,
    Mean,
    Minimum,
    Mul,
    Pad,
    Prelu,
    ReduceMax,
    ReduceMin,
    Relation,
    Relu,
    Relu6,
    Requantise,
    Reshape,
    ResizeBilinear,
    Rsqrt,
    Select,
    Slice,
    Softmax,
    SquaredDifference,
    Sub,
    Sum,
    Svdf,
    Table,
    Tanh,
    Transpose,
    Window,
)
from tinyml.ops.lstm import (
    TFLITE_BIAS,
    TFLITE_CELL,
    TFLITE_HIDDEN,
    TFLITE_RECURRENT,
    TFLITE_WEIGHTS,
)
from tinyml.ops.strides import LARGEST_DIM

Picks = list[tuple[int, list[int]]]
_TANH = int(schema.ActivationFunctionType.TANH)
_Function = Callable[[Reader, StoredOperator], None]
_ACTIVATION_NAMES = {
    v: k for k, v in vars(schema.ActivationFunctionType).items() if isinstance(v, int)
}
# No image is wider; padding of more pixels would only cost memory.
_WIDEST = 4096
# After an operator that has no clamp of its own.
_STANDALONE: dict[Activation, Operator] = {Activation.RELU: Relu(), Activation.RELU6: Relu6()}


@dataclass(frozen=True)
class Translator:
    """How one operator is read.

    Args:
        function: appends the operator's nodes to the reader's graph.
        required, most: the number of inputs that must be given and that may be listed.
        options: its options table, None where no field of one is read.
        outputs: the number of outputs, None for any.
    """

    function: _Function
    required: int
    most: int
    options: str | None
    outputs: int | None

    def __call__(self, reader: Reader, operator: StoredOperator) -> None:
        """Translates one operator.

        Raises:
            Unsupported: a form that the compiler does not support.
            ValueError: shapes that do not fit.
            ImportModelError: a tensor it names is damaged or unsupported.
        """
        count = len(operator.inputs)
        if not self.required <= count <= self.most or -1 in operator.inputs[: self.required]:
            raise Unsupported(f"it has the inputs {list(operator.inputs[:8])}")
        if self.outputs is not None and len(operator.outputs) != self.outputs:
            raise Unsupported(
                f"it has {len(operator.outputs)} outputs; {self.outputs} is supported"
            )
        if self.options is not None and operator.options.name != self.options:
            raise Unsupported(f"its options are {operator.options.name}, not {self.options}")
        self.function(reader, operator)


TRANSLATORS: dict[str, Translator] = {}


def translates(
    kind: str,
    required: int,
    most: int | None = None,
    *,
    options: str | None = None,
    outputs: int | None = 1,
) -> Callable[[_Function], _Function]:
    """Registers a function as the translator of a TFLite operator."""

    def register(function: _Function) -> _Function:
        TRANSLATORS[kind] = Translator(function, required, most or required, options, outputs)
        return function

    return register


# What several operators share.


def _activation(options: Options) -> Activation:
    number = options.integer("FusedActivationFunction")
    name = _ACTIVATION_NAMES.get(number, str(number))
    if name not in Activation.__members__:
        raise Unsupported(f"the fused activation {name}; NONE, RELU and RELU6 are supported")
    return Activation[name]


def _image(x: Tensor) -> tuple[int, int]:
    """Height and width of the one image in a tensor."""
    if len(x.shape) != 4 or x.shape[0] != 1:
        raise Unsupported(f"'{x.name}' is {x.shape}; one image (1, h, w, c) is supported")
    return x.shape[1], x.shape[2]


def _window(
    options: Options, kernel: tuple[int, int], dilation: tuple[int, int], size: tuple[int, int]
) -> Window:
    """The window with TFLite's padding scheme made explicit (TFLite ComputePadding)."""
    stride = (options.integer("StrideH"), options.integer("StrideW"))
    if min(*stride, *dilation, *kernel) < 1:
        raise Unsupported(f"kernel {kernel}, stride {stride}, dilation {dilation} below 1")
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    if max(*spans, *stride) > _WIDEST:
        raise Unsupported(f"kernel {kernel}, stride {stride}, dilation {dilation} over {_WIDEST}")
    scheme = options.integer("Padding")
    if scheme == schema.Padding.VALID:
        return Window(kernel, stride, dilation)
    if scheme != schema.Padding.SAME:
        raise Unsupported(f"the padding scheme {scheme}; SAME and VALID are supported")
    top, bottom = _same(size[0], kernel[0], stride[0], dilation[0])
    left, right = _same(size[1], kernel[1], stride[1], dilation[1])
    return Window(kernel, stride, dilation, (top, bottom, left, right))


def _same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    span = (kernel - 1) * dilation + 1
    total = max((-(-size // stride) - 1) * stride + span - size, 0)
    return total // 2, total - total // 2


def _weights(reader: Reader, operator: StoredOperator, rank: int, axis: int) -> list[Tensor]:
    """Weights and bias; a missing bias is zeros.

    Args:
        rank: of the weights.
        axis: of the weights' output channels.
    """
    x, weights = (reader.tensor(i) for i in operator.inputs[:2])
    if weights.data is None or weights.dtype is not DType.INT8:
        raise Unsupported(f"the weights '{weights.name}' are no int8 constant")
    if weights.quant is None:
        raise Unsupported(f"the weights '{weights.name}' have no quantisation: scales are missing")
    if any(weights.quant.zero_point):
        raise Unsupported(f"the weights '{weights.name}' have a zero point; 0 is supported")
    if len(weights.shape) != rank:
        raise Unsupported(f"the weights '{weights.name}' are {weights.shape}, not of rank {rank}")
    if weights.quant.axis not in (None, axis):
        raise Unsupported(
            f"the weights '{weights.name}' are quantised along axis {weights.quant.axis}; "
            f"axis {axis} is supported"
        )
    if x.quant is None or x.quant.axis is not None:
        raise Unsupported(f"the input '{x.name}' has no per-tensor quantisation")
    # Kernels take a bias to be at the scale of the products, whatever the file says.
    scales = np.full(weights.shape[axis], weights.quant.scale, np.float32)
    products = Quantisation.per_channel(scales.astype(np.float64) * x.quant.s, 0)
    types = [DType.INT32]
    if x.dtype is DType.INT16:
        types = [DType.INT32, DType.INT64] if operator.kind == "CONV_2D" else [DType.INT64]
    if len(operator.inputs) == 3 and operator.inputs[2] != -1:
        bias = reader.tensor(operator.inputs[2])
        if bias.data is None or bias.dtype not in types:
            raise Unsupported(f"the bias '{bias.name}' is no {types[-1].value} constant")
        if bias.quant is None:
            bias = reader.add_constant(replace(bias, quant=products))
        return [weights, bias]
    zeros = np.zeros(weights.shape[axis], types[0].numpy)
    name = f"{weights.name}_bias"
    return [weights, reader.add_constant(Tensor(name, zeros.shape, types[0], products, zeros))]


def _with_rank(reader: Reader, tensor: Tensor, rank: int) -> Tensor:
    """The tensor with axes of size 1 in front."""
    if len(tensor.shape) == rank:
        return tensor
    shape = (1,) * (rank - len(tensor.shape)) + tensor.shape
    if tensor.data is not None:
        data = tensor.data.reshape(shape)
        return reader.add_constant(replace(tensor, shape=shape, data=data))
    return reader.apply_between(Reshape(shape), [tensor], tensor)


# Weighted operators.


@translates("CONV_2D", 2, 3, options="Conv2DOptions")
def _conv(reader: Reader, operator: StoredOperator) -> None:
    x = reader.tensor(operator.inputs[0])
    size = _image(x)
    weights, bias = _weights(reader, operator, 4, 0)
    if weights.shape[3] != x.shape[3]:
        _grouped_conv(reader, operator, x, weights, bias)
        return
    op = Conv2D(_conv_window(operator, weights, size), _activation(operator.options))
    reader.apply(op, [x], operator, [weights, bias])


def _grouped_conv(
    reader: Reader, operator: StoredOperator, x: Tensor, weights: Tensor, bias: Tensor
) -> None:
    """One convolution for each group of channels, and their outputs side by side."""
    out, taken = reader.output(operator), weights.shape[3]
    groups = x.shape[3] // taken
    if x.shape[3] % taken or weights.shape[0] % groups:
        raise Unsupported(f"{weights.shape[0]} filters of {taken} of {x.shape[3]} channels")
    op = Conv2D(_conv_window(operator, weights, _image(x)), _activation(operator.options))
    made, each = weights.shape[0] // groups, (*x.shape[:3], taken)
    parts = []
    for group in range(groups):
        mine = slice(group * made, (group + 1) * made)
        part = reader.apply_between(Slice((0, 0, 0, group * taken), each), [x], x)
        constants = [reader.add_constant(_rows(t, mine)) for t in (weights, bias)]
        parts.append(reader.apply_between(op, [part], out, constants))
    reader.apply(Concatenation(3), parts, operator)


def _rows(constant: Tensor, rows: slice) -> Tensor:
    """Some rows of weights or a bias, with their scales."""
    assert constant.data is not None and constant.quant is not None
    data, quant = constant.data[rows], constant.quant
    if quant.axis is not None:
        quant = Quantisation(quant.scale[rows], quant.zero_point[rows], 0)
    return replace(constant, shape=data.shape, data=data, quant=quant)


@translates("DEPTHWISE_CONV_2D", 2, 3, options="DepthwiseConv2DOptions")
def _depthwise_conv(reader: Reader, operator: StoredOperator) -> None:
    x = reader.tensor(operator.inputs[0])
    size = _image(x)
    weights, bias = _weights(reader, operator, 4, 3)
    op = DepthwiseConv2D(_conv_window(operator, weights, size), _activation(operator.options))
    reader.apply(op, [x], operator, [weights, bias])


@translates("TRANSPOSE_CONV", 3, 4, options="TransposeConvOptions")
def _transpose_conv(reader: Reader, operator: StoredOperator) -> None:
    """See `importers.transposed`."""
    options, out = operator.options, reader.output(operator)
    x, stride = (
        reader.tensor(operator.inputs[2]),
        (options.integer("StrideH"), options.integer("StrideW")),
    )
    size, (height, width) = _image(x), _image(out)
    if _activation(options) is not Activation.NONE or min(stride) < 1:
        raise Unsupported("a fused activation, or a stride below 1")
    scheme = options.integer("Padding")
    if scheme not in (schema.Padding.SAME, schema.Padding.VALID):
        raise Unsupported(f"the padding scheme {scheme}")
    plain = replace(operator, inputs=(operator.inputs[2], operator.inputs[1], *operator.inputs[3:]))
    weights, bias = _weights(reader, plain, 4, 0)
    kernel, pad = (weights.shape[1], weights.shape[2]), [0, 0]
    if scheme == schema.Padding.SAME:
        for axis, wanted in enumerate((height, width)):
            whole = (-(-wanted // stride[axis]) - 1) * stride[axis] + kernel[axis]
            pad[axis] = max(whole - wanted, 0) // 2
    phases = Phases.of(size, (height, width), kernel, stride, (pad[0], pad[1]))
    weights = reader.add_constant(_of_phases(weights, phases))
    bias = reader.add_constant(_of_phases(bias, phases))
    made = reader.apply_between(Conv2D(phases.window), [x], out, [weights, bias])
    *first, last = phases.moves(made.shape)
    for op in first:
        made = reader.apply_between(op, [made], out)
    reader.apply(last, [made], operator)


def _of_phases(constant: Tensor, phases: Phases) -> Tensor:
    """Weights or a bias of the convolution that makes the phases as channels."""
    assert constant.data is not None and constant.quant is not None
    whole = constant.data.ndim > 1
    data = phases.weights(constant.data) if whole else phases.per_channel(constant.data)
    scale = np.broadcast_to(np.array(constant.quant.scale), constant.shape[0])
    return replace(
        constant,
        name=f"{constant.name}_phases",
        shape=data.shape,
        data=data,
        quant=Quantisation.per_channel(phases.per_channel(scale), 0),
    )


def _conv_window(operator: StoredOperator, weights: Tensor, size: tuple[int, int]) -> Window:
    options = operator.options
    if operator.dilation is not None:
        kernel = (weights.shape[1], weights.shape[2])
        return Window(kernel, (1, 1), operator.dilation.factors, operator.dilation.padding)
    dilation = (options.integer("DilationHFactor"), options.integer("DilationWFactor"))
    return _window(options, (weights.shape[1], weights.shape[2]), dilation, size)


@translates("FULLY_CONNECTED", 2, 3, options="FullyConnectedOptions")
def _fully_connected(reader: Reader, operator: StoredOperator) -> None:
    if operator.options.integer("WeightsFormat"):
        raise Unsupported("shuffled weights")
    x, out = reader.tensor(operator.inputs[0]), reader.output(operator)
    weights, bias = _weights(reader, operator, 2, 0)
    rows = (*out.shape[:-1], weights.shape[1])
    if x.shape != rows:
        x = reader.apply_between(Reshape(rows), [x], x)
    op = FullyConnected(_activation(operator.options))
    reader.apply(op, [x], operator, [weights, bias])


# Arithmetic.


def _binary(kind: type[Add] | type[Sub] | type[Mul]) -> _Function:
    def translate(reader: Reader, operator: StoredOperator) -> None:
        sides = [reader.tensor(i) for i in operator.inputs]
        rank = max(len(s.shape) for s in sides)
        op = kind(_activation(operator.options))
        reader.apply(op, [_with_rank(reader, s, rank) for s in sides], operator)

    return translate


translates("ADD", 2, options="AddOptions")(_binary(Add))
translates("SUB", 2, options="SubOptions")(_binary(Sub))
translates("MUL", 2, options="MulOptions")(_binary(Mul))


def _reduction(kind: type[Mean] | type[Sum] | type[ReduceMax] | type[ReduceMin]) -> _Function:
    def translate(reader: Reader, operator: StoredOperator) -> None:
        x, out = reader.tensor(operator.inputs[0]), reader.output(operator)
        rank = len(x.shape)
        given = reader.constant(operator, 1, DType.INT32)
        axes = tuple(sorted({a + rank if a < 0 else a for a in given}))
        op = kind(axes)
        if op.infer([x.shape]) == out.shape:
            reader.apply(op, [x], operator)
        else:
            inner = reader.apply_between(op, [x], out)
            reader.apply(Reshape(out.shape), [inner], operator)

    return translate


translates("MEAN", 2)(_reduction(Mean))
translates("SUM", 2)(_reduction(Sum))
translates("REDUCE_MAX", 2)(_reduction(ReduceMax))
translates("REDUCE_MIN", 2)(_reduction(ReduceMin))


def _plain_binary(op: Operator) -> _Function:
    def translate(reader: Reader, operator: StoredOperator) -> None:
        sides = [reader.tensor(i) for i in operator.inputs]
        rank = max(len(s.shape) for s in sides)
        reader.apply(op, [_with_rank(reader, s, rank) for s in sides], operator)

    return translate


translates("SQUARED_DIFFERENCE", 2)(_plain_binary(SquaredDifference()))
translates("MAXIMUM", 2)(_plain_binary(Maximum()))
translates("MINIMUM", 2)(_plain_binary(Minimum()))
translates("PRELU", 2)(_plain_binary(Prelu()))


@translates("BATCH_MATMUL", 2, options="BatchMatMulOptions")
def _batch_matmul(reader: Reader, operator: StoredOperator) -> None:
    a, b = (reader.tensor(i) for i in operator.inputs)
    if len(a.shape) != len(b.shape):
        rank = max(len(a.shape), len(b.shape))
        a, b = _with_rank(reader, a, rank), _with_rank(reader, b, rank)
    if operator.options.boolean("AdjX"):
        swap = (*range(len(a.shape) - 2), len(a.shape) - 1, len(a.shape) - 2)
        a = reader.apply_between(Transpose(swap), [a], a)
    reader.apply(BatchMatMul(operator.options.boolean("AdjY")), [a, b], operator)


def _arg(op: Operator) -> _Function:
    """The position along any axis: that axis becomes the last."""

    def translate(reader: Reader, operator: StoredOperator) -> None:
        x = reader.tensor(operator.inputs[0])
        (given,) = reader.constant(operator, 1, DType.INT32) or (-1,)
        axis, rank = _axis(given, len(x.shape)), len(x.shape)
        if axis != rank - 1:
            order = (*(a for a in range(rank) if a != axis), axis)
            x = reader.apply_between(Transpose(order), [x], x)
        reader.apply(op, [x], operator)

    return translate


translates("ARG_MAX", 2)(_arg(ArgMax()))
translates("ARG_MIN", 2)(_arg(ArgMin()))


# Truth values.


for _relation in Relation:
    translates(_relation.value, 2)(_plain_binary(Compare(_relation)))
translates("LOGICAL_AND", 2)(_plain_binary(Logical()))
translates("LOGICAL_OR", 2)(_plain_binary(Logical(either=True)))


@translates("SELECT_V2", 3)
def _select(reader: Reader, operator: StoredOperator) -> None:
    parts = [reader.tensor(i) for i in operator.inputs]
    rank = max(len(t.shape) for t in parts)
    reader.apply(Select(), [_with_rank(reader, t, rank) for t in parts], operator)


# Pooling.


@translates("AVERAGE_POOL_2D", 1, options="Pool2DOptions")
def _average_pool(reader: Reader, operator: StoredOperator) -> None:
    x = reader.tensor(operator.inputs[0])
    window = _window(operator.options, _pool_kernel(operator), (1, 1), _image(x))
    _apply_clamped(reader, AveragePool2D(window), x, operator)


@translates("MAX_POOL_2D", 1, options="Pool2DOptions")
def _max_pool(reader: Reader, operator: StoredOperator) -> None:
    source, padding = reader.lowest_padding.get(operator.inputs[0], (operator.inputs[0], None))
    x = reader.tensor(source)
    window = _window(operator.options, _pool_kernel(operator), (1, 1), _image(x))
    if padding is not None:
        window = replace(window, padding=padding)
    _apply_clamped(reader, MaxPool2D(window), x, operator)


def _pool_kernel(operator: StoredOperator) -> tuple[int, int]:
    options = operator.options
    return options.integer("FilterHeight"), options.integer("FilterWidth")


def _apply_clamped(reader: Reader, op: Operator, x: Tensor, operator: StoredOperator) -> None:
    """An operator without a clamp of its own, and its fused activation as a second node."""
    clamp = _STANDALONE.get(_activation(operator.options))
    if clamp is None:
        reader.apply(op, [x], operator)
    else:
        inner = reader.apply_between(op, [x], reader.output(operator))
        reader.apply(clamp, [inner], operator)


# Elementwise functions.


def _unary(op: Operator) -> _Function:
    def translate(reader: Reader, operator: StoredOperator) -> None:
        reader.apply(op, [reader.tensor(operator.inputs[0])], operator)

    return translate


translates("HARD_SWISH", 1)(_unary(HardSwish()))
translates("LOGISTIC", 1)(_unary(Logistic()))
translates("ABS", 1)(_unary(Abs()))
translates("ELU", 1)(_unary(Elu()))
translates("RSQRT", 1)(_unary(Rsqrt()))
translates("LOGICAL_NOT", 1)(_unary(LogicalNot()))


@translates("QUANTIZE", 1)
def _quantize(reader: Reader, operator: StoredOperator) -> None:
    source = reader.float_inputs.get(operator.inputs[0])
    if source is None:
        reader.apply(Requantise(), [reader.tensor(operator.inputs[0])], operator)
    elif source != operator.outputs[0]:
        # The same integers by another name.
        reader.alias(operator.outputs[0], reader.tensor(source).name)


@translates("DEQUANTIZE", 1)
def _dequantize(reader: Reader, operator: StoredOperator) -> None:
    out = operator.outputs[0]
    if reader.readers(out) or out not in reader.model.outputs:
        raise Unsupported("a float island; the integers may become float at the model's output")
    reader.tensor(operator.inputs[0])
    reader.float_outputs[out] = operator.inputs[0]


def _function(reader: Reader, operator: StoredOperator) -> None:
    """A function that TFLite-Micro has in float only, or not at all: LiteRT makes its 256 results
    in single precision."""
    x, out = reader.tensor(operator.inputs[0]), reader.output(operator)
    if (x.dtype, out.dtype) != (DType.INT8, DType.INT8) or x.quant is None or out.quant is None:
        raise Unsupported(f"{x.dtype.value} to {out.dtype.value}; int8 is supported")
    values = table_of(operator, x.quant, out.quant)
    name = f"{out.name}_table"
    table = reader.add_constant(Tensor(name, values.shape, DType.INT8, out.quant, values))
    reader.apply(Table(), [x], operator, [table])


for _kind in ("EXP", "GELU", "LOG", "SQRT"):
    translates(_kind, 1)(_function)

translates("RELU", 1)(_unary(Relu()))
translates("RELU6", 1)(_unary(Relu6()))
translates("TANH", 1)(_unary(Tanh()))


@translates(TABLE, 2)
def _table(reader: Reader, operator: StoredOperator) -> None:
    x, table = (reader.tensor(i) for i in operator.inputs)
    if table.data is None:
        raise Unsupported(f"'{table.name}' is computed at run time; a constant is supported")
    reader.apply(Table(), [x], operator, [table])


@translates(MASKED_SOFTMAX, 3)
def _masked_softmax(reader: Reader, operator: StoredOperator) -> None:
    scores, ids = (reader.tensor(i) for i in operator.inputs[:2])
    (padding,) = reader.constant(operator, 2, DType.INT32)
    if ids.dtype is not DType.INT32:
        raise Unsupported(f"ids of {ids.dtype.value}; int32 is supported")
    reader.apply(MaskedSoftmax(padding), [scores], operator, [ids])


@translates("LEAKY_RELU", 1, options="LeakyReluOptions")
def _leaky_relu(reader: Reader, operator: StoredOperator) -> None:
    alpha = operator.options.real("Alpha")
    if not math.isfinite(alpha) or alpha < 0:
        raise Unsupported(f"the slope {alpha}; a slope from 0 is supported")
    reader.apply(LeakyRelu(alpha), [reader.tensor(operator.inputs[0])], operator)


@translates("SOFTMAX", 1, options="SoftmaxOptions")
def _softmax(reader: Reader, operator: StoredOperator) -> None:
    beta = operator.options.real("Beta")
    if beta != 1.0:
        raise Unsupported(f"beta {beta}; 1 is supported")
    x = reader.tensor(operator.inputs[0])
    if not x.shape:
        raise Unsupported("a single number")
    reader.apply(Softmax(), [x], operator)


def _over_rows(op: Operator) -> _Function:
    def translate(reader: Reader, operator: StoredOperator) -> None:
        if (
            operator.options.name == "L2NormOptions"
            and _activation(operator.options).value != "NONE"
        ):
            raise Unsupported("a fused activation")
        reader.apply(op, [reader.tensor(operator.inputs[0])], operator)

    return translate


translates("LOG_SOFTMAX", 1)(_over_rows(LogSoftmax()))
translates("L2_NORMALIZATION", 1)(_over_rows(L2Normalize()))


# Movement.


@translates("RESHAPE", 1, 2)
def _reshape(reader: Reader, operator: StoredOperator) -> None:
    x, out = reader.tensor(operator.inputs[0]), reader.output(operator)
    wanted: tuple[int, ...] | None = None
    if len(operator.inputs) == 2 and operator.inputs[1] != -1:
        wanted = reader.constant(operator, 1, DType.INT32)
    elif operator.options.name == "ReshapeOptions":
        wanted = operator.options.integers("NewShape")
    if wanted is not None and _resolved(wanted, x.elements) != out.shape:
        raise Unsupported(f"the shape {wanted} where the output is declared as {out.shape}")
    reader.apply(Reshape(out.shape), [x], operator)


def _resolved(shape: tuple[int, ...], elements: int) -> tuple[int, ...]:
    """The shape with its one -1, if any, replaced by what is left."""
    known = math.prod(d for d in shape if d != -1)
    if shape.count(-1) != 1 or known == 0:
        return shape
    return tuple(elements // known if d == -1 else d for d in shape)


def _ones_moved(reader: Reader, operator: StoredOperator) -> None:
    """Adds or drops axes of size 1, as the output's declared shape says."""
    x, out = reader.tensor(operator.inputs[0]), reader.output(operator)
    if [d for d in x.shape if d != 1] != [d for d in out.shape if d != 1]:
        raise Unsupported(f"{x.shape} to {out.shape}, which differ in more than sizes of 1")
    reader.apply(Reshape(out.shape), [x], operator)


translates("SQUEEZE", 1)(_ones_moved)
translates("EXPAND_DIMS", 2)(_ones_moved)


@translates("TRANSPOSE", 2)
def _transpose(reader: Reader, operator: StoredOperator) -> None:
    permutation = reader.constant(operator, 1, DType.INT32)
    x, out = reader.tensor(operator.inputs[0]), reader.output(operator)
    if len(permutation) <= 4 or sorted(permutation) != list(range(len(x.shape))):
        reader.apply(Transpose(permutation), [x], operator)
        return
    merged, order = _merged(x.shape, permutation)
    if len(merged) > 4:
        raise Unsupported(f"{permutation} of {x.shape}, which moves more than 4 groups of axes")
    parts = reader.apply_between(Reshape(merged), [x], x)
    moved = reader.apply_between(Transpose(order), [parts], x)
    reader.apply(Reshape(out.shape), [moved], operator)


def _merged(
    shape: tuple[int, ...], permutation: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and permutation with axes that stay side by side as one, and without those of 1."""
    runs: list[list[int]] = []
    for axis in (a for a in permutation if shape[a] != 1):
        between = range(runs[-1][-1] + 1, axis) if runs else ()
        follows = bool(runs) and axis > runs[-1][-1] and all(shape[a] == 1 for a in between)
        if follows:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    ordered = sorted(runs)
    sizes = tuple(math.prod(shape[a] for a in run) for run in ordered) or (1,)
    return sizes, tuple(ordered.index(run) for run in runs) or (0,)


def _pad_widths(reader: Reader, operator: StoredOperator, rank: int) -> list[tuple[int, int]]:
    """Elements added before and after each axis."""
    widths = reader.constant(operator, 1, DType.INT32)
    if len(widths) != 2 * rank or min(widths, default=0) < 0:
        raise Unsupported(f"the widths {widths} for rank {rank}")
    return list(zip(widths[::2], widths[1::2], strict=True))


@translates("PAD", 2)
def _pad(reader: Reader, operator: StoredOperator) -> None:
    x = reader.tensor(operator.inputs[0])
    widths = _pad_widths(reader, operator, len(x.shape))
    op = Pad(tuple(w[0] for w in widths), tuple(w[1] for w in widths))
    reader.apply(op, [x], operator)


@translates("PADV2", 3)
def _pad_with(reader: Reader, operator: StoredOperator) -> None:
    x, out = reader.tensor(operator.inputs[0]), reader.output(operator)
    (value,) = reader.constant(operator, 2, x.dtype)
    widths = _pad_widths(reader, operator, len(x.shape))
    zero = x.quant.z if x.quant and x.quant.axis is None else 0
    op = Pad(
        tuple(w[0] for w in widths), tuple(w[1] for w in widths), None if value == zero else value
    )
    readers = reader.readers(operator.outputs[0])
    alone = readers and operator.outputs[0] not in reader.model.outputs
    around = len(widths) == 4 and widths[0] == widths[3] == (0, 0) and x.shape[:1] == (1,)
    if value == x.dtype.limits[0] and alone and around and all(_takes_padding(r) for r in readers):
        # The lowest integer before a maximum is the padding of its window.
        padded = op.infer([x.shape])
        if padded != out.shape or x.quant != out.quant:
            raise Unsupported(f"'{x.name}' to '{out.name}', {out.shape} instead of {padded}")
        padding = (*widths[1], *widths[2])
        reader.lowest_padding[operator.outputs[0]] = (operator.inputs[0], padding)
        return
    reader.apply(op, [x], operator)


def _takes_padding(operator: StoredOperator) -> bool:
    """Whether the operator is a maximum that has no padding yet."""
    if operator.kind != "MAX_POOL_2D" or operator.options.name != "Pool2DOptions":
        return False
    return operator.options.integer("Padding") == int(schema.Padding.VALID)


@translates("CONCATENATION", 1, 64, options="ConcatenationOptions")
def _concatenation(reader: Reader, operator: StoredOperator) -> None:
    if _activation(operator.options) is not Activation.NONE:
        raise Unsupported("a fused activation")
    rank = len(reader.output(operator).shape)
    axis = operator.options.integer("Axis")
    axis = axis + rank if axis < 0 else axis
    if not 0 <= axis < rank:
        raise Unsupported(f"the axis {axis} of rank {rank}")
    tensors = [reader.tensor(i) for i in operator.inputs]
    if any(len(t.shape) != rank for t in tensors):
        raise Unsupported("inputs of another rank than the output")
    reader.apply(Concatenation(axis), tensors, operator)


@translates("SPLIT", 2, options="SplitOptions", outputs=None)
def _split(reader: Reader, operator: StoredOperator) -> None:
    x = reader.tensor(operator.inputs[1])
    _cut(reader, operator, x, reader.constant(operator, 0, DType.INT32)[0])


@translates("SPLIT_V", 3, options="SplitVOptions", outputs=None)
def _split_v(reader: Reader, operator: StoredOperator) -> None:
    x = reader.tensor(operator.inputs[0])
    _cut(reader, operator, x, reader.constant(operator, 2, DType.INT32)[0])


def _cut(reader: Reader, operator: StoredOperator, x: Tensor, axis: int) -> None:
    """One slice for each output, side by side along an axis."""
    axis = _axis(axis, len(x.shape))
    start = 0
    for index in range(len(operator.outputs)):
        out = reader.output(operator, index)
        begin = tuple(start if a == axis else 0 for a in range(len(x.shape)))
        reader.apply_to(Slice(begin, out.shape), [x], out)
        start += out.shape[axis]
    if start != x.shape[axis]:
        raise Unsupported(f"its outputs hold {start} of {x.shape[axis]} on axis {axis}")


def _axis(axis: int, rank: int) -> int:
    counted = axis + rank if axis < 0 else axis
    if not 0 <= counted < rank:
        raise Unsupported(f"the axis {axis} of rank {rank}")
    return counted


@translates("UNPACK", 1, options="UnpackOptions", outputs=None)
def _unpack(reader: Reader, operator: StoredOperator) -> None:
    x = reader.tensor(operator.inputs[0])
    axis = _axis(operator.options.integer("Axis"), len(x.shape))
    size = tuple(1 if a == axis else d for a, d in enumerate(x.shape))
    for index in range(len(operator.outputs)):
        out = reader.output(operator, index)
        begin = tuple(index if a == axis else 0 for a in range(len(x.shape)))
        inner = reader.apply_between(Slice(begin, size), [x], out)
        reader.apply_to(Reshape(out.shape), [inner], out)


@translates("PACK", 1, 64, options="PackOptions")
def _pack(reader: Reader, operator: StoredOperator) -> None:
    out = reader.output(operator)
    axis = _axis(operator.options.integer("Axis"), len(out.shape))
    one = tuple(1 if a == axis else d for a, d in enumerate(out.shape))
    parts = []
    for index in operator.inputs:
        x = reader.tensor(index)
        if x.data is not None:
            parts.append(reader.add_constant(replace(x, shape=one, data=x.data.reshape(one))))
        else:
            parts.append(reader.apply_between(Reshape(one), [x], x))
    reader.apply(Concatenation(axis), parts, operator)


@translates("SLICE", 3)
def _slice(reader: Reader, operator: StoredOperator) -> None:
    x, out = reader.tensor(operator.inputs[0]), reader.output(operator)
    begin = reader.constant(operator, 1, DType.INT32)
    reader.apply(Slice(begin, out.shape), [x], operator)


@translates("STRIDED_SLICE", 4, options="StridedSliceOptions")
def _strided_slice(reader: Reader, operator: StoredOperator) -> None:
    x, out = reader.tensor(operator.inputs[0]), reader.output(operator)
    begin, end, stride = (reader.constant(operator, i, DType.INT32) for i in (1, 2, 3))
    masks = {
        name: operator.options.integer(f"{name}Mask")
        for name in ("Begin", "End", "Ellipsis", "NewAxis", "ShrinkAxis")
    }
    rank = len(x.shape)
    if masks["Ellipsis"] or masks["NewAxis"] or not len(begin) == len(end) == len(stride) == rank:
        raise Unsupported("an ellipsis, a new axis, or bounds of another rank")
    starts, sizes = [], []
    for axis, length in enumerate(x.shape):
        if stride[axis] < 1:
            raise Unsupported(f"the stride {stride[axis]}; 1 and more are supported")
        bounds = slice(
            None if masks["Begin"] >> axis & 1 else begin[axis],
            None if masks["End"] >> axis & 1 else end[axis],
            stride[axis],
        )
        if masks["ShrinkAxis"] >> axis & 1:
            at = _axis(begin[axis], length)
            bounds = slice(at, at + 1, 1)
        taken = range(length)[bounds]
        if not taken:
            raise Unsupported("an empty slice")
        starts.append(taken.start)
        sizes.append(len(taken))
    op = Slice(tuple(starts), tuple(sizes), stride)
    if tuple(sizes) == out.shape:
        reader.apply(op, [x], operator)
    else:
        inner = reader.apply_between(op, [x], out)
        reader.apply(Reshape(out.shape), [inner], operator)


@translates("GATHER", 2, options="GatherOptions")
def _gather(reader: Reader, operator: StoredOperator) -> None:
    table, ids = (reader.tensor(i) for i in operator.inputs)
    if operator.options.integer("BatchDims"):
        raise Unsupported("batch dimensions")
    op = Gather(_axis(operator.options.integer("Axis"), len(table.shape)))
    reader.apply(op, [table, ids], operator)


@translates("EMBEDDING_LOOKUP", 2)
def _embedding_lookup(reader: Reader, operator: StoredOperator) -> None:
    ids, table = (reader.tensor(i) for i in operator.inputs)
    # Per-row scales would need a product for each row; TFLite-Micro gets them wrong.
    reader.apply(Gather(), [table, ids], operator)


# Moving pixels into channels and back: three moves of which the middle one has 4 axes.


@translates("SPACE_TO_DEPTH", 1, options="SpaceToDepthOptions")
def _space_to_depth(reader: Reader, operator: StoredOperator) -> None:
    x, block = reader.tensor(operator.inputs[0]), operator.options.integer("BlockSize")
    height, width = _image(x)
    if block < 1 or height % block or width % block:
        raise Unsupported(f"blocks of {block} in {x.shape}")
    pixels = (height // block, block, width // block, block * x.shape[3])
    _move_pixels(reader, operator, x, pixels)


@translates("DEPTH_TO_SPACE", 1, options="DepthToSpaceOptions")
def _depth_to_space(reader: Reader, operator: StoredOperator) -> None:
    x, block = reader.tensor(operator.inputs[0]), operator.options.integer("BlockSize")
    height, width = _image(x)
    if block < 1 or x.shape[3] % (block * block):
        raise Unsupported(f"blocks of {block} in {x.shape}")
    _move_pixels(reader, operator, x, (height, width, block, x.shape[3] // block))


def _move_pixels(
    reader: Reader, operator: StoredOperator, x: Tensor, split: tuple[int, int, int, int]
) -> None:
    parts = reader.apply_between(Reshape(split), [x], x)
    moved = reader.apply_between(Transpose((0, 2, 1, 3)), [parts], x)
    reader.apply(Reshape(reader.output(operator).shape), [moved], operator)


# What only picks elements: one gather by constant positions for each axis.


def _check_length(*sizes: int) -> None:
    """Sizes that a file declares cost it nothing, lists of as many positions cost memory."""
    if max(sizes, default=0) > LARGEST_DIM:
        raise Unsupported(f"an axis of {max(sizes)}; up to {LARGEST_DIM} are supported")


def _pick(reader: Reader, operator: StoredOperator, x: Tensor, wanted: Picks) -> None:
    """The elements at some positions of each axis, given as (axis, positions)."""
    out = reader.output(operator)
    for count, (axis, positions) in enumerate(wanted, 1):
        if any(not 0 <= p < x.shape[axis] for p in positions):
            raise Unsupported(f"positions outside axis {axis} of {x.shape}")
        ids = np.array(positions, np.int32)
        name = f"{out.name}_axis_{axis}"
        constant = reader.add_constant(Tensor(name, ids.shape, DType.INT32, None, ids))
        if count == len(wanted):
            reader.apply(Gather(axis), [x, constant], operator)
        else:
            x = reader.apply_between(Gather(axis), [x, constant], x)


@translates("RESIZE_NEAREST_NEIGHBOR", 2, options="ResizeNearestNeighborOptions")
def _resize_nearest(reader: Reader, operator: StoredOperator) -> None:
    x, out = reader.tensor(operator.inputs[0]), reader.output(operator)
    sizes = _image(x)
    _check_length(*x.shape, *out.shape)
    if len(out.shape) != 4 or reader.constant(operator, 1, DType.INT32) != out.shape[1:3]:
        raise Unsupported(f"the output is declared as {out.shape}")
    aligned, halves = (operator.options.boolean(f) for f in ("AlignCorners", "HalfPixelCenters"))
    wanted = [
        (axis, _nearest(sizes[axis - 1], out.shape[axis], aligned=aligned, halves=halves))
        for axis in (1, 2)
    ]
    _pick(reader, operator, x, wanted)


def _nearest(size: int, wanted: int, *, aligned: bool, halves: bool) -> list[int]:
    """The source of each output position (TFLite GetNearestNeighbor, in single precision)."""
    corners = aligned and wanted > 1
    scale = (
        np.float32(size - 1) / np.float32(wanted - 1)
        if corners
        else (np.float32(size) / np.float32(wanted))
    )
    at = (np.arange(wanted, dtype=np.float32) + np.float32(0.5 if halves else 0)) * scale
    nearest = np.floor(at + np.float32(0.5)) if aligned else np.floor(at)
    return [int(v) for v in np.clip(nearest, 0, size - 1)]


@translates("RESIZE_BILINEAR", 2, options="ResizeBilinearOptions")
def _resize_bilinear(reader: Reader, operator: StoredOperator) -> None:
    x = reader.tensor(operator.inputs[0])
    _image(x)
    size = reader.constant(operator, 1, DType.INT32)
    if len(size) != 2:
        raise Unsupported(f"the size {size}")
    aligned, halves = (operator.options.boolean(f) for f in ("AlignCorners", "HalfPixelCenters"))
    if x.dtype is not DType.INT8:
        raise Unsupported(f"{x.dtype.value}; int8 is supported")
    reader.apply(ResizeBilinear((size[0], size[1]), aligned, halves), [x], operator)


@translates("MIRROR_PAD", 2, options="MirrorPadOptions")
def _mirror_pad(reader: Reader, operator: StoredOperator) -> None:
    x = reader.tensor(operator.inputs[0])
    # REFLECT leaves the border out of the mirror, SYMMETRIC repeats it.
    mode = "symmetric" if operator.options.integer("Mode") else "reflect"
    _check_length(*x.shape)
    wanted = []
    for axis, (before, after) in enumerate(_pad_widths(reader, operator, len(x.shape))):
        if max(before, after) > x.shape[axis] - (mode == "reflect"):
            raise Unsupported(f"a mirror of {before} and {after} elements of {x.shape[axis]}")
        if before or after:
            line = np.pad(np.arange(x.shape[axis]), (before, after), mode=mode)  # type: ignore[call-overload]
            wanted.append((axis, [int(v) for v in line]))
    _pick(reader, operator, x, wanted or [(0, list(range(x.shape[0])))])


@translates("TILE", 2)
def _tile(reader: Reader, operator: StoredOperator) -> None:
    x, times = reader.tensor(operator.inputs[0]), reader.constant(operator, 1, DType.INT32)
    if len(times) != len(x.shape) or min(times, default=1) < 1:
        raise Unsupported(f"{times} copies of {x.shape}")
    _check_length(*(d * n for d, n in zip(x.shape, times, strict=True)))
    wanted = [
        (axis, [p % d for p in range(d * n)])
        for axis, (d, n) in enumerate(zip(x.shape, times, strict=True))
        if n > 1
    ]
    _pick(reader, operator, x, wanted or [(0, list(range(x.shape[0])))])


@translates("REVERSE_V2", 2)
def _reverse(reader: Reader, operator: StoredOperator) -> None:
    x = reader.tensor(operator.inputs[0])
    axes = [_axis(a, len(x.shape)) for a in reader.constant(operator, 1, DType.INT32)]
    _check_length(*x.shape)
    wanted = [(a, list(range(x.shape[a]))[::-1]) for a in sorted(set(axes))]
    _pick(reader, operator, x, wanted or [(0, list(range(x.shape[0])))])


@translates("BROADCAST_TO", 2)
def _broadcast_to(reader: Reader, operator: StoredOperator) -> None:
    out = reader.output(operator)
    x = _with_rank(reader, reader.tensor(operator.inputs[0]), len(out.shape))
    grown = [a for a, d in enumerate(out.shape) if x.shape[a] != d]
    _check_length(*out.shape)
    if any(x.shape[a] != 1 for a in grown):
        raise Unsupported(f"{x.shape} to {out.shape}")
    wanted = [(a, [0] * out.shape[a]) for a in grown]
    _pick(reader, operator, x, wanted or [(0, list(range(x.shape[0])))])


# State.


@translates("SVDF", 5, options="SVDFOptions")
def _svdf(reader: Reader, operator: StoredOperator) -> None:
    x, feature, time, bias = (reader.tensor(i) for i in operator.inputs[:4])
    state = reader.variable(operator.inputs[4])
    constants = (feature, time, bias)
    types = tuple(t.dtype for t in constants)
    if any(t.data is None for t in constants) or types != (DType.INT8, state.dtype, DType.INT32):
        raise Unsupported("weights or a bias of another type, or computed at run time")
    op = Svdf(operator.options.integer("Rank"))
    if op.rank < 1:
        raise Unsupported(f"the rank {op.rank}")
    for tensor in (feature, time, state):
        if tensor.quant is None or tensor.quant.axis is not None:
            raise Unsupported(f"'{tensor.name}' has no per-tensor quantisation")
    reader.apply(op, [x], operator, [feature, time, bias, state])


@translates("UNIDIRECTIONAL_SEQUENCE_LSTM", 9, 24, options="UnidirectionalSequenceLSTMOptions")
def _lstm(reader: Reader, operator: StoredOperator) -> None:
    options, inputs = operator.options, operator.inputs
    needed = (*TFLITE_BIAS, TFLITE_HIDDEN, TFLITE_CELL)
    if len(inputs) <= TFLITE_CELL or any(inputs[i] == -1 for i in needed):
        raise Unsupported("it has no biases or no state")
    optional = set(range(20, len(inputs))) | {9, 10, 11, 16, 17}
    if any(inputs[i] != -1 for i in optional):
        raise Unsupported("peepholes, a projection or layer normalisation")
    if options.boolean("TimeMajor") or options.integer("FusedActivationFunction") != _TANH:
        raise Unsupported("time before batch, or another activation than TANH")
    places = (*TFLITE_WEIGHTS, *TFLITE_RECURRENT, *TFLITE_BIAS)
    constants = [reader.tensor(inputs[i]) for i in places]
    for tensor, dtype in zip(constants, [DType.INT8] * 8 + [DType.INT32] * 4, strict=True):
        if tensor.data is None or tensor.dtype is not dtype:
            raise Unsupported(f"'{tensor.name}' is no {dtype.value} constant")
        per_tensor = tensor.quant is not None and tensor.quant.axis is None
        if dtype is DType.INT8 and (not per_tensor or tensor.q.z != 0):
            raise Unsupported(f"'{tensor.name}' has no symmetric per-tensor quantisation")
    hidden, cell = (reader.variable(inputs[i]) for i in (TFLITE_HIDDEN, TFLITE_CELL))
    out = reader.output(operator)
    if (hidden.dtype, cell.dtype) != (DType.INT8, DType.INT16) or hidden.quant != out.quant:
        raise Unsupported("a state that is not int8 on the output's grid with an int16 cell")
    if cell.quant is None or cell.quant.axis is not None or not _is_power_of_two(cell.quant.s):
        raise Unsupported("a cell whose scale is no power of two")
    clip = options.real("CellClip")
    if not math.isfinite(clip):
        raise Unsupported(f"the clip {clip}")
    x = reader.tensor(inputs[0])
    reader.apply(Lstm(clip), [x], operator, [*constants, hidden, cell])


def _is_power_of_two(scale: float) -> bool:
    return -20 <= math.log2(scale) <= 0 and math.frexp(scale)[0] == 0.5


@translates("CALL_ONCE", 0, options="CallOnceOptions", outputs=0)
def _call_once(reader: Reader, operator: StoredOperator) -> None:
    """First values of variables: constants assigned by another subgraph."""
    number = operator.options.integer("InitSubgraphIndex")
    if not 1 <= number <= len(reader.model.others):
        raise Unsupported(f"subgraph {number}")
    model = reader.model.others[number - 1]
    other, handles = Reader("init", model), {}
    for step in model.operators:
        if step.kind == "VAR_HANDLE" and step.outputs and step.options.name == "VarHandleOptions":
            handles[step.outputs[0]] = step.options.text("SharedName")
        elif step.kind == "ASSIGN_VARIABLE" and len(step.inputs) == 2:
            value = other.tensor(step.inputs[1]).data
            if step.inputs[0] not in handles or value is None:
                raise Unsupported("a first value that is no constant")
            reader.first_values[handles[step.inputs[0]]] = value
        else:
            raise Unsupported(f"{step.kind} in the subgraph that runs once")


@translates("VAR_HANDLE", 0, options="VarHandleOptions")
def _var_handle(reader: Reader, operator: StoredOperator) -> None:
    reader.handles[operator.outputs[0]] = operator.options.text("SharedName")


def _resource(reader: Reader, operator: StoredOperator, like: int) -> str:
    """The variable of a handle, made on first use with the type of a tensor."""
    key = reader.handles.get(operator.inputs[0])
    if key is None:
        raise Unsupported("a variable without a VAR_HANDLE")
    if key not in reader.resources:
        name = f"variable_{len(reader.resources)}"
        made = reader.variable(like, reader.first_values.get(key), name)
        reader.resources[key] = reader.values[key] = made.name
    return key


@translates("READ_VARIABLE", 1)
def _read_variable(reader: Reader, operator: StoredOperator) -> None:
    key = _resource(reader, operator, operator.outputs[0])
    reader.alias(operator.outputs[0], reader.values[key])


@translates("ASSIGN_VARIABLE", 2, outputs=0)
def _assign_variable(reader: Reader, operator: StoredOperator) -> None:
    key = _resource(reader, operator, operator.inputs[1])
    value = reader.tensor(operator.inputs[1])
    variable = reader.graph.tensors[reader.resources[key]]
    if value.data is not None or value.name in reader.graph.variables:
        raise Unsupported("a constant or another variable as the new value")
    if (value.shape, value.dtype, value.quant) != (variable.shape, variable.dtype, variable.quant):
        raise Unsupported(f"'{value.name}' is of another type than the variable")
    reader.values[key] = value.name
    reader.graph.updates[variable.name] = value.name


# A table is no operator of the format.
SUPPORTED = tuple(sorted(TRANSLATORS.keys() - {MASKED_SOFTMAX, TABLE}))
