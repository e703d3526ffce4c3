# SPDX-License-Identifier: Apache-2.0
"""What every operator is: one class, in one file under ``tinyml/ops/``.

The class holds the attributes, the shape rule, the float and the integer reference, the rule
by which its output is quantised, and its spelling in each output format. The integer reference
is the definition: the writers' outputs are compared with it, bit for bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tinyml.ir.tensor import Array, DType, Quantisation, Tensor

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder

Shape = tuple[int, ...]


class Rule(Enum):
    """How the scale of an operator's int8 output is chosen."""

    CALIBRATED = "calibrated"  # from the observed range
    SAME_AS_INPUT = "same as input"  # the operator moves or selects integers
    FIXED = "fixed"  # a known range, Operator.fixed_quantisation


class Operator(ABC):
    """Base class. Subclasses are frozen dataclasses whose fields are the attributes."""

    kind: ClassVar[str]
    rule: ClassVar[Rule] = Rule.CALIBRATED
    # Inputs that must carry the output's quantisation (concatenation, maximum).
    aligns_inputs: ClassVar[bool] = False
    # Whether TFLite-Micro has it on int16.
    has_int16: ClassVar[bool] = False
    # Inputs that are variables of the graph, which `run_int` and the C kernel overwrite.
    mutates: ClassVar[tuple[int, ...]] = ()

    def fixed_quantisation(self, dtype: DType = DType.INT8) -> Quantisation:
        """The quantisation of an output of ``dtype``, for an operator whose rule is FIXED."""
        raise NotImplementedError(f"{self.kind} has no fixed quantisation")

    def input_dtype(self, out: DType) -> DType | None:
        """The type in which an operator with an output of type ``out`` reads its activations;
        None where it takes each as it is."""
        return out

    def attributes(self) -> dict[str, Any]:
        """Attributes by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    @abstractmethod
    def infer(self, inputs: Sequence[Shape]) -> Shape:
        """Output shape. Raises ValueError when the input shapes do not fit."""

    @abstractmethod
    def run_float(self, inputs: Sequence[Array]) -> Array:
        """float32 in, float32 out."""

    @abstractmethod
    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        """Integers in, integers out, with the arithmetic of TFLite-Micro's reference kernel.

        The types of ``ins`` and ``out`` choose the arithmetic: int8, or int16 where the operator
        has it.

        Args:
            inputs: the integers of each input, constants included.
            ins: the input tensors, for their quantisation.
            out: the output tensor, for its quantisation.
        """

    def macs(self, inputs: Sequence[Shape], output: Shape) -> int:
        """Multiply-accumulates of one run."""
        return 0

    def must_reach(self, inputs: Sequence[Array]) -> float | None:
        """A value that the range of its first input must hold though no sample may show it, for
        an operator whose integers need one; from the float inputs of one run."""
        return None

    def id_count(self, inputs: Sequence[Shape]) -> int | None:
        """How many ids its integer input may take, None where it has no such input."""
        return None

    def quantise_constants(
        self, ins: Sequence[Tensor], quants: Sequence[Quantisation | None]
    ) -> dict[int, Tensor]:
        """Integer versions of constant inputs, by input index.

        Args:
            ins: the input tensors; constants still float, activations with the integer type that
                was chosen for them.
            quants: the chosen quantisation of each non-constant input, None for constants.

        Returns:
            One tensor for each constant input. The default treats a constant as one more
            activation: per tensor over its own range, or on the grid its file states, int16 beside
            an int16 activation. Integer constants stay as they are.
        """
        wide = any(t.dtype is DType.INT16 for t in ins)
        dtype = DType.INT16 if wide else DType.INT8
        made: dict[int, Tensor] = {}
        for index, tensor in enumerate(ins):
            if tensor.data is not None and tensor.dtype is DType.FLOAT32:
                quant = tensor.quant if dtype is DType.INT8 else None
                if quant is None:
                    quant = affine(float(np.min(tensor.data)), float(np.max(tensor.data)), dtype)
                made[index] = tensor.with_data(quant.quantise(tensor.data, dtype), quant)
            elif tensor.data is not None:
                made[index] = tensor
        return made

    @abstractmethod
    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        """Appends this operator to a TFLite subgraph, with registered TFLM operators only."""

    @abstractmethod
    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        """Appends this operator to an ONNX QDQ graph (float operator between Q and DQ)."""

    def c_scratch(self, ins: Sequence[Tensor], out: Tensor, isa: str) -> int:
        """Bytes of arena that the C kernel needs while it runs, beside inputs and output.

        Args:
            isa: `Target.isa`.
        """
        return 0

    def c_in_place(self, ins: Sequence[Tensor], out: Tensor, isa: str) -> bool:
        """Whether the C kernel's output may lie over its first input: at its address, or at a
        lower one too if `c_in_order`."""
        return False

    def c_in_order(self, ins: Sequence[Tensor], out: Tensor, isa: str) -> bool:
        """Whether a kernel in place reads its input once, from start to end."""
        return True

    @abstractmethod
    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        """Appends the kernel call, its shape and its record in the weights blob."""


def affine(low: float, high: float, dtype: DType = DType.INT8) -> Quantisation:
    """The grid that covers [low, high] and holds real zero exactly (TFLite's rule): asymmetric in
    int8, symmetric with zero point 0 in int16.

    Source: Jacob et al., arXiv 1712.05877, section 3; zero point "nudged" onto an integer.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if dtype is DType.INT16:
        peak = max(-low, high)
        return Quantisation.per_tensor(peak / 32767 if peak > 1e-12 else 1.0 / 32768, 0)
    if high - low < 1e-12:
        return Quantisation.per_tensor(1.0 / 128, 0)
    scale = float(np.float32((high - low) / 255.0))
    zero = int(np.clip(np.rint(-128 - low / scale), -128, 127))
    return Quantisation.per_tensor(scale, zero)
