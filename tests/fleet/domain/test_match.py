# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fleet.domain.match import Capacity, Requirements, match, match_all

KINDS = st.frozensets(st.sampled_from(["camera", "microphone", "gyroscope"]))
ISAS = ["armv6-m", "armv7e-m"]
NEEDS = st.builds(
    Requirements, st.just("m"), st.integers(0, 9), st.integers(0, 9),
    st.none() | st.sampled_from(ISAS), KINDS, KINDS,
)  # fmt: skip
OFFERS = st.builds(
    Capacity, st.just("d"), st.integers(0, 9), st.integers(0, 9),
    st.none() | st.frozensets(st.sampled_from(ISAS)), st.none() | KINDS, st.none() | KINDS,
)  # fmt: skip


@given(st.lists(NEEDS, max_size=6), st.lists(OFFERS, max_size=6))
def test_all_at_once_is_one_by_one(needed, offered):
    wanted = [[match(n, o).fits for o in offered] for n in needed]
    assert np.array_equal(
        match_all(needed, offered), np.array(wanted, bool).reshape(len(needed), len(offered))
    )


@given(NEEDS, OFFERS)
def test_reasons_are_exactly_what_is_missing(needed, offered):
    fit = match(needed, offered)
    assert fit.missing_flash == max(needed.flash - offered.flash, 0)
    assert fit.missing_ram == max(needed.ram - offered.ram, 0)
    if offered.sensors is not None:
        assert set(fit.missing_sensors) == needed.sensors - offered.sensors
    assert fit.fits == (not fit.reasons)


def test_each_reason_is_told():
    fit = match(
        Requirements("m", 2000, 10, "armv8.1-m", frozenset({"camera"}), frozenset({"lstm"})),
        Capacity("d", 1000, 10, frozenset({"armv7e-m"}), frozenset(), frozenset({"conv2d"})),
    )
    assert fit.reasons == ("flash -1,000 B", "no armv8.1-m", "no camera", "no lstm kernel")
