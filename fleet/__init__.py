# SPDX-License-Identifier: Apache-2.0
"""A fleet of microcontrollers and the models they run."""
