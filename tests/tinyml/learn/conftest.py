# SPDX-License-Identifier: Apache-2.0
"""The learning runtime, compiled once for all tests of a worker."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tinyml.ir import Graph
from tinyml.learn import LearnOptions, make_learner
from tinyml.learn.native import NativeLearner, compile_runtime, load_native

SANITIZED = ("-O1", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
Load = Callable[..., NativeLearner]


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    return compile_runtime(tmp_path_factory.mktemp("runtime"), SANITIZED)


@pytest.fixture
def load(runtime: Path, tmp_path: Path) -> Load:
    """Makes, compiles and loads a learner of a graph."""
    made: list[int] = []

    def loaded(graph: Graph, options: LearnOptions) -> NativeLearner:
        folder = tmp_path / f"learner{len(made)}"
        folder.mkdir()
        made.append(1)
        return load_native(make_learner(graph, options), folder, SANITIZED, runtime)

    return loaded
