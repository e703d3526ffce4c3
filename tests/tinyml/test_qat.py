# SPDX-License-Identifier: Apache-2.0
"""Quantisation-aware training rounds as the quantiser does, and its ranges are honoured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from tinyml.errors import CalibrationError  # noqa: E402
from tinyml.importers.onnx import import_onnx  # noqa: E402
from tinyml.importers.pytorch import module_to_onnx  # noqa: E402
from tinyml.ir.operator import affine  # noqa: E402
from tinyml.passes import FLOAT_PASSES, run_passes  # noqa: E402
from tinyml.qat import fake_quantise, fake_quantise_weights, prepare_qat, write_ranges  # noqa: E402
from tinyml.quantize import QuantiseOptions, choose, load_overrides  # noqa: E402


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 6, 3, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU()
        self.second = nn.Conv2d(6, 4, 1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.second(self.act(self.norm(self.conv(x))))
        return self.head(x.mean((2, 3)))


def trained() -> Net:
    torch.manual_seed(0)
    net = Net().train()
    for _ in range(5):
        net(2 * torch.randn(16, 2, 6, 6) + 1)
    return net.eval()


def test_activations_round_as_the_quantiser_does():
    values = torch.linspace(-4, 9, 5001)
    grid = affine(-1.3, 5.0)
    wanted = grid.dequantise(grid.quantise(values.numpy()))
    assert np.allclose(fake_quantise(values, -1.3, 5.0).numpy(), wanted, atol=1e-5)


def test_gradients_pass_rounding_and_stop_at_saturation():
    values = torch.tensor([-3.0, 0.4, 7.0], requires_grad=True)
    fake_quantise(values, -1.0, 5.0).sum().backward()
    assert values.grad is not None and values.grad.tolist() == [0.0, 1.0, 0.0]
    weights = torch.randn(4, 3, requires_grad=True)
    fake_quantise_weights(weights).sum().backward()
    assert torch.equal(weights.grad, torch.ones(4, 3))


def test_ranges_and_weights_are_the_exports(tmp_path: Path):
    net = trained()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    batches = [2 * torch.randn(8, 2, 6, 6) + 1 for _ in range(4)]
    ranges = prepare_qat(net, batches)
    assert list(ranges) == ["norm", "second", "head"]
    assert ranges["norm"][0] == 0.0  # after ReLU
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    write_ranges(ranges, tmp_path / "own.toml")

    float_net = trained()
    float_net.load_state_dict(net.state_dict())
    graph = run_passes(import_onnx(module_to_onnx(float_net, [(1, 2, 6, 6)]), "net"), FLOAT_PASSES)
    # Other samples than the ranges come from: only the file can give the same grids.
    rng = np.random.default_rng(5)
    feeds = [{graph.inputs[0]: rng.standard_normal((1, 6, 6, 2)).astype(np.float32)}]
    options = QuantiseOptions(overrides=load_overrides(tmp_path / "own.toml"))
    made = choose(graph, feeds, options).graph
    for name, bounds in ranges.items():
        node = next(n for n in made.nodes if n.name.startswith(name + "/"))
        assert made.tensors[node.output].quant == affine(*bounds)
    weights = next(made.tensors[n.inputs[1]] for n in made.nodes if n.name.startswith("second/"))
    simulated = fake_quantise_weights(net.second.weight).detach().numpy().transpose(0, 2, 3, 1)
    assert np.allclose(weights.q.dequantise(weights.values), simulated, atol=1e-6)


def test_a_model_without_layers_is_refused():
    with pytest.raises(CalibrationError, match="no convolution or linear layer"):
        prepare_qat(nn.ReLU(), [torch.zeros(1, 2)])
    with pytest.raises(CalibrationError):
        prepare_qat(trained(), [])
