"""Minimisers as functions of what the objective depends on.

BFGS and Newton-CG: Nocedal and Wright, Numerical Optimization (2006), chapters 6 and 7. Steps near
the minimum, where rounding hides the decrease of the objective, are judged by its slope (Hager and
Zhang, SIAM J. Optim. 16 (2005)), so that the gradient becomes as small as rounding lets it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ..ir.errors import UsageError, did_you_mean
from .forward import jvp
from .gradients import grad, value_and_grad
from .implicit import Function, custom_root
from .linear_solvers import Solver, find_solver
from .real_parts import RealParts
from .root_finding import tolerance
from .solve_checks import checked

METHODS: Final = ("auto", "bfgs", "newton-cg")
BFGS_UP_TO: Final = 256
"""The number of unknowns up to which `"auto"` keeps an inverse Hessian."""


def minimize(
    f: Callable[..., Any],
    x0: Any,
    *args: Any,
    method: str = "auto",
    rtol: float | None = None,
    atol: float | None = None,
    max_steps: int = 500,
    linear_solver: str | Solver = "auto",
    throw: bool = True,
) -> Any:
    """The x, a local minimum of the real scalar f(x, *args), that a descent from x0 finds.

    x is a pytree of floats or complex numbers, args anything. Derivatives with respect to args and
    to whatever f closes over are those of the equation grad f = 0, forward, in reverse and of
    higher order: f_xx dx = -f_xa da. With respect to x0 they are zero.

    method: "bfgs", which keeps an inverse Hessian; "newton-cg", which keeps vectors only; "auto",
      the first for up to 256 unknowns.
    rtol, atol: it ends when the next step is |dx| <= rtol |x| + atol; both are epsilon ** 0.75 of
      the dtype by default.
    linear_solver: of the symmetric system of the derivative, as in `fixed_point` ("auto" is dense,
      then CG).

    Raises SolveError, when it runs, if it does not converge in max_steps, or if the Hessian at the
    minimum is singular and a derivative is asked for; with throw=False the result is NaN then.
    """
    if method not in METHODS:
        raise UsageError(
            f"there is no method {method!r}",
            hint=did_you_mean(method, METHODS) or f"there are: {', '.join(METHODS)}",
        )

    parts = RealParts.of(x0)

    def objective(unknowns: Any) -> Any:
        return f(parts.join(unknowns), *args)

    objective.__name__ = getattr(f, "__name__", "f")

    def solve(_: Function, start: Any) -> Any:
        return _descend(objective, start, method, rtol, atol, max_steps, throw)

    solver = find_solver(linear_solver, throw, definite=True)
    start = parts.split(x0)
    return parts.join(custom_root(grad(objective), start, solve, solver, symmetric=True))


class _State(NamedTuple):
    """Where a descent is. `inverse` is the approximate inverse Hessian, or empty."""

    steps: Any
    x: Any
    value: Any
    slope: Any
    inverse: Any
    size: Any
    done: Any
    stuck: Any


def _descend(
    f: Function, x0: Any, method: str, rtol: Any, atol: Any, max_steps: int, throw: bool
) -> Any:
    start, nested = ravel_pytree(x0)
    n = start.shape[0]
    keeps = method == "bfgs" or (method == "auto" and n <= BFGS_UP_TO)
    limit = tolerance(rtol, atol)

    def flat(x: Any) -> Any:
        return f(nested(x))

    def proceed(s: _State) -> Any:
        return (s.steps < max_steps) & ~s.done & ~s.stuck

    def step(s: _State) -> _State:
        d = -s.inverse @ s.slope if keeps else _newton_direction(flat, s.x, s.slope)
        d = jnp.where(jnp.vdot(d, s.slope) < 0, d, -s.slope)
        size = jnp.linalg.norm(d)
        t, value, slope = _line_search(flat, s.x, d, s.value, s.slope)
        x = s.x + t * d
        inverse = _updated(s.inverse, x - s.x, slope - s.slope, s.steps) if keeps else s.inverse
        done = (size <= limit(s.x)) & jnp.isfinite(size)
        stuck = (jnp.all(x == s.x) & ~done) | ~jnp.isfinite(value)
        return _State(s.steps + 1, x, value, slope, inverse, size, done, stuck)

    value, slope = value_and_grad(flat)(start)
    inverse = jnp.eye(n, dtype=start.dtype) / jnp.maximum(1, jnp.linalg.norm(slope))
    off = jnp.asarray(False)
    zero = jnp.zeros_like(jnp.linalg.norm(start))
    first = _State(0, start, value, slope, inverse if keeps else start[:0], zero, off, off)
    s = jax.lax.while_loop(proceed, step, first)
    # stuck where not even the slope can be improved: as near as rounding allows, if steps are small
    near = s.size <= jnp.sqrt(jnp.finfo(start.dtype).eps) * (1 + jnp.linalg.norm(s.x))
    ok = (s.done | (s.stuck & near)) & jnp.isfinite(s.value)
    facts = {"steps": s.steps, "last gradient": jnp.linalg.norm(s.slope), "last step": s.size}
    return checked(nested(s.x), ok, _CLAIM, _HINT, facts, throw)


_CLAIM: Final = "the minimisation did not converge"
_HINT: Final = (
    "start nearer to the minimum, allow more max_steps, or loosen rtol and atol; throw=False gives "
    "NaNs instead"
)


def _line_search(f: Function, x: Any, d: Any, value: Any, slope: Any) -> Any:
    """The first of t = 1, 1/2, 1/4, ... that is good enough, with value and gradient there."""
    descent = jnp.vdot(d, slope)
    blur = 10 * jnp.finfo(x.dtype).eps * jnp.abs(value)

    def proceed(state: Any) -> Any:
        t, new, new_slope = state
        decreases = new <= value + 1e-4 * t * descent
        flattens = (new <= value + blur) & (jnp.abs(jnp.vdot(d, new_slope)) <= 0.9 * -descent)
        return ~(decreases | flattens) & (t > 1e-12)

    def halve(state: Any) -> Any:
        t = state[0] / 2
        return t, *value_and_grad(f)(x + t * d)

    one = jnp.ones((), x.dtype)
    t, new, new_slope = jax.lax.while_loop(proceed, halve, (one, *value_and_grad(f)(x + d)))
    failed = t <= 1e-12
    found, stayed = (t, new, new_slope), (jnp.zeros_like(t), value, slope)
    return jax.tree.map(lambda a, b: jnp.where(failed, a, b), stayed, found)


def _updated(inverse: Any, s: Any, y: Any, steps: Any) -> Any:
    """The BFGS update by a step s along which the gradient changed by y (N&W 6.17, 6.20)."""
    curvature = jnp.vdot(s, y)
    useful = curvature > jnp.finfo(s.dtype).eps * jnp.linalg.norm(s) * jnp.linalg.norm(y)
    rho = 1 / jnp.where(useful, curvature, 1)
    scale = curvature / jnp.where(useful, jnp.vdot(y, y), 1)
    inverse = jnp.where((steps == 0) & useful, jnp.eye(s.shape[0], dtype=s.dtype) * scale, inverse)
    hy = inverse @ y
    grown = (1 + rho * jnp.vdot(y, hy)) * rho * jnp.outer(s, s)
    mixed = rho * (jnp.outer(hy, s) + jnp.outer(s, hy))
    return jnp.where(useful, inverse + grown - mixed, inverse)


def _newton_direction(f: Function, x: Any, slope: Any) -> Any:
    """Where CG on the Hessian gets, until near enough or at negative curvature (N&W 7.1)."""
    gradient = grad(f)
    size = jnp.linalg.norm(slope)
    goal = jnp.minimum(0.5, jnp.sqrt(size)) * size

    def proceed(state: Any) -> Any:
        k, _, r, _, blocked = state
        return (k < 2 * x.shape[0]) & (jnp.linalg.norm(r) > goal) & ~blocked

    def step(state: Any) -> Any:
        k, d, r, p, _ = state
        q = jvp(gradient, (x,), (p,))[1]
        curvature, rr = jnp.vdot(p, q), jnp.vdot(r, r)
        blocked = curvature <= 0
        t = jnp.where(blocked, jnp.where(k == 0, 1, 0), rr / jnp.where(blocked, 1, curvature))
        d, r = d + t * p, r - t * q
        return k + 1, d, r, r + (jnp.vdot(r, r) / rr) * p, blocked

    start = (0, jnp.zeros_like(x), -slope, -slope, jnp.asarray(False))
    return jax.lax.while_loop(proceed, step, start)[1]
