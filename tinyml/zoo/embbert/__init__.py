# SPDX-License-Identifier: Apache-2.0
"""EmbBERT-Q: model, texts, training, and the network that is compiled."""
