"""The stages of singly diagonally implicit methods.

    Y_i = psi_i + h gamma k_i,   k_i = f(t_i, Y_i),   psi_i = y + h sum_{j<i} a_ij k_j

Y_i is found by simplified Newton iterations with M = I - h gamma f_y, factorised once at the
start of the step (Hairer, Wanner, Solving ODEs II, section IV.8). Tangents solve linear
equations, with the same matrix taken at Y_i itself: one solve for each copy of the state, in order,
since each depends on those before it. So they are the derivatives of Y_i, to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..builder import Builder
from ..graph import Graph
from ..loops import while_loop
from ..ops.call import call
from ..types import INT32, Dtype
from .algebra import Factors, factorised, solved_state
from .arithmetic import State, advance, along, any_of, both, choose, either, epsilon, filled, scaled
from .scale import Scale
from .spec import Spec
from .stepping import Slopes, StageRule, Stages

MAX_ITERATIONS: Final = 10
KAPPA: Final = 1e-2
"""How small the error of Newton's iterations is beside the one that a step may make."""

GOING, DONE, FAILED = 0, 1, 2


def implicit_stages(
    spec: Spec, slopes: Slopes, jacobian: Graph, args: Sequence[Any], dtype: Dtype
) -> StageRule:
    """Each stage from those before it, by Newton's method."""
    rule = _Implicit(spec, slopes, jacobian, args[: spec.args[0]], dtype)
    return rule.stages


@dataclass(frozen=True)
class _Implicit:
    spec: Spec
    slopes: Slopes
    jacobian: Graph
    args: Sequence[Any]
    dtype: Dtype

    def factors(self, b: Builder, y: State, t: Any, h: Any, transposed: bool = False) -> Factors:
        """I - h gamma f_y at (y, t), y of level 0."""
        (matrix,) = b.emit(call, *self.args, *y, t, graph=self.jacobian)
        return factorised(b, h, matrix, self.spec.tableau.gamma, transposed)

    def stages(self, b: Builder, t: Any, h: Any, y: State, f: State) -> Stages:
        tableau, k = self.spec.tableau, len(y) >> self.spec.levels
        factors = self.factors(b, y[:k], t, h)
        times, states, found, ok = [t], [y], [f], None
        for row, c in zip(tableau.a[1:], tableau.c[1:], strict=True):
            now = b.add(t, h if c == 1 else b.mul(h, float(c)))
            base = advance(b, y, h, row[: len(found)], found)
            stage, is_solved = self.solve_stage(b, now, h, y, base, found[-1], factors)
            states.append(stage)
            found.append(self.slopes_of(b, h, base, stage))
            ok = is_solved if ok is None else both(b, ok, is_solved)
            times.append(now)
        return Stages(times, states, found, ok)

    def slopes_of(self, b: Builder, h: Any, base: State, stage: State) -> list[Any]:
        """k = (Y - psi) / (h gamma): more accurate than f(Y), which magnifies the error of Y."""
        one = filled(b, self.spec.lanes, self.dtype, 1.0)
        step = b.select_n(b.eq(h, 0.0), b.mul(h, self.spec.tableau.gamma), one)
        inverse = b.div(one, step)
        return [scaled(b, inverse, b.sub(x, p)) for x, p in zip(stage, base, strict=True)]

    def solve_stage(
        self, b: Builder, t: Any, h: Any, y: State, base: list[Any], near: State, factors: Factors
    ) -> tuple[list[Any], Any]:
        """Y of all levels, and whether Newton's method has found it."""
        k = len(y) >> self.spec.levels
        guess = advance(b, base[:k], h, [self.spec.tableau.gamma], [near[:k]])
        stage, is_solved = self.newton(b, t, h, y[:k], base, guess, factors)
        if self.spec.levels:
            at_stage = self.factors(b, stage, t, h)
            for start in range(k, len(y), k):
                block = base[start : start + k]
                slopes = self.slopes(b, [*stage, *base[start:]], t)[start : start + k]
                push = [scaled(b, b.mul(h, self.spec.tableau.gamma), x) for x in slopes]
                change = solved_state(b, at_stage, push, len(self.spec.lanes))
                stage += [b.add(x, d) for x, d in zip(block, change, strict=True)]
        return stage, is_solved

    # -- Newton's method ---------------------------------------------------------------------------

    def newton(
        self,
        b: Builder,
        t: Any,
        h: Any,
        y: State,
        base: list[Any],
        guess: list[Any],
        factors: Factors,
    ) -> tuple[list[Any], Any]:
        """Y of level 0. Each lane stops for itself."""
        k, spec = len(y), self.spec
        scale, kappa = self.scale(k)
        step_size = b.mul(h, spec.tableau.gamma)

        def proceed(b: Builder, count: Any, state: Any, last: Any, *stage: Any) -> Any:
            going = any_of(b, b.eq(state, GOING))
            return both(b, going, b.lt(count, MAX_ITERATIONS))

        def iterate(b: Builder, count: Any, state: Any, last: Any, *stage: Any) -> list[Any]:
            slopes = self.slopes(b, [*stage, *base[k:]], t)[:k]
            residual = [
                b.add(b.sub(p, x), scaled(b, step_size, f))
                for x, p, f in zip(stage, base, slopes, strict=False)
            ]
            change = solved_state(b, factors, residual, len(spec.lanes))
            size = scale.norms(b, change, y, list(stage), mean=True)
            going = b.eq(state, GOING)
            moved = [b.add(x, d) for x, d in zip(stage, change, strict=True)]
            after = self.verdict(b, count, size, last, kappa)
            return [
                b.add(count, 1),
                b.select_n(going, state, after),
                b.select_n(going, last, size),
                *choose(b, going, list(stage), moved),
            ]

        start = [
            b.literal(0, filled(b, (), INT32, 0).type),
            filled(b, spec.lanes, INT32, GOING),
            filled(b, spec.lanes, self.dtype, float("inf")),
            *guess,
        ]
        _, state, _, *stage = while_loop(b, proceed, iterate, start, "newton")
        return stage, b.eq(state, DONE)

    def scale(self, k: int) -> tuple[Scale, float]:
        """Tolerances of level 0, and how small beside them the last change must be."""
        spec, eps = self.spec, epsilon(self.dtype)
        rtol, atol = spec.rtol, spec.atol
        if rtol is None or atol is None:
            rtol = atol = 1024 * eps  # steps of a fixed size: as exactly as is possible
        floor = 16 * eps / rtol if rtol else 1.0
        return Scale(rtol, atol, [1.0] * k, spec.lanes, self.dtype), max(KAPPA, min(floor, 0.3))

    def verdict(self, b: Builder, count: Any, size: Any, last: Any, kappa: float) -> Any:
        """Whether to go on: the changes shrink by `rate`, so that much of an error remains."""
        lanes = self.spec.lanes
        rate = b.div(size, last)
        rest = b.mul(size, b.div(rate, b.sub(1.0, rate)))
        shrinks = b.lt(rate, 1.0)
        later = b.gt(count, 0)
        later = along(b, later, size) if not lanes else b.broadcast(later, lanes, ())
        small = both(b, both(b, later, shrinks), b.le(rest, kappa))
        is_done = either(b, small, b.le(size, kappa * 1e-2))
        is_done = either(b, is_done, both(b, later, b.le(size, kappa)))
        fails = both(b, later, b.ge(rate, 1.0))
        bad = either(b, fails, b.ne(size, size))
        code = b.select_n(bad, filled(b, lanes, INT32, GOING), filled(b, lanes, INT32, FAILED))
        return b.select_n(is_done, code, filled(b, lanes, INT32, DONE))


StagePull = Callable[[Builder, int, list[Any]], tuple[list[Any], list[Any]]]
"""(b, s, ct of k_s) -> cotangents of args, of what the stage is computed from."""


def implicit_pull(
    spec: Spec,
    pull: StagePull,
    stages: Stages,
    h: Any,
    jacobian: Graph,
    args: Sequence[Any],
    dtype: Dtype,
) -> StagePull:
    """The transpose of a stage, from `pull`, that of the dynamics there.

    With u = M^-T ct_k:  ct_args = f_args^T u,  ct_psi = f_y^T u. The first stage is explicit.
    """
    rule = _Implicit(spec, no_slopes, jacobian, args[: spec.args[0]], dtype)

    def pull_stage(b: Builder, s: int, ct: list[Any]) -> tuple[list[Any], list[Any]]:
        if s == 0:
            return pull(b, s, ct)
        y, t = stages.states[s], stages.times[s]
        k, n_lane_axes = len(y) >> spec.levels, len(spec.lanes)
        factors = rule.factors(b, y[:k], t, h, transposed=True)
        size = b.mul(h, spec.tableau.gamma)
        solved = [b.full(x.type, 0) for x in ct]
        for start in range(len(y) - k, -1, -k):  # no level depends on a later one
            block = ct[start : start + k]
            if start + k < len(y):
                later = pull(b, s, solved)[1][start : start + k]
                block = [b.add(x, scaled(b, size, c)) for x, c in zip(block, later, strict=True)]
            solved[start : start + k] = solved_state(b, factors, block, n_lane_axes)
        return pull(b, s, solved)

    return pull_stage


def no_slopes(b: Builder, y: State, t: Any) -> list[Any]:
    raise AssertionError("a transposed stage evaluates no dynamics")
