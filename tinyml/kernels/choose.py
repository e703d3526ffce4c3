# SPDX-License-Identifier: Apache-2.0
"""The choice of a kernel for each layer, and of the kernels of a model.

What kernels are chosen for is written ``CORE[/POLICY[/KERNEL,KERNEL]]``: the core, one of ISAS;
how pruned layers are run ("auto" by default: by the fewest instructions; "flash": by the smallest
record; "off": as dense ones); and the kernels that the model does without.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tinyml.kernels.cost import code_bytes, predicted
from tinyml.kernels.layer import Layer
from tinyml.kernels.sparse import SPARSE
from tinyml.kernels.variants import VARIANTS, Variant
from tinyml.kernels.wide import WIDE_VARIANTS

# What a core can run beside portable C, by `Target.isa`.
ISAS = ("portable", "dsp", "mve", "rv32")
# Cores with vectors have the dual multiplications too.
_INCLUDED = {"mve": ("mve", "dsp", "portable")}
# Layers with fewer zeros gain nothing from leaving them out.
_LARGEST_DENSITY = 0.5

# What a kilobyte of code is worth, in parts of a model's instructions.
OPTIMISE: Mapping[str, float] = {"size": math.inf, "balanced": 0.08, "speed": 0.0}


def choose(layer: Layer, isa: str) -> Variant:
    """The kernel for a layer: that of the lowest predicted instructions (tinyml/kernels/cost.py)
    of one output row, or of the smallest record. Never by the number of rows, so that parts of a
    layer take the same kernel.

    Args:
        isa: what kernels are chosen for.
    """
    core, policy, left_out = _parts(isa)
    every = candidates(layer, isa)
    kept = [v for v in every if v.kernel not in left_out] or every
    return _best({v: predicted(v, layer, core) for v in kept}, policy, layer)


def _best(costs: Mapping[Variant, float], policy: str, layer: Layer) -> Variant:
    cheapest = min(costs, key=lambda v: costs[v])
    if policy != "flash":
        return cheapest
    dense = min((v for v in costs if v not in SPARSE), key=lambda v: costs[v], default=cheapest)
    return min((v for v in costs if v in SPARSE or v is dense), key=lambda v: v.record_bytes(layer))


def candidates(layer: Layer, isa: str) -> list[Variant]:
    """The kernels that compute a layer, sparse ones where enough weights are zero."""
    core, policy, _ = _parts(isa)
    dense = applicable(layer, core)
    if policy == "off" or layer.density > _LARGEST_DENSITY:
        return dense
    mine = [v for v in SPARSE if v.kind == layer.kind and v.isa in included(core)]
    return [*dense, *(v for v in mine if v.applies(layer))]


def applicable(layer: Layer, core: str) -> list[Variant]:
    """The dense kernels of a core that compute a layer, the best guess first."""
    isas = included(core)
    known = (*VARIANTS, *WIDE_VARIANTS)
    return [v for v in known if v.kind == layer.kind and v.isa in isas and v.applies(layer)]


def included(core: str) -> tuple[str, ...]:
    """Instruction sets whose kernels a core runs, the best first."""
    return _INCLUDED.get(core, (core, "portable"))


def narrowed(layers: Sequence[Layer], isa: str, optimise: str) -> str:
    """What kernels are chosen for, with those left out whose code is not worth the instructions
    that they save the model.

    One kernel after the other is left out, each time the one that gains most, as long as that
    pays: under "balanced", where each kilobyte of code costs less than 8 % of the instructions;
    under "size", where it makes code and weights smaller together.

    Args:
        layers: the model's.
        isa: what kernels are chosen for.
        optimise: a key of OPTIMISE.
    """
    core, policy, _ = _parts(isa)
    worth = OPTIMISE[optimise]
    if worth == 0.0 or not layers:
        return isa
    # A fully connected layer may run row by row, where fewer kernels compute it.
    rows = [x.shape["rows"] if x.is_dense else x.output_rows for x in layers]
    alone = [replace(x, shape={**x.shape, "rows": 1}) if x.is_dense else x for x in layers]
    costs = [{v: predicted(v, x, core) for v in candidates(x, isa)} for x in alone]
    records: dict[tuple[int, Variant], int] = {}

    def judged(left_out: frozenset[str]) -> tuple[tuple[float, float], list[Variant]]:
        """How dear the model is, and its kernels."""
        count, weights, used = 0.0, 0, list[Variant]()
        for i, (layer, every) in enumerate(zip(layers, costs, strict=True)):
            kept = {v: n for v, n in every.items() if v.kernel not in left_out}
            best = _best(kept, policy, layer)
            used.append(best)
            count += kept[best] * rows[i]
            if math.isinf(worth):
                if (i, best) not in records:
                    records[i, best] = best.record_bytes(layer)
                weights += records[i, best]
        code = sum(code_bytes(k, core) for k in {v.kernel for v in used})
        if math.isinf(worth):
            return (code + weights, count), used
        return (math.log(max(count, 1.0)) + worth * code / 1000, 0.0), used

    left_out = frozenset[str]()
    best, used = judged(left_out)
    while True:
        fewer = [left_out | {k} for k in sorted({v.kernel for v in used})]
        able = [f for f in fewer if all(any(v.kernel not in f for v in c) for c in costs)]
        if not able:
            break
        tried = min(able, key=lambda f: judged(f)[0])
        found, now = judged(tried)
        if found >= best:
            break
        best, used, left_out = found, now, tried
    return f"{core}/{policy}/{','.join(sorted(left_out))}" if left_out else isa


def _parts(isa: str) -> tuple[str, str, frozenset[str]]:
    core, _, rest = isa.partition("/")
    policy, _, left_out = rest.partition("/")
    return core, policy or "auto", frozenset(filter(None, left_out.split(",")))
