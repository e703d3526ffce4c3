# SPDX-License-Identifier: Apache-2.0
"""What a user can point the compiler at, and where its samples come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinyml.errors import CalibrationError, DatasetError, ImportModelError
from tinyml.importers.keras import is_keras, keras_to_tflite
from tinyml.importers.names import identifier
from tinyml.importers.onnx import import_onnx
from tinyml.importers.tflite import import_tflite, why_not_micro
from tinyml.ir.graph import Graph
from tinyml.passes import FLOAT_PASSES, run_passes
from tinyml.quantize.quantizer import check_finite
from tinyml.quantize.stated import quantise_stated, settle_grids, unstated
from tinyml.samples import Samples, load_samples

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from tinyml.text.device import TextModel

ZOO = "zoo:"


@dataclass(frozen=True)
class Source:
    """A model with what is known about it: a float one, or one that is int8 already.

    Args:
        spec: what the user gave.
        name: a C identifier for generated files.
        onnx: the float model; empty for an int8 one.
        provenance: facts for the report: architecture, weights, data, licence.
        int8: the graph of an int8 model, whose integers are kept as they are.
        tflite: the user's own int8 file, which the outputs must equal under TFLite-Micro.
        not_micro: why they need not, empty where they must: see `why_not_micro`.
        uses_calibration: whether samples have chosen the integers of the int8 model.
        text: of a model that reads texts, None of all others.
    """

    spec: str
    name: str
    onnx: bytes
    provenance: dict[str, str]
    int8: Graph | None = None
    tflite: bytes | None = None
    uses_calibration: bool = False
    not_micro: str = ""
    text: TextModel | None = None

    @property
    def needs_calibration(self) -> bool:
        """Whether ranges must be chosen from samples."""
        return self.int8 is None


def open_source(
    spec: str,
    shapes: Sequence[Sequence[int]] | None,
    weights: Path | None = None,
    samples: Samples | None = None,
) -> Source:
    """Reads a model.

    Args:
        spec: FILE.onnx (float, or quantised with Q/DQ pairs), FILE.tflite (int8), FILE.keras,
            a SavedModel folder, FILE.py:NAME, FILE.pt2 or zoo:NAME.
        shapes: input shapes with batch size 1, which PyTorch models need; usually those of the
            calibration samples.
        weights: the user's weights for a zoo model.
        samples: calibration samples, which TensorFlow needs to quantise its models.

    Raises:
        ImportModelError: nothing there is a model.
    """
    if spec.startswith(ZOO):
        return _zoo_source(spec, weights)
    if weights is not None:
        raise ImportModelError("--weights goes with zoo models", "Load them in your own script.")
    path = Path(spec.partition(":")[0])
    if path.suffix == ".onnx":
        if not path.is_file():
            raise ImportModelError(f"{path} does not exist")
        return _onnx_source(spec, path)
    if path.suffix == ".tflite":
        graph = import_tflite(path)
        provenance = {"file": path.name}
        data = path.read_bytes()
        reason = why_not_micro(data)
        return Source(spec, graph.name, b"", provenance, graph, data, not_micro=reason)
    if is_keras(path):
        if samples is None:
            raise ImportModelError(
                "TensorFlow quantises its models with samples", "Give --calibration FILE.npz."
            )
        tflite = keras_to_tflite(path, samples.inputs)
        facts = {"file": path.name, "quantised by": "TensorFlow's converter"}
        graph = import_tflite(tflite, path.stem)
        return Source(
            spec, graph.name, b"", facts, graph, tflite, True, not_micro=why_not_micro(tflite)
        )
    if path.suffix in (".py", ".pt2"):
        from tinyml.importers.pytorch import load_module, module_to_onnx

        if shapes is None:
            raise ImportModelError(
                "a PyTorch model's input shape comes from its samples",
                "Give --calibration FILE.npz.",
            )
        name = spec.partition(":")[2] if path.suffix == ".py" else path.stem
        onnx = module_to_onnx(load_module(spec), shapes)
        return Source(spec, identifier(name), onnx, {"file": path.name})
    raise ImportModelError(
        f"'{spec}' is no model tinyml can read",
        "Give FILE.onnx, int8 FILE.tflite, FILE.py:NAME, FILE.pt2 or zoo:NAME (tinyml zoo list).",
    )


def _onnx_source(spec: str, path: Path) -> Source:
    """A float model, or one whose QuantizeLinear operators state every grid."""
    data, name = _onnx_bytes(path), identifier(path.stem)
    if b"QuantizeLinear" in data:
        imported = import_onnx(data, name)
        check_finite(imported)
        graph = run_passes(imported, FLOAT_PASSES)
        settle_grids(graph)
        if not unstated(graph):
            facts = {"file": path.name, "quantised by": "the file's QuantizeLinear operators"}
            return Source(spec, name, b"", facts, quantise_stated(graph))
    return Source(spec, name, data, {"file": path.name})


def _onnx_bytes(path: Path) -> bytes:
    """The file with external data, if any, taken in."""
    import onnx

    raw = path.read_bytes()
    try:
        model = onnx.load(path)
    except Exception:
        # The importer explains what is wrong with these bytes.
        return raw
    return bytes(model.SerializeToString())


def _zoo_source(spec: str, weights: Path | None) -> Source:
    from tinyml.zoo import get_model

    model = get_model(spec.removeprefix(ZOO))
    onnx = model.to_onnx(weights)
    provenance = {
        "zoo": model.name,
        "architecture": model.family,
        "weights": str(weights) if weights else model.weights_note,
        "data": model.dataset,
    }
    facts = model.facts
    if facts is not None and weights is None:
        provenance["data licence"] = facts["data_licence"]
        provenance["preprocessing"] = facts["preprocessing"]
    text = model.text(weights)
    return Source(spec, identifier(model.name), onnx, provenance, text=text)


def open_samples(
    given: str | None, spec: str, role: str, weights: Path | None = None
) -> Samples | None:
    """The samples for a role, "calibration" or "test".

    Args:
        given: FILE.npy, FILE.npz or zoo:DATASET; None for the zoo model's own data.
        spec: the model.
        weights: the user's weights for a zoo model.

    Returns:
        None where nothing was given and the model brings no data.
    """
    if given is not None and not given.startswith(ZOO):
        return load_samples(Path(given))
    if given is None and not spec.startswith(ZOO):
        return None
    if given is None:
        from tinyml.zoo import get_model

        return get_model(spec.removeprefix(ZOO)).samples(role, weights)
    from tinyml.zoo.images import image_samples

    side = None
    if spec.startswith(ZOO):
        from tinyml.zoo import get_model

        side = get_model(spec.removeprefix(ZOO)).input_shape[-1]
    return image_samples(given.removeprefix(ZOO), role, side)


def open_tokenizer(spec: str) -> Tokenizer:
    """The tokenizer of a text model, zoo:NAME, or of a file.

    Raises:
        DatasetError: the model reads no text, or the file is no tokenizer.
    """
    if not spec.startswith(ZOO):
        from tinyml.text.tokenizer import load_tokenizer

        return load_tokenizer(Path(spec))
    from tinyml.zoo import get_model
    from tinyml.zoo.embbert.entry import TextClassifier

    model = get_model(spec.removeprefix(ZOO))
    if not isinstance(model, TextClassifier):
        raise DatasetError(f"'{spec}' reads no text", "See the text models: tinyml zoo list.")
    return model.tokenizer()


def need_samples(samples: Samples | None, spec: str) -> Samples:
    """Samples that must be there. Raises CalibrationError."""
    if samples is None:
        raise CalibrationError(
            f"'{spec}' needs calibration samples",
            "Give --calibration FILE.npz with an array x of real inputs, (count, *shape).",
        )
    return samples
