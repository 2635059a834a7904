"""A solve from the first of `ts` to the last, its solution at all of them.

    while t < ts[-1]: step;  y(target) from the step's polynomial for each target that lies in it

The steps do not depend on where the solution is asked for, the last one aside: it ends at the last
time, so that the dynamics are never evaluated beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..builder import Builder
from ..graph import Graph, Value
from ..loops import while_loop
from ..ops.call import call
from ..types import INT32, TensorType
from .arithmetic import along, any_of, both, entry, filled, max_lanes, part, stacked
from .failure import guarded
from .implicit import implicit_stages
from .outputs import Outputs
from .packing import packed
from .spec import BAD_TIMES, OK, Spec, split_operands
from .stepping import Attempt, Progress, Slopes, StageRule, Stepper, direction, explicit_stages
from .windows import repeated, with_row

Params = dict[str, Any]


class Stored(NamedTuple):
    """The steps so far, in each lane: their sizes; times and `Spec.rows_stored` of `Snapshots`."""

    h: Any
    t: Any
    rows: list[Any]


def dynamics(graph: Graph, args: Sequence[Any]) -> Slopes:
    """The slopes that a graph `args | state | t -> slopes` gives."""

    def slopes(b: Builder, y: Sequence[Any], t: Any) -> list[Any]:
        return list(b.emit(call, *args, *y, t, graph=graph))

    return slopes


def expand_ode(params: Params, types: Sequence[TensorType], subject: str = "ode") -> Graph:
    """The graph that does what an `ode` equation with these operands does."""
    spec = Spec.of(params).limited(params["stored"])
    graph: Graph = params["graph"]
    n_state = len(graph.outputs)
    b = Builder()
    inputs = [Value(t.strong) for t in types]
    args, state, ts, _ = split_operands(inputs, spec.n_args, n_state)
    slopes = dynamics(graph, args)
    dtype = ts.type.dtype
    rule = stage_rule(spec, slopes, params["jacobian"], args, dtype)
    weights = level_weights(b, spec, args, state, dtype)
    n = ts.type.shape[-1]
    sign = direction(b, *(entry(b, ts, len(spec.lanes), i) for i in (0, n - 1)))
    stepper = Stepper(spec, slopes, rule, spec.scale(weights, dtype), dtype, sign)
    outputs = _Solve(spec, stepper, list(state), ts, bool(params["stored"])).run(b)
    stats, reached = outputs[n_state : n_state + 2]
    limits = (spec.mxstep, spec.max_steps)
    read = [*range(n_state), *([n_state + 3] if params["stored"] else [])]  # reverse mode: sizes
    found = guarded(b, subject, params, limits, stats, reached, [outputs[i] for i in read])
    for i, x in zip(read, found, strict=True):
        outputs[i] = x
    return b.graph(inputs, outputs, "ode")


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
        self.snapshots = spec.kept([x.type for x in state]) if is_stored else None
        self.axis = len(spec.lanes)
        self.n = ts.type.shape[-1]

    def run(self, b: Builder) -> list[Any]:
        outputs = Outputs(
            b, self.spec, self.stepper, self.ts, self.state, self.snapshots is not None
        )
        at = self.stepper.start(b, outputs.t0, self.state)
        at = at._replace(status=self.checked_times(b, at.status))
        made = outputs.at_start(b, self.state)
        flat, unpack = packed((at, made, self.nothing_stored(b, at)))

        def proceed(b: Builder, *carry: Any) -> Any:
            at, made, _ = unpack(carry)
            running = self.stepper.running(b, at, outputs.next_time(b, made))
            return any_of(b, both(b, running, b.lt(made.count, self.n)))

        def step(b: Builder, *carry: Any) -> list[Any]:
            at, made, stored = unpack(carry)
            target = outputs.next_time(b, made)
            tried = self.stepper.attempt(b, at, target, outputs.t_end)
            stored = self.store(b, at, tried, self.stepper.running(b, at, target), stored)
            more = outputs.after_step(b, made, at, tried)
            tries = filled(b, self.spec.lanes, INT32, 0)
            tries = b.select_n(b.gt(more.count, made.count), tried.after.tries, tries)
            return packed((tried.after._replace(tries=tries), more, stored))[0]

        at, made, stored = unpack(while_loop(b, proceed, step, flat, "solve"))
        ys, ends = outputs.finished(b, made, at)
        stats = stacked(b, [at.status, at.accepted, at.rejected])
        return [*ys, stats, at.t, *self.stored_outputs(b, at, ends, stored)]

    def checked_times(self, b: Builder, status: Any) -> Any:
        """The status at the start: no step leads to times that are behind the others."""
        if self.n == 1:
            return status
        later, earlier = (part(b, self.ts, self.axis, i, self.n - 1 + i) for i in (1, 0))
        ahead = b.sub(later, earlier)
        ahead = b.mul(ahead, repeated(b, self.stepper.sign, self.axis, self.n - 1))
        fine = both(b, b.ge(ahead, 0.0), b.is_finite(ahead))
        fine = b.reduce_and(fine, axes=(self.axis,))
        return b.select_n(fine, filled(b, self.spec.lanes, INT32, BAD_TIMES), status)

    # -- steps that are kept -----------------------------------------------------------------------

    def nothing_stored(self, b: Builder, at: Progress) -> Any:
        if self.snapshots is None:
            return ()
        lanes, dtype = self.spec.lanes, self.ts.type.dtype
        sizes = b.full(TensorType((*lanes, self.snapshots.room), dtype), 0)
        times = b.full(TensorType((*lanes, self.snapshots.rows), dtype), 0)
        kept = self.spec.rows_stored(at.y, at.f)  # numbers that the dynamics are defined at
        rows = [repeated(b, y, self.axis, self.snapshots.rows) for y in kept]
        return Stored(sizes, times, rows)

    def store(self, b: Builder, at: Progress, tried: Attempt, is_running: Any, stored: Any) -> Any:
        """A step that is refused is written over by the next one: nothing need be chosen here."""
        if self.snapshots is None:
            return ()
        i, rows = at.accepted, self.spec.rows_stored(at.y, at.f)
        slot = self.snapshots.row_to_write(b, i, is_running)
        return Stored(
            with_row(b, stored.h, i, tried.h),
            with_row(b, stored.t, slot, at.t),
            [with_row(b, kept, slot, y) for kept, y in zip(stored.rows, rows, strict=True)],
        )

    def stored_outputs(self, b: Builder, at: Progress, ends: list[Any], stored: Any) -> list[Any]:
        """How many steps were taken by each of `ts`; the steps. Sizes are NaN if the solve failed,
        and so is every derivative then."""
        if self.snapshots is None:
            return []
        failed = along(b, b.ne(at.status, OK), stored.h)
        sizes = b.select_n(failed, stored.h, b.full(stored.h.type, float("nan")))
        return [*ends, sizes, stored.t, *stored.rows]
