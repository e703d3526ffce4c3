# SPDX-License-Identifier: Apache-2.0
"""The TinyNet family against timm's record and the published table."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.tinyml.zoo.timm_reference import RECORD, describe, image, record
from tinyml.errors import DatasetError
from tinyml.zoo.tinynet import FAMILY, TinyNet, TinyNetConfig, adopt_state, round_channels

TIMM = json.loads(RECORD.read_text(encoding="utf-8"))["members"]


def parameters(config: TinyNetConfig) -> int:
    return sum(p.numel() for p in TinyNet(config).parameters())


@pytest.mark.parametrize("name", FAMILY)
def test_names_shapes_and_logits_are_those_timm_recorded(name: str):
    config = FAMILY[name]
    found = describe(TinyNet(config), config.resolution)
    wanted = TIMM[name]
    assert config.resolution == wanted["resolution"]
    assert found["parameters"] == wanted["parameters"]
    assert found["names"] == wanted["names"]
    assert found["logits"] == pytest.approx(wanted["logits"], abs=1e-4)


def test_the_record_is_what_timm_computes_today():
    pytest.importorskip("timm", exc_type=ImportError, reason="timm needs torchvision")
    for name, found in record()["members"].items():
        wanted = TIMM[name]
        assert found["logits"] == pytest.approx(wanted["logits"], abs=1e-4)
        assert {**found, "logits": 0} == {**wanted, "logits": 0}


@pytest.mark.parametrize("name", FAMILY)
def test_weights_of_timm_give_the_same_outputs(name: str):
    timm = pytest.importorskip("timm", exc_type=ImportError, reason="timm needs torchvision")
    theirs = timm.create_model(name.replace("-", "_"), pretrained=False).eval()
    ours = TinyNet(FAMILY[name]).eval()
    adopt_state(ours, theirs.state_dict())
    batch = image(FAMILY[name].resolution)
    with torch.no_grad():
        assert float((theirs(batch) - ours(batch)).abs().max()) < 1e-4


@pytest.mark.parametrize(
    ("name", "repeats", "channels"),
    [
        ("tinynet-a", (1, 2, 2, 4, 4, 5, 1), (16, 24, 40, 80, 112, 192, 320)),
        ("tinynet-b", (1, 2, 2, 3, 3, 4, 1), (16, 24, 32, 64, 88, 144, 240)),
        ("tinynet-c", (1, 2, 2, 3, 3, 3, 1), (8, 16, 24, 40, 64, 104, 176)),
        ("tinynet-d", (1, 1, 1, 2, 2, 3, 1), (8, 16, 24, 40, 64, 104, 176)),
        ("tinynet-e", (1, 1, 1, 2, 2, 2, 1), (8, 16, 24, 40, 56, 96, 160)),
    ],
)
def test_stages(name: str, repeats: tuple[int, ...], channels: tuple[int, ...]):
    model = TinyNet(FAMILY[name])
    assert tuple(len(stage) for stage in model.blocks) == repeats
    last = (stage[-1] for stage in model.blocks)
    found = tuple((getattr(b, "bn3", None) or b.bn2).num_features for b in last)
    assert found == channels


def test_squeeze_excite_follows_the_blocks_input_width():
    model = TinyNet(FAMILY["tinynet-e"])
    widths = [block.se.conv_reduce.out_channels for stage in model.blocks for block in stage]
    assert widths == [8, 2, 4, 6, 10, 10, 14, 14, 24, 24]


def test_feature_sizes_of_e():
    model = TinyNet(FAMILY["tinynet-e"]).eval()
    with torch.no_grad():
        x = model.conv_stem(image(106))
        sizes = [x.shape[2]]
        for stage in model.blocks:
            x = stage(x)
            sizes.append(x.shape[2])
    assert sizes == [53, 53, 27, 14, 7, 7, 4, 4]


# Parameters counted apart from this code.
@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (replace(FAMILY["tinynet-e"], classes=10), 774_782),
        (replace(FAMILY["tinynet-d"], classes=10), 1_070_256),
        (replace(FAMILY["tinynet-e"], classes=2), 764_534),
        (TinyNetConfig(0.35, 0.6, 96, 2, stem=16, head=256), 309_730),
        (TinyNetConfig(0.35, 0.6, 32, 10, stem=16, head=256, stem_stride=1), 311_786),
        (TinyNetConfig(0.25, 0.6, 28, 10, 1, stem=8, head=128), 184_224),
    ],
)
def test_small_variants(config: TinyNetConfig, wanted: int):
    assert parameters(config) == wanted


@pytest.mark.parametrize(
    ("channels", "rounded"), [(4, 8), (11.9, 16), (12, 16), (12.24, 16), (40.8, 40), (56.1, 56)]
)
def test_channels_are_never_rounded_down_by_more_than_a_tenth(channels: float, rounded: int):
    assert round_channels(channels) == rounded


def test_relu_replaces_every_silu_but_not_the_gate():
    silu = replace(FAMILY["tinynet-e"], classes=10)
    model = TinyNet(replace(silu, activation="relu")).eval()
    kinds = {n.kind() for n in torch.jit.trace(model, image(106)).inlined_graph.nodes()}
    assert "aten::silu" not in kinds
    assert {"aten::relu", "aten::sigmoid"} <= kinds
    assert model.state_dict().keys() == TinyNet(silu).state_dict().keys()


def small() -> nn.Module:
    return TinyNet(TinyNetConfig(0.25, 0.6, 28, 10, 1, stem=8, head=128))


def test_a_state_that_does_not_fit_is_refused_by_name():
    state = dict(small().state_dict())
    with pytest.raises(DatasetError, match=r"lack the parameter 'conv_stem\.weight'"):
        adopt_state(small(), {k: v for k, v in state.items() if k != "conv_stem.weight"})
    with pytest.raises(DatasetError, match=r"no parameter 'extra'"):
        adopt_state(small(), {**state, "extra": torch.zeros(1)})
    with pytest.raises(DatasetError, match=r"'classifier\.bias' has shape \(3,\).* \(10,\)"):
        adopt_state(small(), {**state, "classifier.bias": torch.zeros(3)})


def test_counters_of_batches_may_be_missing():
    state = {k: v for k, v in small().state_dict().items() if "num_batches" not in k}
    model = small()
    adopt_state(model, state)
    assert all(torch.equal(model.state_dict()[k], v) for k, v in state.items())
