# SPDX-License-Identifier: Apache-2.0
"""From a plan to a Flower strategy: ours by name, and Flower's own, unchanged."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from fleet.errors import InvalidError
from fleet.federated import masks
from fleet.federated.averaging import FedAvg, FedProx
from fleet.federated.composite import CompositeGrid
from fleet.federated.fedtiny import FedTiny, GradualMagnitude, SparseFedAvg
from fleet.federated.grid import MqttGrid
from fleet.federated.layout import Layout
from fleet.federated.plan import Plan
from fleet.federated.reptile import Schedule, TinyMetaFed, TinyReptile

FOR_EVER = 1 << 30


def make_strategy(
    plan: Plan, layout: Layout, weights: NDArray[np.float32], mask: masks.Mask | None
) -> Strategy:
    """The strategy of a plan.

    Args:
        weights: at the beginning, for coarse masks.
        mask: to go on with, of a resumed run.

    Raises:
        InvalidError: an option is unknown or of the wrong type.
    """
    options = dict(plan.options or {})
    train = plan.training
    common: dict[str, Any] = {"steps": train.steps, "lr": train.lr, "seed": plan.seed}
    devices = round(plan.who.devices * plan.who.over_selection) or FOR_EVER
    try:
        match plan.strategy:
            case "tinyreptile" | "tinymetafed" | "fedsgd":
                return _reptile(plan, layout, options, common)
            case "fedtiny":
                return _fedtiny(layout, weights, mask, options, {
                    **common, "batch": train.batch, "devices": devices,
                })  # fmt: skip
            case "magnitude":
                made = GradualMagnitude(
                    layout, **{**common, "batch": train.batch, "devices": devices, **options}
                )
                if mask is not None:
                    made.mask = mask
                return made
            case _:
                return _flower(plan, layout, options)
    except TypeError as error:
        raise InvalidError(f"options of '{plan.strategy}': {error}") from None


def _reptile(
    plan: Plan, layout: Layout, options: dict[str, Any], common: dict[str, Any]
) -> Strategy:
    serial = plan.who.devices or 1
    common |= {"devices": serial, "over_selection": plan.who.over_selection}
    if plan.strategy == "fedsgd":
        schedule = Schedule(1.0, plan.rounds.count, falls=False)
        return TinyReptile(layout, schedule, **{**common, "steps": 1, **options})
    falls = bool(options.pop("falls", True))
    schedule = Schedule(float(options.pop("alpha", 0.5)), plan.rounds.count, falls)
    kind = TinyReptile if plan.strategy == "tinyreptile" else TinyMetaFed
    return kind(layout, schedule, **{**common, **options})


def _fedtiny(
    layout: Layout,
    weights: NDArray[np.float32],
    mask: masks.Mask | None,
    options: dict[str, Any],
    common: dict[str, Any],
) -> Strategy:
    density = float(options.pop("density", 0.1))
    floor = float(options.pop("floor", 0.3))
    coarse = str(options.pop("coarse", "erk"))
    for name in ("candidates", "selection_steps"):
        options.pop(name, None)  # of the selection before the first round
    if coarse not in ("erk", "uniform"):
        raise InvalidError(f"coarse is erk or uniform, not '{coarse}'")
    if not 0 < density <= 1:
        raise InvalidError(f"density is above 0 and at most 1, not {density}")
    if mask is None:
        densities = (masks.erk if coarse == "erk" else masks.uniform)(layout, density, floor)
        mask = masks.by_magnitude(layout, weights, densities)
    return FedTiny(layout, mask, **{**common, **options})


def _flower(plan: Plan, layout: Layout, options: dict[str, Any]) -> Strategy:
    """Flower's strategies. Who is asked is settled before they are: they take all they are given,
    and wait for nobody."""
    common = {
        "fraction_evaluate": 0.0,
        "min_train_nodes": 1,
        "min_evaluate_nodes": 0,
        "min_available_nodes": 1,
    }
    kinds: Mapping[str, Callable[..., Strategy]] = {
        "fedavg": partial(FedAvg, layout),
        "fedprox": partial(FedProx, layout),
        "fedmedian": flower.FedMedian,
        "krum": flower.Krum,
        "multikrum": flower.MultiKrum,
        "trimmedmean": flower.FedTrimmedAvg,
    }
    clip = options.pop("clipping_norm", None)
    noise = options.pop("noise_multiplier", 0.0)
    made: Strategy = kinds[plan.strategy](**{**common, **options})
    if clip is not None:
        made = flower.DifferentialPrivacyClientSideFixedClipping(
            made, float(noise), float(clip), plan.who.devices or plan.who.quorum
        )
    return made


@dataclass(frozen=True)
class Selection:
    """FedTiny's choice of a coarse mask.

    Args:
        candidates: masks to choose from.
        steps: samples that a device takes for each measurement.
        density, floor: of the masks.
    """

    candidates: int
    steps: int
    density: float
    floor: float


def selection_of(plan: Plan) -> Selection | None:
    """What the plan asks, None where there is nothing to choose from.

    Raises:
        InvalidError: an option is out of range.
    """
    options = plan.options or {}
    count = int(options.get("candidates", 1))
    steps = int(options.get("selection_steps", plan.training.steps))
    if plan.strategy != "fedtiny" or count == 1:
        return None
    if count < 1 or steps < 2:
        raise InvalidError(
            f"candidates are at least 1 and selection_steps at least 2, not {count} and {steps}"
        )
    density, floor = (
        float(options.get(name, usual)) for name, usual in (("density", 0.1), ("floor", 0.3))
    )
    return Selection(count, steps, density, floor)


def is_flowers(strategy: Strategy) -> bool:
    """Whether a strategy takes its nodes and its training settings from its caller."""
    return not isinstance(strategy, TinyReptile | SparseFedAvg)


def refuse_silent_privacy(strategy: Strategy, grid: MqttGrid | CompositeGrid) -> None:
    """Client-side clipping guarantees something only where every device clips.

    Raises:
        InvalidError: naming the first device that does not.
    """
    kinds = (
        flower.DifferentialPrivacyClientSideFixedClipping,
        flower.DifferentialPrivacyClientSideAdaptiveClipping,
    )
    if not isinstance(strategy, kinds):
        return
    if isinstance(grid, CompositeGrid):
        raise InvalidError(
            "SuperNodes do not say whether they clip their change, so clipping on clients would "
            "guarantee nothing",
            "Leave out clipping_norm, or [superlink].",
        )
    for node_id in grid.get_node_ids():
        node = grid.node(node_id)
        if node is not None and not node.clips:
            raise InvalidError(
                f"device '{node.device}' does not clip its change, so clipping on clients would "
                "guarantee nothing",
                "Leave it out with who.where, or update its firmware.",
            )


def until(replies: Iterable[Message], enough: int) -> Iterator[Message]:
    """Replies, until so many of them are without error; later ones are not waited for."""
    good = 0
    for reply in replies:
        good += not reply.has_error()
        yield reply
        if good == enough:
            break
    if isinstance(replies, Generator):
        replies.close()


def enough_of(plan: Plan) -> int | None:
    """Replies that end a round of a plan, None when all are waited for."""
    who = plan.who
    serial = plan.strategy in ("tinyreptile", "tinymetafed", "fedsgd")
    wanted = who.devices or (1 if serial else 0)
    return wanted if wanted and who.over_selection > 1 else None


class Shifted(Strategy):
    """A strategy that goes on at a later round: Flower counts from 1, a resumed run does not.

    Args:
        inner: the strategy.
        done: rounds that are whole.
        begin: told of each round before it is configured.
        enough: replies that end a round; the others were asked for those that fall out. None: all.
    """

    def __init__(
        self,
        inner: Strategy,
        done: int,
        begin: Callable[[int], None] = lambda server_round: None,
        enough: int | None = None,
    ) -> None:
        self.inner = inner
        self._enough = enough
        self.done = done
        self._begin = begin
        self.metrics: MetricRecord | None = None

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The inner strategy's, in the run's count."""
        self._begin(server_round + self.done)
        return self.inner.configure_train(server_round + self.done, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The inner strategy's; its metrics are kept for the record."""
        taken = replies if self._enough is None else until(replies, self._enough)
        arrays, self.metrics = self.inner.aggregate_train(server_round + self.done, taken)
        return arrays, self.metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The inner strategy's."""
        return self.inner.configure_evaluate(server_round + self.done, arrays, config, grid)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """The inner strategy's."""
        return self.inner.aggregate_evaluate(server_round + self.done, replies)

    def summary(self) -> None:
        """The inner strategy's."""
        self.inner.summary()
