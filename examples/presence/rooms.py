# SPDX-License-Identifier: Apache-2.0
"""Rooms with CO2, humidity, light, temperature and whether somebody is there.

`simulated` is a model, not a measurement: people come and go around office hours; CO2 follows the
mass balance of a ventilated room (0.018 m3/h a person); light is daylight by the window's size and
a lamp by the room's habit (on with people, on all day, or people work in the dark); temperature
and humidity follow people with a lag. Volume, ventilation, habit and the offsets of the sensors
differ from room to room. `recorded` reads the UCI occupancy data set (one office; each stretch of
two days stands for a room).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

STEP_MIN, DAYS = 5, 8
PER_DAY = 24 * 60 // STEP_MIN
# Roughly zero mean and unit range: CO2 ppm, relative humidity %, light lx, temperature deg C.
MIDDLE = np.array([700.0, 35.0, 250.0, 22.5], np.float32)
RANGE = np.array([300.0, 8.0, 250.0, 2.0], np.float32)


@dataclass(frozen=True)
class Room:
    """One device's world.

    Args:
        x: float32 (samples, 4), scaled.
        y: 1 where somebody is there.
        first: samples that may be labelled; the later ones are for the test.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    first: int

    def labelled(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """So many samples of the first days, half of them with somebody there, in random order."""
        both = [np.flatnonzero(self.y[: self.first] == label) for label in (0, 1)]
        picked = np.concatenate([rng.choice(i, count // 2, len(i) < count // 2) for i in both])
        rng.shuffle(picked)
        return self.x[picked], self.y[picked]

    @property
    def later(self) -> tuple[np.ndarray, np.ndarray]:
        """The test."""
        return self.x[self.first :], self.y[self.first :]


def simulated(count: int, seed: int = 0) -> list[Room]:
    """Offices."""
    return [_office(f"{n:02d}", np.random.default_rng([seed, n])) for n in range(1, count + 1)]


def _office(name: str, rng: np.random.Generator) -> Room:
    people = _people(rng)
    volume, changes = rng.uniform(30, 90), rng.uniform(0.4, 2.5)
    co2, hours = np.empty(len(people)), STEP_MIN / 60
    level = 420.0
    for at, inside in enumerate(people):
        level += hours * (1e6 * 0.018 * inside / volume - changes * (level - 420))
        co2[at] = level
    time = np.arange(len(people)) % PER_DAY / PER_DAY * 24
    clouds = np.repeat(rng.uniform(0.3, 1.0, DAYS), PER_DAY)
    daylight = np.maximum(np.sin((time - 7) / 11 * np.pi), 0) * clouds * rng.uniform(50, 500)
    habit = rng.choice(["with people", "all day", "dark"], p=[0.5, 0.25, 0.25])
    lamp = {"with people": people > 0, "all day": (time > 7) & (time < 19), "dark": people < 0}
    light = daylight + lamp[str(habit)] * rng.uniform(200, 450)
    warm = _lagged(people * rng.uniform(0.2, 0.6) + 0.8 * np.sin((time - 10) / 24 * 2 * np.pi), 12)
    wet = _lagged(people * rng.uniform(0.5, 2.0), 8) + np.repeat(rng.normal(0, 2, DAYS), PER_DAY)
    x = np.stack([co2, rng.uniform(28, 42) + wet, light, rng.uniform(20.5, 24) + warm], axis=1)
    x += rng.normal(0, [40, 1, 0, 0.3]) + rng.normal(0, [12, 0.3, 8, 0.05], x.shape)
    x[:, 2] *= rng.uniform(0.5, 1.5)
    return Room(name, _scaled(x), (people > 0).astype(np.int64), 2 * PER_DAY)


def _people(rng: np.random.Generator) -> np.ndarray:
    """How many are there, by step."""
    made, desks = np.zeros(DAYS * PER_DAY), rng.integers(1, 5)
    begins = rng.uniform(7.5, 9.5)
    for day in range(DAYS):
        for _ in range(desks):
            if rng.random() < 0.2:
                continue  # not at work
            comes, goes = begins + rng.normal(0, 0.5), begins + 8.5 + rng.normal(0, 0.8)
            away = rng.uniform(comes, goes - 1, 3)
            time = np.arange(PER_DAY) * 24 / PER_DAY
            inside = (time > comes) & (time < goes)
            for begin in away:
                inside &= ~((time > begin) & (time < begin + rng.uniform(0.3, 1.2)))
            made[day * PER_DAY : (day + 1) * PER_DAY] += inside
    return made


def _lagged(values: np.ndarray, steps: float) -> np.ndarray:
    made, level = np.empty(len(values)), values[0]
    for at, value in enumerate(values):
        level += (value - level) / steps
        made[at] = level
    return made


def _scaled(x: np.ndarray) -> np.ndarray:
    return ((x - MIDDLE) / RANGE).astype(np.float32)


def recorded(folder: Path) -> list[Room]:
    """Stretches of two days of the UCI data set in which somebody was there on both."""
    rows = []
    for file in ("datatest.txt", "datatraining.txt", "datatest2.txt"):
        with (folder / file).open(encoding="utf-8") as stream:
            lines = list(csv.reader(stream))[1:]
        # A column of row numbers has no name.
        rows += [(r[1], *map(float, (r[5], r[3], r[4], r[2], r[7]))) for r in lines[::STEP_MIN]]
    days = sorted({r[0][:10] for r in rows})
    made = []
    for first, second in zip(days[::2], days[1::2], strict=False):
        own, later = ([r for r in rows if r[0][:10] == day] for day in (first, second))
        labels = [np.array([int(r[5]) for r in part]) for part in (own, later)]
        if all(0.02 < part.mean() < 0.98 for part in labels):
            x = np.array([r[1:5] for r in own + later])
            made.append(Room(first, _scaled(x), np.concatenate(labels), len(own)))
    return made
