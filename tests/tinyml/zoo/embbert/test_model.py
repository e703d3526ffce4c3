# SPDX-License-Identifier: Apache-2.0
"""EmbBERT-Q against its specification, and the compiled network against it."""

from __future__ import annotations

import math

import pytest
import torch

from tinyml.text.tokenizer import CLS, PAD, SEP
from tinyml.zoo.embbert.deploy import deployable
from tinyml.zoo.embbert.model import (
    Backbone,
    Classifier,
    EmbBertConfig,
    PreTraining,
    RmsNorm,
    segments,
)

SMALL = EmbBertConfig(vocabulary=300, length=80)


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_published_sizes():
    backbone = Backbone(EmbBertConfig())
    assert parameters(backbone) == 357_248
    assert parameters(backbone.embedder) == 139_648
    assert parameters(backbone.norms[0]) + parameters(backbone.attentions[0]) == 54_400
    assert parameters(PreTraining(EmbBertConfig())) == 1_414_274
    assert parameters(Classifier(EmbBertConfig(), 2)) == 357_248 + 258


def test_published_names_and_shapes():
    state = {k: tuple(v.shape) for k, v in Classifier(EmbBertConfig(), 2).state_dict().items()}
    block = {"lambda_q1": (128,), "lambda_k1": (128,), "lambda_q2": (128,), "lambda_k2": (128,)}
    for layer in ("query", "att_output", "contract"):
        block |= {f"{layer}.weight": (128, 128), f"{layer}.bias": (128,)}
    block |= {"conv1d.weight": (128, 1, 32), "conv1d.bias": (128,)}
    wanted = {f"model.attentions.{i}.{k}": v for i in range(4) for k, v in block.items()}
    wanted |= {f"model.norms.{i}.weight": (128,) for i in range(4)}
    wanted |= {
        "model.embedder.token.weight": (8192, 16),
        "model.embedder.tok_expander.weight": (128, 16),
        "model.embedder.position.weight": (256, 16),
        "model.embedder.pos_expander.weight": (128, 16),
        "model.embedder.sentence.weight": (3, 128),
        "classifier.weight": (2, 128),
        "classifier.bias": (2,),
    }
    assert state == wanted


def test_segments():
    ids = torch.tensor([[CLS, 9, SEP, 8, SEP, PAD], [CLS, 9, 9, 9, 9, 9]])
    assert segments(ids).tolist() == [[1, 1, 2, 2, 2, 0], [1, 1, 1, 1, 1, 1]]


def test_rms_norm_of_known_values():
    norm = RmsNorm(2)
    norm.weight.data = torch.tensor([1.0, 2.0])
    found = norm(torch.tensor([[3.0, -4.0]]))
    rms = math.sqrt((9 + 16) / 2)
    assert torch.allclose(found, torch.tensor([[3 / rms, -8 / rms]]))


@pytest.fixture
def classifier() -> Classifier:
    """Parameters away from their initial values, so that every fold is seen."""
    torch.manual_seed(0)
    model = Classifier(SMALL, 3).eval()
    with torch.no_grad():
        for norm in model.model.norms:
            norm.weight.uniform_(0.5, 1.5)
        for block in model.model.attentions:
            block.lambda_q1.normal_(0, 0.3)
            block.lambda_k2.normal_(0, 0.3)
    return model


def text(length: int, padded: int) -> torch.Tensor:
    ids = torch.randint(5, 300, (1, length))
    ids[:, 0] = CLS
    return torch.nn.functional.pad(ids, (0, padded - length))


@torch.no_grad()
def test_a_padded_text_is_the_text(classifier: Classifier):
    ids = text(23, 23)
    padded = torch.nn.functional.pad(ids, (0, 40))
    assert torch.allclose(classifier(padded), classifier(ids), atol=1e-5)


@torch.no_grad()
def test_convolution_is_causal(classifier: Classifier):
    block = classifier.model.attentions[0]
    block.lambda_q1.fill_(0)
    block.lambda_k1.fill_(0)
    block.att_output.weight.zero_()
    x = torch.randn(1, 60, 128)
    nothing = torch.zeros(1, 60, dtype=torch.bool)
    before = block(x, nothing)
    x[:, 30] += 1
    moved = (block(x, nothing) - before).abs().amax(-1)[0] > 1e-5
    # Position 30 reaches itself and the 31 after it, though only 29 are there.
    assert moved.tolist() == [False] * 30 + [True] * 30


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 31, 48])
def test_the_compiled_network_is_the_classifier(classifier: Classifier, length: int):
    compiled = deployable(classifier, 48)
    ids = text(length, 48)
    wanted = classifier(ids[:, :length])
    assert torch.allclose(compiled(ids.int()), wanted, atol=2e-5 * float(wanted.abs().max() + 1))


def test_a_length_beyond_the_positions_is_refused(classifier: Classifier):
    with pytest.raises(ValueError, match=r"length 81 is not within 1\.\.80"):
        deployable(classifier, 81)
