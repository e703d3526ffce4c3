# SPDX-License-Identifier: Apache-2.0
"""On-device learning: from a float graph to C that trains on the microcontroller."""

from tinyml.learn.learner import Learner, make_learner, write_learn_folder
from tinyml.learn.options import LearnOptions, Loss, Optimizer, Standardise, parse_standardise

__all__ = [
    "LearnOptions",
    "Learner",
    "Loss",
    "Optimizer",
    "Standardise",
    "make_learner",
    "parse_standardise",
    "write_learn_folder",
]
