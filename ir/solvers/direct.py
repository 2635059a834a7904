"""The transpose of the steps that were taken, and of the polynomials between their ends."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

from ..builder import Builder
from ..graph import Value
from ..loops import while_loop
from ..types import INT32, TensorType
from .arithmetic import along, any_of, both, choose, entry, filled, scaled, weighted_sum
from .backward import Backward, Params
from .forward import stage_rule
from .implicit import StagePull, implicit_pull
from .packing import packed
from .replay import Replay
from .stepping import Stages
from .windows import repeated, row_at, rows_at, scaled_rows, window_size


class After(NamedTuple):
    """What is known after a step, in each lane: its number, counted from 1; how many outputs do not
    lie behind it; the cotangents of y at its end, and of the slope there."""

    number: Any
    outputs: Any
    ct: list[Any]
    ct_slope: list[Any]


class Direct(Backward):
    """From the last step to the first, each computed again from the state at its start.

    The solution at a time is a polynomial in x = (time - t) / h, so its cotangent goes to y and to
    the coefficients of x, x^2, ... of its step, times 1, x, x^2, ...
    """

    def __init__(self, b: Builder, params: Params, inputs: Sequence[Value]) -> None:
        super().__init__(b, params, inputs)
        self.ends, self.sizes, *kept = self.residuals
        count = entry(b, self.ends, self.axis, self.n - 1)
        snapshots = self.spec.kept([y.type for y in self.state])
        self.replay = Replay(snapshots, kept, self.sizes, count, self.step)
        elements = sum(prod(y.type.shape[self.axis :]) for y in self.state)
        self.size = window_size(self.n, elements)
        self.padded_ts = self.padded(b, self.ts)
        self.padded_ends = self.padded(b, self.ends)
        self.padded_cts = [self.padded(b, ct) for ct in self.cts]

    def padded(self, b: Builder, x: Any) -> Any:
        """With room for a window in front: output j is row j + size."""
        shape = list(x.type.shape)
        shape[self.axis] = self.size
        front = b.full(TensorType(tuple(shape), x.type.dtype), -1)
        return b.concatenate(front, x, dimension=self.axis)

    def run(self, b: Builder) -> list[Any]:
        zeros = [b.full(y.type, 0) for y in self.state]
        last = entry(b, self.ends, self.axis, self.n - 1)
        outputs = filled(b, self.spec.lanes, INT32, self.n)
        start = After(last, outputs, zeros, zeros)
        flat, unpack = packed((start, self.no_arg_cts(b), self.replay.nothing(b)))

        def proceed(b: Builder, *carry: Any) -> Any:
            return any_of(b, b.gt(unpack(carry)[0].number, 0))

        def step(b: Builder, *carry: Any) -> list[Any]:
            after, ct_args, held = unpack(carry)
            is_on = b.gt(after.number, 0)
            i = b.sub(after.number, self.one(b, after.number))
            t, kept, held = self.replay.at(b, i, is_on, held)
            before, more = self.before_step(b, after, i, t, kept, is_on)
            ct_args = [b.add(x, y) for x, y in zip(ct_args, more, strict=True)]
            before = After(
                b.select_n(is_on, after.number, before.number),
                before.outputs,
                choose(b, is_on, after.ct, before.ct),
                choose(b, is_on, after.ct_slope, before.ct_slope),
            )
            return packed((before, ct_args, held))[0]

        after, ct_args, _ = unpack(while_loop(b, proceed, step, flat, "back"))
        t0 = entry(b, self.ts, self.axis, 0)
        more, through = self.pull(b, self.state, t0, after.ct_slope)
        ct = [b.add(x, c) for x, c in zip(after.ct, through, strict=True)]
        ct_args = [b.add(x, y) for x, y in zip(ct_args, more, strict=True)]
        return [*ct_args, *self.with_outputs_at_start(b, ct)]

    def one(self, b: Builder, like: Any) -> Any:
        return filled(b, self.spec.lanes, like.type.dtype, 1)

    def with_outputs_at_start(self, b: Builder, ct: list[Any]) -> list[Any]:
        """Outputs before any step are the initial state."""
        at_start = b.eq(self.ends, 0)
        result = []
        for x, rows in zip(ct, self.cts, strict=True):
            kept = b.select_n(along(b, at_start, rows), b.full(rows.type, 0), rows)
            result.append(b.add(x, b.reduce_sum(kept, axes=(self.axis,))))
        return result

    # -- outputs -----------------------------------------------------------------------------------

    def powers(
        self, b: Builder, after: After, t: Any, h: Any, is_on: Any
    ) -> tuple[Any, list[list[Any]]]:
        """How many outputs lie before a step; the cotangents that those in it give to y and to the
        coefficients of its polynomial."""
        zeros = [b.full(y.type, 0) for y in self.state]
        start = [zeros for _ in range(self.spec.tableau.degree + 1)]
        flat, unpack = packed((after.outputs, start))

        def proceed(b: Builder, *carry: Any) -> Any:
            above = b.add(carry[0], filled(b, self.spec.lanes, INT32, self.size - 1))
            here = b.eq(row_at(b, self.padded_ends, above), after.number)
            return any_of(b, both(b, here, is_on))

        def window(b: Builder, *carry: Any) -> list[Any]:
            outputs, powers = unpack(carry)
            ends = rows_at(b, self.padded_ends, outputs, self.size)
            here = b.eq(ends, repeated(b, after.number, self.axis, self.size))
            here = both(b, here, repeated(b, is_on, self.axis, self.size))
            times = rows_at(b, self.padded_ts, outputs, self.size)
            x = b.sub(times, repeated(b, t, self.axis, self.size))
            x = b.div(x, repeated(b, h, self.axis, self.size))
            x = b.select_n(here, b.full(x.type, 0), x)
            found = self.with_window(b, powers, outputs, here, x)
            more = b.reduce_sum(b.convert(here, INT32), axes=(self.axis,))
            return packed((b.sub(outputs, more), found))[0]

        before, powers = unpack(while_loop(b, proceed, window, flat, "outputs"))
        return before, powers

    def with_window(
        self, b: Builder, powers: list[list[Any]], outputs: Any, here: Any, x: Any
    ) -> list[list[Any]]:
        terms = []
        for rows in self.padded_cts:
            window = rows_at(b, rows, outputs, self.size)
            terms.append(b.select_n(along(b, here, window), b.full(window.type, 0), window))
        found = []
        for m, power in enumerate(powers):
            if m:
                terms = [scaled_rows(b, x, term) for term in terms]
            sums = [b.reduce_sum(term, axes=(self.axis,)) for term in terms]
            found.append([b.add(p, s) for p, s in zip(power, sums, strict=True)])
        return found

    # -- steps -------------------------------------------------------------------------------------

    def before_step(
        self, b: Builder, after: After, i: Any, t: Any, kept: list[Any], is_on: Any
    ) -> tuple[After, list[Any]]:
        """What is carried before a step, given that after it, and what the step adds to ct_args.

        With k_i = f(Y_i) and Y_i = y + h sum_j a_ij k_j:
          ct_k_i = h (w_i ct + sum_m dense_im ct_power_m) + h sum_j a_ji ct_Y_j
          ct_Y_i = f_y(Y_i)^T ct_k_i
        The first slope is the last one of the step before: it is pulled back there.
        """
        tableau, last = self.spec.tableau, self.spec.tableau.stages - 1
        h = row_at(b, self.sizes, i)
        outputs, powers = self.powers(b, after, t, h, is_on)
        stages = self.stages(b, t, h, kept)
        h = b.select_n(is_on, filled(b, self.spec.lanes, h.type.dtype, 0.0), h)
        pull = self.stage_pull(b, stages, h)
        ct_args: list[list[Any]] = []
        ct_states: list[Any] = [None] * (last + 1)
        ct = [b.add(c, p) for c, p in zip(after.ct, powers[0], strict=True)]
        carried = [b.select_n(along(b, is_on, c), b.full(c.type, 0), c) for c in after.ct_slope]
        for s in range(last, -1, -1):
            later = [row[s] for row in tableau.a[s + 1 :]]
            weights = [*later, tableau.weights[s], *tableau.dense[s]]
            terms = [*ct_states[s + 1 :], after.ct, *powers[1:]]
            ct_slope = self.total(b, h, weights, terms)
            if s == last:
                ct_slope = [b.add(x, c) for x, c in zip(ct_slope, carried, strict=True)]
            if s:
                more, ct_states[s] = pull(b, s, ct_slope)
                ct_args.append(more)
                ct = [b.add(x, c) for x, c in zip(ct, ct_states[s], strict=True)]
        ones = [1.0] * len(ct_args)
        sums = [weighted_sum(b, ones, column) for column in zip(*ct_args, strict=True)]
        return After(i, outputs, ct, ct_slope), sums

    def total(
        self, b: Builder, h: Any, weights: Sequence[float], terms: Sequence[Sequence[Any]]
    ) -> list[Any]:
        """h sum_i w_i terms_i."""
        sums = [weighted_sum(b, weights, [x[i] for x in terms]) for i in range(self.n_state)]
        return [
            b.full(y.type, 0) if x is None else scaled(b, h, x)
            for x, y in zip(sums, self.state, strict=True)
        ]

    def step(self, b: Builder, t: Any, h: Any, kept: list[Any]) -> list[Any]:
        """What is kept of the state after a step, from that before it."""
        stages = self.stages(b, t, h, kept)
        return self.spec.rows_stored(stages.states[-1], stages.slopes[-1])

    def stages(self, b: Builder, t: Any, h: Any, kept: list[Any]) -> Stages:
        """Those of the step from t to t + h, computed again."""
        y, f = self.spec.states_and_slopes(kept)
        f = f or self.slopes(b, y, t)
        dtype = self.ts.type.dtype
        rule = stage_rule(self.spec, self.slopes, self.params["jacobian"], self.args, dtype)
        return rule(b, t, h, y, f)

    def stage_pull(self, b: Builder, stages: Stages, h: Any) -> StagePull:
        """(b, s, ct_k) -> cotangents of args and of what Y_s is made from."""

        def explicit(b: Builder, s: int, ct: list[Any]) -> tuple[list[Any], list[Any]]:
            return self.pull(b, stages.states[s], stages.times[s], ct)

        if not self.spec.tableau.gamma:
            return explicit
        dtype = self.ts.type.dtype
        return implicit_pull(
            self.spec, explicit, stages, h, self.params["jacobian"], self.args, dtype
        )
