# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.domain.twin import Connected, Patch, Reported, SendDesired, Twin, merge, step
from fleet.errors import ConflictError, InvalidError

VALUES = st.one_of(st.integers(-9, 9), st.booleans(), st.text("ab", max_size=3), st.none())
PATCHES = st.dictionaries(
    st.sampled_from("abc"), VALUES | st.dictionaries(st.sampled_from("xy"), VALUES)
)


@given(target=PATCHES, patch=PATCHES)
def test_merging_twice_is_merging_once(target, patch):
    clean = merge({}, target)
    once = merge(clean, patch)
    assert merge(once, patch) == once
    assert all(v is not None for v in once.values())
    assert merge(clean, {}) == clean


@given(st.lists(st.tuples(st.sampled_from("pd"), st.integers(0, 5)), max_size=20))
def test_versions_grow_and_every_change_is_sent(events):
    twin = Twin()
    for kind, value in events:
        before = twin
        if kind == "p":
            patch = {"report_interval_s": value}
            twin, effects = step(twin, Patch(patch), 0)
            assert (twin.version > before.version) == bool(effects) == (twin != before)
        else:
            twin, effects = step(twin, Connected(value), 0)
            assert (SendDesired() in effects) == (value < twin.version)
        assert twin.version - before.version in (0, 1)


def test_a_report_that_was_overtaken_is_dropped():
    twin = Twin({"report_interval_s": 1}, 3)
    twin, _ = step(twin, Reported(3, "ok", {"report_interval_s": 1}), 0)
    late, _ = step(twin, Reported(2, "ok", {"report_interval_s": 9}), 0)
    assert late == twin
    assert twin.in_sync


def test_a_change_against_an_older_version_is_refused():
    with pytest.raises(ConflictError, match="version 3"):
        step(Twin(version=3), Patch({"report_interval_s": 1}, expected=2), 0)


@pytest.mark.parametrize(
    "patch",
    [
        {"colour": 1},
        {"report_interval_s": -1},
        {"report_interval_s": True},
        {"report_interval_s": 1.5},
        {"report_interval_s": 2**32},
        {"properties": 3},
        {"properties": {"": 1}},
        {"properties": {"x": "y" * 65}},
        {"properties": {"x": 2**31}},
        {"properties": {"x": [1]}},
        {"properties": {str(i): i for i in range(33)}},
    ],
)
def test_what_the_protocol_cannot_carry_is_refused(patch):
    with pytest.raises(InvalidError):
        step(Twin(), Patch(patch), 0)
