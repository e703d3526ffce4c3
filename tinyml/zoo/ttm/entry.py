# SPDX-License-Identifier: Apache-2.0
"""Forecasters of the zoo."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyml.samples import Samples
from tinyml.zoo.entry import WEIGHTS, ZooModel, load_user_weights, require_torch

if TYPE_CHECKING:
    from tinyml.zoo.entry import Advance
    from tinyml.zoo.ttm.model import TinyTimeMixer, TtmConfig
    from tinyml.zoo.ttm.series import Float, SeriesData

# Windows of a part that are offered for calibration, and for test.
_CALIBRATION_WINDOWS = 512
_TEST_WINDOWS = 1000


@dataclass(frozen=True)
class ForecastModel(ZooModel):
    """A Tiny Time Mixer.

    Args:
        columns: the data's channels that it reads, the targets first; for a network of one
            channel, all whose series it may be given.
    """

    columns: tuple[str, ...] = ()

    def config(self) -> TtmConfig:
        """The network."""
        from tinyml.zoo.ttm.model import FAMILY, TtmConfig

        own = {
            "ttm-demand": TtmConfig(336, 48, 48, 32, 2, 2, 32, 1, dropout=0.1, head_dropout=0.1),
            "ttm-beijing": TtmConfig(
                168, 24, 24, 32, 2, 2, 24, 1, targets=2, exogenous=3, mix_channels=True
            ),
            "ttm-512-96-mixed": TtmConfig(targets=2, exogenous=3, mix_channels=True),
        }
        return {**FAMILY, **own}[self.name]

    def describe(self, facts: dict[str, Any]) -> str:
        return (
            f"MSE {facts['test_mse']:.4f} (naive: last value {facts['test_last_mse']:.4f}, one "
            f"context ago {facts['test_context_ago_mse']:.4f}) "
            f"on {facts['test_windows']:,} windows"
        )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(1, time, channels)."""
        config = self.config()
        return (1, config.context, config.channels)

    def build(self) -> TinyTimeMixer:
        torch = require_torch()
        from tinyml.zoo.ttm.model import TinyTimeMixer

        with torch.random.fork_rng():
            torch.manual_seed(0)
            return TinyTimeMixer(self.config())

    def load(self, weights: Path | None = None) -> TinyTimeMixer:
        """The network in evaluation mode.

        Args:
            weights: the user's own: a .npz of `tinyml zoo train`, or a state dict
                (.safetensors, .pth, .pt) with granite-tsfm's names. Without it the shipped
                weights; where none are shipped, seeded random ones.

        Raises:
            DatasetError: the weights cannot be read or do not fit.
        """
        require_torch()
        from tinyml.zoo.ttm.model import adopt_state
        from tinyml.zoo.ttm.train import load_state

        model = self.build()
        shipped = WEIGHTS / f"{self.stored}.npz"
        if weights is not None:
            load_user_weights(weights, model, adopt_state)
        elif shipped.exists():
            load_state(model, shipped)
        return model.eval()

    def to_onnx(self, weights: Path | None = None) -> bytes:
        from tinyml.importers.pytorch import module_to_onnx

        config = self.config()
        shapes: list[tuple[int, ...]] = [self.input_shape]
        if config.exogenous:
            shapes.append((1, config.horizon, config.exogenous))
        return module_to_onnx(self.load(weights), shapes)

    def series(self) -> SeriesData:
        """The data's channels that it reads."""
        from tinyml.zoo.ttm.series import load_series

        return load_series(self.dataset).select(self.columns)

    def samples(self, role: str, weights: Path | None = None) -> Samples:
        import numpy as np

        from tinyml.zoo.ttm.series import cut, windows

        data, config = self.series(), self.config()
        calibration = role == "calibration"
        values = data.train if calibration else data.test
        split = "training part" if calibration else "test part"
        most = _CALIBRATION_WINDOWS if calibration else _TEST_WINDOWS
        if config.channels == 1:
            # A network of one channel sees each channel as a sample of its own.
            most = max(1, most // values.shape[1])
        every = windows(len(values), config.context, config.horizon)
        starts = [every[int(i)] for i in np.linspace(0, len(every) - 1, min(most, len(every)))]
        past, future = cut(values, starts, config.context, config.horizon)
        if config.channels == 1:
            past, future = _alone(past), _alone(future)
        inputs = {"past": past}
        if config.exogenous:
            inputs["future"] = np.ascontiguousarray(future[..., config.targets :])
        targets = np.ascontiguousarray(future[..., : config.targets])
        return Samples(f"{data.name}, {split}", inputs, None, False, targets)

    def train(
        self,
        folder: Path,
        advance: Advance,
        epochs: int | None = None,
        start: Path | None = None,
    ) -> dict[str, Any]:
        """Trains from scratch, or fine-tunes ``start``. Raises as `train_forecaster`."""
        if not self.trainable:
            return super().train(folder, advance, epochs)
        require_torch()
        from tinyml.zoo.ttm.train import SeriesRecipe, train_forecaster

        recipe = SeriesRecipe()
        if self.name == "ttm-demand":
            # Few windows: many passes over all of them.
            recipe = SeriesRecipe(60, 32, 1, 4e-3)
        if epochs is not None:
            recipe = replace(recipe, epochs=epochs)
        return train_forecaster(
            self.series(), self.config(), recipe, folder, self.name, advance, start
        )


def _alone(values: Float) -> Float:
    """(count, time, channels) as (count * channels, time, 1)."""
    return values.transpose(0, 2, 1).reshape(-1, values.shape[1], 1).copy()


_WEATHER = ("dust ug/m3", "dew point C", "temperature C", "pressure hPa", "wind m/s")

FORECAST_MODELS = (
    ForecastModel(
        "ttm-demand",
        "Tiny Time Mixer",
        "electricity demand: the next day from a week, half-hourly",
        "demand",
        True,
        ("demand MW",),
    ),
    ForecastModel(
        "ttm-beijing",
        "Tiny Time Mixer",
        "fine dust and dew point: the next day from a week; channels mixed, weather known ahead",
        "beijing-air",
        True,
        _WEATHER,
    ),
    ForecastModel(
        "ttm-512-96",
        "Tiny Time Mixer",
        "published r1 and r2 network, 512 steps to 96; takes granite-tsfm's weights",
        "beijing-air",
        True,
        _WEATHER,
    ),
    ForecastModel(
        "ttm-512-96-mixed",
        "Tiny Time Mixer",
        "published network with channels mixed and weather known ahead; to fine-tune (--from)",
        "beijing-air",
        True,
        _WEATHER,
    ),
    ForecastModel(
        "ttm-512-192",
        "Tiny Time Mixer",
        "published network, 512 steps to 192; takes granite-tsfm's weights",
        "beijing-air",
        True,
        _WEATHER,
    ),
    ForecastModel(
        "ttm-1024-96",
        "Tiny Time Mixer",
        "published network, 1024 steps to 96; takes granite-tsfm's weights",
        "beijing-air",
        True,
        _WEATHER,
    ),
)
