# SPDX-License-Identifier: Apache-2.0
"""Sample data: what calibration, verification and accuracy run on."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tinyml.errors import CalibrationError
from tinyml.ir.graph import Graph
from tinyml.ir.random_feed import id_count
from tinyml.ir.tensor import Array, DType, Tensor

LABELS = "y"
_SERIES_HINT = (
    "Give (count, time, channels). A network of one channel takes each channel of a series as a "
    "sample of its own."
)


@dataclass(frozen=True)
class Samples:
    """Real samples in the layout of the user's model.

    Args:
        source: where they come from, for reports.
        inputs: float32 arrays (count, ...) by input name; a single nameless array is under "".
        labels: (count,) class indices, None when there are none.
        targets: (count, *output shape) real values that the output should be, for forecasts;
            None when there are none.
        are_integers: whether the values are the model's own integers rather than reals.
        places: (count,) which samples of the source these are; None where they are all of it.
    """

    source: str
    inputs: dict[str, Array]
    labels: Array | None = None
    are_integers: bool = False
    targets: Array | None = None
    places: Array | None = None

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(next(iter(self.inputs.values())))

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of one sample of each input, with batch size 1."""
        return [(1, *a.shape[1:]) for a in self.inputs.values()]

    def take(self, count: int, seed: int = 0) -> Samples:
        """At most ``count`` samples, drawn without order, the same for the same seed."""
        if count >= self.count:
            return self
        chosen = np.sort(np.random.default_rng(seed).permutation(self.count)[:count])
        return replace(
            self,
            inputs={k: v[chosen] for k, v in self.inputs.items()},
            labels=None if self.labels is None else self.labels[chosen],
            targets=None if self.targets is None else self.targets[chosen],
            places=chosen if self.places is None else self.places[chosen],
        )

    def _place(self, index: int) -> int:
        """Which sample of the source the one at ``index`` is."""
        return index if self.places is None else int(self.places[index])

    def fit(self, graph: Graph) -> list[dict[str, Array]]:
        """One feed per sample, in the graph's names and layout; series in standard units where
        the graph has given its instance scaling away.

        Raises:
            CalibrationError: names or shapes differ from the model's inputs, or a value is not
                finite.
        """
        columns = self.columns(graph)
        if graph.scaling is not None:
            columns = graph.scaling.standardise(columns)
        feeds = []
        for index in range(self.count):
            feed = {}
            for name, array in columns.items():
                layout = graph.source_layout.get(name)
                # A run of several samples takes the next ones too, and the first after the last.
                batch = graph.tensors[name].shape[0]
                one = array.take(range(index, index + batch), axis=0, mode="wrap")
                feed[name] = np.ascontiguousarray(one if layout is None else one.transpose(layout))
            feeds.append(feed)
        return feeds

    def columns(self, graph: Graph) -> dict[str, Array]:
        """The checked arrays by the graph's input names, in the user's own layout and units.

        Raises:
            CalibrationError: as `fit`.
        """
        columns = self._columns(graph)
        for name, array in columns.items():
            tensor = graph.tensors[name]
            layout = graph.source_layout.get(name)
            wanted = tensor.shape if layout is None else _undo(tensor.shape, layout)
            if array.shape[1:] != wanted[1:]:
                raise CalibrationError(
                    f"samples of '{name}' in {self.source} have shape {array.shape[1:]}, "
                    f"the model takes {wanted[1:]}",
                    _SERIES_HINT
                    if graph.scaling is not None
                    else "Give an array of shape (count, *input shape) in the model's own layout.",
                )
            bad = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
            if len(bad):
                raise CalibrationError(
                    f"sample {self._place(int(bad[0]))} of '{name}' in {self.source} has NaN or "
                    "infinite values",
                    f"{len(bad)} of {len(array)} samples are affected; clean the data.",
                )
            self._check_ids(graph, tensor, array)
        return columns

    def _check_ids(self, graph: Graph, tensor: Tensor, array: Array) -> None:
        """Raises CalibrationError where an id names no row of the tables that it looks up: C reads
        whatever lies there."""
        tables = [graph.ins(n) for n in graph.consumers(tensor.name) if n.op.kind == "gather"]
        if tensor.dtype is not DType.INT32 or not tables:
            return
        count = min(ins[0].shape[0] for ins in tables)
        wrong = (array != np.rint(array)) | (array < 0) | (array >= count)
        if wrong.any():
            sample = int(np.flatnonzero(wrong.reshape(len(array), -1).any(axis=1))[0])
            raise CalibrationError(
                f"sample {self._place(sample)} of '{tensor.name}' in {self.source} holds "
                f"{array[wrong][0]:g}; ids are integers from 0 to {count - 1}",
                "Make ids with the tokenizer that belongs to the model.",
            )

    def check_targets(self, graph: Graph) -> None:
        """Raises CalibrationError where known futures do not fit a forecaster's output, or have
        values that are not finite."""
        if self.targets is None or graph.scaling is None:
            return
        seen, wanted = self.targets.shape[1:], graph.tensors[graph.outputs[0]].shape[1:]
        if seen != wanted:
            raise CalibrationError(
                f"continuations '{LABELS}' in {self.source} have shape {seen}, "
                f"the model's output has {wanted}",
                "Give (count, steps, channels): what came after each sample.",
            )
        if not np.all(np.isfinite(self.targets)):
            raise CalibrationError(
                f"continuations '{LABELS}' in {self.source} have NaN or infinite values",
                "Leave out samples whose future is not known.",
            )

    def _columns(self, graph: Graph) -> dict[str, Array]:
        if len(graph.inputs) == 1 and len(self.inputs) == 1:
            return {graph.inputs[0]: next(iter(self.inputs.values()))}
        missing = [n for n in graph.inputs if n not in self.inputs]
        if missing:
            raise CalibrationError(
                f"{self.source} has no array for input {', '.join(missing)}",
                f"Name the arrays of the .npz after the inputs: {', '.join(graph.inputs)}.",
            )
        return {n: self.inputs[n] for n in graph.inputs}


def _undo(shape: tuple[int, ...], layout: tuple[int, ...]) -> tuple[int, ...]:
    source = [0] * len(shape)
    for position, axis in enumerate(layout):
        source[axis] = shape[position]
    return tuple(source)


def load_samples(path: Path) -> Samples:
    """Reads samples from .npy (one array) or .npz (``x`` or one array per input, and labels
    ``y``).

    Raises:
        CalibrationError: the file is missing, unreadable, empty or holds no numbers.
    """
    if not path.exists():
        raise CalibrationError(f"{path} does not exist", "Give a .npy or .npz file.")
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = {"": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise CalibrationError(
            f"{path} is no readable .npy or .npz file: {error}",
            "Save it with numpy.save or numpy.savez.",
        ) from None
    labels = arrays.pop(LABELS, None)
    return checked_samples(str(path), arrays, labels)


def checked_samples(source: str, arrays: Mapping[str, Array], labels: Array | None) -> Samples:
    """Samples from arrays, as float32. Raises CalibrationError when there are none.

    Args:
        labels: (count,) class indices, or reals of more axes: what the output should be.
    """
    sizes = {len(a) if a.ndim else 0 for a in arrays.values()}
    if not arrays or 0 in sizes:
        raise CalibrationError(f"{source} holds no samples", "At least one is needed.")
    if len(sizes) > 1 or (labels is not None and len(labels) not in sizes):
        raise CalibrationError(f"the arrays of {source} differ in the number of samples")
    if not all(np.issubdtype(a.dtype, np.number) for a in arrays.values()):
        raise CalibrationError(f"{source} holds something other than numbers")
    are_integers = all(a.dtype == np.int8 for a in arrays.values())
    inputs = {k: np.asarray(v, np.float32) for k, v in arrays.items()}
    if labels is not None and labels.ndim > 1 and np.issubdtype(labels.dtype, np.floating):
        targets = np.asarray(labels, np.float32)
        return Samples(source, inputs, None, are_integers, targets)
    found = None if labels is None else np.asarray(labels).ravel()
    return Samples(source, inputs, found, are_integers)


def quantised_feeds(graph: Graph, feeds: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
    """The integer feeds of an integer graph for float feeds in its layout. Ids stay as they are."""
    return [{n: _integers(graph.tensors[n], f[n]) for n in graph.inputs} for f in feeds]


def _integers(tensor: Tensor, values: Array) -> Array:
    if tensor.quant is None:
        return np.asarray(values, tensor.dtype.numpy)
    return tensor.quant.quantise(values, tensor.dtype)


def integer_feeds(graph: Graph, samples: Samples) -> list[dict[str, Array]]:
    """Samples for a model that came as int8: int8 arrays as they are, others quantised."""
    feeds = samples.fit(graph)
    if not samples.are_integers:
        return quantised_feeds(graph, feeds)
    return [{n: f[n].astype(graph.tensors[n].dtype.numpy) for n in graph.inputs} for f in feeds]


def random_samples(graph: Graph, count: int) -> Samples:
    """Seeded random integers for each input of an int8 graph, and its extremes: lowest, highest
    and real zero everywhere. They exercise the arithmetic and say nothing about accuracy."""
    rng = np.random.default_rng(0)
    inputs = {}
    for name in graph.inputs:
        tensor = graph.tensors[name]
        info = np.iinfo(tensor.dtype.numpy)
        layout = graph.source_layout.get(name)
        shape = tensor.shape if layout is None else _undo(tensor.shape, layout)
        if tensor.quant is None and tensor.dtype is DType.INT32:
            tokens = rng.integers(0, id_count(graph, tensor), (count, *shape[1:]))
            inputs[name] = tokens.astype(np.int32)
            continue
        drawn = rng.integers(info.min, info.max + 1, (count, *shape[1:]))
        zero = tensor.quant.z if tensor.quant is not None else 0
        for index, value in enumerate((info.min, info.max, zero)):
            drawn[index] = value
        inputs[name] = drawn.astype(np.float32)
    return Samples("seeded random integers and extremes", inputs, None, are_integers=True)
