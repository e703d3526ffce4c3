# SPDX-License-Identifier: Apache-2.0
"""Flower's own strategies and ours over the device protocol; clients in PyTorch, every byte by the
wire's codec. tests/fleet/federated/test_devices.py does the same with C agents and a broker."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import strategy as flower
from torch import nn

from fleet.errors import InvalidError
from fleet.federated import masks
from fleet.federated.averaging import FedAvg, FedProx
from fleet.federated.fedtiny import FedTiny, GradualMagnitude, SparseFedAvg
from fleet.federated.grid import MqttGrid, Node
from fleet.federated.jobs import ARRAYS, CONFIG, config
from fleet.federated.layout import Layout
from fleet.federated.local import (
    LocalExchange,
    Samples,
    TorchClient,
    layout_of,
    read_model,
    write_model,
)
from fleet.federated.reptile import Schedule, TinyMetaFed, TinyReptile
from fleet.federated.selection import candidates, select
from fleet.federated.strategies import Shifted, refuse_silent_privacy
from fleet.wire import decode
from fleet.wire.messages import TrainJob, TrainReply

# These networks are too small for more, and a busy machine has none to spare.
torch.set_num_threads(1)
TRUE = torch.tensor([[1.5, -2.0, 0.5, 1.0]])


class Setting:
    """Eight clients of one linear task; what one of them sends may be changed."""

    def __init__(
        self, tamper: Callable[[str, TrainJob, bytes], bytes | None] | None = None
    ) -> None:
        torch.manual_seed(0)
        self.model = nn.Linear(4, 1)
        self.layout = layout_of(self.model)
        self.start = read_model(self.model, self.layout)
        clients = {}
        for index in range(8):
            x = torch.randn(64, 4)
            samples = Samples(x, x @ TRUE.T + 0.25)
            clients[f"d{index}"] = TorchClient(
                self.model, self.layout, nn.functional.mse_loss, samples, classifies=False
            )
        self.exchange = LocalExchange(clients, tamper or (lambda device, job, data: data))
        self.refused: list[tuple[str, str]] = []
        self.grid = MqttGrid(
            self.exchange, self.layout, 7, lambda device, why: self.refused.append((device, why))
        )

    def run(self, strategy: flower.Strategy, rounds: int = 12, timeout: float = 5.0) -> float:
        """Largest distance of a weight from the truth after the rounds."""
        settings = config({"steps": 32, "lr": 0.1, "batch": 4})
        result = strategy.start(
            self.grid, self.layout.record(self.start), rounds, timeout, train_config=settings
        )
        found = self.layout.vector(result.arrays)
        return float(np.max(np.abs(found - np.array([1.5, -2.0, 0.5, 1.0, 0.25]))))


STOCK = {"fraction_evaluate": 0.0, "min_evaluate_nodes": 0}


@pytest.mark.parametrize(
    "make",
    [
        flower.FedAvg,
        flower.FedAvgM,
        lambda **o: flower.FedProx(proximal_mu=0.01, **o),
        flower.FedMedian,
        flower.FedTrimmedAvg,
        flower.Krum,
        flower.MultiKrum,
    ],
    ids=["FedAvg", "FedAvgM", "FedProx", "FedMedian", "FedTrimmedAvg", "Krum", "MultiKrum"],
)
def test_flowers_strategies_run_unchanged(make):
    assert Setting().run(make(**STOCK)) < 0.05


def poison(device: str, job: TrainJob, data: bytes) -> bytes:
    """Device d3 sends a hundred times what it learned, with a right checksum."""
    if device != "d3":
        return data
    import zlib

    reply = decode(TrainReply, data)
    values = (np.frombuffer(reply.data, "<f4") * -100).astype("<f4").tobytes()
    return replace(reply, data=values, crc=zlib.crc32(values)).encode()


@pytest.mark.parametrize(
    "make",
    [
        flower.FedMedian,
        lambda **o: flower.FedTrimmedAvg(beta=0.2, **o),
        lambda **o: flower.Krum(num_malicious_nodes=1, **o),
    ],
    ids=["FedMedian", "FedTrimmedAvg", "Krum"],
)
def test_robust_strategies_bear_a_poisoned_device(make):
    assert Setting(poison).run(make(**STOCK)) < 0.05


def test_the_mean_does_not_bear_it():
    assert Setting(poison).run(flower.FedAvg(**STOCK)) > 1


MISDEEDS: dict[str, Callable[[TrainReply], bytes | None]] = {}


def misdeed(make: Callable[[TrainReply], bytes | None]) -> Callable[[TrainReply], bytes | None]:
    MISDEEDS[make.__name__] = make
    return make


def with_values(reply: TrainReply, values: np.ndarray, **changes: object) -> bytes:
    import zlib

    data = values.astype("<f4").tobytes()
    facts = {"data": data, "crc": zlib.crc32(data), "total": len(data), **changes}
    return replace(reply, **facts).encode()  # type: ignore[arg-type]


@misdeed
def not_finite(reply: TrainReply) -> bytes:
    return with_values(reply, np.array([1, np.nan, 1, 1, 1]))


@misdeed
def values_take(reply: TrainReply) -> bytes | None:
    return with_values(reply, np.ones(3))


@misdeed
def most_it_can_have(reply: TrainReply) -> bytes:
    return with_values(reply, np.ones(5), total=1 << 30)


@misdeed
def checksum(reply: TrainReply) -> bytes:
    return with_values(reply, np.ones(5), crc=1)


@misdeed
def no_answer_in_time(reply: TrainReply) -> None:
    return None


@misdeed
def no_training_reply(reply: TrainReply) -> bytes:
    return b"\xff\xff"


@pytest.mark.parametrize("name", MISDEEDS)
def test_one_bad_reply_does_not_void_the_round(name: str):
    def tamper(device: str, job: TrainJob, data: bytes) -> bytes | None:
        return MISDEEDS[name](decode(TrainReply, data)) if device == "d5" else data

    setting = Setting(tamper)
    assert setting.run(flower.FedAvg(**STOCK), rounds=4, timeout=0.3) < 0.5
    words = name.replace("_", " ")
    assert any(device == "d5" and words in why for device, why in setting.refused), setting.refused


def test_dropouts_do_not_hang_a_round():
    rng = np.random.default_rng(0)
    setting = Setting(lambda device, job, data: None if rng.random() < 0.3 else data)
    begun = time.monotonic()
    assert setting.run(flower.FedAvg(**STOCK), rounds=6, timeout=0.3) < 0.2
    assert time.monotonic() - begun < 30


def test_sending_is_within_the_deadline():
    """Each job takes longer to send than its share of the deadline."""
    setting = Setting()
    send = setting.exchange.send

    def slowly(node: Node, job: TrainJob, wait_s: float) -> bool:
        time.sleep(min(0.3, wait_s))
        return wait_s > 0.3 and send(node, job, wait_s)

    setting.exchange.send = slowly  # type: ignore[method-assign]
    content = RecordDict({ARRAYS: setting.layout.record(setting.start), CONFIG: config({})})
    asked = [Message(content, n, MessageType.TRAIN) for n in setting.grid.get_node_ids()]
    begun = time.monotonic()
    got = list(setting.grid.send_and_receive(asked, timeout=1.0))
    assert time.monotonic() - begun < 2.0  # eight would take 2.4 s
    errors = [m for m in got if m.has_error()]
    assert len(got) == 8 and 1 <= len(errors) < 8
    assert "the broker did not take the job" in setting.refused[-1][1]


def test_a_round_asks_those_that_were_there_when_it_began():
    """Flower asks for the nodes twice, and waits without end when one has left in between."""
    setting = Setting()
    asked = setting.grid.begin(1, list)
    setting.exchange._nodes.pop(next(iter(setting.exchange._nodes)))
    strategy = flower.FedAvg(**STOCK)
    got = strategy.configure_train(
        1, setting.layout.record(setting.start), config({}), setting.grid
    )
    replies = list(setting.grid.send_and_receive(got, timeout=5))
    assert len(replies) == 8 and sum(m.has_error() for m in replies) == 1
    assert len(asked) == 7
    assert setting.refused == [("unknown", "the device is not connected")]


@pytest.mark.parametrize(
    ("stock", "ours"), [(flower.FedAvg, FedAvg), (flower.FedProx, FedProx)], ids=["avg", "prox"]
)
def test_averages_are_flowers_from_one_reply_at_a_time(stock, ours):
    alive: list[int] = []

    def ends(strategy: flower.Strategy) -> np.ndarray:
        setting = Setting()
        aggregate = strategy.aggregate_train
        references: list[weakref.ref[Message]] = []

        def passed(replies: Iterable[Message]) -> Iterator[Message]:
            for reply in replies:
                references.append(weakref.ref(reply))
                yield reply
                del reply
                alive.append(sum(r() is not None for r in references))

        strategy.aggregate_train = lambda r, replies: aggregate(r, passed(replies))
        result = strategy.start(
            setting.grid, setting.layout.record(setting.start), 3, 5.0,
            train_config=config({"steps": 32, "lr": 0.1, "batch": 4}),
        )  # fmt: skip
        return setting.layout.vector(result.arrays)

    options = {"proximal_mu": 0.1} if stock is flower.FedProx else {}
    theirs = ends(stock(**STOCK, **options))
    assert max(alive) >= 8
    alive.clear()
    layout = Setting().layout
    np.testing.assert_allclose(ends(ours(layout, **STOCK, **options)), theirs, rtol=1e-5)
    assert max(alive) <= 1


def test_what_devices_pull_is_counted():
    counts = []
    for room in (1 << 30, 16):
        setting = Setting()
        setting.exchange._nodes = {
            i: replace(n, packet_bytes=room) for i, n in setting.exchange.nodes().items()
        }
        mask = np.array([True, True, True, False, True])
        strategy = SparseFedAvg(setting.layout, mask, devices=8)
        setting.run(strategy, rounds=2)
        counts.append((setting.grid.traffic.down, setting.grid.traffic.up))
    # Two rounds of eight devices: five float32 and a mask of one byte down, four values up.
    assert counts == [(2 * 8 * 21, 2 * 8 * 16)] * 2


def test_a_round_of_more_than_enough_ends_with_enough():
    """Two of eight are silent and one is refused; the round takes four and waits for nobody."""

    def tamper(device: str, job: TrainJob, data: bytes) -> bytes | None:
        return {"d0": None, "d1": None, "d2": b"\xff"}.get(device, data)

    setting = Setting(tamper)
    names: list[list[str]] = []
    shifted = Shifted(
        FedAvg(setting.layout, **STOCK), 0, lambda r: names.append(setting.grid.begin(r, list)), 4
    )
    begun = time.monotonic()
    setting.run(shifted, rounds=3, timeout=100)
    assert time.monotonic() - begun < 90
    assert [len(n) for n in names] == [4, 4, 4]
    assert all("no answer" not in why for _, why in setting.refused)
    assert not setting.grid._open


def test_late_replies_are_not_counted():
    kept: list[bytes] = []

    def tamper(device: str, job: TrainJob, data: bytes) -> bytes | None:
        if device == "d0" and job.round == 1:
            kept.append(data)
            return None
        return data

    setting = Setting(tamper)
    setting.grid.round = 1
    content = RecordDict({ARRAYS: setting.layout.record(setting.start), CONFIG: config({})})
    node = Node("local", "d0", 1).node_id
    first = list(
        setting.grid.send_and_receive([Message(content, node, MessageType.TRAIN)], timeout=0.1)
    )
    assert first[0].has_error()
    setting.grid.round = 2
    setting.exchange.queue.put(("local", "d0", kept[0]))
    second = list(
        setting.grid.send_and_receive([Message(content, node, MessageType.TRAIN)], timeout=5)
    )
    assert len(second) == 1 and not second[0].has_error()


def test_tinyreptile_and_tinymetafed_learn():
    for make in (TinyReptile, TinyMetaFed):
        setting = Setting()
        strategy = make(setting.layout, Schedule(1.0, 60), steps=32, lr=0.05, devices=1)
        assert setting.run(strategy, rounds=60) < 0.2, make


def test_tinymetafed_sends_a_fraction():
    sizes = {}
    for make in (TinyReptile, TinyMetaFed):
        model = nn.Linear(100, 10)
        layout = layout_of(model)
        samples = Samples(torch.randn(64, 100), torch.randn(64, 10))
        client = TorchClient(model, layout, nn.functional.mse_loss, samples, classifies=False)
        grid = MqttGrid(LocalExchange({"d": client}), layout, 7)
        make(layout, Schedule(0.5, 5)).start(grid, layout.record(read_model(model, layout)), 5, 5)
        sizes[make] = grid.traffic.up
    assert sizes[TinyMetaFed] <= 0.25 * sizes[TinyReptile]


def test_schedule_falls_to_nothing():
    assert [Schedule(0.5, 10).at(r) for r in (1, 6, 11)] == [0.5, 0.25, 0.0]
    assert Schedule(0.5, 10, falls=False).at(9) == 0.5


def test_local_weights_never_travel():
    setting = Setting()
    seen: list[TrainReply] = []
    setting.exchange._tamper = lambda d, j, data: seen.append(decode(TrainReply, data)) or data
    strategy = TinyMetaFed(
        setting.layout, Schedule(0.5, 2), top=1.0, global_parameters=4, local_steps=8, devices=8
    )
    setting.run(strategy, rounds=1)
    assert seen
    from fleet.federated import sparse

    for reply in seen:
        positions, _ = sparse.decode(reply.data, reply.coding, reply.dtype, 5)
        assert positions.max() < 4


class Digits:
    """Four clients of a small classification."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        self.model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
        self.layout = layout_of(self.model)
        self.start = read_model(self.model, self.layout)
        centres = torch.randn(4, 16) * 2
        loss = nn.CrossEntropyLoss()
        clients = {}
        for index in range(4):
            y = torch.randint(0, 4, (80,))
            x = centres[y] + torch.randn(80, 16)
            clients[f"d{index}"] = TorchClient(
                self.model, self.layout, loss, Samples(x, y), classifies=True
            )
        self.grid = MqttGrid(LocalExchange(clients), self.layout, 7)

    def run(self, strategy: flower.Strategy, rounds: int) -> dict[str, float]:
        result = strategy.start(self.grid, self.layout.record(self.start), rounds, 10)
        self.end = self.layout.vector(result.arrays)
        return {k: float(v) for k, v in result.train_metrics_clientapp[rounds].items()}


def test_fedtiny_moves_its_mask_and_keeps_its_density():
    setting = Digits()
    mask = masks.by_magnitude(setting.layout, setting.start, masks.erk(setting.layout, 0.1, 0.3))
    strategy = FedTiny(setting.layout, mask, every=2, stop=12, steps=80, lr=0.1, batch=8)
    metrics = setting.run(strategy, 14)
    assert metrics["accuracy"] > 0.9
    assert metrics["density"] == pytest.approx(masks.density_of(setting.layout, mask))
    assert not np.array_equal(strategy.mask, mask)
    assert not np.any(setting.end[~strategy.mask])


def test_gradual_magnitude_reaches_its_density():
    setting = Digits()
    strategy = GradualMagnitude(setting.layout, 0.1, end=10, every=2, steps=80, lr=0.1, batch=8)
    metrics = setting.run(strategy, 12)
    assert metrics["density"] == pytest.approx(0.1, abs=0.01)
    assert metrics["accuracy"] > 0.8


def test_devices_choose_the_candidate_with_the_least_loss():
    setting = Digits()
    strategy = GradualMagnitude(setting.layout, 1.0, steps=80, lr=0.1, batch=8)
    setting.run(strategy, 4)
    pool = candidates(setting.layout, setting.end, 0.2, 4, floor=0.3)
    assert {m.shape for m in pool} == {(setting.layout.size,)}
    nothing = np.zeros(setting.layout.size, bool)
    found = select(setting.grid, setting.layout, setting.end, [nothing, *pool], 64, 10)
    assert found.index == int(np.argmin(found.losses)) and found.index > 0
    assert found.losses[0] > found.losses[found.index]
    np.testing.assert_array_equal(found.weights != 0, found.mask & (found.weights != 0))


def forward(
    model: nn.Sequential, layout: Layout, vector: np.ndarray, x: torch.Tensor
) -> np.ndarray:
    write_model(model, layout, vector)
    model.eval()
    with torch.no_grad():
        return model(x).numpy()


@pytest.mark.parametrize("normalised", [False, True], ids=["folded", "running statistics"])
def test_candidates_are_compared_with_their_own_statistics(normalised: bool):
    """After selection each channel of the hidden layers has the moments that devices measured:
    those of the dense network where normalisation is folded, its own in the running statistics."""
    torch.manual_seed(2)
    norm = [nn.BatchNorm1d(12)] if normalised else []
    model = nn.Sequential(nn.Linear(6, 12), *norm, nn.ReLU(), nn.Linear(12, 3))
    layout = layout_of(model)
    x, clients = torch.randn(96, 6) * 2 + 1, {}
    for index in range(3):
        part = Samples(x[32 * index : 32 * index + 32], torch.zeros(32, dtype=torch.long))
        loss = nn.CrossEntropyLoss()
        clients[f"d{index}"] = TorchClient(model, layout, loss, part, classifies=True)
    start = read_model(model, layout)
    hidden = model[0]
    dense = forward(nn.Sequential(hidden), Layout(layout.entries[:2]), start, x)
    mask = masks.by_magnitude(layout, start, masks.uniform(layout, 0.5))
    found = select(MqttGrid(LocalExchange(clients), layout, 7), layout, start, [mask], 32, 10)
    pruned = forward(nn.Sequential(hidden), Layout(layout.entries[:2]), found.weights, x)
    if normalised:
        write_model(model, layout, found.weights)
        mean, variance = model[1].running_mean.numpy(), model[1].running_var.numpy()
    else:
        mean, variance = dense.mean(0), dense.var(0)
    np.testing.assert_allclose(pruned.mean(0), mean, atol=1e-4)
    np.testing.assert_allclose(pruned.var(0), variance, rtol=1e-3)
    assert not np.any(found.weights[~mask & (start != 0)])


def test_privacy_is_never_silent():
    setting = Setting()
    private = flower.DifferentialPrivacyClientSideFixedClipping(flower.FedAvg(**STOCK), 0.1, 1.0, 4)
    with pytest.raises(InvalidError, match="does not clip"):
        refuse_silent_privacy(private, setting.grid)
    refuse_silent_privacy(flower.FedAvg(**STOCK), setting.grid)


def test_node_ids_are_stable_and_fit_63_bits():
    ids = {Node("t", f"d{i}", 1).node_id for i in range(1000)}
    assert len(ids) == 1000 and all(0 <= i < 1 << 63 for i in ids)
