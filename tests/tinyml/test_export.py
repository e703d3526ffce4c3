# SPDX-License-Identifier: Apache-2.0
"""What choices about the generated C save and cost is what programs with and without them show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.firmware.hand_model import need
from tests.tinyml.plan.test_plan import Net
from tinyml.errors import TinymlError
from tinyml.export import CodeOptions, Compiled, compile_model, without_patches, write_c_folder
from tinyml.ir.random_feed import random_feed
from tinyml.ops import Mean, Window
from tinyml.runtimes.build import build_program
from tinyml.runtimes.compiled import Feed, run_program
from tinyml.source import open_source
from tinyml.targets import load_target
from tinyml.writers.tflite import write_tflite

TARGET = load_target("cortex-m4")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A wide image: its first layers gain from patches."""
    same = Window((3, 3), (1, 1), (1, 1), (1, 1, 1, 1))
    net = Net(1, (1, 16, 48, 1))
    x = net.conv(net.conv("x", 16, same), 16, same)
    graph = net.done(net.apply(Mean(), net.conv(x, 2, Window((3, 3), (3, 3)))))
    path = tmp_path_factory.mktemp("model") / "wide.tflite"
    path.write_bytes(write_tflite(graph))
    return str(path)


def compiled(model: str, code: CodeOptions) -> Compiled:
    return compile_model(open_source(model, None), TARGET, None, code=code)


def counted(made: Compiled, folder: Path) -> tuple[int, int]:
    """Instructions of one inference on the emulated board, and bytes of flash."""
    need(TARGET)
    name = made.graph.name
    write_c_folder(made.c_model, name, folder / "c")
    program = build_program(folder / "c", name, TARGET, folder / "build")
    run = run_program(program, TARGET, made.c_graph, [feed_of(made)], count=True)
    return run.instructions[0], program.memory.flash


def feed_of(made: Compiled) -> Feed:
    return random_feed(made.c_graph, np.random.default_rng(0))


def test_patches_say_what_they_save_and_cost(model: str, tmp_path: Path):
    whole, patched = (compiled(model, CodeOptions(patches=n)) for n in (1, 4))
    assert without_patches(whole, TARGET, feed_of(whole), tmp_path / "none") is None
    instructions, _ = counted(whole, tmp_path / "whole")
    assert without_patches(patched, TARGET, feed_of(patched), tmp_path / "some") == {
        "arena": whole.plan.arena_bytes,
        "instructions": instructions,
    }
    assert patched.plan.arena_bytes < whole.plan.arena_bytes
    assert counted(patched, tmp_path / "patched")[0] > instructions


def test_speed_is_fast_and_size_is_small(model: str, tmp_path: Path):
    goals = ("speed", "balanced", "size")
    runs = [counted(compiled(model, CodeOptions(optimise=g)), tmp_path / g) for g in goals]
    instructions, flash = ([run[i] for run in runs] for i in (0, 1))
    assert instructions == sorted(instructions) and instructions[0] < instructions[2]
    assert flash == sorted(flash, reverse=True) and flash[0] > flash[2]


def test_an_unknown_goal_is_named():
    with pytest.raises(TinymlError, match="--optimise cannot be 'fast'"):
        CodeOptions(optimise="fast")
