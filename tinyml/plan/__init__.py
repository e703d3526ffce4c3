# SPDX-License-Identifier: Apache-2.0
"""Static memory: which bytes of the arena each activation owns, and when."""

from tinyml.plan.allocate import MemoryPlan, plan_memory
from tinyml.plan.liveness import Buffer, live_buffers, scratch_name

__all__ = ["Buffer", "MemoryPlan", "live_buffers", "plan_memory", "scratch_name"]
