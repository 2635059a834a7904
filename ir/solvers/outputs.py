"""The solution at the times that it is asked for, from the polynomials of the steps.

Outputs are made window by window: each step makes those that lie in it, some at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

from ..builder import Builder
from ..loops import while_loop
from ..types import INT32, TensorType
from .arithmetic import along, any_of, both, entry, filled, part, scaled, weighted_sum
from .packing import packed
from .spec import Spec
from .stepping import Attempt, Progress, Stepper
from .windows import numbered, repeated, row_at, rows_at, scaled_rows, window_size, with_rows


class Made(NamedTuple):
    """The outputs so far, in each lane: how many; the solution there, NaN where it is not known
    yet; how many steps were taken by then, if that is asked for. Room for a window is behind."""

    count: Any
    ys: list[Any]
    ends: list[Any]


class Outputs:
    """What is asked of a solve from ts[0] to ts[-1]."""

    def __init__(
        self,
        b: Builder,
        spec: Spec,
        stepper: Stepper,
        ts: Any,
        state: Sequence[Any],
        with_ends: bool,
    ) -> None:
        self.stepper = stepper
        self.spec, self.axis, self.n = spec, len(spec.lanes), ts.type.shape[-1]
        self.with_ends = with_ends
        elements = sum(prod(y.type.shape[self.axis :]) for y in state)
        self.size = window_size(self.n, elements)
        self.t0 = entry(b, ts, self.axis, 0)
        self.t_end = entry(b, ts, self.axis, self.n - 1)
        behind = repeated(b, self.t_end, self.axis, self.size)
        self.ts = b.concatenate(ts, behind, dimension=self.axis)

    def at_start(self, b: Builder, state: Sequence[Any]) -> Made:
        """Those at the initial time."""
        n = self.n + self.size
        zero = filled(b, self.spec.lanes, INT32, 0)
        there = b.eq(self.ts, repeated(b, self.t0, self.axis, n))
        there = both(b, there, b.lt(numbered(b, zero, n), self.n))
        ys = [self.where(b, there, repeated(b, y, self.axis, n)) for y in state]
        count = b.reduce_sum(b.convert(there, INT32), axes=(self.axis,))
        ends = b.full(TensorType((*self.spec.lanes, n), INT32), 0)
        return Made(count, ys, [ends] if self.with_ends else [])

    def where(self, b: Builder, flags: Any, rows: Any) -> Any:
        """NaN where not flagged."""
        return b.select_n(along(b, flags, rows), b.full(rows.type, float("nan")), rows)

    def next_time(self, b: Builder, made: Made) -> Any:
        return row_at(b, self.ts, made.count)

    def pending(self, b: Builder, made: Made, tried: Attempt) -> Any:
        """The lanes whose next output lies in the step just taken."""
        ahead = b.sub(self.next_time(b, made), tried.after.t)
        is_reached = b.le(b.mul(ahead, self.stepper.sign), 0.0)
        return both(b, both(b, is_reached, tried.taken), b.lt(made.count, self.n))

    def after_step(self, b: Builder, made: Made, at: Progress, tried: Attempt) -> Made:
        """With the outputs that lie in a step."""
        powers = coefficients(b, self.spec, tried, len(at.y))
        flat, unpack = packed(made)

        def proceed(b: Builder, *carry: Any) -> Any:
            return any_of(b, self.pending(b, unpack(carry), tried))

        def window(b: Builder, *carry: Any) -> list[Any]:
            return packed(self.window(b, unpack(carry), at, tried, powers))[0]

        found: Made = unpack(while_loop(b, proceed, window, flat, "outputs"))
        return found

    def window(
        self, b: Builder, made: Made, at: Progress, tried: Attempt, powers: Sequence[Sequence[Any]]
    ) -> Made:
        """The next outputs, NaN for those that lie behind the step."""

        def each(x: Any) -> Any:
            return repeated(b, x, self.axis, self.size)

        times = rows_at(b, self.ts, made.count, self.size)
        ahead = b.mul(b.sub(times, each(tried.after.t)), each(self.stepper.sign))
        known = both(b, b.le(ahead, 0.0), each(tried.taken))
        known = both(b, known, b.lt(numbered(b, made.count, self.size), self.n))
        x = b.div(b.sub(times, each(at.t)), each(tried.h))
        ys = []
        for i, (y, rows) in enumerate(zip(at.y, made.ys, strict=True)):
            value = each(powers[-1][i])
            for power in reversed(powers[:-1]):
                value = b.add(each(power[i]), scaled_rows(b, x, value))
            value = b.add(each(y), scaled_rows(b, x, value))
            ys.append(with_rows(b, rows, made.count, self.where(b, known, value)))
        steps = each(tried.after.accepted)
        ends = [with_rows(b, rows, made.count, steps) for rows in made.ends]
        more = b.reduce_sum(b.convert(known, INT32), axes=(self.axis,))
        return Made(b.add(made.count, more), ys, ends)

    def finished(self, b: Builder, made: Made, at: Progress) -> tuple[list[Any], list[Any]]:
        """The solution at ts, and how many steps were taken by each of ts: one at least by those
        that a solve that has failed did not come to, so that their derivatives are NaN too."""
        ys = [part(b, y, self.axis, 0, self.n) for y in made.ys]
        if not self.with_ends:
            return ys, []
        ends = part(b, made.ends[0], self.axis, 0, self.n)
        zero = filled(b, self.spec.lanes, INT32, 0)
        count = repeated(b, made.count, self.axis, self.n)
        is_made = b.lt(numbered(b, zero, self.n), count)
        steps = repeated(b, b.max(at.accepted, 1), self.axis, self.n)
        return ys, [b.select_n(is_made, steps, ends)]


def coefficients(b: Builder, spec: Spec, tried: Attempt, n_leaves: int) -> list[list[Any]]:
    """Those of x, x^2, ... in the polynomial of a step."""
    powers = []
    for m in range(spec.tableau.degree):
        row = [weights[m] for weights in spec.tableau.dense]
        sums = [weighted_sum(b, row, [k[i] for k in tried.stages.slopes]) for i in range(n_leaves)]
        powers.append([scaled(b, tried.h, x) for x in sums])
    return powers
