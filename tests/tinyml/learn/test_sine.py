# SPDX-License-Identifier: Apache-2.0
"""Federated meta-learning on generated C does what the algorithm promises."""

from __future__ import annotations

from pathlib import Path

from bench.sine import FEDSGD, REPTILE, Device, adapted_error, network, train
from tinyml.learn import LearnOptions, Loss, make_learner
from tinyml.learn.native import load_native


def test_tiny_reptile_learns_to_adapt_and_joint_training_does_not(tmp_path: Path):
    learner = make_learner(network(0), LearnOptions("all", loss=Loss.MSE))
    device = Device(load_native(learner, tmp_path))
    start = device.native.weights
    _, joint = adapted_error(device, train(device, start, FEDSGD, 10_000, 0), 50, 1000)
    _, meta = adapted_error(device, train(device, start, REPTILE, 10_000, 0), 50, 1000)
    assert meta < 0.05
    assert joint > 1.0
