# SPDX-License-Identifier: Apache-2.0
"""Doors into the compiler: each reads one kind of model file and returns a Graph."""
