# SPDX-License-Identifier: Apache-2.0
"""The C codec against the same golden vectors as Python's, and against Python on damaged bytes."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from fleet.wire import WireError, decode
from fleet.wire.schema import read_schema
from tests.fleet.wire.golden import read_vectors
from tests.fleet.wire.test_codec import KINDS

NUMBERS = {m.name: i for i, m in enumerate(read_schema().messages)}


@pytest.fixture(scope="module")
def driver(compile_driver) -> Path:
    return compile_driver("codec_driver")


def through_c(driver: Path, messages: list[tuple[str, bytes]]) -> list[str]:
    lines = "".join(f"{NUMBERS[name]} {data.hex()}\n" for name, data in messages)
    done = subprocess.run([driver], input=lines, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_golden_vectors(driver: Path):
    vectors = read_vectors()
    results = through_c(driver, [(name, data) for _, name, data in vectors])
    for (verdict, name, data), result in zip(vectors, results, strict=True):
        if verdict == "valid":
            assert result == data.hex(), name
        elif verdict == "invalid":
            assert result == "invalid", (name, data.hex())
        else:
            assert bytes.fromhex(result) == decode(KINDS[name], data).encode(), name


def test_damaged_bytes_are_judged_as_in_python(driver: Path):
    """C does not look into text, properties and unknown fields; in all else it judges alike."""
    randomness = random.Random(1)
    valid = [(n, d) for v, n, d in read_vectors() if v == "valid" and len(d) < 400]
    cases = []
    for _ in range(3000):
        name, good = randomness.choice(valid)
        bad = bytearray(good)
        for _ in range(randomness.randint(1, 2)):
            bad[randomness.randrange(len(bad))] = randomness.randrange(256)
        if randomness.random() < 0.2:
            del bad[randomness.randrange(len(bad)) :]
        cases.append((name, bytes(bad)))
    accepted = 0
    for (name, data), result in zip(cases, through_c(driver, cases), strict=True):
        try:
            expected = decode(KINDS[name], data).encode()
        except WireError:
            expected = None
        if expected is not None:
            assert result == expected.hex(), (name, data.hex())
            accepted += 1
    assert accepted > 500
