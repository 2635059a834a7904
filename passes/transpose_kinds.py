"""Transposed equations, derived once for each kind of equation.

What a transpose rule writes depends on the primitive, its parameters, the types of operands and
cotangents, and which operands are linear: see `batch_kinds`, which does the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..ir.builder import Builder, Operand, Zero
from ..ir.errors import CovectorError
from ..ir.graph import Equation, Value
from .kinds import OncePerKind, complete_kind, has_kinds, model_of
from .linearity import check_reads
from .replay import Recorded
from .tables import transpose

_TRANSPOSED: Final[OncePerKind[Recorded | None]] = OncePerKind()


def pull_by_kind(
    b: Builder, eqn: Equation, cts: Sequence[Operand], is_linear: Sequence[bool]
) -> list[Operand] | None:
    """What the transpose rule of an equation returns; None if the rule itself must be asked."""
    if not has_kinds(eqn.primitive):
        return None
    start: list[Any] = [eqn.primitive, *is_linear]
    start += [x.type for x in eqn.inputs]
    start += [None if ct.__class__ is Zero else ct.type for ct in cts]
    kind = complete_kind(start, eqn)
    found = _TRANSPOSED.get(kind, _TRANSPOSED)
    if found is _TRANSPOSED:
        found = _TRANSPOSED.keep(kind, _derive(eqn, cts, is_linear))
    if found is None:
        return None
    return found.make(b, (*eqn.inputs, *cts))  # type: ignore[union-attr]  # not _TRANSPOSED now


def _derive(eqn: Equation, cts: Sequence[Operand], is_linear: Sequence[bool]) -> Recorded | None:
    """None where something is wrong with the rule: asked itself, it will say what and where."""
    model = model_of(eqn)
    own = [ct if ct.__class__ is Zero else Value(ct.type) for ct in cts]
    b = Builder()
    try:
        found = transpose.find(eqn)(b, model, own, is_linear)
        if len(found) != len(model.inputs):
            return None
        linear = {x for x, flag in zip(model.inputs, is_linear, strict=True) if flag}
        check_reads(model, is_linear, b.equations, linear)
    except CovectorError:
        return None
    triples = zip(model.inputs, found, is_linear, strict=True)
    in_cts = [ct if flag else Zero(x.type) for x, ct, flag in triples]
    return Recorded((*model.inputs, *own), b.equations, in_cts)
