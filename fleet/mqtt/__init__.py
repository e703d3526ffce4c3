# SPDX-License-Identifier: Apache-2.0
"""The broker and the server's connections to it."""
