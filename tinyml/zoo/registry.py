# SPDX-License-Identifier: Apache-2.0
"""The models that come with tinyml."""

from __future__ import annotations

import difflib

from tinyml.errors import DatasetError
from tinyml.zoo.embbert.entry import TEXT_MODELS
from tinyml.zoo.entry import WEIGHTS, ZooModel
from tinyml.zoo.images import IMAGE_MODELS
from tinyml.zoo.mlperf import BENCHMARK_MODELS
from tinyml.zoo.ttm.entry import FORECAST_MODELS

__all__ = ["WEIGHTS", "ZooModel", "get_model", "list_models"]

_MODELS: tuple[ZooModel, ...] = (
    *IMAGE_MODELS,
    *TEXT_MODELS,
    *FORECAST_MODELS,
    *BENCHMARK_MODELS,
)


def list_models() -> list[ZooModel]:
    """All entries."""
    return list(_MODELS)


def get_model(name: str) -> ZooModel:
    """An entry by name. Raises DatasetError naming the closest one."""
    for model in _MODELS:
        if model.name == name:
            return model
    names = [m.name for m in _MODELS]
    close = difflib.get_close_matches(name, names, n=1)
    guess = f" Did you mean '{close[0]}'?" if close else ""
    raise DatasetError(f"unknown zoo model '{name}'", f"Models: {', '.join(names)}.{guess}")
