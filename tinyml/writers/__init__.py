# SPDX-License-Identifier: Apache-2.0
"""Writers: an int8 Graph in, one output format each. They translate; arithmetic is decided by
the operators."""
