"""The transposed linear ODE as a differential equation, solved backwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..builder import Builder
from ..loops import scan_loop, while_loop
from ..types import INT32
from .arithmetic import (
    along,
    any_of,
    entry,
    filled,
    max_lanes,
    scaled,
    stacked,
    weighted_sum,
)
from .backward import Backward
from .failure import guarded
from .forward import largest
from .packing import packed
from .spec import OK
from .stepping import Progress, Stages, Stepper, direction, explicit_stages


class Continuous(Backward):
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
            return packed((ct, ct_args, b.min(at.dt, whole), counts, at.t))[0], []

        flat, _ = scan_loop(b, interval, flat, xs, n - 1, reverse=True, name="backsolve")
        ct, ct_args, _, counts, reached = unpack(flat)
        cts = self.failed_as_nan(b, counts[0], [*ct_args, *ct])
        stats = stacked(b, counts)
        limits = (self.spec.mxstep, self.spec.max_steps)
        return guarded(b, "linear_ode_back", self.params, limits, stats, reached, cts)

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
        ends = (entry(b, self.ts, self.axis, i) for i in (self.n - 1, 0))
        scale = self.spec.scale(weights, dtype)
        return Stepper(self.spec, slopes, rule, scale, dtype, direction(b, *ends))

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
        at = stepper.start(b, t, state)
        dt = b.select_n(b.gt(size, 0.0), at.dt, size)
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
