# SPDX-License-Identifier: Apache-2.0
"""What a round takes from SuperNodes; tests/fleet/federated/test_superlink.py has real ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from flwr.app import (
    Array,
    ArrayRecord,
    Context,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)
from torch import nn

from fleet.federated.compat import identify_process
from fleet.federated.composite import accepted
from fleet.federated.edge import learn
from fleet.federated.jobs import ARRAYS, CONFIG, DELTA, GRADIENTS, METRICS, BadReplyError, config
from fleet.federated.layout import dense
from fleet.federated.local import Samples

LAYOUT = dense([4, 1])
WANTED = ("num-examples", "loss")


def asked(**values: float | int | str) -> Message:
    identify_process()
    arrays = LAYOUT.record(np.zeros(5, np.float32))
    return Message(
        RecordDict({ARRAYS: arrays, CONFIG: config({"steps": 16, "lr": 0.1, **values})}),
        1,
        MessageType.TRAIN,
    )


def node() -> tuple[nn.Module, Samples, Context]:
    torch.manual_seed(0)
    x = torch.randn(64, 4)
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    return nn.Linear(4, 1), Samples(x, x.sum(1, keepdim=True)), context


def answered(message: Message) -> RecordDict:
    model, samples, context = node()
    return learn(message, context, model, nn.functional.mse_loss, samples, False).content


def test_an_edge_node_learns_and_goes_on_where_it_was():
    model, samples, context = node()
    message = asked()
    first = learn(message, context, model, nn.functional.mse_loss, samples, False)
    content = accepted(message, first.content, LAYOUT, WANTED)
    assert content.metric_records[METRICS]["num-examples"] == 16
    assert np.any(LAYOUT.vector(content.array_records[ARRAYS]))
    fresh = Samples(samples.x, samples.y)
    second = learn(message, context, model, nn.functional.mse_loss, fresh, False)
    assert fresh.at == 32
    assert not np.array_equal(
        LAYOUT.vector(first.content.array_records[ARRAYS]),
        LAYOUT.vector(second.content.array_records[ARRAYS]),
    )


def test_an_edge_node_follows_our_own_strategies():
    message = asked(answer="delta", top=0.4)
    content = accepted(message, answered(message), LAYOUT, WANTED)
    assert len(content.array_records[DELTA]["values"].numpy()) == 2
    message = asked(**{"top-gradients": 3, "block-count": 4})
    content = accepted(message, answered(message), LAYOUT, WANTED)
    assert len(content.array_records[GRADIENTS]["positions"].numpy()) == 3


def test_an_edge_node_with_another_model_says_so():
    _, samples, context = node()
    with pytest.raises(ValueError, match=r"weight 1x4.*this node's model has.*weight 2x4"):
        learn(asked(), context, nn.Linear(4, 2), nn.functional.mse_loss, samples, False)


def weights(values: list[float], shape: tuple[int, ...] = (1, 4)) -> ArrayRecord:
    made = np.array(values, np.float32)
    return ArrayRecord({"0.weight": Array(made[:-1].reshape(shape)), "0.bias": Array(made[-1:])})


GOOD = MetricRecord({"num-examples": 16, "loss": 0.5, "mine": 3})
BAD: dict[str, Callable[[], RecordDict]] = {
    "has shape (2, 2), the model's is (1, 4)": lambda: RecordDict(
        {ARRAYS: weights([1, 2, 3, 4, 5], (2, 2)), METRICS: GOOD}
    ),
    "are not those of the model": lambda: RecordDict(
        {ARRAYS: ArrayRecord({"x": Array(np.zeros(5))}), METRICS: GOOD}
    ),
    "a weight is not finite": lambda: RecordDict(
        {ARRAYS: weights([1, 2, np.nan, 4, 5]), METRICS: GOOD}
    ),
    "it has 0 array records": lambda: RecordDict({METRICS: GOOD}),
    "the metric 'loss' is missing": lambda: RecordDict(
        {ARRAYS: weights([1, 2, 3, 4, 5]), METRICS: MetricRecord({"num-examples": 16})}
    ),
    "the metric 'num-examples' is 0": lambda: RecordDict(
        {ARRAYS: weights([1, 2, 3, 4, 5]), METRICS: MetricRecord({"num-examples": 0, "loss": 1})}
    ),
    "the metric 'loss' is nan": lambda: RecordDict(
        {
            ARRAYS: weights([1, 2, 3, 4, 5]),
            METRICS: MetricRecord({"num-examples": 4, "loss": float("nan")}),
        }
    ),
}


@pytest.mark.parametrize("why", BAD)
def test_a_reply_of_something_else_is_refused_with_a_reason(why: str):
    with pytest.raises(BadReplyError) as refused:
        accepted(asked(), BAD[why](), LAYOUT, WANTED)
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("positions", "values", "why"),
    [
        ([0, 5], [1.0, 2.0], "not ascending within 5"),
        ([1, 1], [1.0, 2.0], "not ascending within 5"),
        ([-1, 1], [1.0, 2.0], "not ascending within 5"),
        ([0, 1], [1.0], "(2,) positions and (1,) values"),
        ([0, 1], [1.0, np.inf], "no numbers"),
    ],
)
def test_a_bad_change_is_refused(positions: list[int], values: list[float], why: str):
    delta = ArrayRecord(
        {"positions": Array(np.array(positions)), "values": Array(np.array(values, np.float32))}
    )
    with pytest.raises(BadReplyError) as refused:
        accepted(asked(answer="delta"), RecordDict({DELTA: delta, METRICS: GOOD}), LAYOUT, WANTED)
    assert why in str(refused.value)


def test_metrics_that_only_some_have_are_left_out():
    content = accepted(
        asked(), RecordDict({ARRAYS: weights([1, 2, 3, 4, 5]), METRICS: GOOD}), LAYOUT, WANTED
    )
    assert set(content.metric_records[METRICS]) == set(WANTED)
