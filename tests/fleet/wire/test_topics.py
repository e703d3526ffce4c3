# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.wire import topics


@pytest.mark.parametrize(("direction", "channel"), topics.MESSAGES)
def test_topics_come_apart_as_they_were_made(direction: str, channel: str):
    make = topics.up if direction == "up" else topics.down
    topic = make("acme", "kitchen-1", channel)
    assert topic == f"tinyml/v1/acme/kitchen-1/{direction}/{channel}"
    assert topics.parse(topic) == topics.Address("acme", "kitchen-1", direction, channel)


@pytest.mark.parametrize("name", ["", "Kitchen", "a" * 33, "a/b", "+", "#", "a b", "é", "a\n"])
def test_names_that_could_change_a_topic_are_refused(name: str):
    assert not topics.is_name(name)
    with pytest.raises(ValueError, match="is no topic"):
        topics.up("acme", name, "hello")
    with pytest.raises(ValueError, match="is no topic"):
        topics.up(name, "kitchen", "hello")


def test_a_channel_has_one_direction():
    with pytest.raises(ValueError, match="is no topic"):
        topics.down("acme", "kitchen", "hello")


@given(st.text())
def test_any_text_parses_or_is_refused(text: str):
    with suppress(ValueError):
        assert topics.parse(text).topic == text
