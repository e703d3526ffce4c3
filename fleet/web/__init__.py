# SPDX-License-Identifier: Apache-2.0
"""The web page: files that the server's HTTP API serves at /, with no build step."""
