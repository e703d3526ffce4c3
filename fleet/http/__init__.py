# SPDX-License-Identifier: Apache-2.0
"""The HTTP API; its description is served at /openapi.json, and for people at /docs."""
