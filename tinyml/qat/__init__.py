# SPDX-License-Identifier: Apache-2.0
"""Quantisation-aware training: a PyTorch model that rounds wherever its int8 export will.

    network = prepare_qat(model, batches)     # batches: real inputs, as the model takes them
    ...                                       # your own training loop, a small learning rate
    network.save(Path("own.onnx"))            # tinyml export own.onnx --target ... --out ...

The network is the compiled one: the same passes, grids and rounding places as `tinyml export`, with
gradients that pass rounding (straight-through estimator). The file states every grid, so the export
takes no calibration and holds the integers that were trained for.

Source: Jacob et al., arXiv 1712.05877, section 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor, nn

from tinyml.errors import CalibrationError
from tinyml.importers.onnx import import_onnx
from tinyml.importers.pytorch import module_to_onnx
from tinyml.passes import FLOAT_PASSES, run_passes
from tinyml.qat.fake import fake_quantise, fake_quantise_weights
from tinyml.qat.network import RoundedNetwork
from tinyml.quantize import QuantiseOptions, choose
from tinyml.quantize.quantizer import check_finite
from tinyml.samples import Samples

__all__ = ["RoundedNetwork", "fake_quantise", "fake_quantise_weights", "prepare_qat"]


def prepare_qat(
    model: nn.Module,
    batches: Iterable[Tensor | Sequence[Tensor]],
    options: QuantiseOptions | None = None,
) -> RoundedNetwork:
    """A network to train in the place of ``model``, which stays as it is.

    Args:
        model: trained in float; batch normalisations are folded with their running statistics.
        batches: real inputs (batch, ...), float32, one tensor or one for each input of the
            model; all are held. The ranges of activations are chosen on them.
        options: as of an export: observer, overrides, int16, equalisation.

    Raises:
        CalibrationError: there are no batches, or they do not fit the model.
        ImportModelError, QuantisationError: the model cannot be compiled, or an operator of it
            cannot be trained under rounding.
    """
    held = [(b,) if isinstance(b, Tensor) else tuple(b) for b in batches]
    if not held or not len(held[0][0]):
        raise CalibrationError("there are no batches", "Ranges are chosen on real inputs.")
    columns = [np.concatenate([b[i].numpy() for b in held]) for i in range(len(held[0]))]
    onnx = module_to_onnx(model, [(1, *c.shape[1:]) for c in columns])
    imported = import_onnx(onnx, "network")
    check_finite(imported)
    graph = run_passes(imported, FLOAT_PASSES)
    if len(graph.inputs) != len(columns):
        raise CalibrationError(f"the model reads {len(graph.inputs)} of its {len(columns)} inputs")
    samples = Samples("the batches", dict(zip(graph.inputs, columns, strict=True)))
    feeds = samples.fit(graph)
    return RoundedNetwork(choose(graph, feeds, options or QuantiseOptions()))
