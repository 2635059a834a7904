"""The transposed linear ODE, run backwards: continuous, or through the steps that were taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..builder import Builder
from ..graph import Graph, Value
from ..loops import scan_loop, while_loop
from ..ops.call import call
from ..types import INT32, TensorType
from .arithmetic import (
    along,
    any_of,
    choose,
    entry,
    filled,
    max_lanes,
    moved_axis,
    part,
    row_at,
    scaled,
    stacked,
    weighted_sum,
)
from .failure import guarded
from .forward import dynamics, largest, packed, stage_rule
from .implicit import implicit_pull
from .spec import OK, Spec, split_operands
from .stepping import Progress, Stages, Stepper, explicit_stages

Params = dict[str, Any]

Pull = Callable[[Builder, Sequence[Any], Any, Sequence[Any]], tuple[list[Any], list[Any]]]
"""(b, y, t, ct) -> cotangents of args, of y."""


def expand_linear_ode_back(params: Params, types: Sequence[TensorType]) -> Graph:
    """The graph that does what a `linear_ode_back` equation with these operands does."""
    b = Builder()
    inputs = [Value(t.strong) for t in types]
    kind = _Direct if params["adjoint"] == "direct" else _Continuous
    outputs = kind(b, params, inputs).run(b)
    return b.graph(inputs, outputs, "linear_ode_back")


class _Backward:
    """A backward pass while it is being written. Its carry begins with the cotangents of y and of
    the arguments."""

    def __init__(self, b: Builder, params: Params, inputs: Sequence[Value]) -> None:
        self.spec = Spec.of(params)
        self.params = params
        graph: Graph = params["graph"]
        pull: Graph = params["pull"]
        self.n_state = n = len(graph.outputs)
        self.args, self.state, self.ts, rest = split_operands(inputs, self.spec.n_args, n)
        self.residuals, self.cts = rest[: len(rest) - n], rest[len(rest) - n :]
        self.axis = len(self.spec.lanes)
        self.n = self.ts.type.shape[-1]
        self.slopes = dynamics(graph, self.args)
        self.arg_types = pull.output_types[: len(pull.outputs) - n]

    def pull(
        self, b: Builder, y: Sequence[Any], t: Any, ct: Sequence[Any]
    ) -> tuple[list[Any], list[Any]]:
        """The transposed dynamics at (y, t)."""
        found = b.emit(call, *self.args, *y, t, *ct, graph=self.params["pull"])
        k = len(self.arg_types)
        return list(found[:k]), list(found[k:])

    def rows(self, b: Builder, x: Any, start: int, stop: int) -> Any:
        """Entries of what belongs to the times, as the xs of a scan."""
        return moved_axis(b, part(b, x, self.axis, start, stop), self.axis, 0)

    def no_arg_cts(self, b: Builder) -> list[Any]:
        return [b.full(t.strong, 0) for t in self.arg_types]


# -- the continuous equation -----------------------------------------------------------------------


class _Continuous(_Backward):
    """From each of the times to the one before, y anew from the solution there:

    dy/dt = f(y),  d ct/dt = -f_y^T ct  under one error control;  ct_args from the steps taken.

    The cotangents of arguments feed back into nothing, so their error has no say (Kidger, Chen,
    Lyons, "Hey, that's not an ODE", ICML 2021).
    """

    def run(self, b: Builder) -> list[Any]:
        n, ts, dtype = self.n, self.ts, self.ts.type.dtype
        self.stepper = self.make_stepper(b)
        ys = self.residuals
        last = [entry(b, ct, self.axis, n - 1) for ct in self.cts]
        whole = b.abs(b.sub(entry(b, ts, self.axis, n - 1), entry(b, ts, self.axis, 0)))
        zero = filled(b, self.spec.lanes, INT32, 0)
        size = filled(b, self.spec.lanes, dtype, 0)
        end = entry(b, ts, self.axis, n - 1)
        flat, unpack = packed((last, self.no_arg_cts(b), size, [zero, zero, zero], end))
        xs = [
            *(self.rows(b, y, 1, n) for y in ys),
            *(self.rows(b, ct, 0, n - 1) for ct in self.cts),
            self.rows(b, ts, 1, n),
            self.rows(b, ts, 0, n - 1),
        ]

        def interval(b: Builder, carry: list[Any], xs: list[Any]) -> tuple[list[Any], list[Any]]:
            ct, ct_args, size, (status, accepted, rejected), _ = unpack(carry)
            y, jump, (t, target) = xs[: self.n_state], xs[self.n_state : -2], xs[-2:]
            at, ct_args = self.solve(b, [*y, *ct], ct_args, t, target, size, status)
            ct = [b.add(x, c) for x, c in zip(at.y[self.n_state :], jump, strict=True)]
            counts = [at.status, b.add(accepted, at.accepted), b.add(rejected, at.rejected)]
            return packed((ct, ct_args, b.min(b.abs(at.dt), whole), counts, at.t))[0], []

        flat, _ = scan_loop(b, interval, flat, xs, n - 1, reverse=True, name="backsolve")
        ct, ct_args, _, counts, reached = unpack(flat)
        cts = self.failed_as_nan(b, counts[0], [*ct_args, *ct])
        stats = stacked(b, counts)
        return guarded(b, "linear_ode_back", self.params, stats, reached, cts)

    def make_stepper(self, b: Builder) -> Stepper:
        """Steps of (y, ct). An error of ct counts relative to the largest cotangent."""
        dtype = self.ts.type.dtype
        sizes = [max_lanes(b, b.abs(ct), self.axis, dtype) for ct in self.cts if ct.type.size]
        weight = largest(b, self.spec, sizes, dtype)
        weights = [1.0] * self.n_state + [weight] * self.n_state

        def slopes(b: Builder, both_: Sequence[Any], t: Any) -> list[Any]:
            y, ct = both_[: self.n_state], both_[self.n_state :]
            pulled = self.pull(b, y, t, ct)[1]
            return [*self.slopes(b, y, t), *(b.neg(x) for x in pulled)]

        rule = explicit_stages(self.spec, slopes)
        return Stepper(self.spec, slopes, rule, self.spec.scale(weights, dtype), dtype)

    def solve(
        self,
        b: Builder,
        state: list[Any],
        ct_args: list[Any],
        t: Any,
        target: Any,
        size: Any,
        status: Any,
    ) -> tuple[Progress, list[Any]]:
        """Back to the target, with the last interval's step to begin with (0: there is none)."""
        stepper = self.stepper
        at = stepper.start(b, t, state, target)
        known = b.select_n(b.gt(size, 0.0), b.abs(at.dt), size)
        dt = b.mul(b.sign(at.dt), known)
        at = at._replace(dt=dt, status=b.max(at.status, status))
        flat, unpack = packed((at, ct_args))

        def proceed(b: Builder, *carry: Any) -> Any:
            return stepper.any_running(b, unpack(carry)[0], target)

        def step(b: Builder, *carry: Any) -> list[Any]:
            at, ct_args = unpack(carry)
            tried = stepper.attempt(b, at, target, target)
            ct_args = self.with_step(b, ct_args, tried.stages, tried.h, tried.taken)
            return packed((tried.after, ct_args))[0]

        at, ct_args = unpack(while_loop(b, proceed, step, flat, "steps"))
        return at, ct_args

    def with_step(
        self, b: Builder, ct_args: list[Any], stages: Stages, h: Any, taken: Any
    ) -> list[Any]:
        """ct_args - h sum_i w_i f_args(Y_i)^T ct_i, of the lanes whose step counts.

        One lane: of the pulls that the step has made. Several: arguments may be the same for all,
        so their cotangents are sums over lanes, of which each has its own h.
        """
        if not ct_args:
            return ct_args
        h = b.select_n(taken, filled(b, self.spec.lanes, h.type.dtype, 0.0), b.neg(h))
        found, weights = [], []
        for w, t, state in zip(self.spec.tableau.weights, stages.times, stages.states, strict=True):
            if w != 0:
                y, ct = state[: self.n_state], state[self.n_state :]
                if self.axis:
                    ct = [scaled(b, h, x) for x in ct]
                found.append(self.pull(b, y, t, ct)[0])
                weights.append(w)
        sums = [weighted_sum(b, weights, column) for column in zip(*found, strict=True)]
        if not self.axis:
            sums = [scaled(b, h, x) for x in sums]
        return [b.add(x, more) for x, more in zip(ct_args, sums, strict=True)]

    def failed_as_nan(self, b: Builder, status: Any, cts: list[Any]) -> list[Any]:
        """Where a lane has failed, no cotangent is right: those of y are NaN in that lane, those of
        arguments altogether if they are sums over lanes."""
        nan = float("nan")
        bad = any_of(b, b.ne(status, OK))
        outputs = []
        for i, ct in enumerate(cts):
            own = i >= len(cts) - self.n_state and self.axis
            flag = along(b, b.ne(status, OK), ct) if own else bad
            outputs.append(b.select_n(flag, ct, b.full(ct.type, nan)))
        return outputs


# -- the steps that were taken ---------------------------------------------------------------------


class _Direct(_Backward):
    """The transpose of every step, from the last to the first, and of the polynomials between.

    powers: the cotangents of y and of the coefficients of x, x^2, ... of the step that is next to
    be pulled back (the last one, in forward order, that a lane has taken): the solution at a time
    is a polynomial in x, so its cotangent goes to them times 1, x, x^2, ...
    """

    def run(self, b: Builder) -> list[Any]:
        self.ends, self.step_t, self.step_h, *rows = self.residuals
        self.step_y, self.step_f = self.spec.states_and_slopes(rows)
        n = self.n
        zeros = [b.full(y.type, 0) for y in self.state]
        powers = [zeros for _ in range(self.spec.tableau.degree + 1)]
        flat, unpack = packed((zeros, self.no_arg_cts(b), powers))
        xs = [
            *(self.rows(b, ct, 1, n) for ct in self.cts),
            self.rows(b, self.ts, 1, n),
            self.rows(b, self.ends, 1, n),
            self.rows(b, self.ends, 0, n - 1),
        ]

        def output(b: Builder, carry: list[Any], xs: list[Any]) -> tuple[list[Any], list[Any]]:
            ct, ct_args, powers = unpack(carry)
            *jump, t, end, start = xs
            powers = self.pull_solution(b, powers, jump, t, end)
            return packed(self.pull_steps(b, ct, ct_args, powers, end, start))[0], []

        flat, _ = scan_loop(b, output, flat, xs, n - 1, reverse=True, name="back")
        ct, ct_args, powers = unpack(flat)
        first = [entry(b, c, self.axis, 0) for c in self.cts]
        ct = [b.add(b.add(x, rest), c) for x, rest, c in zip(ct, powers[0], first, strict=True)]
        return [*ct_args, *ct]

    def pull_solution(
        self, b: Builder, powers: list[Any], jump: Sequence[Any], t: Any, end: Any
    ) -> list[Any]:
        """Add the cotangent of the solution at t, which lies in step `end - 1` of each lane."""
        one = filled(b, self.spec.lanes, end.type.dtype, 1)
        last = b.sub(end, one)
        t0, h = row_at(b, self.step_t, last), row_at(b, self.step_h, last)
        begun = b.gt(end, 0)
        zero = filled(b, self.spec.lanes, t.type.dtype, 0.0)
        x = b.select_n(begun, zero, b.div(b.sub(t, t0), h))
        found = []
        term = list(jump)
        for m, power in enumerate(powers):
            if m:
                term = [scaled(b, x, c) for c in term]
            found.append([b.add(p, c) for p, c in zip(power, term, strict=True)])
        return found

    def pull_steps(
        self,
        b: Builder,
        ct: list[Any],
        ct_args: list[Any],
        powers: list[Any],
        end: Any,
        start: Any,
    ) -> Any:
        """Back through steps `end - 1` to `start` of each lane."""
        flat, unpack = packed((end, ct, ct_args, powers))

        def proceed(b: Builder, *carry: Any) -> Any:
            return any_of(b, b.gt(carry[0], start))

        def step(b: Builder, *carry: Any) -> list[Any]:
            i, ct, ct_args, powers = unpack(carry)
            is_on = b.gt(i, start)
            before = b.sub(i, filled(b, self.spec.lanes, i.type.dtype, 1))
            more, new = self.pull_step(b, ct, powers, before, is_on)
            ct_args = [b.add(x, y) for x, y in zip(ct_args, more, strict=True)]
            zeros = [b.full(x.type, 0) for x in ct]
            after = (
                b.select_n(is_on, i, before),
                choose(b, is_on, ct, new),
                ct_args,
                [choose(b, is_on, power, zeros) for power in powers],
            )
            return packed(after)[0]

        _, ct, ct_args, powers = unpack(while_loop(b, proceed, step, flat, "steps"))
        return ct, ct_args, powers

    def pull_step(
        self, b: Builder, ct: list[Any], powers: list[Any], i: Any, is_on: Any
    ) -> tuple[list[Any], list[Any]]:
        """The cotangents of args and of y before step i, given those after it.

        With k_i = f(Y_i) and Y_i = y + h sum_j a_ij k_j:
          ct_k_i = h (w_i ct + sum_m dense_im ct_power_m) + h sum_j a_ji ct_Y_j
          ct_Y_i = f_y(Y_i)^T ct_k_i
        """
        tableau = self.spec.tableau
        t, h = row_at(b, self.step_t, i), row_at(b, self.step_h, i)
        y = [row_at(b, x, i) for x in self.step_y]
        f = [row_at(b, x, i) for x in self.step_f] or self.slopes(b, y, t)
        dtype = self.ts.type.dtype
        rule = stage_rule(self.spec, self.slopes, self.params["jacobian"], self.args, dtype)
        stages = rule(b, t, h, y, f)
        h = b.select_n(is_on, filled(b, self.spec.lanes, h.type.dtype, 0.0), h)
        pull = self.stage_pull(b, stages, h)
        ct_args: list[list[Any]] = []
        ct_states: list[Any] = [None] * tableau.stages
        total = [b.add(c, p) for c, p in zip(ct, powers[0], strict=True)]
        for s in reversed(range(tableau.stages)):
            weights = [tableau.weights[s], *tableau.dense[s]]
            terms = [[ct, *powers[1:]], ct_states[s + 1 :]]
            column = [row[s] for row in tableau.a[s + 1 :]]
            ct_slope = []
            for leaf in range(self.n_state):
                own = weighted_sum(b, weights, [term[leaf] for term in terms[0]])
                later = [
                    (w, x[leaf]) for w, x in zip(column, terms[1], strict=True) if x is not None
                ]
                rest = weighted_sum(b, [w for w, _ in later], [x for _, x in later])
                parts = [x for x in (own, rest) if x is not None]
                ct_slope.append(
                    None if not parts else parts[0] if len(parts) == 1 else b.add(*parts)
                )
            if ct_slope[0] is None:
                continue
            scaled_ct = [scaled(b, h, x) for x in ct_slope]
            more, ct_states[s] = pull(b, s, scaled_ct)
            ct_args.append(more)
            total = [b.add(x, c) for x, c in zip(total, ct_states[s], strict=True)]
        sums = [
            weighted_sum(b, [1.0] * len(ct_args), column) for column in zip(*ct_args, strict=True)
        ]
        return sums, total

    def stage_pull(self, b: Builder, stages: Stages, h: Any) -> Any:
        """(b, s, ct_k) -> cotangents of args and of Y_s without its own k_s, at stage s."""

        def explicit(b: Builder, s: int, ct: list[Any]) -> tuple[list[Any], list[Any]]:
            return self.pull(b, stages.states[s], stages.times[s], ct)

        if not self.spec.tableau.gamma:
            return explicit
        return implicit_pull(
            self.spec, explicit, stages, h, self.params["jacobian"], self.args, self.ts.type.dtype
        )
