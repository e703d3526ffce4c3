# SPDX-License-Identifier: Apache-2.0
"""Instance scaling is lifted where the pattern is whole, and refused by name where it is not."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tinyml.errors import CalibrationError  # noqa: E402
from tinyml.importers.onnx import import_onnx  # noqa: E402
from tinyml.importers.pytorch import module_to_onnx  # noqa: E402
from tinyml.ir.execute import outputs  # noqa: E402
from tinyml.passes import FLOAT_PASSES, run_passes  # noqa: E402
from tinyml.samples import Samples  # noqa: E402
from tinyml.zoo.ttm.model import TinyTimeMixer, TtmConfig  # noqa: E402

TIME = 16


class Linear(torch.nn.Module):
    """A linear forecaster with instance scaling."""

    def __init__(self, *, whole: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(TIME, 4)
        self.whole = whole

    def forward(self, past: torch.Tensor) -> torch.Tensor:
        mean = past.mean(1, keepdim=True)
        centred = past - mean
        deviation = torch.sqrt((centred * centred).mean(1, keepdim=True) + 1e-5)
        y = self.layer((centred / deviation).transpose(1, 2)).transpose(1, 2)
        return y * deviation + mean if self.whole else y * deviation


def lifted(module: torch.nn.Module, shapes: list[tuple[int, ...]]):
    return run_passes(import_onnx(module_to_onnx(module, shapes), "m"), FLOAT_PASSES)


def past(count: int, channels: int, time: int = TIME) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal((count, time, channels)) * 5 + 70).astype(np.float32)


def test_whole_pattern():
    graph = lifted(Linear(), [(1, TIME, 2)])
    assert graph.scaling is not None and graph.scaling.outputs == (0,)
    assert not {n.op.kind for n in graph.nodes} & {"sqrt", "div", "mean"}
    x = past(1, 2)
    y = outputs(graph, graph.scaling.standardise({"past": x}))[0]
    with torch.no_grad():
        wanted = Linear()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(graph.scaling.restore(0, y, x), wanted, rtol=1e-5)


def test_known_future_of_other_channels():
    config = TtmConfig(64, 8, 8, 16, 2, 1, 8, 1, targets=2, exogenous=1, mix_channels=True)
    torch.manual_seed(0)
    model = TinyTimeMixer(config).eval()
    torch.nn.init.normal_(model.head.fcm_block.mlp.weight, std=0.1)
    graph = lifted(model, [(1, 64, 3), (1, 8, 1)])
    assert graph.scaling is not None
    assert graph.scaling.futures == (("future", 2),) and graph.scaling.outputs == (0,)
    columns = {"past": past(1, 3, 64), "future": past(1, 1, 8) + 2}
    y = outputs(graph, graph.scaling.standardise(columns))[0]
    with torch.no_grad():
        wanted = model(*(torch.from_numpy(a) for a in columns.values())).numpy()
    seen = graph.scaling.restore(0, y, columns["past"])
    np.testing.assert_allclose(seen, wanted, rtol=1e-4)


def test_half_a_pattern_is_computed_as_it_stands():
    graph = lifted(Linear(whole=False), [(1, TIME, 1)])
    assert graph.scaling is None
    kinds = [n.op.kind for n in graph.nodes]
    assert "rsqrt" in kinds and "div" not in kinds


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: np.where(np.arange(TIME)[:, None] == 3, np.nan, x), "NaN"),
        (lambda x: np.repeat(x, 3, axis=2), "shape"),
    ],
)
def test_bad_series(change, message):
    graph = lifted(Linear(), [(1, TIME, 1)])
    with pytest.raises(CalibrationError, match=message):
        Samples("data", {"past": change(past(4, 1)).astype(np.float32)}).fit(graph)


def test_constant_series_are_their_own_forecast():
    graph = lifted(Linear(), [(1, TIME, 1)])
    x = np.full((1, TIME, 1), 21.5, np.float32)
    feed = graph.scaling.standardise({"past": x})
    assert not feed["past"].any()
    y = graph.scaling.restore(0, outputs(graph, feed)[0], x)
    np.testing.assert_allclose(y, 21.5, atol=0.01)
