# SPDX-License-Identifier: Apache-2.0
"""What building reports: sizes that add up, and errors that name the thing."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from tests.firmware.hand_model import NAME, emulated, need, write_hand_model
from tinyml.errors import TargetError, TinymlError, ToolMissingError
from tinyml.runtimes.build import build_program
from tinyml.targets import load_target

# Alignment between sections of different objects belongs to none of them.
FILL_LIMIT = 64


@emulated
def test_every_byte_of_the_image_has_an_owner(tmp_path, target):
    need(target)
    c_dir = write_hand_model(tmp_path / "c", weights_bytes=4096, arena_bytes=512)
    program = build_program(c_dir, NAME, target, tmp_path / "build")
    use = program.memory
    assert (use.weights, use.arena) == (4096, 512)
    command = [target.compiler.replace("gcc", "size"), "-A", str(program.path)]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in table.splitlines() if line.startswith(".")]
    sizes = {name: int(size) for name, size, *_ in rows}
    flash = sum(sizes.get(s, 0) for s in (".vectors", ".text", ".rodata", ".data", ".ARM.exidx"))
    assert 0 <= flash - (use.code + use.weights + use.runtime_flash) <= FILL_LIMIT
    assert 0 <= sizes[".bss"] - (use.arena + use.runtime_ram) <= FILL_LIMIT


def test_helper_functions_of_the_compiler_count_as_the_models(tmp_path):
    target = load_target("cortex-m0")  # divides in software
    need(target)
    plain = write_hand_model(tmp_path / "plain")
    divides = write_hand_model(tmp_path / "divides", first="middle[0] = (int8_t)(in[1] / in[2]);")
    without = build_program(plain, NAME, target, tmp_path / "a").memory
    with_division = build_program(divides, NAME, target, tmp_path / "b").memory
    assert with_division.code > without.code + 100
    assert with_division.runtime_flash == without.runtime_flash


def test_what_overflows_and_by_how_much(tmp_path):
    target = load_target("cortex-m0")
    need(target)
    c_dir = write_hand_model(tmp_path / "c", arena_bytes=16 * 1024)
    with pytest.raises(TargetError, match=r"microbit board: RAM overflows by 2,\d\d\d B"):
        build_program(c_dir, NAME, target, tmp_path / "build")


@pytest.mark.parametrize("port", ["nosuch", "../../etc", "posix/../nosuch", "arm", ""])
def test_an_unknown_port_is_named(tmp_path, port):
    target = replace(load_target("cortex-m4"), port=port)
    need(target)
    with pytest.raises(TargetError, match="there is no port") as caught:
        build_program(write_hand_model(tmp_path / "c"), NAME, target, tmp_path / "build")
    assert f"'{port}'" in caught.value.message
    assert "mps2_an386" in caught.value.hint


def test_a_missing_compiler_is_named_with_its_package(tmp_path):
    target = replace(load_target("riscv32"), compiler="riscv-none-such-gcc")
    with pytest.raises(ToolMissingError, match="'riscv-none-such-gcc' is not installed") as caught:
        build_program(write_hand_model(tmp_path / "c"), NAME, target, tmp_path / "build")
    assert "gcc-riscv64-unknown-elf" in caught.value.hint


def test_the_first_error_of_the_compiler_is_told(tmp_path):
    host = load_target("host")
    need(host)
    c_dir = write_hand_model(tmp_path / "c", functions="static int wrong(void) { return nothing; }")
    with pytest.raises(TinymlError, match=r"hand\.c:\d+:\d+: error: .*nothing"):
        build_program(c_dir, NAME, host, tmp_path / "build")


@emulated
def test_the_compilers_library_is_of_the_targets_architecture(target):
    need(target)
    asked = [target.compiler, *target.flags, "-print-libgcc-file-name"]
    library = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    header = subprocess.run(
        [target.compiler.replace("gcc", "objdump"), "-f", library],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "elf32" in header and "elf64" not in header
