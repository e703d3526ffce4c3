# SPDX-License-Identifier: Apache-2.0
"""Everything that can run an exported model: interpreters, and the compiled C."""
