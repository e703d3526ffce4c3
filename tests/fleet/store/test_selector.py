# SPDX-License-Identifier: Apache-2.0
"""SQL of conditions against their definition."""

from __future__ import annotations

import itertools

import pytest

from fleet.domain.selector import holds, parse
from fleet.errors import InvalidError
from fleet.store import Store, devices, schema

ROWS = [
    {"name": f"d{i}", "hardware": h, "model_sequence": s, "tags": t, "sensor": k, "online": o}
    for i, (h, s, t, k, o) in enumerate(
        itertools.product(
            ("cortex-m4", "posix", None), (1, 7, None), ({}, {"site": "x"}, {"site": "it's"}),
            ((), ("camera",)), (True, False),
        )
    )
]  # fmt: skip
CONDITIONS = [
    "class=posix", "class!=posix", "sequence<7", "sequence>=7", "sequence!=1", "tag.site=x",
    "tag.site!=x", "tag.site=it's", "tag.none=1", "sensor=camera", "sensor!=camera",
    "online=true", "online!=true", "device=d3", "device!=d3", "group=some", "group!=some",
    "state=active",
]  # fmt: skip


@pytest.fixture
def filled(database: str) -> Store:
    store = Store(database)
    with store.write() as connection:
        devices.insert(
            connection,
            [
                {"tenant": "t", "name": r["name"], "state": "active", "credential": "password",
                 "verifier": "", "tags": r["tags"], "created_at": 0.0,
                 "hardware": r["hardware"], "model_sequence": r["model_sequence"]}
                for r in ROWS
            ],
        )  # fmt: skip
        ids = devices.ids_by_name(connection, "t", [r["name"] for r in ROWS])
        for row in ROWS:
            devices.set_sensors(connection, ids[row["name"]], row["sensor"])
        devices.set_presence(
            connection,
            [{"device_id": ids[r["name"]], "online": r["online"], "boot_id": 1, "last_seen": 1.0}
             for r in ROWS],
        )  # fmt: skip
        group = devices.add_group(connection, "t", "some", None)
        devices.add_members(connection, group, [ids["d1"], ids["d2"]])
        connection.execute(schema.outbox.delete())
    return store


def test_sql_means_what_the_definition_says(filled):
    for chosen in [*itertools.combinations(CONDITIONS, 1), *itertools.combinations(CONDITIONS, 2)]:
        terms = [parse(c) for c in chosen]
        with filled.read() as connection:
            found = [r["name"] for r in devices.matching(connection, "t", terms)]
        expected = [
            r["name"]
            for r in ROWS
            if holds(
                terms,
                {
                    "device": r["name"], "class": r["hardware"], "sequence": r["model_sequence"],
                    "tag": r["tags"], "sensor": r["sensor"], "online": r["online"],
                    "group": ("some",) if r["name"] in ("d1", "d2") else (), "state": "active",
                },
            )
        ]  # fmt: skip
        assert sorted(found) == sorted(expected), chosen


def test_pages(filled):
    with filled.read() as connection:
        names, after = [], ""
        while page := devices.matching(connection, "t", [], after, 7):
            names += [r["name"] for r in page]
            after = names[-1]
    assert sorted(names) == sorted(r["name"] for r in ROWS)


@pytest.mark.parametrize(
    "text", ["", "x", "colour=red", "class<posix", "sequence<x", "sequence=1.5", "online=yes",
             "sequence=" + "9" * 30]
)  # fmt: skip
def test_conditions_that_cannot_be_understood(text):
    with pytest.raises(InvalidError):
        parse(text)
