# SPDX-License-Identifier: Apache-2.0
"""Learned state survives a power cut at any byte."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from tests.tinyml.learn.conftest import Load
from tests.tinyml.learn.networks import mlp
from tinyml.learn import LearnOptions, Optimizer, Standardise
from tinyml.learn.native import NativeLearner

_ERASE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_ACCESS = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32
)


class CStorage(ctypes.Structure):
    """tml_learn_storage_t."""

    _fields_ = (
        ("context", ctypes.c_void_p),
        ("slot_bytes", ctypes.c_uint32),
        ("erase", _ERASE),
        ("write", _ACCESS),
        ("read", _ACCESS),
    )


class Flash:
    """Two slots of NOR flash that lose power after so many changed bytes.

    Writing clears bits only; a cut leaves a write or an erase half done, and everything after it
    undone.
    """

    def __init__(self, size: int) -> None:
        self.slots = [bytearray(b"\xff" * size) for _ in range(2)]
        self.power: int | None = None  # bytes until the cut, None: for ever
        self.changed = 0
        self.readable = True
        self.c = CStorage(
            None, size, _ERASE(self._erase), _ACCESS(self._write), _ACCESS(self._read)
        )

    def _spend(self) -> bool:
        if self.power == 0:
            return False
        if self.power is not None:
            self.power -= 1
        self.changed += 1
        return True

    def _erase(self, context: object, slot: int) -> int:
        for i in range(len(self.slots[slot])):
            if not self._spend():
                return 1
            self.slots[slot][i] = 0xFF
        return 0

    def _write(self, context: object, slot: int, offset: int, data: int, size: int) -> int:
        for i, byte in enumerate(ctypes.string_at(data, size)):
            if not self._spend():
                return 1
            self.slots[slot][offset + i] &= byte
        return 0

    def _read(self, context: object, slot: int, offset: int, data: int, size: int) -> int:
        if not self.readable:
            return 1
        ctypes.memmove(data, bytes(self.slots[slot][offset : offset + size]), size)
        return 0


def save(learner: NativeLearner, flash: Flash) -> int:
    return int(learner.c.tml_learn_save(learner.me, ctypes.byref(flash.c)))


def restore(learner: NativeLearner, flash: Flash) -> int:
    return int(learner.c.tml_learn_restore(learner.me, ctypes.byref(flash.c)))


def state_of(learner: NativeLearner) -> bytes:
    return ctypes.string_at(learner.handle.state, learner.facts.state_bytes)


def learn(learner: NativeLearner, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(5):
        learner.step(rng.normal(0, 1, 2), int(rng.integers(2)))


@pytest.fixture
def learner(load: Load) -> NativeLearner:
    return load(
        mlp((2, 3, 2)),
        LearnOptions("all", optimizer=Optimizer.MOMENTUM, standardise=Standardise.EMA, window=10),
    )


@pytest.fixture
def flash(learner: NativeLearner) -> Flash:
    return Flash(int(learner.c.tml_learn_slot_bytes(ctypes.c_void_p(learner.model))))


def test_what_was_saved_comes_back(learner: NativeLearner, flash: Flash):
    assert restore(learner, flash) == -7
    for seed in range(6):
        learn(learner, seed)
        saved = state_of(learner)
        assert save(learner, flash) == 0
        learn(learner, 100)
        assert state_of(learner) != saved
        assert restore(learner, flash) == 0
        assert state_of(learner) == saved


def test_a_power_cut_at_every_byte_leaves_the_old_or_the_new_state(
    learner: NativeLearner, flash: Flash
):
    learn(learner, 0)
    save(learner, flash)
    learn(learner, 1)
    old = state_of(learner)
    save(learner, flash)
    learn(learner, 2)
    new = state_of(learner)
    slots = [bytes(s) for s in flash.slots]

    flash.changed = 0
    assert save(learner, flash) == 0
    total = flash.changed
    assert total == 2 * len(slots[0])  # an erase, and every byte written once
    seen = set()
    for cut in range(total + 1):
        flash.slots = [bytearray(s) for s in slots]
        flash.power = cut
        status = save(learner, flash)
        flash.power = None
        assert (status == 0) == (cut == total)
        learner.set_weights(np.zeros(learner.facts.weight_count))
        assert restore(learner, flash) == 0
        found = state_of(learner)
        assert found in (old, new), cut
        seen.add(found == new)
        # The header is what commits, and it comes last.
        if cut <= total - 32:
            assert found == old, cut
        if cut == total:
            assert found == new
        # After the cut a save works again.
        if cut % 37 == 0:
            assert save(learner, flash) == 0
        ctypes.memmove(learner.handle.state, new, len(new))
    assert seen == {False, True}


def test_any_flipped_bit_of_the_newest_is_noticed(learner: NativeLearner, flash: Flash):
    learn(learner, 0)
    save(learner, flash)
    old = state_of(learner)
    learn(learner, 1)
    save(learner, flash)
    new = state_of(learner)
    slots = [bytes(s) for s in flash.slots]
    newest = 1
    for byte in range(len(slots[newest])):
        flash.slots = [bytearray(s) for s in slots]
        flash.slots[newest][byte] ^= 1 << (byte % 8)
        assert restore(learner, flash) == 0
        assert state_of(learner) == old, byte
    flash.slots = [bytearray(s) for s in slots]
    assert restore(learner, flash) == 0
    assert state_of(learner) == new


def test_sequence_numbers_wrap(learner: NativeLearner, flash: Flash):
    """Saved before and after the counter's end, the later one is newer."""
    import struct
    import zlib

    learn(learner, 0)
    save(learner, flash)
    header = bytearray(flash.slots[0][:32])
    struct.pack_into("<I", header, 16, 2**32 - 1)
    struct.pack_into("<I", header, 28, zlib.crc32(bytes(header[:28])))
    flash.slots[0][:32] = header
    learn(learner, 1)
    new = state_of(learner)
    assert save(learner, flash) == 0
    assert struct.unpack_from("<I", flash.slots[1], 16)[0] == 0
    assert restore(learner, flash) == 0
    assert state_of(learner) == new


def test_a_state_of_another_learner_is_not_taken(learner: NativeLearner, flash: Flash, load: Load):
    save(learner, flash)
    other = load(mlp((2, 4, 2)), LearnOptions("all"))
    big = Flash(4096)
    big.slots[0][: len(flash.slots[0])] = flash.slots[0]
    assert restore(other, big) == -7


def test_storage_that_is_too_small_or_fails(learner: NativeLearner, flash: Flash):
    small = Flash(len(flash.slots[0]) - 1)
    assert save(learner, small) == -6
    assert restore(learner, small) == -6
    save(learner, flash)
    before = state_of(learner)
    flash.readable = False
    assert restore(learner, flash) == -7
    assert state_of(learner) == before


def test_divergence_rolls_back_to_what_was_saved(learner: NativeLearner, flash: Flash):
    learn(learner, 0)
    save(learner, flash)
    good = learner.weights
    learner.handle.storage = ctypes.addressof(flash.c)
    learner.handle.rate = 1e6
    rng = np.random.default_rng(0)
    statuses = [learner.step(rng.normal(0, 1, 2), int(rng.integers(2))).status for _ in range(200)]
    assert "DIVERGED" in statuses
    learner.handle.rate = 0.01
    while learner.step(rng.normal(0, 1, 2), 0).status != "DIVERGED":
        learner.handle.rate = 1e6
    np.testing.assert_array_equal(learner.weights, good)
