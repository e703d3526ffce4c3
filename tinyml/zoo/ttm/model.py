# SPDX-License-Identifier: Apache-2.0
"""Tiny Time Mixer, a forecaster made of fully connected layers.

Source: Ekambaram et al., "Tiny Time Mixers (TTMs)", arXiv 2401.03955. Parameter names are those
of granite-tsfm's TinyTimeMixerForPrediction, so its state dicts load as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tinyml.errors import DatasetError

NORM_EPSILON = 1e-5
SCALE_EPSILON = 1e-5

# Belongs to heads of the reference that this network does not have.
_UNUSED = ("head.quantile_heads.",)


@dataclass(frozen=True)
class TtmConfig:
    """One member of the family.

    Args:
        context, horizon: time steps read and forecast.
        patch: time steps of a patch; divides ``context``.
        width: features of a patch in the backbone; divisible by 2 ** (levels - 1).
        levels: adaptive patching: level i works on patches cut into 2 ** (levels - 1 - i) pieces.
        layers: mixer layers of a level.
        decoder_width, decoder_layers: the same of the decoder.
        expansion: width of the hidden layer of a mixer, as a multiple of its input.
        targets: channels forecast.
        exogenous: further channels whose future is known and given.
        mix_channels: whether the decoder mixes channels.
        exogenous_reach: time steps to either side that the forecast of one step sees of all
            channels, the known future included; used where there are exogenous channels.
        dropout, head_dropout: of training.
    """

    context: int = 512
    horizon: int = 96
    patch: int = 64
    width: int = 192
    levels: int = 3
    layers: int = 2
    decoder_width: int = 128
    decoder_layers: int = 2
    expansion: int = 2
    targets: int = 1
    exogenous: int = 0
    mix_channels: bool = False
    exogenous_reach: int = 3
    dropout: float = 0.2
    head_dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.context % self.patch:
            raise ValueError(f"patch {self.patch} does not divide context {self.context}")
        if self.width % (1 << max(self.levels - 1, 0)):
            raise ValueError(f"{self.levels} levels do not divide width {self.width}")

    @property
    def patches(self) -> int:
        """Patches of a context."""
        return self.context // self.patch

    @property
    def channels(self) -> int:
        """Channels read: the targets first, then the exogenous ones."""
        return self.targets + self.exogenous


class InstanceScaler(nn.Module):
    """Mean and deviation of each channel over one context. (b, time, channels) in."""

    def forward(self, past: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the deviation, each (b, 1, channels)."""
        mean = past.mean(1, keepdim=True)
        centred = past - mean
        variance = (centred * centred).mean(1, keepdim=True)
        return mean, torch.sqrt(variance + SCALE_EPSILON)


class _Norm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=NORM_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x)
        return y


class _Mlp(nn.Module):
    def __init__(self, width: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, expansion * width)
        self.fc2 = nn.Linear(expansion * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(nn.functional.gelu(self.fc1(x)))
        y: Tensor = self.dropout(self.fc2(hidden))
        return y


class _Gate(nn.Module):
    """Every feature times its share of a softmax over all features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn_layer = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.softmax(self.attn_layer(x), dim=-1)


class _Mixer(nn.Module):
    """A residual block over the last axis; subclasses turn another axis there and back.

    Args:
        norm: size of the last axis, which is normalised.
        mixed: size of the axis that is mixed.
    """

    def __init__(self, norm: int, mixed: int, config: TtmConfig, dropout: float) -> None:
        super().__init__()
        self.norm = _Norm(norm)
        self.mlp = _Mlp(mixed, config.expansion, dropout)
        self.gating_block = _Gate(mixed)


class _FeatureMixer(_Mixer):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.gating_block(self.mlp(self.norm(x)))
        return x + y


class _PatchMixer(_Mixer):
    def forward(self, x: Tensor) -> Tensor:
        turned = self.norm(x).transpose(1, 2)
        y: Tensor = self.gating_block(self.mlp(turned))
        return x + y.transpose(1, 2)


class _ChannelMixer(_Mixer):
    """Gates first, as the reference does."""

    def forward(self, x: Tensor, channels: int) -> Tensor:
        normal = self.norm(x)
        rows, patches, width = normal.shape
        turned = normal.reshape(-1, channels, patches * width).transpose(1, 2)
        y: Tensor = self.mlp(self.gating_block(turned))
        return x + y.transpose(1, 2).reshape(rows, patches, width)


class _MixerLayer(nn.Module):
    """(rows, patches, width) in and out; a row is one channel of one sample."""

    def __init__(
        self, patches: int, width: int, config: TtmConfig, dropout: float, *, channels: int = 0
    ) -> None:
        super().__init__()
        self._channels = channels
        if channels:
            self.channel_feature_mixer = _ChannelMixer(width, channels, config, dropout)
        if patches > 1:
            self.patch_mixer = _PatchMixer(width, patches, config, dropout)
        self.feature_mixer = _FeatureMixer(width, width, config, dropout)

    def forward(self, x: Tensor) -> Tensor:
        if self._channels:
            x = self.channel_feature_mixer(x, self._channels)
        if hasattr(self, "patch_mixer"):
            x = self.patch_mixer(x)
        y: Tensor = self.feature_mixer(x)
        return y


class _Level(nn.Module):
    """Mixer layers on patches cut into ``pieces``."""

    def __init__(self, config: TtmConfig, pieces: int) -> None:
        super().__init__()
        self._shape = (config.patches * pieces, config.width // pieces)
        self.mixer_layers = nn.ModuleList(
            _MixerLayer(*self._shape, config, config.dropout) for _ in range(config.layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = x.reshape(x.shape[0], *self._shape)
        for layer in self.mixer_layers:
            y = layer(y)
        return y.reshape(x.shape)


class _Stack(nn.Module):
    def __init__(self, mixers: list[nn.Module]) -> None:
        super().__init__()
        self.mixers = nn.ModuleList(mixers)

    def forward(self, x: Tensor) -> Tensor:
        for mixer in self.mixers:
            x = mixer(x)
        return x


class _Encoder(nn.Module):
    def __init__(self, config: TtmConfig) -> None:
        super().__init__()
        self.patcher = nn.Linear(config.patch, config.width)
        pieces = [1 << i for i in reversed(range(config.levels))]
        self.mlp_mixer_encoder = _Stack([_Level(config, p) for p in pieces])

    def forward(self, patches: Tensor) -> Tensor:
        y: Tensor = self.mlp_mixer_encoder(self.patcher(patches))
        return y


class _Backbone(nn.Module):
    def __init__(self, config: TtmConfig) -> None:
        super().__init__()
        self.encoder = _Encoder(config)


class _Decoder(nn.Module):
    def __init__(self, config: TtmConfig) -> None:
        super().__init__()
        if config.width != config.decoder_width:
            self.adapter = nn.Linear(config.width, config.decoder_width)
        mixed = config.channels if config.mix_channels else 0
        self.decoder_block = _Stack(
            [
                _MixerLayer(
                    config.patches,
                    config.decoder_width,
                    config,
                    config.head_dropout,
                    channels=mixed,
                )
                for _ in range(config.decoder_layers)
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "adapter"):
            x = self.adapter(x)
        y: Tensor = self.decoder_block(x)
        return y


class _ForecastMixer(nn.Module):
    """Corrects each step of the forecast by what all channels do around it, the known future of
    the exogenous ones included. The reference's forecast channel mixing without its gate; a
    linear layer over windows is a convolution."""

    def __init__(self, config: TtmConfig) -> None:
        super().__init__()
        self._window = 2 * config.exogenous_reach + 1
        self.mlp = nn.Linear(config.channels * self._window, config.targets)
        # The untrained correction is none.
        nn.init.zeros_(self.mlp.weight)
        nn.init.zeros_(self.mlp.bias)

    def forward(self, forecast: Tensor, future: Tensor) -> Tensor:
        """forecast: (b, targets, horizon), future: (b, exogenous, horizon)."""
        everything = torch.cat([forecast, future], 1)
        weight = self.mlp.weight.reshape(forecast.shape[1], everything.shape[1], 1, self._window)
        correction = nn.functional.conv2d(
            everything.unsqueeze(2), weight, self.mlp.bias, padding=(0, self._window // 2)
        )
        return forecast + correction.squeeze(2)


class _Head(nn.Module):
    def __init__(self, config: TtmConfig) -> None:
        super().__init__()
        self.dropout_layer = nn.Dropout(config.head_dropout)
        inputs = config.patches * config.decoder_width
        self.base_forecast_block = nn.Linear(inputs, config.horizon)
        if config.exogenous:
            self.fcm_block = _ForecastMixer(config)


class TinyTimeMixer(nn.Module):
    """Forecasts ``horizon`` steps of every target channel from ``context`` steps.

    Args:
        config: the member.
    """

    def __init__(self, config: TtmConfig) -> None:
        super().__init__()
        self.config = config
        self.scaler = InstanceScaler()
        self.backbone = _Backbone(config)
        self.decoder = _Decoder(config)
        self.head = _Head(config)

    def forward(self, past: Tensor, future: Tensor | None = None) -> Tensor:
        """
        Args:
            past: (b, context, channels), the targets first; no missing values.
            future: (b, horizon, exogenous), for networks with exogenous channels.

        Returns:
            (b, horizon, targets), in the units of ``past``.
        """
        mean, deviation = self.scaler(past)
        config = self.config
        standard = (past - mean) / deviation
        patches = standard.transpose(1, 2).reshape(-1, config.patches, config.patch)
        hidden = self.decoder(self.backbone.encoder(patches))
        flat = self.head.dropout_layer(hidden.reshape(-1, config.channels, hidden[0].numel()))
        if config.exogenous:
            flat = flat[:, : config.targets]
        forecast = self.head.base_forecast_block(flat)
        if config.exogenous:
            if future is None:
                raise ValueError("a network with exogenous channels needs their future")
            of_mean, of_deviation = mean[..., config.targets :], deviation[..., config.targets :]
            known = ((future - of_mean) / of_deviation).transpose(1, 2)
            forecast = self.head.fcm_block(forecast, known)
            mean, deviation = mean[..., : config.targets], deviation[..., : config.targets]
        y: Tensor = forecast.transpose(1, 2) * deviation + mean
        return y


# The published sizes for a context of 512 and 1024; r1 and r2 differ by training only.
FAMILY: dict[str, TtmConfig] = {
    "ttm-512-96": TtmConfig(),
    "ttm-512-192": TtmConfig(horizon=192),
    "ttm-1024-96": TtmConfig(context=1024),
}


def adopt_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Loads a state dict of granite-tsfm or of this package.

    A network with channel mixing or exogenous inputs also takes the state of one without: the
    parameters it lacks keep their values, to be trained.

    Raises:
        DatasetError: naming the first parameter that is missing, unknown or of another shape.
    """
    own = model.state_dict()
    given = {k: v for k, v in state.items() if not k.startswith(_UNUSED)}
    for name, value in own.items():
        if name not in given:
            if "channel_feature_mixer" in name or "fcm_block" in name:
                continue
            raise DatasetError(f"the weights lack the parameter '{name}'")
        if given[name].shape != value.shape:
            raise DatasetError(
                f"the weights' parameter '{name}' has shape {tuple(given[name].shape)}, "
                f"the model's has {tuple(value.shape)}"
            )
    unknown = [name for name in given if name not in own]
    if unknown:
        raise DatasetError(f"the model has no parameter '{unknown[0]}' of the weights")
    model.load_state_dict({**own, **given}, strict=True)
