# SPDX-License-Identifier: Apache-2.0
"""EmbBERT-Q in PyTorch: Nano Embedder, four blocks of differential attention and convolution.

Source: Bravin et al., "EmbBERT-Q", arXiv 2502.10001; parameter names of the published layout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tinyml.text.tokenizer import PAD, SEP


@dataclass(frozen=True)
class EmbBertConfig:
    """Sizes. The defaults are the published configuration: 357,248 parameters.

    Args:
        vocabulary: token ids.
        length: most tokens of a text.
        width: features of a token.
        reduced: width of the token and position tables.
        layers: blocks.
        kernel: taps of the causal convolution.
    """

    vocabulary: int = 8192
    length: int = 256
    width: int = 128
    reduced: int = 16
    layers: int = 4
    kernel: int = 32


class NanoEmbedder(nn.Module):
    """Narrow tables, widened by one matrix each, and a segment row. Ids (batch, n) to
    (batch, n, width)."""

    def __init__(self, config: EmbBertConfig) -> None:
        super().__init__()
        self.token = nn.Embedding(config.vocabulary, config.reduced, padding_idx=PAD)
        self.tok_expander = nn.Linear(config.reduced, config.width, bias=False)
        self.position = nn.Embedding(config.length, config.reduced)
        self.pos_expander = nn.Linear(config.reduced, config.width, bias=False)
        self.sentence = nn.Embedding(3, config.width, padding_idx=0)

    def forward(self, ids: Tensor) -> Tensor:
        tokens = self.tok_expander(self.token(ids))
        positions = self.pos_expander(self.position.weight[: ids.shape[1]])
        summed: Tensor = tokens + positions + self.sentence(segments(ids))
        return summed


def segments(ids: Tensor) -> Tensor:
    """0 at [PAD], 2 from the first [SEP] on, 1 elsewhere; shape of ids."""
    second = (ids == SEP).cumsum(1) > 0
    return torch.where(ids == PAD, 0, torch.where(second, 2, 1))


class RmsNorm(nn.Module):
    """x / root mean square over the last axis, times a gain."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        mean_square = x.square().mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(mean_square + torch.finfo(x.dtype).eps))


class Block(nn.Module):
    """lambda_1 * attention - lambda_2 * convolution; there is no residual connection.

    Keys and values are the normalised input itself.
    """

    def __init__(self, config: EmbBertConfig) -> None:
        super().__init__()
        width = config.width
        self.lambda_q1 = nn.Parameter(torch.randn(width) * 0.1)
        self.lambda_k1 = nn.Parameter(torch.randn(width) * 0.1)
        self.lambda_q2 = nn.Parameter(torch.randn(width) * 0.1)
        self.lambda_k2 = nn.Parameter(torch.randn(width) * 0.1)
        self.query = nn.Linear(width, width)
        self.att_output = nn.Linear(width, width)
        self.conv1d = nn.Conv1d(width, width, config.kernel, groups=width)
        self.contract = nn.Linear(width, width)
        self.dropout = nn.Dropout(0.1)
        self._kernel = config.kernel

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """x: (batch, n, width), normalised; padding: (batch, n), True at [PAD]."""
        scores = self.query(x) @ x.transpose(1, 2) / math.sqrt(x.shape[-1])
        # The mask of keys alone decides: what a padded row holds is never read.
        weights = scores.masked_fill(padding.unsqueeze(1), -torch.inf).softmax(-1)
        attended = self.att_output(self.dropout(weights) @ x)
        turned = nn.functional.pad(x.transpose(1, 2), (self._kernel - 1, 0))
        convolved = self.contract(nn.functional.silu(self.conv1d(turned)).transpose(1, 2))
        first, second = self.lambdas()
        mixed: Tensor = first * attended - second * convolved
        return mixed

    def lambdas(self) -> tuple[Tensor, Tensor]:
        """The two learned weights."""
        first = torch.exp(self.lambda_q1 @ self.lambda_k1)
        return first, torch.exp(self.lambda_q2 @ self.lambda_k2)


class Backbone(nn.Module):
    """Ids (batch, n) to features (batch, n, width)."""

    def __init__(self, config: EmbBertConfig) -> None:
        super().__init__()
        self.config = config
        self.embedder = NanoEmbedder(config)
        self.norms = nn.ModuleList(RmsNorm(config.width) for _ in range(config.layers))
        self.attentions = nn.ModuleList(Block(config) for _ in range(config.layers))

    def forward(self, ids: Tensor) -> Tensor:
        x: Tensor = self.embedder(ids)
        padding = ids == PAD
        for norm, block in zip(self.norms, self.attentions, strict=True):
            x = block(norm(x), padding)
        return x


class Classifier(nn.Module):
    """Logits (batch, classes) from the features of position 0."""

    def __init__(self, config: EmbBertConfig, classes: int) -> None:
        super().__init__()
        self.model = Backbone(config)
        self.classifier = nn.Linear(config.width, classes)

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.model(ids)[:, 0])
        return logits


class PreTraining(nn.Module):
    """Masked tokens and next-sentence prediction."""

    def __init__(self, config: EmbBertConfig) -> None:
        super().__init__()
        self.model = Backbone(config)
        self.nsp_classifier = nn.Linear(config.width, 2)
        self.mlm_classifier = nn.Linear(config.width, config.vocabulary)

    def forward(self, ids: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
        """Logits over the vocabulary at the masked positions (a bool mask shaped as ids), and
        logits of "the second sentence is random"."""
        features = self.model(ids)
        return self.mlm_classifier(features[masked]), self.nsp_classifier(features[:, 0])
