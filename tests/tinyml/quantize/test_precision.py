# SPDX-License-Identifier: Apache-2.0
"""Types by structure, by measurement and by the user's file; the sensitivity table."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tinyml.errors import QuantisationError
from tinyml.ir import DType, Graph, Node, Tensor
from tinyml.ir.execute import outputs
from tinyml.ops import Add, FullyConnected, Gelu, Mul, Reshape, Softmax
from tinyml.quantize import QuantiseOptions, calibrate, choose, load_overrides
from tinyml.quantize.observers import MinMax
from tinyml.quantize.precision import structural
from tinyml.quantize.sensitivity import decibels, measure_costs, predicted_snr
from tinyml.samples import quantised_feeds
from tinyml.verify import reference_outputs

WIDTH = 16


def network() -> Graph:
    """dense, GELU, dense, gate by a softmax, and a residual sum."""
    rng = np.random.default_rng(0)
    graph = Graph("net", {}, [], ["x"], ["out"])
    shape = (1, 4, WIDTH)

    def dense(source: str, out: str) -> None:
        weights = rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 4
        names = [
            graph.add(Tensor(f"{out}_w", weights.shape, data=weights)),
            graph.add(Tensor(f"{out}_b", (WIDTH,), data=np.zeros(WIDTH, np.float32))),
        ]
        node(FullyConnected(), (source, *names), out)

    def node(op, inputs: tuple[str, ...], out: str) -> None:
        graph.tensors[out] = Tensor(out, shape)
        graph.nodes.append(Node(op, inputs, out, f"block.{out}"))

    graph.tensors["x"] = Tensor("x", shape)
    dense("x", "first")
    node(Gelu(), ("first",), "hidden")
    dense("hidden", "second")
    node(Softmax(), ("second",), "gate")
    node(Mul(), ("second", "gate"), "product")
    node(Add(), ("x", "product"), "sum")
    node(Reshape(shape), ("sum",), "out")
    graph.check()
    return graph


def samples(count: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.standard_normal((1, 4, WIDTH)).astype(np.float32)} for _ in range(count)]


def measured(graph: Graph, float_graph: Graph) -> float:
    signal = noise = 0.0
    for sample in samples(8):
        real = outputs(float_graph, sample)[0].astype(float)
        feed = quantised_feeds(graph, [sample])
        seen = graph.tensors["out"].q.dequantise(reference_outputs(graph, feed)[0][0])
        signal += np.sum(np.square(real))
        noise += np.sum(np.square(real - seen))
    return 10 * math.log10(signal / noise)


def overrides(folder: Path, text: str):
    path = folder / "own.toml"
    path.write_text(text)
    return load_overrides(path)


def test_without_normalisation_nothing_is_wide():
    assert structural(network()) == frozenset()
    made = choose(network(), samples(8), QuantiseOptions())
    assert {t.dtype for t in made.graph.tensors.values()} <= {DType.INT8, DType.INT32}
    assert made.sensitivity is None


def test_the_prediction_is_near_the_measurement():
    graph = network()
    calibration = calibrate(graph, samples(8), MinMax())
    costs = measure_costs(graph, calibration, samples(4))
    made = choose(graph, samples(8), QuantiseOptions(sensitivity=True))
    assert abs(predicted_snr(costs) - measured(made.graph, graph)) < 2
    assert {r["tensor"] for r in made.sensitivity} == {
        *("x", "first", "hidden", "second", "gate", "product", "sum")
    }
    assert sum(r["share"] for r in made.sensitivity) == pytest.approx(1)
    by_tensor = {r["tensor"]: r for r in made.sensitivity}
    assert by_tensor["hidden"]["raised_output_db"] is None  # GELU is a table of int8
    assert by_tensor["sum"]["snr_int16_db"] > by_tensor["sum"]["snr_int8_db"] + 40
    assert by_tensor["first"]["snr_weights_db"] < 100


def test_raising_until_a_ratio():
    graph = network()
    plain = measured(choose(graph, samples(8), QuantiseOptions()).graph, graph)
    made = choose(graph, samples(8), QuantiseOptions(snr_db=plain + 6))
    assert made.reached_db >= plain + 6
    assert measured(made.graph, graph) >= plain + 5.5
    assert 0 < len(made.wide) < len(graph.nodes) + 1
    # Every table's row says what was chosen.
    assert {r["tensor"] for r in made.sensitivity if r["dtype"] == "int16"} == made.wide - {"out"}


def test_a_ratio_out_of_reach_says_what_was_reached():
    with pytest.raises(QuantisationError, match=r"reaches \d+\.\d dB, 150 dB were asked"):
        choose(network(), samples(4), QuantiseOptions(snr_db=150))


def test_the_users_types_ranges_and_observers(tmp_path):
    own = overrides(
        tmp_path,
        """
        [[layer]]
        match = "block.s*"
        operator = "fully_connected"
        activations = "int16"
        [[layer]]
        match = "x"
        range = [-8, 8]
        [[layer]]
        match = "block.first"
        observer = "percentile:90"
        """,
    )
    made = choose(network(), samples(8), QuantiseOptions(overrides=own))
    tensors = made.graph.tensors
    assert tensors["second"].dtype is DType.INT16
    assert tensors["first"].dtype is tensors["sum"].dtype is DType.INT8
    assert tensors["x"].q.s == pytest.approx(16 / 255)
    plain = choose(network(), samples(8), QuantiseOptions()).graph
    assert tensors["first"].q.s < 0.8 * plain.tensors["first"].q.s
    feeds = quantised_feeds(made.graph, samples(1))
    assert reference_outputs(made.graph, feeds)[0][0].dtype == np.int8


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('[[layer]]\nmatch = "nothing*"', "no layer matches 'nothing", "Nearest|inspect"),
        ('[[layer]]\nmatch = "*"\nactivations = "int16"', "int8 only", "operator"),
        ('[[layer]]\nmatch = "*"\nactivations = "int4"', "layer 1: activations 'int4'", "int16"),
        ('[[layer]]\nmatch = "*"\nobserve = "mse"', "unknown key 'observe'", "'observer'"),
        ('[[layer]]\nobserver = "mse"', "'match' is missing", "match"),
        ('[[layer]]\nmatch = "x"\nobserver = "best"', "no observer", ""),
        ('[[layer]]\nmatch = "x"\nrange = [1, 1]', "the range", "low below high"),
        ("[[layer]]\nmatch = 3", "must be text", ""),
        ("precision = 8", "'precision' is not understood", "layer"),
        ("[[layer]", "no readable TOML", ""),
    ],
)
def test_bad_files(tmp_path, text, message, hint):
    with pytest.raises(QuantisationError, match=message) as caught:
        own = overrides(tmp_path, text)
        choose(network(), samples(2), QuantiseOptions(overrides=own))
    assert any(part in (caught.value.hint or "") for part in hint.split("|"))


def test_a_missing_file(tmp_path):
    with pytest.raises(QuantisationError, match="does not exist"):
        load_overrides(tmp_path / "none.toml")


def test_decibels():
    assert decibels(1e-4) == pytest.approx(40) and decibels(0) == math.inf


def test_an_override_is_said_in_the_report_as_it_stands_in_the_file(tmp_path: Path):
    (tmp_path / "own.toml").write_text(
        '[[layer]]\nmatch = "a*"\nobserver = "percentile:99.9"\nrange = [-1.0, 2]\n'
        '[[layer]]\nmatch = "b"\nactivations = "int16"\nequalise = false\n'
    )
    said = [o.to_json() for o in load_overrides(tmp_path / "own.toml")]
    assert said == [
        {"match": "a*", "observer": "percentile:99.9", "range": [-1.0, 2.0]},
        {"match": "b", "activations": "int16", "equalise": False},
    ]
