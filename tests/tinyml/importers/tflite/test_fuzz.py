# SPDX-License-Identifier: Apache-2.0
"""Damaged files: only ImportModelError may escape, in little time and memory."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import SHARED
from tests.tinyml.importers.tflite.hostile import HOSTILE
from tests.tinyml.importers.tflite.test_operators import FILES
from tests.tinyml.runtimes.test_kernels import bouquet
from tinyml.errors import ImportModelError
from tinyml.importers.tflite import import_tflite
from tinyml.writers.tflite import write_tflite

WRITTEN = [write_tflite(bouquet(seed, 16, 4)) for seed in range(2)]
FOREIGN = [p.read_bytes() for p in sorted(Path(SHARED, "models").glob("*.tflite"))]
SEEDS = [*WRITTEN, *FILES.values(), *FOREIGN]
# Values that lengths, offsets and indices go wrong with.
WORDS = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFC, 0x10000, 4)
# The largest seed is 300 kB; decoded tables and views of its buffers take a few times that.
MOST_BYTES = 16 << 20


def survives(data: bytes) -> bool:
    """Whether the file is accepted; anything but ImportModelError fails the test."""
    try:
        import_tflite(data)
    except ImportModelError as error:
        assert error.message
        return False
    return True


REFUSED = ("if", "while", "call", "call once", "hybrid", "sparse", "custom")


@pytest.mark.parametrize("name", HOSTILE)
def test_files_of_everything_else(name):
    assert survives(HOSTILE[name]) is (name not in REFUSED)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", HOSTILE)
def test_damage_to_files_of_everything_else(name):
    rng = np.random.default_rng(len(name))
    for _ in range(40):
        data = bytearray(HOSTILE[name])
        for _ in range(int(rng.integers(1, 4))):
            if rng.random() < 0.5:
                data[int(rng.integers(8, len(data)))] = int(rng.integers(256))
            else:
                position = 4 * int(rng.integers(2, len(data) // 4))
                struct.pack_into("<I", data, position, WORDS[int(rng.integers(len(WORDS)))])
        survives(bytes(data[: len(data) - int(rng.integers(0, 2)) * int(rng.integers(len(data)))]))


def test_the_seeds_themselves_are_read():
    assert all(survives(data) for data in [*WRITTEN, *FILES.values()])


@pytest.mark.parametrize("seed", range(8))
def test_random_bytes_in_real_models(seed):
    rng = np.random.default_rng(seed)
    refused = 0
    for _ in range(60):
        data = bytearray(SEEDS[int(rng.integers(len(SEEDS)))])
        for _ in range(int(rng.integers(1, 8))):
            data[int(rng.integers(8, len(data)))] = int(rng.integers(256))
        refused += not survives(bytes(data))
    assert refused > 5


@pytest.mark.parametrize("seed", range(4))
def test_extreme_words_in_real_models(seed):
    rng = np.random.default_rng(100 + seed)
    small = [d for d in SEEDS if len(d) < 40_000]
    refused = 0
    for _ in range(80):
        data = bytearray(small[int(rng.integers(len(small)))])
        position = 4 * int(rng.integers(2, len(data) // 4))
        struct.pack_into("<I", data, position, WORDS[int(rng.integers(len(WORDS)))])
        refused += not survives(bytes(data))
    assert refused > 10


def test_truncated_files_are_refused_or_lose_nothing_but_their_end():
    """A flatbuffer may hold its tables at the front; a cut through a buffer is always seen."""
    for data in [*WRITTEN, FILES["conv same"]]:
        for length in range(0, len(data) - 8, 41):
            assert not survives(data[:length])
    for data in FOREIGN:
        for length in np.linspace(0, len(data) - 8, 25, dtype=int):
            survives(data[: int(length)])


@settings(max_examples=250)
@given(
    source=st.integers(0, len(SEEDS) - 1),
    edits=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), max_size=6
    ),
    cut=st.floats(0, 1),
)
def test_edited_and_cut_models(source, edits, cut):
    data = bytearray(SEEDS[source])
    for place, replacement in edits:
        position = int(place * len(data))
        data[position : position + len(replacement)] = replacement
    survives(bytes(data[: max(8, round(cut * len(data)))]))


@settings(max_examples=150)
@given(st.binary(max_size=300))
def test_bytes_behind_a_valid_mark(tail):
    assert not survives(b"\x10\x00\x00\x00TFL3" + tail)


def test_damage_takes_little_memory():
    rng = np.random.default_rng(9)
    tracemalloc.start()
    try:
        for _ in range(60):
            data = bytearray(WRITTEN[0])
            position = 4 * int(rng.integers(2, len(data) // 4))
            struct.pack_into("<I", data, position, WORDS[int(rng.integers(len(WORDS)))])
            survives(bytes(data))
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()
