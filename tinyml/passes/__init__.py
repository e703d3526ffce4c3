# SPDX-License-Identifier: Apache-2.0
"""The story of compilation, in order. Each pass is one file that states what it requires and
what it ensures; `run_passes` checks the claims and that the outputs did not change."""

from tinyml.passes.cancel_transposes import CancelTransposes
from tinyml.passes.collapse_tables import CollapseTables
from tinyml.passes.fold_affine import FoldAffine
from tinyml.passes.fold_padding import FoldPadding
from tinyml.passes.fuse_activations import FuseActivations
from tinyml.passes.manager import Pass, run_passes

# On the float graph, before calibration.
FLOAT_PASSES: tuple[Pass, ...] = (
    CancelTransposes(),
    FoldPadding(),
    FoldAffine(),
    FuseActivations(),
)

# On the int8 graph, before C is written. TFLite has no operator for what these make.
C_PASSES: tuple[Pass, ...] = (FoldPadding(), CollapseTables())

__all__ = ["C_PASSES", "FLOAT_PASSES", "Pass", "run_passes"]
