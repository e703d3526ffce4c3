# SPDX-License-Identifier: Apache-2.0
"""Tiny Time Mixer: the published network, its weights, training and data."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

from tinyml.errors import DatasetError  # noqa: E402
from tinyml.zoo import get_model  # noqa: E402
from tinyml.zoo.entry import load_user_weights  # noqa: E402
from tinyml.zoo.ttm.model import FAMILY, TinyTimeMixer, TtmConfig, adopt_state  # noqa: E402
from tinyml.zoo.ttm.series import SeriesData, cut, load_series, windows  # noqa: E402
from tinyml.zoo.ttm.train import (  # noqa: E402
    SeriesRecipe,
    evaluate,
    load_state,
    save_state,
    train_forecaster,
)

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
CHECKPOINT = SHARED / "ttm-r2-512-96.pth"

# Counted from granite-tsfm's models.
PARAMETERS = {"ttm-512-96": 805_280, "ttm-512-192": 903_680, "ttm-1024-96": 946_336}

TINY = TtmConfig(24, 4, 6, 8, 2, 1, 4, 1)


def waves(channels: int = 1, length: int = 500) -> SeriesData:
    time = np.arange(length)[:, None]
    rng = np.random.default_rng(0)
    values = (
        20
        + np.sin(2 * np.pi * time / 12 + np.arange(channels))
        + 0.05 * rng.standard_normal((length, channels))
    )
    values = values.astype(np.float32)
    names = tuple(f"wave {i}" for i in range(channels))
    return SeriesData(
        "waves", names, values[:300], values[300:400], values[400:], "1 h", "none", "none"
    )


def train(folder: Path, config: TtmConfig = TINY, **given):
    recipe = SeriesRecipe(epochs=given.pop("epochs", 3), batch=16, stride=2)
    data = waves(config.channels)
    return train_forecaster(data, config, recipe, folder, "t", lambda *_: None, **given)


@pytest.mark.parametrize("name", FAMILY)
def test_parameter_counts_are_the_references(name):
    assert sum(p.numel() for p in TinyTimeMixer(FAMILY[name]).parameters()) == PARAMETERS[name]


def test_names_are_the_references():
    names = set(TinyTimeMixer(TtmConfig()).state_dict())
    mixer = "backbone.encoder.mlp_mixer_encoder.mixers.2.mixer_layers.1.patch_mixer"
    for expected in (
        *("backbone.encoder.patcher.weight", f"{mixer}.norm.norm.bias", f"{mixer}.mlp.fc1.weight"),
        *(f"{mixer}.gating_block.attn_layer.weight", "decoder.adapter.bias"),
        *("decoder.decoder_block.mixers.1.feature_mixer.mlp.fc2.weight",),
        *("head.base_forecast_block.weight",),
    ):
        assert expected in names
    assert len(names) == 134


def test_a_forecast_moves_and_scales_with_its_series():
    torch.manual_seed(0)
    model = TinyTimeMixer(TINY).eval()
    x = torch.randn(2, 24, 1)
    with torch.no_grad():
        torch.testing.assert_close(model(x * 3 + 7), model(x) * 3 + 7, rtol=1e-3, atol=1e-3)


def test_channels_of_a_common_network_are_alone():
    torch.manual_seed(0)
    config = TtmConfig(24, 4, 6, 8, 2, 1, 4, 1, targets=3)
    many, one = TinyTimeMixer(config).eval(), TinyTimeMixer(TINY).eval()
    one.load_state_dict(many.state_dict())
    x = torch.randn(1, 24, 3)
    with torch.no_grad():
        apart = torch.cat([one(x[..., c : c + 1]) for c in range(3)], dim=2)
        torch.testing.assert_close(many(x), apart)


def test_the_future_of_an_exogenous_channel_matters_and_only_then():
    config = TtmConfig(24, 4, 6, 8, 2, 1, 4, 1, targets=2, exogenous=1, mix_channels=True)
    torch.manual_seed(0)
    model = TinyTimeMixer(config).eval()
    x, a, b = torch.randn(1, 24, 3), torch.zeros(1, 4, 1), torch.ones(1, 4, 1)
    with torch.no_grad():
        torch.testing.assert_close(model(x, a), model(x, b))  # the untrained correction is none
        model.head.fcm_block.mlp.weight.normal_()
        assert not torch.allclose(model(x, a), model(x, b))
    with pytest.raises(ValueError, match="future"):
        model(x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("decoder.adapter.bias"), "lack the parameter 'decoder.adapter.bias'"),
        (lambda s: s.update(more=torch.zeros(1)), "no parameter 'more'"),
        (
            lambda s: s.update({"backbone.encoder.patcher.bias": torch.zeros(3)}),
            r"'backbone.encoder.patcher.bias' has shape \(3,\)",
        ),
    ],
)
def test_states_that_do_not_fit(change, message, tmp_path):
    state = TinyTimeMixer(TINY).state_dict()
    change(state)
    with pytest.raises(DatasetError, match=message):
        adopt_state(TinyTimeMixer(TINY), state)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(DatasetError, match=f"model.safetensors does not fit .*{message}"):
        load_user_weights(tmp_path / "model.safetensors", TinyTimeMixer(TINY), adopt_state)


@pytest.mark.skipif(not CHECKPOINT.exists(), reason="needs the shared checkpoint")
def test_the_published_checkpoint_on_etth1():
    """Zero-shot MSE of every 60th window of the protocol; the whole is bench/forecasting.py."""
    model = get_model("ttm-512-96").load(CHECKPOINT)
    with (SHARED / "ETTh1.csv").open() as file:
        rows = np.array([[float(v) for v in r[1:]] for r in list(csv.reader(file))[1:]])
    values = ((rows - rows[:8640].mean(0)) / rows[:8640].std(0)).astype(np.float32)
    part = values[11520 - 512 : 14400]
    starts = list(windows(len(part), 512, 96))
    assert len(starts) == 2785
    past, future = cut(part, starts[::60], 512, 96)
    alone = past.transpose(0, 2, 1).reshape(-1, 512, 1).copy()
    with torch.no_grad():
        forecast = model(torch.from_numpy(alone)).numpy().reshape(-1, 7, 96).transpose(0, 2, 1)
    error = float(np.mean(np.square(forecast - future)))
    assert error == pytest.approx(0.3628, abs=0.01)


def test_training_learns_a_wave(tmp_path):
    facts = train(tmp_path, epochs=12)
    assert facts["test_mse"] < 0.5 * facts["test_last_mse"]
    assert {p.name for p in tmp_path.iterdir()} == {"t.npz", "t.json", "t.svg"}
    model = TinyTimeMixer(TINY)
    load_state(model, tmp_path / "t.npz")
    assert evaluate(model, waves())["test_mse"] == pytest.approx(facts["test_mse"], rel=0.02)
    assert json.loads((tmp_path / "t.json").read_text())["config"]["context"] == 24


def test_a_stopped_run_goes_on(tmp_path):
    class StopError(Exception):
        pass

    seen: list[int] = []

    def stop(step: int, steps: int, loss: float) -> None:
        seen.append(step)
        if len(seen) == 12:
            raise StopError

    whole = train(tmp_path / "whole")
    recipe = SeriesRecipe(epochs=3, batch=16, stride=2)
    with pytest.raises(StopError):
        train_forecaster(waves(), TINY, recipe, tmp_path / "cut", "t", stop)
    assert (tmp_path / "cut" / "t.checkpoint").exists()
    resumed = train(tmp_path / "cut")
    assert resumed["history"] == whole["history"] and "seconds" not in resumed
    assert not (tmp_path / "cut" / "t.checkpoint").exists()
    other = SeriesRecipe(epochs=4, batch=16, stride=2)
    (tmp_path / "cut" / "t.checkpoint").write_bytes(b"damaged")
    with pytest.raises(DatasetError, match="no readable checkpoint"):
        train_forecaster(waves(), TINY, other, tmp_path / "cut", "t", lambda *_: None)


def test_fine_tuning_freezes_the_backbone(tmp_path):
    train(tmp_path / "base")
    config = TtmConfig(24, 4, 6, 8, 2, 1, 4, 1, targets=2, exogenous=1, mix_channels=True)
    facts = train(tmp_path / "mixed", config, start=tmp_path / "base" / "t.npz")
    assert {h["stage"] for h in facts["history"]} == {"mixing"}
    assert facts["fine_tuned_from"] == "t.npz"
    with np.load(tmp_path / "base" / "t.npz") as base, np.load(tmp_path / "mixed" / "t.npz") as now:
        for name in base.files:
            same = np.array_equal(base[name], now[name])
            assert same or name.startswith(("decoder.", "head.")), name
        assert any("channel_feature_mixer" in n for n in now.files)
    with pytest.raises(DatasetError, match="does not exist"):
        train(tmp_path / "x", start=tmp_path / "none.npz")


def test_both_stages_from_scratch(tmp_path):
    config = TtmConfig(24, 4, 6, 8, 2, 1, 4, 1, targets=2, exogenous=1, mix_channels=True)
    facts = train(tmp_path, config, epochs=1)
    assert [h["stage"] for h in facts["history"]] == ["all", "mixing"]


def test_a_series_too_short(tmp_path):
    with pytest.raises(DatasetError, match="hold no window"):
        windows(20, 24, 4)
    with pytest.raises(DatasetError, match="no channel 'rain'"):
        waves().select(("rain",))
    with pytest.raises(DatasetError, match="unknown series"):
        load_series("rain")


def test_save_state_is_half_precision(tmp_path):
    model = TinyTimeMixer(TINY)
    save_state(model, tmp_path / "w.npz")
    with np.load(tmp_path / "w.npz") as stored:
        assert {stored[n].dtype for n in stored.files} == {np.dtype(np.float16)}


def test_data():
    try:
        demand = load_series("demand")
    except DatasetError as error:
        if "cannot be downloaded" in error.message:
            pytest.skip(error.message)
        raise
    assert [len(p) for p in (demand.train, demand.val, demand.test)] == [2419, 806, 807]
    assert demand.train[0, 0] == 22262 and not np.isnan(demand.train).any()
    samples = get_model("ttm-demand").samples("test")
    assert samples.inputs["past"].shape[1:] == (336, 1) and samples.targets.shape[1:] == (48, 1)
