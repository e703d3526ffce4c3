# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.federated import masks, sparse
from fleet.federated.layout import dense, flat
from fleet.wire.messages import Dtype, IndexCoding


@given(st.data())
def test_every_coding_comes_back(data):
    size = data.draw(st.integers(1, 300))
    chosen = data.draw(st.sets(st.integers(0, size - 1), min_size=1))
    positions = np.array(sorted(chosen), np.int64)
    values = np.arange(len(positions), dtype=np.float32) - 3
    for coding in (IndexCoding.BITMAP, IndexCoding.U16, IndexCoding.U32):
        coded = sparse.encode(positions, values, coding, size)
        at, what = sparse.decode(coded, coding, Dtype.F32, size)
        assert np.array_equal(at, positions) and np.array_equal(what, values)
    mask = np.zeros(size, bool)
    mask[positions] = True
    coded = sparse.encode(positions, values, IndexCoding.MASK, size)
    at, what = sparse.decode(coded, IndexCoding.MASK, Dtype.F32, size, mask)
    assert np.array_equal(at, positions) and np.array_equal(what, values)
    assert np.array_equal(sparse.mask_from(sparse.mask_bytes(mask), size), mask)


@given(st.integers(1, 100_000), st.data())
def test_the_cheapest_coding_is_cheapest(size, data):
    count = data.draw(st.integers(1, size))
    bytes_of = {
        IndexCoding.BITMAP: (size + 7) // 8,
        IndexCoding.U16: 2 * count if size <= 1 << 16 else 1 << 60,
        IndexCoding.U32: 4 * count,
        IndexCoding.DENSE: 0 if count == size else 1 << 60,
    }
    assert bytes_of[sparse.cheapest(count, size)] == min(bytes_of.values())


@given(st.binary(max_size=60), st.sampled_from(IndexCoding), st.sampled_from(Dtype))
def test_damaged_bytes_are_refused_or_sound(data, coding, dtype):
    try:
        positions, values = sparse.decode(data, coding, dtype, 20, np.arange(20) % 2 == 0)
    except ValueError:
        return
    assert len(positions) == len(values)
    assert np.all(np.diff(positions) > 0) and np.all(positions < 20)
    assert np.all(np.isfinite(values))


def test_what_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        sparse.decode(np.array([np.nan], "<f4").tobytes(), IndexCoding.DENSE, Dtype.F32, 1)


def test_layouts_come_back():
    layout = dense((3, 4, 2))
    vector = np.arange(layout.size, dtype=np.float32)
    assert np.array_equal(layout.vector(layout.record(vector)), vector)
    with pytest.raises(ValueError, match="not those"):
        flat(layout.size).vector(layout.record(vector))


LAYOUT = dense((20, 30, 10))


@given(
    st.floats(0.02, 1.0), st.sampled_from([masks.erk, masks.uniform]), st.sampled_from([0.0, 0.3])
)
def test_densities_keep_the_budget(density, rule, floor):
    found = rule(LAYOUT, density, floor)
    assert all(0 <= d <= 1 for d in found.values())
    assert found["1.weight"] >= min(floor, 1.0) - 1e-9
    kept = 600 * found["0.weight"] + 300 * found["1.weight"]
    if 600 > 0 and density * 900 >= floor * 300:
        assert kept <= density * 900 + 1e-6


def test_erk_by_hand():
    """Raw densities 50/600 and 40/300; at 10 % the scale is 90 / (50 + 40) = 1."""
    found = masks.erk(LAYOUT, 0.1)
    assert found["0.weight"] == pytest.approx(50 / 600)
    assert found["1.weight"] == pytest.approx(40 / 300)


@given(st.integers(0, 2**32 - 1), st.integers(0, 40))
def test_adjusting_keeps_the_count_and_never_prunes_what_grew(seed, count):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=LAYOUT.size).astype(np.float32)
    mask = masks.by_magnitude(LAYOUT, weights, masks.erk(LAYOUT, 0.2))
    weights = np.where(mask, weights, 0).astype(np.float32)
    place = LAYOUT.slices()["0.weight"]
    positions = rng.choice(LAYOUT.size, 80, replace=False)
    gradients = rng.normal(size=80)
    made = masks.adjust(mask, weights, place, positions, gradients, count)
    assert made.mask[place].sum() == mask[place].sum()
    outside = np.ones(LAYOUT.size, bool)
    outside[place] = False
    assert np.array_equal(made.mask[outside], mask[outside])
    grown = made.mask & ~mask
    assert grown.sum() <= count and set(np.flatnonzero(grown)) <= set(positions.tolist())
    assert not np.any(made.weights[grown]) and not np.any(made.weights[~made.mask])


def test_schedules():
    assert masks.gradual_density(0.1, 1, 1, 11) == 1.0
    assert masks.gradual_density(0.1, 11, 1, 11) == pytest.approx(0.1)
    assert masks.gradual_density(0.1, 6, 1, 11) == pytest.approx(0.1 + 0.9 / 8)
    assert masks.cosine_count(100, 0.0) == 30 and masks.cosine_count(100, 1.0) == 0
