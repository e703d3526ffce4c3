# SPDX-License-Identifier: Apache-2.0
"""Long short-term memory over a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.errors import TinymlError
from tinyml.ir.fixedpoint import Int64, quantise_multiplier, requantise, saturate, wrap32
from tinyml.ir.lookup import SIGMOID, sigmoid16, sigmoid_position, tanh16
from tinyml.ir.operator import Operator, Shape
from tinyml.ir.tensor import Array, DType, Tensor

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder

GATES = ("input", "forget", "cell", "output")
# Places among the 24 inputs of TFLite's operator.
TFLITE_WEIGHTS, TFLITE_RECURRENT = (1, 2, 3, 4), (5, 6, 7, 8)
TFLITE_BIAS, TFLITE_HIDDEN, TFLITE_CELL, TFLITE_INPUTS = (12, 13, 14, 15), 18, 19, 24
_GATE_SCALE, _UNIT_SCALE = 2.0**-12, 2.0**-15


@dataclass(frozen=True)
class Lstm(Operator):
    """Inputs: x (1, steps, in) int8; for each gate of `GATES` weights (units, in) int8; for each
    gate recurrent weights (units, units) int8; for each gate a bias (units) int32; hidden state
    (1, units) int8, cell state (1, units) int16. Output (1, steps, units) int8 on the hidden
    state's grid. Gates are logistic, cell and output tanh.

    Args:
        cell_clip: bound of the cell's magnitude, a real; 0 for none.

    Source: TFLite-Micro lstm_eval.h, int8 activations and int16 cell.
    """

    cell_clip: float = 0.0
    kind: ClassVar[str] = "lstm"
    mutates: ClassVar[tuple[int, ...]] = (13, 14)

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        x, units = inputs[0], inputs[13][1]
        fits = (
            len(x) == 3
            and x[0] == 1
            and all(w == (units, x[2]) for w in inputs[1:5])
            and all(w == (units, units) for w in inputs[5:9])
            and all(b == (units,) for b in inputs[9:13])
            and inputs[13] == inputs[14] == (1, units)
        )
        if not fits:
            raise ValueError(f"lstm: {list(inputs)} do not fit")
        return (1, x[1], units)

    def macs(self, inputs: Sequence[Shape], output: Shape) -> int:
        return 4 * output[1] * output[2] * (inputs[0][2] + output[2])

    def run_float(self, inputs: Sequence[Array]) -> Array:
        raise NotImplementedError("lstm comes from TFLite files, which hold integers")

    @staticmethod
    def _gate_multipliers(ins: Sequence[Tensor], gate: int) -> tuple[int, int, int, int]:
        of_x = ins[0].q.s * ins[1 + gate].q.s / _GATE_SCALE
        of_hidden = ins[13].q.s * ins[5 + gate].q.s / _GATE_SCALE
        return (*quantise_multiplier(of_x), *quantise_multiplier(of_hidden))

    @staticmethod
    def _products(ins: Sequence[Tensor]) -> list[tuple[int, int]]:
        """Multipliers of forget * cell, input * cell gate, and output * tanh(cell)."""
        cell, hidden = ins[14].q.s, ins[13].q.s
        return [
            quantise_multiplier(_UNIT_SCALE * cell / cell),
            quantise_multiplier(_UNIT_SCALE * _UNIT_SCALE / cell),
            quantise_multiplier(_UNIT_SCALE * _UNIT_SCALE / hidden),
        ]

    def _clip(self, cell: Tensor) -> int:
        return int(np.clip(float(np.float32(self.cell_clip)) / cell.q.s, -32768, 32767))

    @staticmethod
    def _cell_position(cell: Tensor) -> tuple[int, int]:
        """What takes the cell, whose scale is a power of two, to the table of the logistic."""
        left = 12 + round(float(np.log2(cell.q.s)))
        return (3 << left, 0) if left >= 0 else (3, -left)

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        hidden, cell = inputs[13], inputs[14]
        forget, entry, outlet = self._products(ins)
        clip = self._clip(ins[14])
        steps = []
        for x in inputs[0][0]:
            arguments = [self._argument(inputs, ins, g, x, hidden[0]) for g in range(4)]
            gates = [tanh16(3 * a) if g == 2 else sigmoid16(3 * a) for g, a in enumerate(arguments)]
            kept = _saturated(requantise(gates[1] * cell[0], *forget))
            added = _saturated(requantise(gates[0] * gates[2], *entry))
            state = _saturated(kept + added)
            if clip > 0:
                state = np.clip(state, -clip, clip)
            cell[0] = state
            squashed = tanh16(sigmoid_position(state, *self._cell_position(ins[14])))
            product = requantise(squashed * gates[3], *outlet) + ins[13].q.z
            hidden[0] = saturate(product, DType.INT8)
            steps.append(hidden[0].copy())
        return np.stack(steps)[None]

    def _argument(
        self, inputs: Sequence[Array], ins: Sequence[Tensor], gate: int, x: Array, hidden: Array
    ) -> Int64:
        multipliers = self._gate_multipliers(ins, gate)
        weights, recurrent = (inputs[i + gate].astype(np.int64) for i in (1, 5))
        forward = weights @ (x.astype(np.int64) - ins[0].q.z) + inputs[9 + gate]
        back = recurrent @ (hidden.astype(np.int64) - ins[13].q.z)
        first = _saturated(requantise(wrap32(forward), *multipliers[:2]))
        return _saturated(first + _saturated(requantise(wrap32(back), *multipliers[2:])))

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        inputs = [-1] * TFLITE_INPUTS
        inputs[0] = b.tensor(ins[0])
        for gate in range(4):
            inputs[TFLITE_WEIGHTS[gate]] = b.tensor(ins[1 + gate])
            inputs[TFLITE_RECURRENT[gate]] = b.tensor(ins[5 + gate])
            inputs[TFLITE_BIAS[gate]] = b.tensor(ins[9 + gate])
        inputs[TFLITE_HIDDEN] = b.variable(ins[13])
        inputs[TFLITE_CELL] = b.variable(ins[14])
        b.operator(
            "UNIDIRECTIONAL_SEQUENCE_LSTM",
            inputs,
            [b.tensor(out)],
            "UnidirectionalSequenceLSTMOptions",
            fusedActivationFunction=b.tanh,
            cellClip=self.cell_clip,
            projClip=0.0,
            timeMajor=False,
        )

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        raise TinymlError("ONNX has no operator that keeps state between runs (lstm)")

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        x, hidden, cell = ins[0], ins[13], ins[14]
        fields = {"steps": x.shape[1], "inputs": x.shape[2], "units": out.shape[2]}
        header = [hidden.q.z, self._clip(cell), *self._cell_position(cell)]
        header += [v for pair in self._products(ins) for v in pair]
        header += [v for gate in range(4) for v in self._gate_multipliers(ins, gate)]
        parts: list[Array] = []
        for gate in range(4):
            weights, recurrent, bias = (ins[i + gate].values for i in (1, 5, 9))
            folded = bias - x.q.z * weights.astype(np.int64).sum(axis=1)
            back = -hidden.q.z * recurrent.astype(np.int64).sum(axis=1)
            parts += [wrap32(folded).astype(np.int32), back.astype(np.int32), weights, recurrent]
        shape, record = c.shape("tml_lstm_t", fields), c.record(header, *parts)
        table = c.shared(SIGMOID)
        state = [c.write(hidden), c.write(cell)]
        c.call("tml_lstm_s8", shape, record, table, c.read(x), *state, c.write(out), c.scratch())

    def c_scratch(self, ins: Sequence[Tensor], out: Tensor, isa: str) -> int:
        return out.shape[2]


def _saturated(x: Int64) -> Int64:
    return np.clip(x, -32768, 32767)
