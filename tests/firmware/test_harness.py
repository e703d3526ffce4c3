# SPDX-License-Identifier: Apache-2.0
"""The harness, the ports and the instruction counter on code whose behaviour is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.firmware.hand_model import NAME, emulated, feed, graph, need, write_hand_model
from tinyml.errors import TinymlError
from tinyml.runtimes.build import Program, build_program, firmware_root
from tinyml.runtimes.compiled import run_program
from tinyml.targets import Target, load_target

# The first byte of a sample chooses what the model does.
PLAIN, TRAP, OVERFLOW, DEEP = range(4)
DEEP_BYTES = 700
BEHAVIOUR = """
__attribute__((noinline)) static void trap(void) { __builtin_trap(); }
__attribute__((noinline)) static void fill(volatile uint8_t *from, uint32_t bytes) {
    while (bytes--) *from++ = 1;
}
__attribute__((noinline)) static void overflow(void) {
    uint8_t local[OVERFLOW_BYTES];
    fill(local, sizeof local);
}
__attribute__((noinline)) static void deep(void) {
    uint8_t local[DEEP_BYTES];
    fill(local, sizeof local);
}
"""
CHOOSE = """
    if (in[0] == 1) trap();
    if (in[0] == 2) overflow();
    if (in[0] == 3) deep();
"""
# Register and value of an undefined instruction (Arm) and of a breakpoint (RISC-V).
CAUSES = {"cortex-m0": "IPSR 0x00000003", "riscv32": "mcause 0x00000003"}


def stack_size(target: Target) -> int:
    script = (firmware_root() / "ports" / target.port / "board.ld").read_text()
    return int(script.split("stack_size = ")[1].split("K")[0]) * 1024


def behaving(target: Target, folder: Path) -> Program:
    """The program of a model that obeys its input; its arena takes what overflows the stack."""
    need(target)
    sizes = f"#define OVERFLOW_BYTES {stack_size(target) + 64}\n#define DEEP_BYTES {DEEP_BYTES}\n"
    c_dir = write_hand_model(
        folder / "c", first=CHOOSE, functions=sizes + BEHAVIOUR, arena_bytes=4096
    )
    return build_program(c_dir, NAME, target, folder / "build")


@emulated
def test_what_goes_wrong_on_a_board_is_told(tmp_path, target):
    program = behaving(target, tmp_path)

    plain = run_program(program, target, graph(), [feed(PLAIN, 5), feed(PLAIN, -7)])
    assert [o[0][0, 1] for o in plain.outputs] == [5, -7]
    assert 0 < plain.stack_bytes < DEEP_BYTES

    deep = run_program(program, target, graph(), [feed(DEEP)])
    assert DEEP_BYTES <= deep.stack_bytes - plain.stack_bytes + 256 <= DEEP_BYTES + 512

    with pytest.raises(TinymlError, match="status 2: fault, ") as fault:
        run_program(program, target, graph(), [feed(TRAP)])
    assert CAUSES.get(target.name, "CFSR 0x00010000") in fault.value.message

    with pytest.raises(TinymlError, match="stack overflow"):
        run_program(program, target, graph(), [feed(OVERFLOW)])


@pytest.mark.parametrize("name", ["host", "cortex-m4", "riscv32"])
def test_a_cut_sample_is_told(tmp_path, name):
    target = load_target(name)
    need(target)
    program = build_program(write_hand_model(tmp_path / "c"), NAME, target, tmp_path / "build")
    cut = {"input": np.zeros(7, np.int8)}
    with pytest.raises(TinymlError, match=r"input\.bin: ends inside a sample"):
        run_program(program, target, graph(), [feed(1), cut])
    assert run_program(program, target, graph(), []).outputs == []


def test_a_crash_on_this_machine_is_told(tmp_path):
    host = load_target("host")
    need(host)
    c_dir = write_hand_model(tmp_path / "c", first="if (in[0]) __builtin_trap();")
    program = build_program(c_dir, NAME, host, tmp_path / "build")
    assert len(run_program(program, host, graph(), [feed(0)]).outputs) == 1
    with pytest.raises(TinymlError, match=r"hand\.elf failed with status -"):
        run_program(program, host, graph(), [feed(1)])


def nops(count: int) -> str:
    return f'__asm volatile(".rept {count}\\n\\tnop\\n\\t.endr");'


@emulated
def test_instructions_are_counted_exactly(tmp_path, target):
    """More instructions in a node show in its count, one for one, and in nothing else."""
    need(target)
    samples = [feed(1), feed(2), feed(3)]
    counted = []
    for index, (one, two) in enumerate([(10, 20), (110, 27)]):
        folder = tmp_path / str(index)
        c_dir = write_hand_model(folder / "c", first=nops(one), second=nops(two))
        plain = build_program(c_dir, NAME, target, folder / "plain")
        traced = build_program(c_dir, NAME, target, folder / "traced", trace=True)
        inference = run_program(plain, target, graph(), samples, count=True).instructions
        run = run_program(traced, target, graph(), samples, trace=True, count=True)
        assert len(inference) == len(samples)
        assert len(set(inference)) == 1, "the same work takes the same instructions"
        assert [t[1][0, 0] for t in run.traces] == [1, 2, 3]
        counted.append((inference[0], *run.node_instructions))
    assert [b - a for a, b in zip(*counted, strict=True)] == [107, 100, 7]


def test_an_instruction_takes_one_count(tmp_path):
    """A model's count is its instructions and the call, no mark and no harness."""
    target = load_target("cortex-m4")
    need(target)
    c_dir = write_hand_model(tmp_path / "c", first=nops(1000))
    program = build_program(c_dir, NAME, target, tmp_path / "build")
    (count,) = run_program(program, target, graph(), [feed(1)], count=True).instructions
    # Two copies of 16 bytes take at least an instruction for each four bytes, at most ten a byte.
    assert 1008 < count < 1000 + 2 * 16 * 10
