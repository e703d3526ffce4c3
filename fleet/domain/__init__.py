# SPDX-License-Identifier: Apache-2.0
"""Rules of the fleet as pure functions; nothing here does I/O."""
