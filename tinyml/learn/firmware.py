# SPDX-License-Identifier: Apache-2.0
"""Learners as programs: on this machine as a process, or on an emulated board."""

from __future__ import annotations

import ctypes
import re
import struct
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tinyml.errors import TargetError, TinymlError
from tinyml.ir.tensor import Array
from tinyml.learn.learner import Facts
from tinyml.learn.native import STATUS, State, Stepped
from tinyml.learn.options import Loss
from tinyml.runtimes.build import COMMON, WARNINGS, Program, firmware_root, port_sources, read_map
from tinyml.runtimes.compiled import run_command
from tinyml.runtimes.process import require_tool, run_tool
from tinyml.targets import Target


@dataclass(frozen=True)
class LearnMemory:
    """Bytes from the linker map.

    Args:
        code: instructions and constants of learner, runtime and backbone, the compiler's helper
            functions included.
        weights: exported float weights and the int8 blob.
        state, work: RAM.
    """

    code: int
    weights: int
    state: int
    work: int

    @property
    def ram(self) -> int:
        return self.state + self.work

    @property
    def flash(self) -> int:
        return self.code + self.weights


@dataclass(frozen=True)
class LearnProgram:
    """A linked program and what the learner takes in it."""

    program: Program
    memory: LearnMemory


def build_learner(facts: Facts, source: Path, target: Target, folder: Path) -> LearnProgram:
    """Compiles a learner with the learning harness.

    Args:
        source: its C folder.
        folder: where objects, image and map go; created.

    Raises:
        ToolMissingError: the compiler is not installed.
        TargetError: it does not fit the board.
    """
    compiler = require_tool(target.compiler, target.packages)
    root = firmware_root()
    folder.mkdir(parents=True, exist_ok=True)
    name = facts.name
    include = [f"-I{source}", f"-I{root / 'ports' / 'common'}"]
    flags = [*target.flags, *COMMON, *WARNINGS, *include]
    flags += [f"-DTML_MODEL_NAME={name}", f'-DTML_MODEL_HEADER="{name}_learn.h"']
    if not target.is_host:
        flags.append("-ffreestanding")
    jobs = [(p, f"model_{p.stem}.o") for p in sorted(source.glob("*.c"))]
    jobs += [(p, f"learn_{p.stem}.o") for p in sorted(source.glob("runtime/*.c"))]
    jobs += [(p, f"port_{p.stem}.o") for p in port_sources(root, target)]
    jobs.append((root / "harness" / "learn.c", "port_main.o"))
    with ThreadPoolExecutor() as pool:
        commands = [[compiler, *flags, "-c", str(p), "-o", str(folder / o)] for p, o in jobs]
        list(pool.map(run_tool, commands))
    image, link_map = folder / f"{name}.elf", folder / f"{name}.map"
    link = [compiler, *target.flags, *(str(folder / made) for _, made in jobs), "-o", str(image)]
    link += ["-Wl,--gc-sections", f"-Wl,-Map={link_map}"]
    if not target.is_host:
        ports = root / "ports"
        link += ["-nostdlib", "-nostartfiles", f"-L{ports / 'common'}"]
        link += ["-T", str(ports / target.port / "board.ld"), "-lgcc"]
    try:
        run_tool(link)
    except TinymlError as error:
        overflow = re.search(r"region `(\w+)' overflowed by (\d+) bytes", error.message)
        if overflow is None:
            raise
        raise TargetError(
            f"the learner does not fit the {target.port} board: {overflow[1]} overflows by "
            f"{int(overflow[2]):,} B",
            "Give --learn-ram, or a target with more memory.",
        ) from None
    program = Program(image, read_map(link_map, name))
    return LearnProgram(program, _memory(link_map, facts))


_PLACED = re.compile(r"^ (\.[\w.$-]+)?\s+0x[0-9a-f]+\s+0x([0-9a-f]+) (\S+\.o(?:bj)?\)?)$")
_NAME_ONLY = re.compile(r"^ (\.[\w.$-]+)$")


def _memory(link_map: Path, facts: Facts) -> LearnMemory:
    text = link_map.read_text(errors="replace")
    code = weights = 0
    section = ""
    for line in text[text.index("Linker script and memory map") :].splitlines():
        alone = _NAME_ONLY.match(line)
        if alone:
            section = alone[1]
            continue
        placed = _PLACED.match(line)
        section = (placed[1] or section) if placed else ""
        if not placed or not section.startswith((".text", ".rodata", ".srodata", ".data.rel.ro")):
            continue
        size, owner = int(placed[2], 16), Path(placed[3]).name
        if owner.startswith("model_") and owner.endswith("_weights.o"):
            weights += size
        elif owner.startswith(("model_", "learn_")) or "libgcc" in placed[3]:
            code += size
    return LearnMemory(code, weights, facts.state_bytes, facts.work_bytes)


@dataclass
class Session:
    """Commands for a learner's program, and what each was answered.

    The program runs once, at `run`; each method that adds a command returns the number of its
    reply.

    Args:
        facts: of the learner whose program it is.
    """

    facts: Facts
    _commands: list[bytes] = field(default_factory=list)
    _readers: list[Callable[[memoryview], tuple[object, int]]] = field(default_factory=list)
    _marked: list[int] = field(default_factory=list)

    def _add(self, command: bytes, reader: Callable[[memoryview], tuple[object, int]]) -> int:
        self._commands.append(command)
        self._readers.append(reader)
        return len(self._readers) - 1

    def _target(self, target: int | Array) -> bytes:
        if self.facts.loss is Loss.CROSS_ENTROPY:
            return struct.pack("<i", int(np.asarray(target)))
        values = np.zeros(self.facts.capacity, "<f4")
        given = np.ravel(np.asarray(target))
        values[: len(given)] = given
        return values.tobytes()

    def step(self, sample: Array, target: int | Array) -> int:
        """Replies Stepped."""
        data = np.asarray(sample, "<f4").tobytes() + self._target(target)
        self._marked.append(len(self._readers))
        return self._add(struct.pack("<i", 1) + data, self._stepped)

    def predict(self, sample: Array) -> int:
        """Replies Stepped without a loss."""
        self._marked.append(len(self._readers))
        data = np.asarray(sample, "<f4").tobytes()
        return self._add(struct.pack("<i", 2) + data, self._predicted)

    def gradient(self, sample: Array, target: int | Array) -> int:
        """Replies (status, loss, gradient)."""
        data = np.asarray(sample, "<f4").tobytes() + self._target(target)
        return self._add(struct.pack("<i", 3) + data, self._gradient)

    def weights(self) -> int:
        """Replies the trained weights."""
        return self._add(struct.pack("<i", 4), self._weights)

    def set_weights(self, values: Array) -> int:
        """Replies the status."""
        return self._add(struct.pack("<i", 5) + np.asarray(values, "<f4").tobytes(), _status)

    def settings(
        self, rate: float, momentum: float = 0.0, outlier: float = 0.0, loss: float = 0.0
    ) -> int:
        """Replies the status."""
        return self._add(struct.pack("<i4f", 6, rate, momentum, outlier, loss), _status)

    def add_class(self) -> int:
        """Replies the status."""
        return self._add(struct.pack("<i", 7), _status)

    def save(self) -> int:
        """Replies the status."""
        return self._add(struct.pack("<i", 8), _status)

    def restore(self) -> int:
        """Replies the status."""
        return self._add(struct.pack("<i", 9), _status)

    def state(self) -> int:
        """Replies State."""
        return self._add(struct.pack("<i", 10), _state)

    def _stepped(self, data: memoryview) -> tuple[object, int]:
        count = self.facts.capacity
        status, loss = struct.unpack_from("<if", data)
        outputs = np.frombuffer(data, "<f4", count, 8).copy()
        return Stepped(STATUS[status], loss, outputs), 8 + 4 * count

    def _predicted(self, data: memoryview) -> tuple[object, int]:
        count = self.facts.capacity
        (status,) = struct.unpack_from("<i", data)
        outputs = np.frombuffer(data, "<f4", count, 4).copy()
        return Stepped(STATUS[status], float("nan"), outputs), 4 + 4 * count

    def _gradient(self, data: memoryview) -> tuple[object, int]:
        count = self.facts.weight_count
        status, loss = struct.unpack_from("<if", data)
        return (STATUS[status], loss, np.frombuffer(data, "<f4", count, 8).copy()), 8 + 4 * count

    def _weights(self, data: memoryview) -> tuple[object, int]:
        count = self.facts.weight_count
        return np.frombuffer(data, "<f4", count, 4).copy(), 4 + 4 * count

    def run(self, built: LearnProgram, target: Target, *, count: bool = False) -> Played:
        """Runs the program on all commands.

        Raises:
            TinymlError: it fails, hangs, or answers less than it should.
        """
        with tempfile.TemporaryDirectory(prefix="tinyml-learn-") as folder:
            work = Path(folder)
            (work / "commands.bin").write_bytes(b"".join(self._commands))
            marks = work / "marks.txt"
            command = run_command(built.program, target, marks if count else None)
            run_tool(command, cwd=work, timeout=3600)
            data = memoryview((work / "replies.bin").read_bytes())
            counts = [int(line) for line in marks.read_text().split()] if count else []
            stack = work / "stack.bin"
            stack_bytes = struct.unpack("<I", stack.read_bytes())[0] if stack.exists() else None
        replies: list[object] = []
        for reader in self._readers:
            try:
                reply, size = reader(data)
            except (struct.error, ValueError):
                raise TinymlError("replies.bin is too short: the program stopped early") from None
            replies.append(reply)
            data = data[size:]
        instructions: dict[int, int] = {}
        if counts:
            cost = counts[1] - counts[0]
            pairs = zip(counts[2::2], counts[3::2], strict=True)
            instructions = {
                index: end - begin - cost
                for index, (begin, end) in zip(self._marked, pairs, strict=True)
            }
        return Played(replies, instructions, stack_bytes)


@dataclass(frozen=True)
class Played:
    """What a session returned.

    Args:
        replies: by the numbers that the session's methods returned.
        instructions: of each step and prediction, by the same numbers; empty unless counted.
        stack_bytes: deepest stack use, None where the port does not know it.
    """

    replies: list[object]
    instructions: dict[int, int]
    stack_bytes: int | None

    def stepped(self, number: int) -> Stepped:
        """The reply of a step or prediction."""
        reply = self.replies[number]
        assert isinstance(reply, Stepped)
        return reply


def _status(data: memoryview) -> tuple[object, int]:
    return STATUS[struct.unpack_from("<i", data)[0]], 4


def _state(data: memoryview) -> tuple[object, int]:
    size = ctypes.sizeof(State)
    return State.from_buffer_copy(bytes(data[4 : 4 + size])), 4 + size
