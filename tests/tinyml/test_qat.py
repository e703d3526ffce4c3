# SPDX-License-Identifier: Apache-2.0
"""Quantisation-aware training rounds as the quantiser does, and the export holds what was
trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from tinyml.errors import CalibrationError, QuantisationError  # noqa: E402
from tinyml.export import compile_model  # noqa: E402
from tinyml.ir.execute import run  # noqa: E402
from tinyml.ir.operator import affine  # noqa: E402
from tinyml.ir.tensor import DType, Tensor  # noqa: E402
from tinyml.ops.weighted import quantise_weights  # noqa: E402
from tinyml.qat import fake_quantise, fake_quantise_weights, prepare_qat  # noqa: E402
from tinyml.quantize import QuantiseOptions  # noqa: E402
from tinyml.source import open_source  # noqa: E402
from tinyml.targets import load_target  # noqa: E402


class Net(nn.Module):
    """Convolutions with normalisation, a depthwise one, a gate, a sum, pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 6, 3, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.gate = nn.Conv2d(6, 6, 1)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = nn.functional.silu(self.norm(self.conv(x)))
        y = torch.relu(self.depthwise(x)) + x
        y = y * torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True)))
        return self.head(nn.functional.max_pool2d(y, 2).mean((2, 3)))


def trained() -> Net:
    torch.manual_seed(0)
    net = Net().train()
    for _ in range(5):
        net(2 * torch.randn(16, 2, 8, 8) + 1)
    return net.eval()


def batches(count: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [2 * torch.randn(8, 2, 8, 8, generator=generator) + 1 for _ in range(count)]


@settings(deadline=None, max_examples=60)
@given(
    st.floats(-50, 0.0),
    st.floats(1e-3, 50),
    st.sampled_from([DType.INT8, DType.INT16]),
    st.integers(0, 2**32 - 1),
)
def test_activations_round_as_the_quantiser_does(low, high, dtype, seed):
    grid = affine(low, high, dtype)
    drawn = np.random.default_rng(seed).uniform(1.5 * low - 1, 1.5 * high + 1, 2000)
    # Ties too: halves of a step are where two definitions would differ.
    ties = (np.arange(-300, 300) + 0.5) * grid.s
    values = np.concatenate([drawn, ties]).astype(np.float32)
    wanted = grid.dequantise(grid.quantise(values, dtype))
    assert np.array_equal(fake_quantise(torch.from_numpy(values), grid, dtype).numpy(), wanted)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 3]), st.floats(1e-4, 1.0))
def test_weights_round_as_the_quantiser_does(seed, axis, input_scale):
    rng = np.random.default_rng(seed)
    weights = (rng.standard_normal((5, 3, 3, 5)) * 10 ** rng.uniform(-3, 2)).astype(np.float32)
    weights[tuple(slice(None) if i != axis else 0 for i in range(4))] *= rng.choice([0.0, 1e-6])
    bias = (rng.standard_normal(5) * 3).astype(np.float32)
    named = Tensor("w", weights.shape, data=weights), Tensor("b", bias.shape, data=bias)
    grid = affine(0.0, 255 * input_scale)
    made = quantise_weights(*named, axis, grid)
    found = fake_quantise_weights(torch.from_numpy(weights), torch.from_numpy(bias), axis, grid.s)
    for values, tensor in zip(found, (made[1], made[2]), strict=True):
        wanted = tensor.q.dequantise(tensor.values)
        # Added to the exact value and taken from it again: single precision.
        assert np.allclose(values.numpy(), wanted, rtol=2e-6, atol=1e-9)


def test_gradients_pass_rounding_and_stop_at_saturation():
    values = torch.tensor([-3.0, 0.4, 7.0], requires_grad=True)
    fake_quantise(values, affine(-1.0, 5.0)).sum().backward()
    assert values.grad is not None and values.grad.tolist() == [0.0, 1.0, 0.0]
    weights = torch.randn(4, 3, requires_grad=True)
    fake_quantise_weights(weights, torch.zeros(4), 0, 0.1)[0].sum().backward()
    assert torch.equal(weights.grad, torch.ones(4, 3))


def test_without_rounding_it_is_the_users_model():
    net = trained()
    network = prepare_qat(net, batches())
    x = batches(1)[0]
    assert torch.allclose(network.exact(x), net(x), atol=1e-5)
    assert not torch.allclose(network(x), net(x), atol=1e-4)


def test_it_computes_the_integers_of_the_export():
    network = prepare_qat(trained(), batches())
    graph = network.trained().graph
    x = batches(1)[0]
    output = graph.tensors[graph.outputs[0]]
    with torch.no_grad():
        found = output.q.quantise(network(x).numpy()).astype(int)
    source = graph.tensors[graph.inputs[0]]
    for index, image in enumerate(x.numpy()):
        feed = {graph.inputs[0]: source.q.quantise(image[None].transpose(0, 2, 3, 1))}
        wanted = run(graph, feed)[graph.outputs[0]].astype(int)
        # A sum between two integers may fall to either side, layer by layer.
        assert np.abs(found[index] - wanted).max() <= 3


def test_the_file_holds_the_integers_that_were_trained(tmp_path: Path):
    network = prepare_qat(trained(), batches(), QuantiseOptions(observer="mse"))
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    before = [p.detach().clone() for p in network.parameters()]
    for x in batches():
        loss = network(x).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert all(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    network.save(tmp_path / "own.onnx")
    read = open_source(str(tmp_path / "own.onnx"), None)
    graph = compile_model(read, load_target("host"), None).graph
    wanted = network.trained().graph
    feed = wanted.tensors[wanted.inputs[0]].q.quantise(
        batches(1)[0][:1].numpy().transpose(0, 2, 3, 1)
    )
    found = run(graph, {graph.inputs[0]: feed})[graph.outputs[0]]
    assert np.array_equal(found, run(wanted, {wanted.inputs[0]: feed})[wanted.outputs[0]])


def test_training_under_rounding_wins_back_what_rounding_lost():
    net, x = trained(), torch.cat(batches())
    wanted = net(x).detach()
    network = prepare_qat(net, batches())
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    errors = []
    for _ in range(80):
        error = (network(x) - wanted).square().mean()
        errors.append(float(error.detach()))
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
    assert min(errors) < 0.7 * errors[0]


def test_what_cannot_be_trained_is_named():
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return nn.functional.layer_norm(self.layer(x), (4,))

    with pytest.raises(QuantisationError, match="rsqrt, which cannot be trained"):
        prepare_qat(Normalised().eval(), [torch.rand(4, 4)])
    with pytest.raises(CalibrationError, match="no batches"):
        prepare_qat(trained(), [])
