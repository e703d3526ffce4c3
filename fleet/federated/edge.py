# SPDX-License-Identifier: Apache-2.0
"""A Flower ClientApp that learns in PyTorch what devices learn in C, by every strategy.

Any ClientApp may take part that gives back ``arrays`` as it got them, and ``metrics`` with
num-examples, loss and, for classifiers, accuracy. This one also follows what our own strategies
ask: changes instead of weights, the largest of them only, masks, gradients.
"""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import nn

from fleet.federated.jobs import ARRAYS, Collector, parameters, train_job
from fleet.federated.layout import Layout
from fleet.federated.local import Loss, Samples, TorchClient, layout_of

STATE = "samples"


def client_app(
    model: nn.Module, loss: Loss, samples: Callable[[Context], Samples], classifies: bool = False
) -> ClientApp:
    """A ClientApp for `[superlink] client` of a plan.

    Args:
        model: with the parameters of the devices' network, in its order and shapes.
        loss: mean over a batch.
        samples: what this node learns from; ``context.node_config`` has what flower-supernode was
            given as --node-config. A later round goes on after the samples of the last.
        classifies: report accuracy.
    """
    app = ClientApp()

    def answer(message: Message, context: Context) -> Message:
        return learn(message, context, model, loss, samples(context), classifies)

    app.train()(answer)
    app.evaluate()(answer)
    return app


def learn(
    message: Message,
    context: Context,
    model: nn.Module,
    loss: Loss,
    samples: Samples,
    classifies: bool,
) -> Message:
    """One message's work.

    Raises:
        ValueError: the network of the devices is another; the node answers with this error.
    """
    asked, own = _layout(message), layout_of(model)
    if [shape for _, shape in asked.entries] != [shape for _, shape in own.entries]:
        raise ValueError(
            f"the devices learn {_told(asked)}; this node's model has {_told(own)}: give it the "
            "same parameters in the same order"
        )
    seen = context.state.metric_records.get(STATE)
    samples.at = int(seen["at"]) if seen is not None else 0  # type: ignore[arg-type]
    shared = parameters(message.content, asked)
    job = train_job(message, shared, 1, 1, 0, len(shared.data) + len(shared.mask_data or b""))
    assert job.data is not None
    content: RecordDict | None = None
    collector = Collector(job, asked, shared.mask)
    for part in TorchClient(model, own, loss, samples, classifies).work(job, job.data, job.mask):
        content = collector.add(part)
    assert content is not None
    context.state[STATE] = MetricRecord({"at": samples.at})
    return Message(content, reply_to=message)


def _layout(message: Message) -> Layout:
    arrays = message.content.array_records[ARRAYS]
    return Layout(tuple((str(name), tuple(array.shape)) for name, array in arrays.items()))


def _told(layout: Layout) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in layout.entries)
