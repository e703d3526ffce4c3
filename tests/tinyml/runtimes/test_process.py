# SPDX-License-Identifier: Apache-2.0
"""Programs that fail, hang, or write what is no text."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tinyml.errors import TinymlError, ToolMissingError
from tinyml.runtimes.process import require_tool, run_tool


def python(source: str) -> list[str]:
    return [sys.executable, "-c", source]


def test_what_a_program_writes_to_standard_error_comes_back():
    assert run_tool(python("import sys; sys.stderr.write('told')")) == "told"


def test_the_line_with_the_error_is_chosen():
    said = "/error/overflow/x.c: In function f\nx.c:1: error: bad\nmore"
    source = f"import sys; sys.stderr.write({said!r}); sys.exit(3)"
    with pytest.raises(TinymlError, match=r"failed with status 3: x\.c:1: error: bad$"):
        run_tool(python(source))


def test_a_silent_failure_is_told():
    with pytest.raises(TinymlError, match="failed with status 5: no message"):
        run_tool(python("raise SystemExit(5)"))


def test_bytes_that_are_no_text():
    source = "import sys; sys.stderr.buffer.write(b'\\xff\\xfe error: x'); sys.exit(1)"
    with pytest.raises(TinymlError, match=r"status 1: .* error: x"):
        run_tool(python(source))


def test_a_hang_is_stopped_and_its_process_killed(tmp_path: Path):
    proof = tmp_path / "survived"
    source = f"import time, pathlib; time.sleep(2); pathlib.Path({str(proof)!r}).touch()"
    with pytest.raises(TinymlError, match="did not end within 0 s and was stopped"):
        run_tool(python(source), timeout=0.4)
    time.sleep(2.5)
    assert not proof.exists()


def test_a_program_that_asks_gets_no_answer():
    with pytest.raises(TinymlError, match="EOFError: "):
        run_tool(python("input()"))


def test_a_missing_program_names_its_package():
    with pytest.raises(ToolMissingError, match="'no-such-tool' is not installed") as caught:
        require_tool("no-such-tool", ["package-a", "package-b"])
    assert "apt-get install package-a package-b" in caught.value.hint
