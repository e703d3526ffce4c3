# SPDX-License-Identifier: Apache-2.0
"""Tiny Time Mixer: model, series, training."""
