"""Batched equations, derived once for each kind of equation.

What a batch rule writes depends on the primitive, its parameters, and the types of the operands
with and without the batch axis: it is recorded for the first equation of a kind and made again for
the others. Equations with regions, effects or a user's rules have no kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..ir.builder import Builder, Operand
from ..ir.errors import CovectorError
from ..ir.graph import Equation, Value
from .kinds import OncePerKind, complete_kind, has_kinds, model_of
from .replay import Recorded
from .tables import batch

Batched = tuple[Recorded, Sequence[bool]]
"""What makes the batched outputs, and which of them have a batch axis."""

_BATCHED: Final[OncePerKind[Batched | None]] = OncePerKind()


def batch_by_kind(
    b: Builder, eqn: Equation, inputs: Sequence[Operand], flags: Sequence[bool], size: int
) -> tuple[Sequence[Operand], Sequence[bool]]:
    """What the batch rule of an equation returns, given its operands, some with a batch axis."""
    found = _batched(eqn, inputs, flags, size) if has_kinds(eqn.primitive) else None
    if found is None:
        return batch.find(eqn)(b, eqn, inputs, flags, size)
    recorded, out_batched = found
    return recorded.make(b, inputs), out_batched


def _batched(
    eqn: Equation, inputs: Sequence[Operand], flags: Sequence[bool], size: int
) -> Batched | None:
    """What the equations of this kind become; None if the rule itself must be asked."""
    start: list[Any] = [eqn.primitive, size]
    start += [x.type for x in eqn.inputs]
    start += [x.type for x in inputs]
    kind = complete_kind(start, eqn)
    found = _BATCHED.get(kind, _BATCHED)
    if found is _BATCHED:
        found = _BATCHED.keep(kind, _derive(eqn, inputs, flags, size))
    return found  # type: ignore[return-value]  # not _BATCHED now


def _derive(
    eqn: Equation, inputs: Sequence[Operand], flags: Sequence[bool], size: int
) -> Batched | None:
    """None where the rule refuses: asked for the equation itself, it will say what and where."""
    model = model_of(eqn)
    operands = tuple(
        [
            Value(new.type) if flag else x
            for x, new, flag in zip(model.inputs, inputs, flags, strict=True)
        ]
    )
    b = Builder()
    try:
        outputs, out_batched = batch.find(eqn)(b, model, operands, flags, size)
    except CovectorError:
        return None
    return Recorded(operands, b.equations, outputs), tuple(out_batched)
