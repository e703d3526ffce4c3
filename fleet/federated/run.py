# SPDX-License-Identifier: Apache-2.0
"""A federated run: rounds of a strategy over devices, each committed as a whole, resumable."""

from __future__ import annotations

import hashlib
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from fleet.errors import ConflictError, FleetError
from fleet.federated import sparse
from fleet.federated.composite import CompositeGrid
from fleet.federated.fedtiny import SparseFedAvg
from fleet.federated.grid import MqttGrid
from fleet.federated.layout import Layout
from fleet.federated.plan import Opened
from fleet.federated.selection import candidates, select
from fleet.federated.strategies import (
    Shifted,
    enough_of,
    is_flowers,
    make_strategy,
    refuse_silent_privacy,
    selection_of,
)
from fleet.store import Store, audit, federated, queues
from fleet.store.audit import Entry


class _EndedError(Exception):
    """Early stop: leaves Flower's loop."""


@dataclass
class Result:
    """Where a run stands.

    Args:
        name: of it.
        rounds: whole ones.
        weights: after the last.
        mask: of active weights, where the strategy has one.
        stopped_early: the loss no longer fell.
    """

    name: str
    rounds: int
    weights: NDArray[np.float32]
    mask: NDArray[np.bool_] | None
    stopped_early: bool = False
    losses: list[float] = field(default_factory=list)


@dataclass
class _Round:
    number: int
    started_at: float
    digest: str
    refused: list[tuple[str, str]] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    down: int = 0
    up: int = 0


class Run:
    """One run of a plan.

    Args:
        store: the database.
        tenant: whose devices.
        opened: the plan.
        layout: of the weights.
        abi: of the learner.
        initial: weights that a new run starts from.
        actor: for the audit trail.
        progress: told of each whole round and its metrics.
    """

    def __init__(
        self,
        store: Store,
        tenant: str,
        opened: Opened,
        layout: Layout,
        abi: int,
        initial: NDArray[np.float32],
        actor: str,
        progress: Callable[[int, dict[str, float]], None] = lambda number, metrics: None,
    ) -> None:
        self._store = store
        self._tenant = tenant
        self._opened = opened
        self._plan = opened.plan
        self._layout = layout
        self._abi = f"{abi:016x}"
        self._initial = initial
        self._actor = actor
        self._progress = progress
        self._round: _Round | None = None
        self._losses: list[float] = []
        self._counted: tuple[int, int] | None = None

    def refused(self, device: str, why: str) -> None:
        """For `MqttGrid`: a reply of the present round was not used."""
        if self._round is not None:
            self._round.refused.append((device, why))

    def state(self) -> tuple[int, int, NDArray[np.float32], NDArray[np.bool_] | None]:
        """Number of the run, whole rounds, weights and mask; makes the run if there is none.

        Raises:
            ConflictError: a run of this name is of another plan or network, or is finished.
        """
        with self._store.write() as connection:
            row = federated.find(connection, self._tenant, self._plan.name)
            if row is None:
                number = federated.create(
                    connection,
                    tenant=self._tenant,
                    name=self._plan.name,
                    strategy=self._plan.strategy,
                    plan=self._opened.as_json(),
                    state="running",
                    abi=self._abi,
                    round=0,
                    weights=self._initial.astype("<f4").tobytes(),
                    mask=None,
                    created_at=time.time(),
                    created_by=self._actor,
                )
                self._audit(connection, number, "federated.started", {"plan": self._plan.name})
                return number, 0, self._initial, None
        if row["abi"] != self._abi or row["plan"] != self._opened.as_json():
            raise ConflictError(
                f"the run '{self._plan.name}' exists with another plan or network",
                "Give the plan another name.",
            )
        if row["state"] == "finished":
            raise ConflictError(
                f"the run '{self._plan.name}' is finished", "Give the plan another name."
            )
        weights = np.frombuffer(row["weights"], "<f4").astype(np.float32)
        mask = None if row["mask"] is None else sparse.mask_from(row["mask"], self._layout.size)
        with self._store.read() as connection:
            done = federated.rounds_of(connection, row["id"])
        self._losses = [
            r["metrics"]["loss"] for r in done if r["number"] and "loss" in r["metrics"]
        ]
        return row["id"], row["round"], weights, mask

    def __call__(self, grid: MqttGrid | CompositeGrid) -> Result:
        """Runs the rounds that are left.

        Raises:
            FleetError: no round can be made, or privacy would be silent.
        """
        self._wait_for_quorum(grid)
        self._counted = grid.broker_bytes() or grid.broker_bytes(fresh=True)
        number, done, weights, mask = self.state()
        logging.getLogger("flwr").setLevel(logging.ERROR)
        if done == 0 and mask is None:
            weights, mask = self._select(grid, number, weights)
        strategy = make_strategy(self._plan, self._layout, weights, mask)
        refuse_silent_privacy(strategy, grid)
        left = self._plan.rounds.count - done
        shifted = Shifted(
            strategy, done, lambda r: self._begin(grid, r, strategy), enough_of(self._plan)
        )
        self._last = weights

        def whole(server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
            if server_round:
                self._commit(number, grid, shifted, arrays)
            else:
                self._last = self._layout.vector(arrays)
            return None

        train = self._plan.training
        sent = ConfigRecord({"steps": train.steps, "lr": train.lr, "batch": train.batch})
        early = False
        try:
            shifted.start(
                grid,
                self._layout.record(weights),
                left,
                self._plan.rounds.deadline_s,
                train_config=sent if is_flowers(strategy) else None,
                evaluate_fn=whole,
            )
        except _EndedError:
            early = True
        last = self._round.number if self._round is not None else done
        received, sent_ = self._passed(grid, fresh=True)
        with self._store.write() as connection:
            # What the broker told since the last round was committed.
            federated.add_broker_bytes(connection, number, last, received, sent_)
            federated.set_state(connection, number, "finished")
            detail = {"rounds": done + left, "early": early}
            self._audit(connection, number, "federated.finished", detail)
        assert self._round is not None or left == 0
        final = strategy.mask if isinstance(strategy, SparseFedAvg) else None
        return Result(self._plan.name, last, self._last, final, early, self._losses)

    def _select(
        self, grid: MqttGrid | CompositeGrid, number: int, weights: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """FedTiny's coarse mask among candidates: round 0, committed as a whole like the others.

        Raises:
            InvalidError: an option is out of range.
            FleetError: no device measured a candidate.
        """
        asked = selection_of(self._plan)
        if asked is None:
            return weights, None
        self._last = weights
        self._open_round(grid, 0, list)
        made = self._round
        assert made is not None
        pool = candidates(
            self._layout, weights, asked.density, asked.candidates, asked.floor,
            seed=self._plan.seed,
        )  # fmt: skip
        try:
            found = select(
                grid, self._layout, weights, pool, asked.steps, self._plan.rounds.deadline_s,
                lambda index, loss: self._progress(0, {"candidate": index, "loss": loss}),
            )  # fmt: skip
        except ValueError as error:
            raise FleetError(
                f"the coarse mask was not selected: {error}", "Raise rounds.deadline_s."
            ) from None
        metrics = {f"candidate-{i}": x for i, x in enumerate(found.losses) if np.isfinite(x)}
        metrics |= {"loss": found.losses[found.index], "selected": float(found.index)}
        self._store_round(number, grid, found.weights, sparse.mask_bytes(found.mask), metrics)
        self._round = None
        return found.weights, found.mask

    def _wait_for_quorum(self, grid: MqttGrid | CompositeGrid) -> None:
        quorum, end = self._plan.who.quorum, time.monotonic() + self._plan.rounds.wait_s
        while grid.ready() < quorum:
            if time.monotonic() > end:
                raise FleetError(
                    f"{grid.ready()} of {quorum} devices are online and learn this model "
                    f"(ABI {self._abi})",
                    "Start them, lower quorum in the plan, or check fleet device list. The same "
                    "command goes on after the last whole round.",
                )
            time.sleep(0.2)

    def _passed(
        self, grid: MqttGrid | CompositeGrid, fresh: bool = False
    ) -> tuple[int | None, int | None]:
        """Bytes that the broker received and sent since this was last asked, as far as it told."""
        now, before = grid.broker_bytes(fresh), self._counted
        if now is None or before is None:
            return None, None
        self._counted = now
        # A broker that was started again counts from 0.
        return (
            now[0] - before[0] if now[0] >= before[0] else now[0],
            now[1] - before[1] if now[1] >= before[1] else now[1],
        )

    def _begin(self, grid: MqttGrid | CompositeGrid, server_round: int, strategy: Strategy) -> None:
        # Ours choose by themselves.
        choose = self._sample(server_round) if is_flowers(strategy) else list
        self._open_round(grid, server_round, choose)

    def _open_round(
        self,
        grid: MqttGrid | CompositeGrid,
        server_round: int,
        choose: Callable[[list[int]], list[int]],
    ) -> None:
        self._wait_for_quorum(grid)
        digest = hashlib.sha256(self._last.astype("<f4").tobytes()).hexdigest()
        self._round = _Round(server_round, time.time(), digest)
        self._round.down, self._round.up = grid.traffic.down, grid.traffic.up
        self._round.devices = grid.begin(server_round, choose)

    def _sample(self, server_round: int) -> Callable[[list[int]], list[int]]:
        who = self._plan.who
        rng = random.Random(f"{self._plan.seed}/{server_round}")

        def choose(nodes: list[int]) -> list[int]:
            count = round(who.devices * who.over_selection) or len(nodes)
            return rng.sample(nodes, min(count, len(nodes)))

        return choose

    def _commit(
        self, number: int, grid: MqttGrid | CompositeGrid, strategy: Shifted, arrays: ArrayRecord
    ) -> None:
        made = self._round
        assert made is not None
        vector = self._layout.vector(arrays)
        if not np.all(np.isfinite(vector)):
            raise FleetError(
                f"round {made.number} gave weights that are not finite; the run stays at round "
                f"{made.number - 1}",
                "Lower training.lr, or use a robust strategy: krum, trimmedmean, fedmedian.",
            )
        metrics = {
            k: float(v)
            for k, v in dict(strategy.metrics or {}).items()
            if isinstance(v, int | float) and np.isfinite(v)
        }
        metrics.setdefault("devices", float(len(made.devices)))
        inner = strategy.inner
        mask = sparse.mask_bytes(inner.mask) if isinstance(inner, SparseFedAvg) else None
        self._store_round(number, grid, vector, mask, metrics)
        self._last = vector
        self._progress(made.number, metrics)
        if "loss" in metrics:
            self._losses.append(metrics["loss"])
        if self._has_stalled():
            raise _EndedError

    def _store_round(
        self,
        number: int,
        grid: MqttGrid | CompositeGrid,
        vector: NDArray[np.float32],
        mask: bytes | None,
        metrics: dict[str, float],
    ) -> None:
        """A whole round: its result, what it cost and who took part, in one transaction."""
        made = self._round
        assert made is not None
        data = vector.astype("<f4").tobytes()
        received, sent = self._passed(grid)
        facts: dict[str, Any] = {
            "devices": sorted(set(made.devices)),
            "metrics": metrics,
            "refused": [list(r) for r in made.refused],
            "bytes_down": grid.traffic.down - made.down,
            "bytes_up": grid.traffic.up - made.up,
            "broker_received": received,
            "broker_sent": sent,
            "digest_in": made.digest,
            "digest_out": hashlib.sha256(data).hexdigest(),
            "started_at": made.started_at,
            "ended_at": time.time(),
        }
        with self._store.write() as connection:
            federated.commit_round(connection, number, made.number, data, mask, **facts)
            detail = {
                "round": made.number,
                "devices": len(facts["devices"]),
                "refused": facts["refused"],
                "digest": facts["digest_out"],
            }
            self._audit(connection, number, "federated.round", detail)
            change = queues.Change("round", self._tenant, f"{self._plan.name}/{made.number}")
            queues.put_outbox(connection, [change])

    def _has_stalled(self) -> bool:
        rounds = self._plan.rounds
        window, patience = rounds.patience_window, rounds.patience
        if not patience or len(self._losses) < patience + window:
            return False
        means = np.convolve(self._losses, np.ones(window) / window, mode="valid")
        return bool(np.min(means[:-patience]) <= np.min(means[-patience:]))

    def _audit(self, connection: Any, number: int, action: str, detail: dict[str, Any]) -> None:
        entry = Entry(action, f"federated/{number}", self._actor, self._tenant, detail)
        audit.append(connection, [entry])
