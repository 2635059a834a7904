"""One step of a Runge-Kutta method, and the choice of the next step's size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..builder import Builder
from ..types import INT32, Dtype, TensorType
from .arithmetic import (
    State,
    advance,
    along,
    any_of,
    both,
    choose,
    either,
    epsilon,
    filled,
    max_lanes,
    negated,
    weighted_sum,
)
from .scale import Scale
from .spec import NOT_FINITE, NOT_SOLVED, OK, STEP_TOO_SMALL, TOO_MANY_STEPS, Spec

Slopes = Callable[[Builder, State, Any], list[Any]]
"""(b, y, t) -> dy/dt."""


class Stages(NamedTuple):
    """What a step computed: `states[i]` and `slopes[i]` at `times[i]`; `ok` says in which lanes
    the implicit equations were solved (None: there are none)."""

    times: list[Any]
    states: list[State]
    slopes: list[State]
    ok: Any = None


StageRule = Callable[[Builder, Any, Any, State, State], Stages]
"""(b, t, h, y, slopes at y) -> stages of the step from t to t + h."""


def direction(b: Builder, t: Any, t_end: Any) -> Any:
    """1 in lanes that go from t to a later t_end, else -1."""
    one = b.full(t.type, 1)
    return b.select_n(b.lt(b.sub(t_end, t), 0.0), one, b.full(t.type, -1))


def explicit_stages(spec: Spec, slopes: Slopes) -> StageRule:
    """Each stage from those before it."""
    tableau = spec.tableau

    def stages(b: Builder, t: Any, h: Any, y: State, f: State) -> Stages:
        times, states, found = [t], [y], [f]
        for row, c in zip(tableau.a[1:], tableau.c[1:], strict=True):
            times.append(b.add(t, h if c == 1 else b.mul(h, float(c))))
            states.append(advance(b, y, h, row, found))
            found.append(slopes(b, states[-1], times[-1]))
        return Stages(times, states, found)

    return stages


class Progress(NamedTuple):
    """Where a solve is, in each lane: time, size of the next step, how it goes, attempts since the
    last output, steps taken and refused, the state and its slope."""

    t: Any
    dt: Any
    status: Any
    tries: Any
    accepted: Any
    rejected: Any
    y: list[Any]
    f: list[Any]


class Attempt(NamedTuple):
    """A step that was tried: from where, its size, its stages, the lanes that it moves."""

    h: Any
    stages: Stages
    taken: Any
    after: Progress


@dataclass(frozen=True)
class Stepper:
    """Tries steps. sign: the direction of time in each lane, 1 or -1."""

    spec: Spec
    slopes: Slopes
    stage_rule: StageRule
    scale: Scale
    dtype: Dtype
    sign: Any

    # -- sizes -------------------------------------------------------------------------------------

    def first_size(self, b: Builder, t: Any, y: State, f: State) -> Any:
        """The size of the first step: Hairer, Nørsett, Wanner, Solving ODEs I, section II.4."""
        spec, lanes = self.spec, self.spec.lanes
        if spec.dt0 is not None:
            return filled(b, lanes, self.dtype, abs(spec.dt0))
        d0, d1 = self.scale.norms(b, y, y), self.scale.norms(b, f, y)
        tiny = either(b, b.lt(d0, 1e-5), b.lt(d1, 1e-5))
        h0 = b.select_n(tiny, b.mul(b.div(d0, d1), 0.01), filled(b, lanes, self.dtype, 1e-6))
        signed = b.mul(self.sign, h0)
        moved = advance(b, y, signed, [1.0], [f])
        f1 = self.slopes(b, moved, b.add(t, signed))
        change = [b.sub(p, q) for p, q in zip(f1, f, strict=True)]
        d2 = b.div(self.scale.norms(b, change, y), h0)
        still = both(b, b.le(d1, 1e-15), b.le(d2, 1e-15))
        steep = b.pow(b.div(0.01, b.max(d1, d2)), 1.0 / spec.tableau.order)
        h1 = b.select_n(still, steep, b.max(b.mul(h0, 1e-3), 1e-6))
        return self.limited(b, b.min(b.mul(h0, 100.0), h1))

    def limited(self, b: Builder, size: Any) -> Any:
        return size if self.spec.hmax is None else b.min(size, float(self.spec.hmax))

    # -- a step ------------------------------------------------------------------------------------

    def running(self, b: Builder, at: Progress, target: Any) -> Any:
        """The lanes that have not reached the target."""
        return both(b, self.is_ahead(b, target, at.t), b.eq(at.status, OK))

    def is_ahead(self, b: Builder, target: Any, t: Any) -> Any:
        return b.gt(b.mul(b.sub(target, t), self.sign), 0.0)

    def attempt(self, b: Builder, at: Progress, target: Any, t_end: Any) -> Attempt:
        """Try a step in the lanes that run; it ends at t_end at the latest."""
        spec = self.spec
        running = self.running(b, at, target)
        rest = b.sub(t_end, at.t)
        is_last = b.le(b.abs(rest), b.mul(at.dt, 1.001))
        h = b.select_n(is_last, b.mul(at.dt, self.sign), rest)
        stages = self.stage_rule(b, at.t, h, at.y, at.f)
        y, f = list(stages.states[-1]), list(stages.slopes[-1])
        fits, blame, factor = self.judge(b, h, at.y, y, stages)
        taken = both(b, running, fits)
        t = b.select_n(is_last, b.add(at.t, h), t_end)
        dt = at.dt
        if spec.is_adaptive:  # the last step is short for another reason than its error
            wanted = self.limited(b, b.mul(b.abs(h), factor))
            dt = b.select_n(both(b, is_last, fits), wanted, b.max(wanted, dt))
        one = filled(b, spec.lanes, at.tries.type.dtype, 1)
        zero = filled(b, spec.lanes, at.tries.type.dtype, 0)
        refused = both(b, running, negated(b, fits))
        after = Progress(
            b.select_n(taken, at.t, t),
            b.select_n(running, at.dt, dt),
            at.status,
            b.add(at.tries, b.select_n(running, zero, one)),
            b.add(at.accepted, b.select_n(taken, zero, one)),
            b.add(at.rejected, b.select_n(refused, zero, one)),
            choose(b, taken, at.y, y),
            choose(b, taken, at.f, f),
        )
        status = self.verdict(b, after, refused, blame, target, t_end)
        return Attempt(h, stages, taken, after._replace(status=status))

    def judge(
        self, b: Builder, h: Any, y0: State, y1: State, stages: Stages
    ) -> tuple[Any, Any, Any]:
        """Whether a step is accurate enough; what to blame if no step ever is; the factor for the
        size of the next."""
        spec, lanes = self.spec, self.spec.lanes
        if not spec.is_adaptive:
            is_finite = self.all_finite(b, y1)
            fits = is_finite if stages.ok is None else both(b, is_finite, stages.ok)
            return fits, self.blame(b, is_finite, stages), None
        assert spec.tableau.error is not None
        sums = [
            weighted_sum(b, spec.tableau.error, [k[i] for k in stages.slopes])
            for i in range(len(y0))
        ]
        errors = [b.mul(along(b, b.convert(h, e.type.dtype), e), e) for e in sums]
        ratio = self.scale.norms(b, errors, y0, y1, mean=True)
        blame = self.blame(b, b.is_finite(ratio), stages)
        if stages.ok is not None:
            ratio = b.select_n(stages.ok, filled(b, lanes, self.dtype, float("inf")), ratio)
        is_finite = b.is_finite(ratio)
        fits = both(b, b.le(ratio, 1.0), is_finite)
        low = b.select_n(
            b.lt(ratio, 1.0), filled(b, lanes, self.dtype, 0.2), filled(b, lanes, self.dtype, 1.0)
        )
        wanted = b.mul(b.pow(ratio, -1.0 / spec.tableau.order), 0.9)
        factor = b.min(b.max(wanted, low), 10.0)
        factor = b.select_n(b.eq(ratio, 0.0), factor, filled(b, lanes, self.dtype, 10.0))
        return fits, blame, b.select_n(is_finite, filled(b, lanes, self.dtype, 0.2), factor)

    def blame(self, b: Builder, is_finite: Any, stages: Stages) -> Any:
        """The status of a solve that comes to grief at this step."""
        lanes = self.spec.lanes
        code = filled(b, lanes, INT32, STEP_TOO_SMALL)
        if stages.ok is not None:
            code = b.select_n(stages.ok, filled(b, lanes, INT32, NOT_SOLVED), code)
        return b.select_n(is_finite, filled(b, lanes, INT32, NOT_FINITE), code)

    def all_finite(self, b: Builder, y: State) -> Any:
        n, bad = len(self.spec.lanes), []
        for x in y:
            size = b.abs(x)
            bad.append(b.is_finite(max_lanes(b, size, n, self.dtype)) if size.type.size else None)
        flags = [x for x in bad if x is not None]
        result = flags[0] if flags else b.full(TensorType(self.spec.lanes, bool), True)
        for x in flags[1:]:
            result = both(b, result, x)
        return result

    def verdict(
        self, b: Builder, at: Progress, refused: Any, blame: Any, target: Any, t_end: Any
    ) -> Any:
        """The status after a step: OK, or why the lane gives up."""
        spec, status = self.spec, at.status

        def fail(flag: Any, code: Any, status: Any) -> Any:
            fresh = both(b, flag, b.eq(status, OK))
            code = filled(b, spec.lanes, INT32, code) if isinstance(code, int) else code
            return b.select_n(fresh, status, code)

        if spec.is_adaptive:
            least = b.mul(b.max(b.abs(at.t), b.abs(b.sub(t_end, at.t))), 4 * epsilon(self.dtype))
            lost = both(b, refused, negated(b, b.ge(at.dt, least)))
            status = fail(lost, blame, status)
        else:
            status = fail(refused, blame, status)
        if spec.mxstep is not None:
            is_short = self.is_ahead(b, target, at.t)
            status = fail(both(b, is_short, b.ge(at.tries, spec.mxstep)), TOO_MANY_STEPS, status)
        if spec.max_steps is not None:
            is_short = self.is_ahead(b, t_end, at.t)
            full = both(b, is_short, b.ge(at.accepted, spec.max_steps))
            status = fail(full, TOO_MANY_STEPS, status)
        return status

    def start(self, b: Builder, t: Any, y: list[Any]) -> Progress:
        """At the beginning."""
        f = self.slopes(b, y, t)
        dt = self.first_size(b, t, y, f)
        zero = filled(b, self.spec.lanes, INT32, 0)
        bad = negated(b, b.is_finite(dt))
        status = b.select_n(bad, zero, filled(b, self.spec.lanes, INT32, NOT_FINITE))
        return Progress(t, dt, status, zero, zero, zero, y, f)

    def any_running(self, b: Builder, at: Progress, target: Any) -> Any:
        return any_of(b, self.running(b, at, target))
