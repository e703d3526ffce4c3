# SPDX-License-Identifier: Apache-2.0
"""Clients in PyTorch inside this process, for large simulations: they take the same training jobs
and give the same bytes as devices, so that strategies cannot tell them apart."""

from __future__ import annotations

import hashlib
import queue
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fleet.federated import sparse
from fleet.federated.grid import Node
from fleet.federated.layout import Layout, Vector
from fleet.wire.messages import (
    ArrayKind,
    Dtype,
    IndexCoding,
    Reason,
    TrainJob,
    TrainPhase,
    TrainReply,
)

Loss = Callable[[Tensor, Tensor], Tensor]
# Bytes of an array in one reply, as of a device with small packets.
PART = 4096


def layout_of(model: nn.Module) -> Layout:
    """All floating-point state of a model, running statistics included."""
    state = model.state_dict()
    return Layout(tuple((n, tuple(t.shape)) for n, t in state.items() if t.dtype.is_floating_point))


def read_model(model: nn.Module, layout: Layout) -> Vector:
    """Its state as one vector."""
    state = model.state_dict()
    parts = [state[n].detach().numpy().ravel() for n, _ in layout.entries]
    return np.concatenate(parts).astype(np.float32)


def write_model(model: nn.Module, layout: Layout, vector: NDArray[np.floating]) -> None:
    """The inverse of `read_model`."""
    state = model.state_dict()
    for (name, shape), place in zip(layout.entries, layout.slices().values(), strict=True):
        part = np.array(vector[place], np.float32).reshape(shape)
        state[name].copy_(torch.from_numpy(part))


@dataclass
class Samples:
    """What one client has; a stream that begins again at its end."""

    x: Tensor
    y: Tensor
    at: int = 0

    def take(self, count: int) -> tuple[Tensor, Tensor]:
        """The next ones."""
        index = torch.arange(self.at, self.at + count) % len(self.x)
        self.at = (self.at + count) % len(self.x)
        return self.x[index], self.y[index]


class TorchClient:
    """Args:
    model: shared by all clients of a process; a job sets its state first.
    layout: of it.
    loss: mean over a batch.
    samples: of this client.
    classifies: whether accuracy means something.
    """

    def __init__(
        self, model: nn.Module, layout: Layout, loss: Loss, samples: Samples, classifies: bool
    ) -> None:
        self._model = model
        self._layout = layout
        self._loss = loss
        self._samples = samples
        self._classifies = classifies

    def work(self, job: TrainJob, data: bytes, mask_data: bytes | None) -> list[TrainReply]:
        """What a device with these samples would send."""
        before = np.frombuffer(data, "<f4").astype(np.float32)
        size = self._layout.size
        mask = None if mask_data is None else sparse.mask_from(mask_data, size)
        write_model(self._model, self._layout, before)
        if job.phase is TrainPhase.EVALUATE:
            return self._reply(job, [], *self._evaluate(job))
        if job.phase is TrainPhase.STATISTICS:
            return self._reply(job, [self._statistics(job)], 0.0, 0.0)
        if job.global_parameters is not None:
            self._learn(job.local_steps or 0, job.local_lr or job.lr, 1, mask,
                        slice(job.global_parameters, size))  # fmt: skip
        travels = slice(0, job.global_parameters or size)
        start = read_model(self._model, self._layout)
        loss, accuracy = self._learn(job.steps, job.lr, job.batch or 1, mask, travels)
        after = read_model(self._model, self._layout)
        arrays = [self._answer(job, start, after, mask, travels)]
        if job.phase is TrainPhase.GRADIENTS:
            arrays.append(self._gradients(job, mask))
        return self._reply(job, arrays, loss, accuracy)

    def _learn(
        self,
        count: int,
        rate: float,
        batch: int,
        mask: NDArray[np.bool_] | None,
        learns: slice,
    ) -> tuple[float, float]:
        self._model.train()
        held = self._held(mask, learns)
        total = right = 0.0
        for at in range(0, count, batch):
            x, y = self._samples.take(min(batch, count - at))
            if len(x) == 1 and batch > 1:
                continue  # batch normalisation has no statistics of one sample
            output = self._model(x)
            loss = self._loss(output, y)
            gradients = torch.autograd.grad(loss, list(self._model.parameters()))
            with torch.no_grad():
                for (name, weight), gradient in zip(
                    self._model.named_parameters(), gradients, strict=True
                ):
                    weight.sub_(rate * gradient * held[name])
            total += float(loss.detach()) * len(x)
            if self._classifies:
                right += float((output.argmax(1) == y).sum())
        return total / max(count, 1), right / max(count, 1)

    def _held(self, mask: NDArray[np.bool_] | None, learns: slice) -> dict[str, Tensor]:
        allowed = np.zeros(self._layout.size, np.float32)
        allowed[learns] = 1
        if mask is not None:
            allowed *= mask
        places = self._layout.slices()
        return {
            name: torch.from_numpy(allowed[places[name]].reshape(shape))
            for name, shape in self._layout.entries
        }

    def _evaluate(self, job: TrainJob) -> tuple[float, float]:
        x, y = self._samples.take(job.steps)
        self._model.eval()
        with torch.no_grad():
            output = self._model(x)
            loss = float(self._loss(output, y))
        right = float((output.argmax(1) == y).float().mean()) if self._classifies else 0.0
        return loss, right

    def _statistics(self, job: TrainJob) -> tuple[ArrayKind, IndexCoding, bytes]:
        """Of the outputs of a layer, channels second as in PyTorch."""
        places = self._layout.slices()
        name = next(n for n, place in places.items() if place.start == job.block_first)
        seen: list[Tensor] = []
        module = self._model.get_submodule(name.rpartition(".")[0])
        hook = module.register_forward_hook(lambda module, inputs, output: seen.append(output))
        x, _ = self._samples.take(job.steps)
        self._model.eval()
        with torch.no_grad():
            self._model(x)
        hook.remove()
        values = seen[0].movedim(1, -1).reshape(-1, seen[0].shape[1]).double().numpy()
        mean = values.mean(axis=0)
        m2 = ((values - mean) ** 2).sum(axis=0)
        data = np.concatenate([[len(values)], mean, m2]).astype("<f4").tobytes()
        return ArrayKind.STATISTICS, IndexCoding.DENSE, data

    def _answer(
        self,
        job: TrainJob,
        start: Vector,
        after: Vector,
        mask: NDArray[np.bool_] | None,
        travels: slice,
    ) -> tuple[ArrayKind, IndexCoding, bytes]:
        kind = job.answer or ArrayKind.WEIGHTS
        values = after - start if kind is ArrayKind.DELTA else after
        if job.top is not None or job.global_parameters is not None:
            count = travels.stop - travels.start
            kept = max(1, int(np.ceil((job.top or 1.0) * count)))
            largest = np.argsort(-np.abs(values[travels]), kind="stable")[:kept]
            positions = np.sort(largest).astype(np.int64)
            coding = sparse.cheapest(len(positions), self._layout.size)
        elif mask is not None:
            positions, coding = np.flatnonzero(mask).astype(np.int64), IndexCoding.MASK
        else:
            positions, coding = np.arange(self._layout.size), IndexCoding.DENSE
        data = sparse.encode(positions, values[positions], coding, self._layout.size)
        return kind, coding, data

    def _gradients(
        self, job: TrainJob, mask: NDArray[np.bool_] | None
    ) -> tuple[ArrayKind, IndexCoding, bytes]:
        x, y = self._samples.take(max(job.batch or 1, 32))
        self._model.train()
        loss = self._loss(self._model(x), y)
        found = np.zeros(self._layout.size, np.float32)
        places = self._layout.slices()
        parameters = dict(self._model.named_parameters())
        for name, gradient in zip(
            parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True
        ):
            found[places[name]] = gradient.numpy().ravel()
        first, count = job.block_first or 0, job.block_count or 0
        block = np.arange(first, first + count)
        if mask is not None:
            block = block[~mask[block]]
        order = np.argsort(-np.abs(found[block]), kind="stable")[: job.top_gradients or 0]
        positions = np.sort(block[order]).astype(np.int64)
        data = sparse.encode(positions, found[positions], IndexCoding.U32, self._layout.size)
        return ArrayKind.GRADIENTS, IndexCoding.U32, data

    def _reply(
        self,
        job: TrainJob,
        arrays: Sequence[tuple[ArrayKind, IndexCoding, bytes]],
        loss: float,
        accuracy: float,
    ) -> list[TrainReply]:
        common = {"boot_id": 1, "seq": 0, "job": job.job, "round": job.round}
        metrics = {
            "num_examples": job.steps,
            "loss": loss,
            "accuracy": accuracy if self._classifies else None,
        }
        if not np.isfinite(loss):
            failed = {"reason": Reason.NOT_FINITE, "kind": ArrayKind.NONE}
            return [TrainReply(**common, **failed)]  # type: ignore[arg-type]
        if not arrays:
            empty = {"reason": Reason.OK, "kind": ArrayKind.NONE}
            return [TrainReply(**common, **empty, **metrics)]  # type: ignore[arg-type]
        return [
            TrainReply(
                **common,
                reason=Reason.OK,
                kind=kind,
                dtype=Dtype.F32,
                coding=coding,
                total=len(data),
                crc=zlib.crc32(data),
                offset=at,
                data=data[at : at + PART],
                **metrics,  # type: ignore[arg-type]
            )
            for kind, coding, data in arrays
            for at in range(0, max(len(data), 1), PART)
        ]


class LocalExchange:
    """Clients of this process behind the interface of devices.

    Args:
        clients: by device name.
        tamper: changes or drops (None) what a device sends; for tests of misbehaviour.
        packet_bytes: what is larger is shared beside the jobs, as with devices.
    """

    def __init__(
        self,
        clients: Mapping[str, TorchClient],
        tamper: Callable[[str, TrainJob, bytes], bytes | None] = lambda device, job, data: data,
        packet_bytes: int = 1 << 30,
    ) -> None:
        self._clients = dict(clients)
        self._shared: dict[bytes, bytes] = {}
        self._tamper = tamper
        self._nodes = {n.node_id: n for n in (Node("local", d, packet_bytes) for d in clients)}
        self.queue: queue.SimpleQueue[tuple[str, str, bytes]] = queue.SimpleQueue()
        self._job = 0

    def nodes(self) -> Mapping[int, Node]:
        """All clients."""
        return self._nodes

    def share(self, data: bytes) -> None:
        """Keeps them."""
        self._shared[hashlib.sha256(data).digest()] = data

    def send(self, node: Node, job: TrainJob, wait_s: float) -> bool:
        """Runs the client at once."""
        data = self._shared[job.digest] if job.data is None else job.data
        mask = job.mask
        if mask is None and job.mask_digest is not None:
            mask = self._shared[job.mask_digest]
        for reply in self._clients[node.device].work(job, data, mask):
            sent = self._tamper(node.device, job, reply.encode())
            if sent is not None:
                self.queue.put((node.tenant, node.device, sent))
        return True

    def job_number(self) -> int:
        """The next one."""
        self._job += 1
        return self._job

    def reply(self, wait_s: float) -> tuple[str, str, bytes] | None:
        """As they come."""
        try:
            return self.queue.get(timeout=wait_s)
        except queue.Empty:
            return None

    def broker_bytes(self, fresh: bool = False) -> tuple[int, int] | None:
        """There is no broker."""
        return None
