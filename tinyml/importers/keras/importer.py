# SPDX-License-Identifier: Apache-2.0
"""Converts a Keras model or a SavedModel folder to an int8 .tflite file.

The integers are TensorFlow's: its converter quantises, with the user's samples as representative
data; `import_tflite` reads the result.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tinyml.errors import ImportModelError
from tinyml.ir.tensor import Array

_SUFFIXES = (".keras", ".h5")
# More samples only take longer: the converter looks at extremes.
_MOST_SAMPLES = 256


def is_keras(path: Path) -> bool:
    """Whether a path is a Keras file or a SavedModel folder."""
    return path.suffix in _SUFFIXES or (path / "saved_model.pb").is_file()


def keras_to_tflite(path: Path, samples: Mapping[str, Array]) -> bytes:
    """An int8 .tflite file with int8 inputs and outputs.

    Args:
        path: a .keras or .h5 file, or a SavedModel folder.
        samples: float32 (count, *input shape) by input name, or one nameless array under "".

    Raises:
        ImportModelError: TensorFlow is not installed, or cannot read or convert the model.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow as tf
    except ImportError:
        raise ImportModelError(
            f"{path} is a TensorFlow model, and TensorFlow is not installed",
            "Install the extra: pip install 'tinyml-toolchain[keras]'.",
        ) from None
    if not path.exists():
        raise ImportModelError(f"{path} does not exist")
    try:
        converter, names = _converter(tf, path)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: _batches(samples, names)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        return bytes(converter.convert())
    except ImportModelError:
        raise
    # TensorFlow raises whatever its parts raise.
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ImportModelError(
            f"TensorFlow cannot convert {path}: {first}",
            "Check that it loads in TensorFlow, and that the samples have its input shape.",
        ) from None


def _converter(tf: Any, path: Path) -> tuple[Any, list[str]]:
    """The converter of a model, and the names of its inputs in order."""
    if path.is_dir():
        return tf.lite.TFLiteConverter.from_saved_model(str(path)), []
    model = tf.keras.models.load_model(path, compile=False)
    return tf.lite.TFLiteConverter.from_keras_model(model), [i.name for i in model.inputs]


def _batches(samples: Mapping[str, Array], names: list[str]) -> Iterator[Any]:
    """One sample of each input at a time: a list in order, or by name where the order is that of
    a signature."""
    if len(samples) > 1 and names:
        missing = [n for n in names if n not in samples]
        if missing:
            raise ImportModelError(
                f"the samples have no array for the input {missing[0]}",
                f"Name the arrays of the .npz after the inputs: {', '.join(names)}.",
            )
        samples = {n: samples[n] for n in names}
    count = min(len(a) for a in samples.values())
    for index in range(min(count, _MOST_SAMPLES)):
        one = {n: a[index : index + 1] for n, a in samples.items()}
        yield one if len(one) > 1 and not names else list(one.values())
