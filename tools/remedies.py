"""What is known of numbers that are not finite: why an operation makes them, and what to do.

A rule looks at a `Case` and returns an `Advice`, or None for a case that is not its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from ..ir.graph import Equation
from .cases import Advice, Case, number
from .wheres import NUMPY_NAMES, where_gradient, where_left_out

Rule = Callable[[Case], Advice | None]


def advise(case: Case) -> Advice | None:
    """The first rule's advice that fits."""
    for rule in RULES:
        found = rule(case)
        if found is not None:
            return found
    return None


# -- overflow --------------------------------------------------------------------------------------


def exp_overflow(case: Case) -> Advice | None:
    if case.name not in ("exp", "exp2", "expm1", "sinh", "cosh") or case.operands[0] is None:
        return None
    x = case.operands[0]
    if not np.any(np.isfinite(x) & (np.abs(x) > 10)):
        return None
    name, dtype = case.called(0), case.equation.outputs[0].type.dtype
    claim = f"{case.name} of {number(x)} is larger than any {dtype}"
    follows = _follows(case, case.equation)
    if "log1p" in follows or {"add", "log"} <= follows:
        remedy = f"log(1 + exp({name})) is jnp.logaddexp({name}, 0.0), or jax.nn.softplus({name})"
    elif {"reduce_sum", "log"} <= follows:
        remedy = f"use jax.scipy.special.logsumexp({name}), which subtracts the maximum first"
    elif {"reduce_sum", "div"} <= follows:
        remedy = f"use jax.nn.softmax({name}), which subtracts the maximum first"
    elif "add" in follows and "div" in follows:
        remedy = f"use jax.nn.sigmoid, or divide both terms by {case.name}({name})"
    else:
        remedy = f"bound {name}, or work with its logarithm"
    return Advice("overflow", claim, remedy)


def _follows(case: Case, eqn: Equation, depth: int = 4) -> set[str]:
    """The primitives that read what an equation makes, through a few equations."""
    found: set[str] = set()
    front = [eqn]
    for _ in range(depth):
        front = [r for e in front for r in case.readers(e)]
        found |= {e.primitive.name for e in front}
    return found


def overflow(case: Case) -> Advice | None:
    if case.fault.what != "infinity" or case.is_derivative:
        return None
    known = [x for x in case.operands if x is not None and x.dtype.kind in "fc"]
    if not known or not all(np.all(np.isfinite(x)) for x in known):
        return None
    dtype = case.equation.outputs[0].type.dtype
    return Advice(
        "overflow",
        f"the result of {case.name} is larger than any {dtype}",
        "scale the operands down, or use a type of more range",
    )


# -- infinities that meet --------------------------------------------------------------------------


def masked_row(case: Case) -> Advice | None:
    """inf - inf: a softmax whose mask leaves nothing of a row."""
    eqn = case.source.equation
    if eqn.primitive.name not in ("sub", "add", "add_any", "reduce_sum"):
        return None
    if not any(np.any(np.isinf(case.source.at_element(x))) for x in case.source.frame.operands):
        return None
    claim = "infinity minus infinity is NaN"
    if eqn.primitive.name == "sub" and _is_maximum(case, eqn.inputs[1]):
        return Advice(
            "masked softmax",
            f"{claim}: all elements of a row are -inf, so their maximum, which is subtracted from "
            "them, is -inf too",
            "mask with a large finite number such as jnp.finfo(x.dtype).min in place of -inf, and "
            "select away the rows that are all masked",
        )
    return Advice("inf - inf", claim, "use large finite numbers in place of infinities")


def _is_maximum(case: Case, x: Any) -> bool:
    """Whether a value is a maximum, broadcast or guarded."""
    made = {v: e for e in case.source.frame.graph.equations for v in e.outputs}
    for _ in range(8):
        eqn = made.get(x)
        if eqn is None:
            return False
        if eqn.primitive.name in ("reduce_max", "argmax", "cummax"):
            return True
        x = eqn.inputs[-1]
    return False


# -- points without a derivative, or out of the domain ---------------------------------------------

_SINGULAR: Final[dict[str, tuple[Callable[[Any], Any], str, str]]] = {
    "sqrt": (lambda x: x == 0, "the slope of sqrt at 0 is infinite", "{x} > 0"),
    "rsqrt": (lambda x: x == 0, "rsqrt is infinite at 0", "{x} > 0"),
    "cbrt": (lambda x: x == 0, "the slope of cbrt at 0 is infinite", "{x} != 0"),
    "log": (lambda x: x == 0, "log is -inf at 0, and its slope is infinite", "{x} > 0"),
    "log1p": (lambda x: x == -1, "log1p is -inf at -1, and its slope is infinite", "{x} > -1"),
    "asin": (lambda x: abs(x) == 1, "the slope of asin at 1 and -1 is infinite", "abs({x}) < 1"),
    "acos": (lambda x: abs(x) == 1, "the slope of acos at 1 and -1 is infinite", "abs({x}) < 1"),
    "atanh": (lambda x: abs(x) == 1, "atanh is infinite at 1 and -1", "abs({x}) < 1"),
    "acosh": (lambda x: x == 1, "the slope of acosh at 1 is infinite", "{x} > 1"),
    "integer_pow": (lambda x: x == 0, "a negative power of 0 is infinite", "{x} != 0"),
}  # fmt: skip

_DOMAIN: Final[dict[str, tuple[Callable[[Any], Any], str]]] = {
    "sqrt": (lambda x: x < 0, "negative numbers have no real square root"),
    "rsqrt": (lambda x: x < 0, "negative numbers have no real square root"),
    "log": (lambda x: x < 0, "negative numbers have no real logarithm"),
    "log1p": (lambda x: x < -1, "log1p is defined above -1"),
    "asin": (lambda x: abs(x) > 1, "asin is defined from -1 to 1"),
    "acos": (lambda x: abs(x) > 1, "acos is defined from -1 to 1"),
    "atanh": (lambda x: abs(x) > 1, "atanh is defined between -1 and 1"),
    "acosh": (lambda x: x < 1, "acosh is defined from 1 on"),
}


def norm_at_zero(case: Case) -> Advice | None:
    """The root of a sum of squares that are all 0."""
    if case.name != "sqrt" or not case.is_derivative or case.operands[0] is None:
        return None
    makers: dict[Any, Equation] = {v: e for e in case.texts.texts for v in e.outputs}
    total = makers.get(case.equation.inputs[0])
    if total is None or total.primitive.name not in ("reduce_sum", "dot_general", "add"):
        return None
    if np.any(case.operands[0] != 0):
        return None
    return Advice(
        "norm at 0",
        "a norm has no derivative at 0: the slope of sqrt is infinite there, and is multiplied by "
        "the derivative of the squares, which is 0",
        "s = jnp.sum(x * x), then jnp.where(s > 0, jnp.sqrt(jnp.where(s > 0, s, 1.0)), 0.0); or "
        "add a small number below the root, if the norm may be a little larger",
    )


def singular(case: Case) -> Advice | None:
    found = _SINGULAR.get(case.name)
    x = case.operands[0] if found else None
    if found is None or x is None or not np.any(found[0](x)):
        return None
    name = case.called(0)
    condition = found[2].format(x=name)
    function = NUMPY_NAMES.get(case.name, case.name)
    return Advice(
        f"{case.name} at {number(x)}",
        found[1],
        f"keep that point out of it: jnp.where({condition}, {function}(jnp.where({condition}, "
        f"{name}, 1.0)), 0.0), or give the whole a derivative of its own (custom_jvp)",
    )


def out_of_domain(case: Case) -> Advice | None:
    found = _DOMAIN.get(case.name)
    x = case.operands[0] if found else None
    if found is None or x is None or not np.any(found[0](x)):
        return None
    remedy = f"bound {case.called(0)} before: rounding may have taken it over the edge"
    return Advice(f"{case.name} of {number(x)}", found[1], remedy)


def division(case: Case) -> Advice | None:
    if case.name not in ("div", "rem", "atan2", "pow") or case.operands[-1] is None:
        return None
    x, y = case.operands[0], case.operands[-1]
    name = case.called(1)
    if case.name == "pow":
        if x is None or not np.any(x <= 0):
            return None
        claim = "powers of 0 or of negative numbers have no finite derivative in base or exponent"
        x_name = case.called(0)
        remedy = f"keep the base positive: jnp.where({x_name} > 0, {x_name}, 1.0) inside a where"
        return Advice("pow", claim, remedy)
    if case.name == "atan2":
        if x is None or not np.any((x == 0) & (y == 0)):
            return None
        return Advice("atan2 at 0", "atan2(0, 0) has no derivative", "keep that point out of it")
    if not np.any(y == 0):
        return None
    known = getattr(case.equation.inputs[-1], "name", None)
    claim = f"the divisor {known} is 0 here" if known else "the divisor is 0 here"
    which = "the divisor" if known else f"the divisor {name}"
    remedy = f"guard {which}: jnp.where({name} != 0, {name}, 1.0), and select the result too"
    return Advice("division by 0", claim, remedy)


def degenerate(case: Case) -> Advice | None:
    if case.name not in ("eigh", "svd", "eig", "qr") or not case.is_derivative:
        return None
    return Advice(
        "degenerate",
        f"the derivative of {case.name} divides by the differences of eigenvalues, of which some "
        "are equal here",
        "differentiate eigenvalues only, or perturb the matrix so that they are distinct",
    )


# -- whatever else ---------------------------------------------------------------------------------


def zero_times_infinity(case: Case) -> Advice | None:
    if case.source.what != "NaN" or case.source.cause is None:
        return None
    claim = f"an infinity of {case.name} meets a 0 or another infinity"
    return Advice("infinity", claim, "keep the infinity from arising, at the line named above")


RULES: Final[tuple[Rule, ...]] = (
    where_gradient, where_left_out, exp_overflow, norm_at_zero, singular, out_of_domain, division,
    masked_row, degenerate, overflow, zero_times_infinity,
)  # fmt: skip
