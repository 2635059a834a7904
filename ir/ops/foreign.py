"""Primitives that someone else defined, carried as they are.

`target` is an `Opaque`: called with arrays it evaluates the primitive, and its `rules` are thunks
that give graphs by the rules that its author registered, for the input types of this equation. All
flags are tuples of bools, one for each input or output of the equation.

    jvp(nonzero)                  -> (graph, out_nonzero)
        graph: (inputs, tangents of nonzero inputs) -> (outputs, tangents of out_nonzero outputs)

    transpose(linear, ct_nonzero) -> (graph, in_nonzero)
        graph: (inputs that are not linear, cotangents of the ct_nonzero outputs)
                -> cotangents of the in_nonzero inputs, some of the linear ones

    batch(batched, size)          -> (graph, out_batched)
        graph: inputs -> outputs, with a leading batch axis where the flags say so
"""

from __future__ import annotations

from ..graph import Equation
from ..primitive import REQUIRED, define
from .effect import stated_types


def _effects(eqn: Equation) -> frozenset[str]:
    return frozenset(eqn.params["effects"])


foreign = define(
    "foreign",
    stated_types,
    defaults={"name": REQUIRED, "target": REQUIRED, "out_types": REQUIRED, "effects": ()},
    effects=_effects,
    family="foreign",
)
"""`foreign[name="their_op", target=opaque<"their_op">, ...] x y`"""
