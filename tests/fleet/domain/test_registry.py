# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.domain.registry import (
    Device,
    DeviceState,
    Hello,
    Presence,
    Refuse,
    Restore,
    Revoke,
    Seen,
    step,
)
from fleet.errors import ConflictError

BOOTS = st.integers(1, 3)
EVENTS = st.one_of(
    st.builds(Hello, BOOTS),
    st.builds(Presence, BOOTS, st.booleans()),
    st.builds(Seen, BOOTS),
    st.builds(Revoke),
    st.builds(Restore),
)


@given(st.lists(EVENTS, max_size=25))
def test_a_device_in_any_order(events):
    device, now = Device(), 0.0
    for event in events:
        now += 1
        try:
            after, effects = step(device, event, now)
        except ConflictError:
            assert isinstance(event, Revoke | Restore)
            continue
        if device.state is DeviceState.REVOKED and not isinstance(event, Restore):
            assert after == device
            assert isinstance(effects[0], Refuse)
        if isinstance(event, Presence) and not event.online and device.online:
            assert after.online == (event.boot_id != device.boot_id)
        if isinstance(event, Hello) and device.state is not DeviceState.REVOKED:
            assert (after.state, after.online) == (DeviceState.ACTIVE, True)
            again, more = step(after, event, now)
            assert replace(again, last_seen=now) == after
            assert not more
        assert after.boots >= device.boots
        device = after


def test_who_is_revoked_twice():
    revoked, _ = step(Device(), Revoke(), 0)
    with pytest.raises(ConflictError):
        step(revoked, Revoke(), 0)
    restored, _ = step(revoked, Restore(), 0)
    assert restored.state is DeviceState.REGISTERED
    with pytest.raises(ConflictError):
        step(restored, Restore(), 0)
