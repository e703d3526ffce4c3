# SPDX-License-Identifier: Apache-2.0
"""The operators. Each class is the one definition of its operator."""

from tinyml.ops.activation import Activation
from tinyml.ops.add import Add, Sub
from tinyml.ops.attention import Attention
from tinyml.ops.batch_matmul import BatchMatMul
from tinyml.ops.compare import Compare, Logical, LogicalNot, Relation, Select
from tinyml.ops.conv2d import Conv2D
from tinyml.ops.depthwise_conv2d import DepthwiseConv2D
from tinyml.ops.float_only import Div, FloatOnly
from tinyml.ops.fully_connected import FullyConnected
from tinyml.ops.function import Function, Piecewise
from tinyml.ops.gate import Gate
from tinyml.ops.gather import Gather
from tinyml.ops.gelu import Gelu
from tinyml.ops.l2_normalize import L2Normalize
from tinyml.ops.layer_norm import LayerNorm
from tinyml.ops.log_softmax import LogSoftmax
from tinyml.ops.lstm import Lstm
from tinyml.ops.masked_softmax import MaskedSoftmax
from tinyml.ops.maximum import ArgMax, ArgMin, Maximum, Minimum
from tinyml.ops.mean import Mean, ReduceMax, ReduceMin, Reduction, Sum
from tinyml.ops.movement import Concatenation, Pad, Reshape, Transpose
from tinyml.ops.mul import Mul
from tinyml.ops.norm import Norm
from tinyml.ops.pool2d import AveragePool2D, MaxPool2D
from tinyml.ops.prelu import Prelu
from tinyml.ops.resize_bilinear import ResizeBilinear
from tinyml.ops.sequence_conv import SequenceConv
from tinyml.ops.slice import Slice
from tinyml.ops.softmax import Softmax
from tinyml.ops.squared_difference import SquaredDifference
from tinyml.ops.svdf import Svdf
from tinyml.ops.table import Table
from tinyml.ops.unary import (
    Abs,
    Elu,
    HardSwish,
    LeakyRelu,
    Logistic,
    Relu,
    Relu6,
    Requantise,
    Rsqrt,
    Tanh,
    Unary,
)
from tinyml.ops.window import Window

__all__ = [
    "Abs",
    "Activation",
    "Add",
    "ArgMax",
    "ArgMin",
    "Attention",
    "AveragePool2D",
    "BatchMatMul",
    "Compare",
    "Concatenation",
    "Conv2D",
    "DepthwiseConv2D",
    "Div",
    "FloatOnly",
    "Elu",
    "FullyConnected",
    "Function",
    "Gate",
    "Gather",
    "Gelu",
    "HardSwish",
    "L2Normalize",
    "LayerNorm",
    "LeakyRelu",
    "MaskedSoftmax",
    "LogSoftmax",
    "Logical",
    "LogicalNot",
    "Logistic",
    "Lstm",
    "MaxPool2D",
    "Maximum",
    "Mean",
    "Minimum",
    "Mul",
    "Norm",
    "Pad",
    "Piecewise",
    "Prelu",
    "ReduceMax",
    "ReduceMin",
    "Reduction",
    "Relation",
    "Relu",
    "Relu6",
    "Requantise",
    "Reshape",
    "ResizeBilinear",
    "Rsqrt",
    "Select",
    "Slice",
    "SequenceConv",
    "Softmax",
    "SquaredDifference",
    "Sub",
    "Sum",
    "Svdf",
    "Table",
    "Tanh",
    "Transpose",
    "Unary",
    "Window",
]
