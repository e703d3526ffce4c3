# SPDX-License-Identifier: Apache-2.0
"""On-device learning: from a float graph to C that trains on the microcontroller."""

from tinyml.learn.learner import Facts, Learner, make_learner, write_learn_folder
from tinyml.learn.options import (
    LearnOptions,
    Loss,
    Optimizer,
    Standardise,
    choose,
    parse_standardise,
)

__all__ = [
    "Facts",
    "LearnOptions",
    "Learner",
    "Loss",
    "Optimizer",
    "Standardise",
    "choose",
    "make_learner",
    "parse_standardise",
    "write_learn_folder",
]
