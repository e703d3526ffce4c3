# SPDX-License-Identifier: Apache-2.0
"""What people ask of the fleet; the command line and the HTTP API call the same functions."""
