"""A solve from the first of `ts` to the last, its solution at all of them.

    for each target in ts:   while t < target: step;   y(target) from the last step's polynomial

The steps do not depend on where the solution is asked for, the last one aside: it ends at the last
time, so that the dynamics are never evaluated beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..builder import Builder
from ..graph import Graph, Value
from ..loops import scan_loop, while_loop
from ..ops.call import call
from ..types import INT32, TensorType
from .arithmetic import (
    along,
    choose,
    entry,
    filled,
    max_lanes,
    moved_axis,
    part,
    scaled,
    stacked,
    weighted_sum,
    with_row,
)
from .failure import guarded
from .implicit import implicit_stages
from .spec import OK, Spec, split_operands
from .stepping import Attempt, Progress, Slopes, StageRule, Stepper, explicit_stages

Params = dict[str, Any]


class Between(NamedTuple):
    """The last step: where it began, its size, y there, and the coefficients of x, x^2, ..."""

    t: Any
    h: Any
    y: list[Any]
    powers: list[list[Any]]


class Stored(NamedTuple):
    """The steps so far, in each lane: their times, sizes, and `Spec.rows_stored`."""

    t: Any
    h: Any
    rows: list[Any]


def dynamics(graph: Graph, args: Sequence[Any]) -> Slopes:
    """The slopes that a graph `args | state | t -> slopes` gives."""

    def slopes(b: Builder, y: Sequence[Any], t: Any) -> list[Any]:
        return list(b.emit(call, *args, *y, t, graph=graph))

    return slopes


def expand_ode(params: Params, types: Sequence[TensorType], subject: str = "ode") -> Graph:
    """The graph that does what an `ode` equation with these operands does."""
    spec = Spec.of(params)
    graph: Graph = params["graph"]
    n_state = len(graph.outputs)
    b = Builder()
    inputs = [Value(t.strong) for t in types]
    args, state, ts, _ = split_operands(inputs, spec.n_args, n_state)
    slopes = dynamics(graph, args)
    dtype = ts.type.dtype
    rule = stage_rule(spec, slopes, params["jacobian"], args, dtype)
    weights = level_weights(b, spec, args, state, dtype)
    stepper = Stepper(spec, slopes, rule, spec.scale(weights, dtype), dtype)
    outputs = _Solve(spec, stepper, list(state), ts, bool(params["stored"])).run(b)
    stats, reached = outputs[n_state : n_state + 2]
    ys = guarded(b, subject, params, stats, reached, outputs[:n_state])
    return b.graph(inputs, [*ys, *outputs[n_state:]], "ode")


def stage_rule(
    spec: Spec, slopes: Slopes, jacobian: Graph | None, args: Sequence[Any], dtype: Any
) -> StageRule:
    """How the method finds its stages."""
    if jacobian is None:
        return explicit_stages(spec, slopes)
    return implicit_stages(spec, slopes, jacobian, args, dtype)


def level_weights(
    b: Builder, spec: Spec, args: Sequence[Any], state: Sequence[Any], dtype: Any
) -> list[Any]:
    """Tangents are linear, so what counts as a small error is relative to their size at the start:
    `atol` times the largest initial tangent of the level. The derivative of the discrete solution
    (`direct`) takes the steps that the primal takes: its tangents have no say."""
    if spec.adjoint == "direct":
        return [1.0 if spec.level_of(i, len(state)) == 0 else None for i in range(len(state))]
    bounds = [sum(spec.args[:i]) for i in range(len(spec.args) + 1)]
    weights: list[Any] = [1.0]
    for level in range(1, spec.levels + 1):
        sizes = [
            max_lanes(b, b.abs(x), len(spec.lanes), dtype)
            for i, x in enumerate(state)
            if spec.level_of(i, len(state)) == level and x.type.size
        ]
        own = args[bounds[level] : bounds[level + 1]]
        sizes += [max_lanes(b, b.abs(x), 0, dtype) for x in own if x.type.size]
        weights.append(largest(b, spec, sizes, dtype))
    return [weights[spec.level_of(i, len(state))] for i in range(len(state))]


def largest(b: Builder, spec: Spec, sizes: Sequence[Any], dtype: Any) -> Any:
    """The largest of some sizes in each lane; 1 where all are 0."""
    one = filled(b, spec.lanes, dtype, 1.0)
    result = filled(b, spec.lanes, dtype, 0.0)
    for size in sizes:
        result = b.max(result, along(b, size, one))
    return b.select_n(b.gt(result, 0.0), one, result)


class _Solve:
    """One solve while it is being written."""

    def __init__(
        self, spec: Spec, stepper: Stepper, state: list[Any], ts: Any, is_stored: bool
    ) -> None:
        self.spec, self.stepper, self.state, self.ts = spec, stepper, state, ts
        self.is_stored = is_stored
        self.axis = len(spec.lanes)
        self.n = ts.type.shape[-1]

    def run(self, b: Builder) -> list[Any]:
        axis, n = self.axis, self.n
        t0, self.t_end = entry(b, self.ts, axis, 0), entry(b, self.ts, axis, n - 1)
        at = self.stepper.start(b, t0, self.state, self.t_end)
        carry = (at, self.before_any_step(b, at), self.nothing_stored(b, at))
        flat, unpack = packed(carry)
        targets = moved_axis(b, part(b, self.ts, axis, 1, n), axis, 0)

        def to_target(b: Builder, carry: list[Any], xs: list[Any]) -> tuple[list[Any], list[Any]]:
            at, last, stored = self.steps_to(b, unpack(carry), xs[0])
            rows = [*self.solution(b, at, last, xs[0]), *([at.accepted] if self.is_stored else [])]
            return packed((at, last, stored))[0], rows

        flat, rows = scan_loop(b, to_target, flat, [targets], n - 1, name="solve")
        at, _, stored = unpack(flat)
        ys = [self.with_first(b, y, row) for y, row in zip(self.state, rows, strict=False)]
        stats = stacked(b, [at.status, at.accepted, at.rejected])
        return [*ys, stats, at.t, *self.stored_outputs(b, at, rows, stored)]

    def with_first(self, b: Builder, y: Any, rows: Any) -> Any:
        """The solution at all times: the initial state, then what was found."""
        shape = y.type.shape
        first = b.reshape(y, new_sizes=(*shape[: self.axis], 1, *shape[self.axis :]))
        return b.concatenate(first, moved_axis(b, rows, 0, self.axis), dimension=self.axis)

    # -- between outputs ---------------------------------------------------------------------------

    def steps_to(self, b: Builder, carry: Any, target: Any) -> Any:
        at, last, stored = carry
        at = at._replace(tries=filled(b, self.spec.lanes, INT32, 0))
        flat, unpack = packed((at, last, stored))

        def proceed(b: Builder, *carry: Any) -> Any:
            return self.stepper.any_running(b, unpack(carry)[0], target)

        def step(b: Builder, *carry: Any) -> list[Any]:
            at, last, stored = unpack(carry)
            tried = self.stepper.attempt(b, at, target, self.t_end)
            last = self.last_step(b, at, tried, last)
            return packed((tried.after, last, self.store(b, at, tried, stored)))[0]

        return unpack(while_loop(b, proceed, step, flat, "steps"))

    def before_any_step(self, b: Builder, at: Progress) -> Between:
        zeros = [b.full(y.type, 0) for y in at.y]
        one = filled(b, self.spec.lanes, at.t.type.dtype, 1.0)
        return Between(at.t, one, at.y, [zeros for _ in range(self.spec.tableau.degree)])

    def last_step(self, b: Builder, at: Progress, tried: Attempt, last: Between) -> Between:
        tableau, taken = self.spec.tableau, tried.taken
        powers = []
        for m in range(tableau.degree):
            row = [weights[m] for weights in tableau.dense]
            sums = [
                weighted_sum(b, row, [k[i] for k in tried.stages.slopes]) for i in range(len(at.y))
            ]
            powers.append(choose(b, taken, last.powers[m], [scaled(b, tried.h, x) for x in sums]))
        return Between(
            b.select_n(taken, last.t, at.t),
            b.select_n(taken, last.h, tried.h),
            choose(b, taken, last.y, at.y),
            powers,
        )

    def solution(self, b: Builder, at: Progress, last: Between, target: Any) -> list[Any]:
        """y(target), by Horner's rule; NaN where the solve has failed."""
        x = b.div(b.sub(target, last.t), last.h)
        good = b.eq(at.status, OK)
        x = b.select_n(good, filled(b, self.spec.lanes, x.type.dtype, float("nan")), x)
        result = []
        for i, y in enumerate(last.y):
            value = last.powers[-1][i]
            for power in reversed(last.powers[:-1]):
                value = b.add(power[i], scaled(b, x, value))
            result.append(b.add(y, scaled(b, x, value)))
        return result

    # -- steps that are kept -----------------------------------------------------------------------

    def nothing_stored(self, b: Builder, at: Progress) -> Any:
        if not self.is_stored:
            return ()
        lanes, m = self.spec.lanes, self.spec.steps_stored()
        times = b.full(TensorType((*lanes, m), self.ts.type.dtype), 0)
        rows = []
        for y in self.spec.rows_stored(at.y, at.f):  # numbers that the dynamics are defined at
            shape = (*lanes, m, *y.type.shape[self.axis :])
            rows.append(b.broadcast(y, shape, [i for i in range(len(shape)) if i != self.axis]))
        return Stored(times, times, rows)

    def store(self, b: Builder, at: Progress, tried: Attempt, stored: Any) -> Any:
        """A step that is refused is written over by the next one: nothing need be chosen here."""
        if not self.is_stored:
            return ()
        i, rows = at.accepted, self.spec.rows_stored(at.y, at.f)
        return Stored(
            with_row(b, stored.t, i, at.t),
            with_row(b, stored.h, i, tried.h),
            [with_row(b, kept, i, y) for kept, y in zip(stored.rows, rows, strict=True)],
        )

    def stored_outputs(self, b: Builder, at: Progress, rows: list[Any], stored: Any) -> list[Any]:
        """How many steps were taken by each of `ts`; the steps. Sizes are NaN if the solve failed,
        and so is every derivative then."""
        if not self.is_stored:
            return []
        ends = moved_axis(b, rows[-1], 0, self.axis)
        first = filled(b, (*self.spec.lanes, 1), INT32, 0)
        ends = b.concatenate(first, ends, dimension=self.axis)
        failed = along(b, b.ne(at.status, OK), stored.h)
        sizes = b.select_n(failed, stored.h, b.full(stored.h.type, float("nan")))
        return [ends, stored.t, sizes, *stored.rows]


def packed(tree: Any) -> tuple[list[Any], Any]:
    """The atoms of nested lists and tuples, and the function that nests others likewise."""
    flat: list[Any] = []

    def walk(x: Any) -> Any:
        if isinstance(x, (tuple, list)):
            return [walk(y) for y in x]
        flat.append(x)
        return len(flat) - 1

    shape = walk(tree)

    def unpack(values: Sequence[Any]) -> Any:
        def build(shape: Any, like: Any) -> Any:
            if not isinstance(shape, list):
                return values[shape]
            items = [build(s, x) for s, x in zip(shape, like, strict=True)]
            if isinstance(like, list):
                return items
            return type(like)(*items) if hasattr(like, "_fields") else tuple(items)

        return build(shape, tree)

    return flat, unpack
