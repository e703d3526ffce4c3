# SPDX-License-Identifier: Apache-2.0
"""Drivers in C of the agent's parts, under sanitizers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.devices.build import WARNINGS, agent_sources, firmware_root
from fleet.devices.crypto import fetch_crypto
from tinyml import TinymlError

HERE = Path(__file__).parent
MBEDTLS = Path("/usr/include/mbedtls/sha256.h")


@pytest.fixture(scope="session")
def crypto() -> Path:
    """Sources of the cryptography; the tests are skipped without network or library."""
    if not MBEDTLS.exists():
        pytest.skip("libmbedtls-dev is not installed")
    try:
        return fetch_crypto(with_hashes=False)
    except TinymlError as error:
        pytest.skip(error.message)


@pytest.fixture(scope="session")
def compile_driver(crypto: Path, tmp_path_factory) -> Callable[[str], Path]:
    """Compiles a driver of this folder with the whole agent; returns the program."""
    built: dict[str, Path] = {}

    def compile_one(name: str) -> Path:
        if name not in built:
            target = tmp_path_factory.mktemp("driver") / name
            root = firmware_root()
            command = ["cc", "-std=c11", "-O1", "-g", "-fsanitize=address,undefined"]
            command += ["-fno-sanitize-recover=all", *WARNINGS, "-Wno-conversion"]
            command += [f"-I{root / 'agent'}", f"-I{root / 'include'}", f"-I{HERE}"]
            command += ["-isystem", str(crypto / "monocypher")]
            command += [str(HERE / f"{name}.c"), *map(str, agent_sources())]
            command += [str(crypto / "monocypher" / "monocypher.c"), "-lmbedcrypto"]
            subprocess.run([*command, "-o", str(target)], check=True)
            built[name] = target
        return built[name]

    return compile_one
