# SPDX-License-Identifier: Apache-2.0
"""The generated C of a learner inside this process: the same code that a device runs."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyml.errors import LearnError
from tinyml.ir.tensor import Array
from tinyml.learn.learner import Facts, Learner, write_learn_folder
from tinyml.learn.options import Loss
from tinyml.runtimes.build import COMMON, WARNINGS, firmware_root
from tinyml.runtimes.process import require_tool, run_tool

STATUS = {
    0: "OK",
    1: "WARMING",
    2: "GUARDED",
    3: "END",
    -1: "BAD_INPUT",
    -2: "BAD_TARGET",
    -3: "DIVERGED",
    -4: "BAD_ARGUMENT",
    -5: "FULL",
    -6: "STORAGE",
    -7: "NOTHING_SAVED",
    -8: "MEMORY",
}


class Handle(ctypes.Structure):
    """tml_learn_t."""

    _fields_ = (
        ("model", ctypes.c_void_p),
        ("state", ctypes.c_void_p),
        ("work", ctypes.c_void_p),
        ("rate", ctypes.c_float),
        ("momentum", ctypes.c_float),
        ("outlier_limit", ctypes.c_float),
        ("loss_limit", ctypes.c_float),
        ("mask", ctypes.c_void_p),
        ("storage", ctypes.c_void_p),
    )


class CTarget(ctypes.Structure):
    """tml_learn_target_t."""

    _fields_ = (("label", ctypes.c_int32), ("values", ctypes.c_void_p))


class State(ctypes.Structure):
    """tml_learn_state_t."""

    _fields_ = (
        ("steps", ctypes.c_uint32),
        ("outputs", ctypes.c_uint32),
        ("statistics_count", ctypes.c_uint32),
        ("standardise", ctypes.c_uint32),
        ("losses", ctypes.c_uint32),
        ("loss", ctypes.c_float),
        ("first_loss", ctypes.c_float),
        ("target_square", ctypes.c_float),
        ("drifts", ctypes.c_uint32),
        ("drift_tolerance", ctypes.c_float),
        ("drift_threshold", ctypes.c_float),
        ("drift_count", ctypes.c_uint32),
        ("drift_mean", ctypes.c_float),
        ("drift_sum", ctypes.c_float),
        ("drift_lowest", ctypes.c_float),
    )


@dataclass(frozen=True)
class Stepped:
    """What a step returned: the status by name, the loss and outputs before the update."""

    status: str
    loss: float
    outputs: Array


def compile_native(
    name: str,
    folder: Path,
    flags: Sequence[str] = ("-O2",),
    runtime: Path | None = None,
) -> Path:
    """Builds a learner's C as a shared library.

    Args:
        name: the learner's.
        folder: where its C is, in ``c``, and the library goes.
        flags: optimisation and sanitizers.
        runtime: the object that `compile_runtime` made with the same flags, to save compiling
            the same sources for each of many learners.
    """
    compiler = require_tool("cc", ["gcc"])
    source = folder / "c"
    library = folder / f"{name}_learn.so"
    files = sorted(source.glob("*.c"))
    rest = sorted(source.glob("runtime/*.c"))
    files += rest if runtime is None else [p for p in rest if p.name.startswith("kernel_")]
    command = [compiler, *COMMON, *WARNINGS, *flags, "-fPIC", "-shared", f"-I{source}"]
    command += [str(p) for p in files] + ([] if runtime is None else [str(runtime)])
    run_tool([*command, "-o", str(library)])
    return library


def load_native(
    learner: Learner,
    folder: Path,
    flags: Sequence[str] = ("-O2",),
    runtime: Path | None = None,
) -> NativeLearner:
    """Writes, compiles and loads a learner; ``folder`` must outlive its first use."""
    write_learn_folder(learner, folder / "c")
    return NativeLearner(learner.facts, compile_native(learner.name, folder, flags, runtime))


def compile_runtime(folder: Path, flags: Sequence[str] = ("-O2",)) -> Path:
    """The learning runtime as one relocatable object in ``folder``."""
    compiler = require_tool("cc", ["gcc"])
    root = firmware_root()
    include = [f"-I{root / 'include'}", f"-I{root / 'kernels' / 'common'}"]
    command = [compiler, *COMMON, *WARNINGS, *flags, "-fPIC", *include, "-r", "-nostdlib"]
    made = folder / "learn_runtime.o"
    run_tool([*command, *map(str, sorted((root / "learn").glob("*.c"))), "-o", str(made)])
    return made


class NativeLearner:
    """One learner with its own state; many may share a compiled library.

    Args:
        facts: of the learner.
        library: made by `compile_native`.
    """

    def __init__(self, facts: Facts, library: Path) -> None:
        self.facts = facts
        self.c = ctypes.CDLL(str(library))
        self.c.tml_learn_weights.restype = ctypes.POINTER(ctypes.c_float)
        self.c.tml_learn_output.restype = ctypes.POINTER(ctypes.c_float)
        self.c.tml_learn_state.restype = ctypes.POINTER(State)
        self._memory = [
            np.zeros(size + 16, np.uint8) for size in (facts.state_bytes, facts.work_bytes)
        ]
        aligned = [a.ctypes.data + -a.ctypes.data % 16 for a in self._memory]
        self.handle = Handle()
        self.model = ctypes.addressof(ctypes.c_char.in_dll(self.c, f"{facts.name}_learn"))
        status = self.c.tml_learn_init(
            ctypes.byref(self.handle), *(ctypes.c_void_p(p) for p in (self.model, *aligned))
        )
        assert STATUS[status] == "OK"

    @property
    def me(self) -> object:
        """The handle as C takes it."""
        return ctypes.byref(self.handle)

    @property
    def state(self) -> State:
        """The persistent header, live."""
        found: State = self.c.tml_learn_state(self.me).contents
        return found

    @property
    def weights(self) -> Array:
        """Trained weights, float32 (count,); a copy."""
        count = self.facts.weight_count
        pointer = self.c.tml_learn_weights(self.me)
        return np.ctypeslib.as_array(pointer, (count,)).copy() if count else np.zeros(0, np.float32)

    def set_weights(self, values: Array, first: int = 0) -> str:
        """Sets trained weights from ``first`` on; returns the status."""
        array = np.ascontiguousarray(values, np.float32)
        return STATUS[
            self.c.tml_learn_set(self.me, first, len(array), ctypes.c_void_p(array.ctypes.data))
        ]

    def outputs(self) -> Array:
        """Of the last prediction or step."""
        pointer = self.c.tml_learn_output(self.me)
        return np.ctypeslib.as_array(pointer, (self.state.outputs,)).copy()

    def target(self, target: int | Array) -> tuple[CTarget, Array | None]:
        """A target as C takes it, with the array that must outlive it."""
        if self.facts.loss is Loss.CROSS_ENTROPY:
            return CTarget(int(np.asarray(target)), None), None
        values = np.ascontiguousarray(np.ravel(target), np.float32)
        return CTarget(0, values.ctypes.data), values

    def _sample(self, sample: Array) -> Array:
        array = np.ascontiguousarray(np.ravel(sample), np.float32)
        if len(array) != self.facts.inputs:
            raise LearnError(
                f"a sample has {len(array)} values, '{self.facts.name}' takes {self.facts.inputs}"
            )
        return array

    def predict(self, sample: Array) -> Stepped:
        """Outputs only."""
        array = self._sample(sample)
        status = self.c.tml_learn_predict(self.me, ctypes.c_void_p(array.ctypes.data), None)
        return Stepped(STATUS[status], float("nan"), self.outputs())

    def step(self, sample: Array, target: int | Array) -> Stepped:
        """Tests, then trains."""
        array = self._sample(sample)
        c_target, kept = self.target(target)
        loss = ctypes.c_float()
        status = self.c.tml_learn_step(
            self.me, ctypes.c_void_p(array.ctypes.data), ctypes.byref(c_target), ctypes.byref(loss)
        )
        del kept
        return Stepped(STATUS[status], loss.value, self.outputs())

    def gradient(self, sample: Array, target: int | Array) -> tuple[float, Array]:
        """Loss and gradient of one sample; nothing is learned.

        Raises:
            LearnError: sample or target is refused.
        """
        array = self._sample(sample)
        c_target, kept = self.target(target)
        loss = ctypes.c_float()
        found = np.zeros(self.facts.weight_count, np.float32)
        status = self.c.tml_learn_gradient(
            self.me,
            ctypes.c_void_p(array.ctypes.data),
            ctypes.byref(c_target),
            ctypes.c_void_p(found.ctypes.data),
            ctypes.byref(loss),
        )
        del kept
        if status != 0:
            raise LearnError(f"the learner refuses the sample: {STATUS[status]}")
        return loss.value, found
