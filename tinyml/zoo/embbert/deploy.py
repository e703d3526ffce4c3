# SPDX-License-Identifier: Apache-2.0
"""The network that is compiled: a classifier with everything folded that folds exactly.

For real tokens its logits equal the classifier's in real arithmetic:

- lambda_1 and -lambda_2 go into the attention's output layer and the contraction, which become
  one layer over [context | convolution];
- each RMSNorm's gain, and 1 / sqrt(width), go into the layers that read it: z = x / rms(x) has
  none. With K = V = z the query is diag(g) Wq diag(g) / sqrt(width);
- token and position tables share one expanding layer over [token | position]; the segment row
  of a single text is its bias;
- the last block computes position 0 only. Its convolution sees one tap, and as no norm follows,
  its output layers and the classifier are one matrix (classes, 2 * width);
- what a padded position holds is never read. Its table row is that of [CLS], so that it does not
  stretch ranges.

Source: the first, second and fourth from the analysis of arXiv 2502.10001's network; the fusion of
the last layers with the head is ours.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tinyml.text.tokenizer import CLS, PAD
from tinyml.zoo.embbert.model import Block, Classifier, RmsNorm


class _Normalise(nn.Module):
    """x / root mean square over the last axis."""

    def forward(self, x: Tensor) -> Tensor:
        mean_square = x.square().mean(-1, keepdim=True)
        return x * torch.rsqrt(mean_square + torch.finfo(torch.float32).eps)


def _folded_block(norm: RmsNorm, block: Block) -> tuple[nn.Linear, Tensor, Tensor, Tensor, Tensor]:
    """Query layer, taps (width, kernel), their bias, and the joint output layer's weights over
    [context | convolution] and bias."""
    gain, width = norm.weight, norm.weight.shape[0]
    first, second = block.lambdas()
    query = nn.Linear(width, width)
    query.weight = nn.Parameter(gain[:, None] * block.query.weight * gain / math.sqrt(width))
    query.bias = nn.Parameter(gain * block.query.bias / math.sqrt(width))
    taps = block.conv1d.weight[:, 0] * gain[:, None]
    assert block.conv1d.bias is not None
    joint = torch.cat(
        [first * block.att_output.weight * gain, -second * block.contract.weight], dim=1
    )
    bias = first * block.att_output.bias - second * block.contract.bias
    return query, taps, block.conv1d.bias, joint, bias


class _Mixer(nn.Module):
    """A block on z = x / rms(x): (1, n, width) to (1, n, width)."""

    def __init__(self, norm: RmsNorm, block: Block) -> None:
        super().__init__()
        width = norm.weight.shape[0]
        self.query, taps, bias, joint, joint_bias = _folded_block(norm, block)
        kernel = taps.shape[1]
        self.pad = nn.ZeroPad2d((0, 0, kernel - 1, 0))
        self.convolution = nn.Conv2d(width, width, (kernel, 1), groups=width)
        self.convolution.weight = nn.Parameter(taps[:, None, :, None])
        self.convolution.bias = nn.Parameter(bias)
        self.output = nn.Linear(2 * width, width)
        self.output.weight, self.output.bias = nn.Parameter(joint), nn.Parameter(joint_bias)

    def forward(self, z: Tensor, padding: Tensor) -> Tensor:
        context = _attend(self.query(z), z, padding)
        image = z.unsqueeze(2).permute(0, 3, 1, 2)
        convolved = self.convolution(self.pad(image)).permute(0, 2, 3, 1).squeeze(2)
        mixed: Tensor = self.output(torch.cat([context, nn.functional.silu(convolved)], -1))
        return mixed


class _Last(nn.Module):
    """The last block at position 0 and the classifier: (1, n, width) to (1, classes)."""

    def __init__(self, norm: RmsNorm, block: Block, head: nn.Linear) -> None:
        super().__init__()
        width = norm.weight.shape[0]
        self.query, taps, bias, joint, joint_bias = _folded_block(norm, block)
        self.convolution = nn.Conv2d(width, width, 1, groups=width)
        self.convolution.weight = nn.Parameter(taps[:, -1].reshape(width, 1, 1, 1))
        self.convolution.bias = nn.Parameter(bias)
        self.output = nn.Linear(2 * width, head.out_features)
        self.output.weight = nn.Parameter(head.weight @ joint)
        self.output.bias = nn.Parameter(head.weight @ joint_bias + head.bias)

    def forward(self, z: Tensor, padding: Tensor) -> Tensor:
        first = z[:, :1]
        context = _attend(self.query(first), z, padding)
        image = first.unsqueeze(2).permute(0, 3, 1, 2)
        convolved = self.convolution(image).permute(0, 2, 3, 1).squeeze(2)
        joined = torch.cat([context, nn.functional.silu(convolved)], -1)
        logits: Tensor = self.output(joined).squeeze(1)
        return logits


def _attend(query: Tensor, z: Tensor, padding: Tensor) -> Tensor:
    scores = query @ z.transpose(1, 2)
    return torch.where(padding, -torch.inf, scores).softmax(-1) @ z


class Deployed(nn.Module):
    """Ids (1, n) int32, [PAD] on the right, to logits (1, classes).

    Args:
        classifier: the trained network, in evaluation mode.
        length: n.
    """

    positions: Tensor

    def __init__(self, classifier: Classifier, length: int) -> None:
        super().__init__()
        backbone = classifier.model
        embedder, config = backbone.embedder, backbone.config
        if not 1 <= length <= config.length:
            raise ValueError(f"length {length} is not within 1..{config.length}")
        rows = embedder.token.weight.clone()
        rows[PAD] = rows[CLS]
        self.token = nn.Embedding(config.vocabulary, config.reduced)
        self.token.weight = nn.Parameter(rows)
        self.register_buffer("positions", embedder.position.weight[:length].unsqueeze(0))
        self.expander = nn.Linear(2 * config.reduced, config.width)
        self.expander.weight = nn.Parameter(
            torch.cat([embedder.tok_expander.weight, embedder.pos_expander.weight], 1)
        )
        self.expander.bias = nn.Parameter(embedder.sentence.weight[1])
        self.normalise = _Normalise()
        norms = [norm for norm in backbone.norms if isinstance(norm, RmsNorm)]
        blocks = [block for block in backbone.attentions if isinstance(block, Block)]
        pairs = zip(norms[:-1], blocks[:-1], strict=True)
        self.mixers = nn.ModuleList(_Mixer(norm, block) for norm, block in pairs)
        self.last = _Last(norms[-1], blocks[-1], classifier.classifier)

    def forward(self, ids: Tensor) -> Tensor:
        padding = (ids == PAD).unsqueeze(1)
        x = self.expander(torch.cat([self.token(ids), self.positions], -1))
        for mixer in self.mixers:
            x = mixer(self.normalise(x), padding)
        logits: Tensor = self.last(self.normalise(x), padding)
        return logits


@torch.no_grad()
def deployable(classifier: Classifier, length: int) -> Deployed:
    """The folded network for texts of at most ``length`` tokens, single text (segment 1)."""
    return Deployed(classifier.eval(), length).eval()
