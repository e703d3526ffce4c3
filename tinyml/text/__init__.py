# SPDX-License-Identifier: Apache-2.0
"""From raw text to token ids: the trained tokenizer, and its form for the device."""
