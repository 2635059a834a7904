"""Remedies for `where`: the branch that it leaves out is differentiated all the same."""

from __future__ import annotations

from typing import Final

import numpy as np

from ..ir.graph import Equation
from ..ir.interpret import apply
from ..ir.origins import BACKWARD, role_of
from .cases import Advice, Case, short
from .nonfinite import NAN

NUMPY_NAMES: Final = {
    "asin": "jnp.arcsin", "acos": "jnp.arccos", "atanh": "jnp.arctanh", "acosh": "jnp.arccosh",
    "rsqrt": "jax.lax.rsqrt",
} | {name: f"jnp.{name}" for name in ("sqrt", "cbrt", "log", "log1p", "exp", "tan")}  # fmt: skip
"""What a primitive of one operand is called in Python."""


def where_gradient(case: Case) -> Advice | None:
    """The cotangent is 0 because a `where` took the other branch, but 0 times infinity is NaN."""
    if role_of(case.source.equation) != BACKWARD or case.source.what != "NaN":
        return None
    selects = [
        s.equation for s in case.path.steps if s.equation.primitive.name in ("select_n", "clamp")
    ]
    arrived = case.path.arrived
    if not selects or arrived is None or not np.any(case.source.at_element(arrived) == 0):
        return None
    return _select_before(
        case,
        selects[-1],
        "takes the other branch here, so the cotangent is 0, but the derivative of "
        f"`{short(case.texts[case.equation])}` is not finite, and 0 times that is NaN",
    )


def where_left_out(case: Case) -> Advice | None:
    """A `where` leaves NaN out of the result, but the derivative of what made it reads it."""
    if not case.unseen or case.source.what != "NaN" or not _makes_nan(case):
        return None
    select = _select_behind(case)
    if select is None:
        return None
    return _select_before(
        case,
        select,
        f"leaves NaN of `{short(case.texts[case.equation])}` out of the result, but its "
        "derivative is NaN too, and the cotangent, which is 0 there, times that is NaN",
    )


def _makes_nan(case: Case) -> bool:
    """Whether the primal equation makes NaN here, and not its derivative alone."""
    operands = [case.whole(x) for x in case.equation.inputs]
    if any(x is None for x in operands) or case.equation.primitive.has_regions:
        return False
    with np.errstate(all="ignore"):
        return any(NAN.any(y) for y in apply(case.equation, operands))


def _select_behind(case: Case) -> Equation | None:
    """The nearest `where` among what reads the equation, directly or not."""
    front, seen = [case.equation], set[Equation]()
    while front:
        front = [r for e in front for r in case.readers(e) if r not in seen]
        seen.update(front)
        for eqn in front:
            if eqn.primitive.name in ("select_n", "clamp"):
                return eqn
    return None


_GUARDED: Final = {"div": 1, "rem": 1, "atan2": 1}
"""Which operand is to be kept from a point, where it is not the first."""


def _select_before(case: Case, select: Equation, claim: str) -> Advice:
    eqn = case.equation
    i = _GUARDED.get(case.name, 0)
    condition, x = _condition(case, select), case.called(i)
    place = f" at {select.location}" if select.location else ""
    function = NUMPY_NAMES.get(case.name, case.name)
    safe, reads = f"{x}_safe", "divides by" if case.name in ("div", "rem") else "reads"
    if case.name == "div":
        call = f"{case.said(0)} / {safe}"
    elif case.name == "pow":
        call = f"{safe} ** {case.said(1)}"
    else:
        call = f"{function}({safe})" if len(eqn.inputs) == 1 else f"f({safe}, ...)"
    return Advice(
        "where",
        f"the where{place} {claim}",
        f"select before the operation too, with {x} what {case.name} {reads}: "
        f"{safe} = jnp.where({condition}, {x}, 1.0), then jnp.where({condition}, {call}, ...)",
    )


def _condition(case: Case, select: Equation) -> str:
    """What a select asks, as Python where it is a comparison of named values."""
    asked = select.inputs[0]
    eqn = next((e for e in case.texts.texts if asked in e.outputs), None)
    if eqn is not None and eqn.primitive.name in _COMPARISONS:
        words = [f"{x.value}" if hasattr(x, "value") else x.name for x in eqn.inputs]
        if all(words):
            return f"{words[0]} {_COMPARISONS[eqn.primitive.name]} {words[1]}"
    return getattr(asked, "name", None) or "condition"


_COMPARISONS: Final = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!="}
