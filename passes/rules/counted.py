"""While loops that count: the ones whose number of iterations the program states.

    while i < n: i, x = i + step, f(x)      with i, step and n stated as numbers

runs ceil((n - i) / step) times: it is a scan of that length.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from ...ir.graph import Atom, Equation, Graph, Literal
from ...ir.ops import elementwise as e
from ...ir.ops.control import scan, split_sizes, while_sizes
from ...ir.primitive import Primitive
from ...ir.types import dtype_category
from ..regions import equation

COMPARISONS: Final[dict[Primitive, Callable[[int, int], bool]]] = {
    e.lt: operator.lt,
    e.le: operator.le,
    e.gt: operator.gt,
    e.ge: operator.ge,
}
MIRRORED: Final = {e.lt: e.gt, e.le: e.ge, e.gt: e.lt, e.ge: e.le}


def as_scan(eqn: Equation) -> Equation | None:
    """The while equation as a scan, consts of its condition left out; None if it does not count."""
    length = trip_count(eqn)
    if length is None:
        return None
    n_cond, n_body = while_sizes(eqn)
    params = {
        "graph": eqn.params["body_graph"],
        "num_consts": n_body,
        "num_carry": len(eqn.outputs),
        "length": length,
        "snapshots": eqn.params["snapshots"],
    }
    return equation(scan, eqn.inputs[n_cond:], eqn.outputs, params, eqn)


def trip_count(eqn: Equation) -> int | None:
    """How often the loop runs, if that is stated."""
    condition = _Region(eqn, "cond_graph", while_sizes(eqn)[0])
    test = condition.maker(condition.graph.outputs[0])
    if test is None or test.primitive not in COMPARISONS:
        return None
    left, right = (condition.without_conversion(x) for x in test.inputs)
    for counter, bound, comparison in (
        (left, right, test.primitive),
        (right, left, MIRRORED[test.primitive]),
    ):
        position = condition.carry_position(counter)
        stop = condition.stated(bound)
        if position is not None and stop is not None:
            step = _step(eqn, position)
            start = _number(eqn.inputs[sum(while_sizes(eqn)) + position])
            if start is not None and step is not None:
                return count(comparison, start, stop, step, eqn.outputs[position].type.dtype)
    return None


def count(comparison: Primitive, start: int, stop: int, step: int, dtype: object) -> int | None:
    """The number of steps from start while it compares so with stop; None if no end is sure."""
    holds = COMPARISONS[comparison]
    if not holds(start, stop):
        return 0
    if (step > 0) != (comparison in (e.lt, e.le)) or step == 0:
        return None
    beyond = stop + (1 if step > 0 else -1) if comparison in (e.le, e.ge) else stop
    n = -((start - beyond) // step)
    limits = np.iinfo(dtype)  # type: ignore[call-overload]
    return n if limits.min <= start + n * step <= limits.max else None


def _step(eqn: Equation, position: int) -> int | None:
    """What an iteration adds to the carry at this position, if that is stated."""
    body = _Region(eqn, "body_graph", while_sizes(eqn)[1])
    update = body.maker(body.graph.outputs[position])
    if update is None or update.primitive not in (e.add, e.sub):
        return None
    left, right = update.inputs
    if update.primitive is e.add and body.carry_position(right) == position:
        left, right = right, left
    amount = body.stated(right)
    if body.carry_position(left) != position or amount is None:
        return None
    return -amount if update.primitive is e.sub else amount


class _Region:
    """One graph of a while equation, with what is known of its inputs outside."""

    def __init__(self, eqn: Equation, param: str, n_consts: int) -> None:
        self.graph: Graph = eqn.params[param]
        self.n_consts = n_consts
        self.makers = {v: made for made in self.graph.equations for v in made.outputs}
        self.positions = {v: i - n_consts for i, v in enumerate(self.graph.inputs)}
        cond_consts, body_consts, carry = split_sizes(eqn.inputs, while_sizes(eqn))
        consts = cond_consts if param == "cond_graph" else body_consts
        body: Graph = eqn.params["body_graph"]
        unchanged = [
            v is out for v, out in zip(body.inputs[len(body_consts) :], body.outputs, strict=True)
        ]
        starts = [x if same else None for x, same in zip(carry, unchanged, strict=True)]
        self.operands: Sequence[Atom | None] = (*consts, *starts)

    def maker(self, x: Atom) -> Equation | None:
        found = self.without_conversion(x)
        return None if isinstance(found, Literal) else self.makers.get(found)

    def without_conversion(self, x: Atom) -> Atom:
        """x before conversions that do not change its dtype."""
        while not isinstance(x, Literal):
            made = self.makers.get(x)
            if made is None or made.primitive is not e.convert_element_type:
                break
            if made.inputs[0].type.dtype != x.type.dtype:
                break
            x = made.inputs[0]
        return x

    def carry_position(self, x: Atom) -> int | None:
        found = self.without_conversion(x)
        position = -1 if isinstance(found, Literal) else self.positions.get(found, -1)
        return position if position >= 0 else None

    def stated(self, x: Atom) -> int | None:
        """The number that x is in every iteration, if the program states it."""
        found: Atom | None = self.without_conversion(x)
        if not isinstance(found, Literal):
            position = self.positions.get(found)
            if position is None:
                return None
            found = self.operands[position + self.n_consts]
        return _number(found)


def _number(x: Atom | None) -> int | None:
    if not isinstance(x, Literal) or dtype_category(x.type.dtype) not in ("int", "uint"):
        return None
    return int(x.value)
