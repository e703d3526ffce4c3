# SPDX-License-Identifier: Apache-2.0
"""Running compilers and emulators."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tinyml.errors import TinymlError, ToolMissingError

# How compilers, sanitizers and linkers mark the line that tells the reason; the colon and the
# second word keep out paths that happen to hold the first.
_TELLING = re.compile(r"error: |overflowed by ", re.IGNORECASE)


def require_tool(program: str, packages: Sequence[str]) -> str:
    """The path of a program.

    Raises:
        ToolMissingError: it is not installed; names the Debian packages that provide it.
    """
    path = shutil.which(program)
    if path is None:
        raise ToolMissingError(
            f"'{program}' is not installed",
            f"On Debian and Ubuntu: sudo apt-get install {' '.join(packages)}",
        )
    return path


def run_tool(command: Sequence[str], *, cwd: Path | None = None, timeout: float = 600) -> str:
    """Runs a program to its end and returns what it wrote to standard error.

    Raises:
        TinymlError: it failed, or did not end within ``timeout`` seconds and was killed.
    """
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C"},  # messages are searched for English words
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",  # a program under test may write anything
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TinymlError(f"{name} did not end within {timeout:.0f} s and was stopped") from None
    if done.returncode != 0:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        telling = [line for line in lines if _TELLING.search(line)]
        reason = (telling or lines or ["no message"])[0].strip()
        raise TinymlError(f"{name} failed with status {done.returncode}: {reason}")
    return done.stderr
