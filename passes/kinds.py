"""Kinds of equations: those whose derivatives differ in nothing but the values they are of.

Rules read of an equation its primitive, parameters and the types of its operands (and a few which
literals these are); what they make of one is therefore what they make of all of its kind. Equations
with regions, effects or rules of a user's have no kind, nor have those whose jvp rules restate the
primal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from ..ir.graph import Equation, Literal, Value
from ..ir.primitive import Primitive, forget_on_change
from .tables import batch, jvp, reads_uniforms, restates_primal, transpose

_OUR_RULES: Final = (f"{__package__}.rules.", f"{__package__}.tables")
_have_kinds: Final[dict[Primitive, bool]] = {}
forget_on_change(_have_kinds.clear)


def has_kinds(primitive: Primitive) -> bool:
    """Whether the primitive's equations are of kinds: those with rules of our own."""
    found = _have_kinds.get(primitive)
    if found is None:
        is_other = primitive.may_have_effects or primitive.user_rules
        has_own_rules = _has_own_rules(primitive)  # first: loading them enters `restates_primal`
        found = has_own_rules and not is_other and primitive not in restates_primal
        _have_kinds[primitive] = found
    return found


def _has_own_rules(primitive: Primitive) -> bool:
    push = jvp.get(primitive)
    rules = [push, transpose.get(primitive), batch.get(primitive)]
    return push is not None and all(
        [rule is None or rule.__module__.startswith(_OUR_RULES) for rule in rules]
    )


def model_of(eqn: Equation) -> Equation:
    """An equation of the same kind, on values of its own."""
    own = {x: Value(x.type) for x in eqn.inputs}
    inputs = tuple([own[x] for x in eqn.inputs])
    return Equation(eqn.primitive, inputs, tuple([Value(y.type) for y in eqn.outputs]), eqn.params)


def kind_of(eqn: Equation, flags: Sequence[bool]) -> tuple[Any, ...] | None:
    """What is equal for equations of one kind with the same flags, if the equation has a kind."""
    if not has_kinds(eqn.primitive):
        return None
    return complete_kind([eqn.primitive, *flags, *[x.type for x in eqn.inputs]], eqn)


def moving_kind(eqn: Equation, holders: Mapping[Any, Value]) -> list[Any] | None:
    """What tells apart, of equations of one primitive, those with other operands or with tangents
    of others. None where a tangent is of another type than its operand.

    `holders` has the values with tangents, and what is of a tangent's type.
    """
    found: list[Any] = []
    for x in eqn.inputs:
        holder = holders.get(x)
        if holder is not None and holder.type is not x.type:
            return None
        found += (x.type, holder is not None)
    if eqn.primitive in reads_uniforms:
        found += [x for x in eqn.inputs if x.__class__ is Literal]
    return found


def complete_kind(start: list[Any], eqn: Equation) -> tuple[Any, ...]:
    """A kind that starts so, with what else is read of an equation: parameters, and which operands
    are the same."""
    inputs, params = eqn.inputs, eqn.params
    start += params.values()
    if len(inputs) > 1 and len({*inputs}) < len(inputs):
        start += first_places(inputs)
    if eqn.primitive.float_params:  # 0.0 == -0.0 == False, and nan != nan
        start.append(repr(params))
    return tuple(start)


def first_places(atoms: Sequence[Any]) -> list[int]:
    """For each atom the first place at which it stands: which are the same."""
    first: dict[Any, int] = {}
    return [first.setdefault(x, i) for i, x in enumerate(atoms)]


Made = TypeVar("Made")
_MOST: Final = 10_000


class OncePerKind(dict[Any, Made]):
    """What was made for each kind. All is forgotten when it becomes too many, or a rule another."""

    def __init__(self) -> None:
        forget_on_change(self.clear)

    def keep(self, kind: Any, made: Made) -> Made:
        if len(self) >= _MOST:
            self.clear()
        self[kind] = made
        return made
