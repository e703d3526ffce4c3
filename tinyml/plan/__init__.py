# SPDX-License-Identifier: Apache-2.0
"""Static memory: which nodes run together by rows, and which bytes of the arena each activation
owns, and when."""

from tinyml.plan.allocate import MemoryPlan, plan_memory
from tinyml.plan.liveness import Buffer, Copies, copy_name, scratch_name
from tinyml.plan.schedule import Group, Shift, Step

__all__ = [
    "Buffer",
    "Copies",
    "Group",
    "MemoryPlan",
    "Shift",
    "Step",
    "copy_name",
    "plan_memory",
    "scratch_name",
]
