# SPDX-License-Identifier: Apache-2.0
"""The story of compilation, in order. Each pass is one file that states what it requires and
what it ensures; `run_passes` checks the claims and that the outputs did not change."""

from tinyml.passes.attach_scaling import attach_scaling
from tinyml.passes.cancel_transposes import CancelTransposes
from tinyml.passes.collapse_tables import CollapseTables
from tinyml.passes.drop_identities import DropIdentities
from tinyml.passes.drop_image_axes import DropImageAxes
from tinyml.passes.expand_division import ExpandDivision
from tinyml.passes.expand_layer_norm import ExpandLayerNorm
from tinyml.passes.fold_affine import FoldAffine
from tinyml.passes.fold_constants import FoldConstants
from tinyml.passes.fold_padding import FoldPadding
from tinyml.passes.fuse_activations import FuseActivations
from tinyml.passes.fuse_attention import FuseAttention
from tinyml.passes.fuse_gates import FuseGates
from tinyml.passes.fuse_norms import FuseNorms
from tinyml.passes.lift_scaling import LiftScaling
from tinyml.passes.manager import Pass, run_passes
from tinyml.passes.mark_statistics import MarkStatistics
from tinyml.passes.move_reshapes import MoveReshapes
from tinyml.passes.moves_as_gather import MovesAsGather
from tinyml.passes.order_nodes import OrderNodes
from tinyml.passes.part_images import PartImages
from tinyml.passes.prune_channels import PruneChannels
from tinyml.passes.split_patches import SplitPatches

# On the float graph, before calibration.
FLOAT_PASSES: tuple[Pass, ...] = (
    LiftScaling(),
    ExpandDivision(),
    CancelTransposes(),
    MovesAsGather(),
    MoveReshapes(),
    FoldPadding(),
    FoldAffine(),
    FuseActivations(),
    ExpandLayerNorm(),
    MarkStatistics(),
)

# On the int8 graph, before C is written. TFLite has no operator for what these make.
C_PASSES: tuple[Pass, ...] = (
    FoldPadding(),
    FoldConstants(),
    CollapseTables(),
    DropIdentities(),
    PartImages(),
    FuseNorms(),
    FuseAttention(),
    FuseGates(),
    DropImageAxes(),
    PruneChannels(),
    OrderNodes(),
)


def c_passes(
    *, keep_channels: bool = False, patches: int = 1, isa: str = "portable"
) -> tuple[Pass, ...]:
    """`C_PASSES` as asked for.

    Args:
        keep_channels: leaves out the pass whose result depends on the weights' values.
        patches: of the first layers; 1 for none.
        isa: what kernels are chosen for, whose arena patches are to make smaller.
    """
    chosen = [p for p in C_PASSES if not (keep_channels and isinstance(p, PruneChannels))]
    return (*chosen, SplitPatches(patches, isa)) if patches > 1 else tuple(chosen)


__all__ = ["C_PASSES", "FLOAT_PASSES", "Pass", "attach_scaling", "c_passes", "run_passes"]
