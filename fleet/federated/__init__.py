# SPDX-License-Identifier: Apache-2.0
"""Federated rounds: Flower's strategies, and ours, over the device protocol. Needs the extra
``federated``; nothing else of the fleet imports this room."""
