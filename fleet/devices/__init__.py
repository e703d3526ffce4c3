# SPDX-License-Identifier: Apache-2.0
"""Devices that run on this machine: the C agent built around an exported model.

``build_device`` compiles an export folder and the agent to a program, ``start_devices`` runs
thousands of them in one process; ``build_board`` and ``start_board`` do the same for an emulated
Cortex-M4.
"""

from fleet.devices.build import build_board, build_device
from fleet.devices.crypto import fetch_crypto
from fleet.devices.run import start_board, start_devices

__all__ = ["build_board", "build_device", "fetch_crypto", "start_board", "start_devices"]
