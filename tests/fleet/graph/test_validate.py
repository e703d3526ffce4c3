# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.graph.triples import deployment_triples, device_triples, model_triples, profile_triples
from fleet.graph.validate import violations
from tests.fleet.graph import sample


@pytest.mark.parametrize("device", sample.DEVICES, ids=lambda d: d.name)
def test_devices_conform(device):
    triples = list(device_triples(device))
    if device.profile:
        triples += profile_triples(device.profile)
    assert violations(triples) == []


def test_models_and_deployments_conform():
    for model in sample.CATALOGUE:
        assert violations(model_triples(model)) == []
    for deployment in sample.DEPLOYMENTS:
        assert violations(deployment_triples(deployment)) == []


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (device_triples(replace(sample.DEVICES[0], name="Not A Name")), "lower-case letters"),
        (device_triples(replace(sample.DEVICES[0], state="lost")), "registered, active or revoked"),
        (model_triples(replace(sample.SEES, digest="short")), "SHA-256"),
        (model_triples(replace(sample.SEES, ram=0)), "ramBytes"),
        (profile_triples(replace(sample.BIG, flash=-1)), "free flash"),
    ],
)
def test_what_does_not_conform_is_named(broken, message):
    found = violations(broken)
    assert any(message in line for line in found), found
