"""One equation taken apart: what it and its tangents need of primals, and what of tangents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir.builder import Builder, Operand, Zero
from ..ir.graph import Equation, Value
from .dce import live_equations
from .jvp import push_through
from .partial_eval import divide


def take_apart(
    b: Builder,
    eqn: Equation,
    dxs: Sequence[Operand],
    needed: set[Any],
    wanted: set[Any],
    linear: set[Any],
) -> tuple[list[Equation], list[Value | None]]:
    """Append what is known of an equation and its tangents; its linear equations, and of each
    output the tangent, None where there is none.

    `needed` are the outputs to compute, `wanted` those whose tangents are: the output itself stands
    for a tangent that is not. `linear` has the tangents among dxs, and gets all that depends on
    them.
    """
    b.derive("jvp", eqn)
    before = len(b.equations)
    dys = push_through(b, eqn, dxs)
    made = b.retract(before)
    live = {y for y in eqn.outputs if y in needed}
    live.update([dy for y, dy in zip(eqn.outputs, dys, strict=True) if y in wanted])
    known, unknown = divide(live_equations(made, live), linear)
    for new in known:
        b.append(new)
    pairs = zip(eqn.outputs, dys, strict=True)
    return unknown, [_tangent(y, dy, linear, y in wanted) for y, dy in pairs]


def _tangent(y: Value, dy: Any, linear: set[Any], is_wanted: bool) -> Value | None:
    if dy.__class__ is Zero or not y.type.has_tangent:
        return None
    if dy in linear:
        return dy  # type: ignore[no-any-return]  # a value: literals depend on nothing
    return None if is_wanted else y
