# SPDX-License-Identifier: Apache-2.0
"""Static memory: which nodes run together by rows, and which bytes of the arena each activation
owns, and when."""

from tinyml.plan.allocate import MemoryPlan, plan_memory
from tinyml.plan.liveness import Buffer, scratch_name
from tinyml.plan.schedule import Group, Shift, Step

__all__ = ["Buffer", "Group", "MemoryPlan", "Shift", "Step", "plan_memory", "scratch_name"]
