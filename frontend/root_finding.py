"""Fixed points and roots, as functions of what they depend on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from .implicit import Function, custom_root
from .linear import linearize
from .linear_solvers import Solver, find_solver
from .real_parts import RealParts
from .solve_checks import checked


def fixed_point(
    f: Callable[..., Any],
    x0: Any,
    *args: Any,
    rtol: float | None = None,
    atol: float | None = None,
    max_steps: int = 1000,
    linear_solver: str | Solver = "auto",
    throw: bool = True,
) -> Any:
    """The x with x = f(x, *args), found by repeating f from x0.

    x is a pytree of floats or complex numbers, args anything. Derivatives with respect to args and
    to whatever f closes over are those of the equation, at the cost of one linear solve and in the
    memory of one application of f: dx = f_x dx + f_a da. They exist forward, in reverse and of
    higher order, under vmap and jit. With respect to x0 they are zero.

    rtol, atol: iteration ends when |f(x) - x| <= rtol |x| + atol, in the Euclidean norm; both are
      epsilon ** 0.75 of the dtype by default (6e-6 for float32, 2e-12 for float64).
    linear_solver: of (1 - f_x) dx = f_a da: "dense", "gmres", "cg" (for a symmetric f_x), "auto"
      (dense for up to 128 unknowns, then gmres), or a function (matvec, b) -> x.

    Raises SolveError, when it runs, if it does not converge in max_steps, or if 1 - f_x is
    singular; with throw=False the result is NaN then. Raises ArgumentError if f does not return
    what it takes.
    """

    parts = RealParts.of(x0)

    def residual(unknowns: Any) -> Any:
        x = parts.join(unknowns)
        return parts.split(_minus(f(x, *args), x))

    def solve(residual: Function, start: Any) -> Any:
        return _iterate(residual, start, rtol, atol, max_steps, throw)

    residual.__name__ = getattr(f, "__name__", "f")
    solver = find_solver(linear_solver, throw)
    return parts.join(custom_root(residual, parts.split(x0), solve, solver))


def newton(
    f: Callable[..., Any],
    x0: Any,
    *args: Any,
    rtol: float | None = None,
    atol: float | None = None,
    max_steps: int = 50,
    linear_solver: str | Solver = "auto",
    throw: bool = True,
) -> Any:
    """The x with f(x, *args) = 0 that Newton's method finds from x0.

    A step is halved, up to 10 times, while it does not make |f| smaller. Everything else is as in
    `fixed_point`: iteration ends with a step of |dx| <= rtol |x| + atol, and derivatives are those
    of the equation, f_x dx = -f_a da. `linear_solver` serves for the steps too.

    Raises SolveError, when it runs, if it does not converge in max_steps or if f_x is singular;
    with throw=False the result is NaN then.
    """

    parts = RealParts.of(x0)

    def equation(unknowns: Any) -> Any:
        return parts.split(f(parts.join(unknowns), *args))

    def solve(equation: Function, start: Any) -> Any:
        silent = find_solver(linear_solver, throw=False)
        return _newton(equation, start, silent, rtol, atol, max_steps, throw)

    equation.__name__ = getattr(f, "__name__", "f")
    solver = find_solver(linear_solver, throw)
    return parts.join(custom_root(equation, parts.split(x0), solve, solver))


def _iterate(residual: Function, x: Any, rtol: Any, atol: Any, max_steps: int, throw: bool) -> Any:
    """x + residual(x), repeated until the residual is small."""
    limit = tolerance(rtol, atol)

    def proceed(state: Any) -> Any:
        k, _, gap, done = state
        return (k < max_steps) & ~done & jnp.isfinite(gap)

    def step(state: Any) -> Any:
        k, x, _, _ = state
        r = residual(x)
        x = jax.tree.map(jnp.add, x, r)
        gap = norm(r)
        return k + 1, x, gap, (gap <= limit(x)) & jnp.isfinite(gap)

    start = (0, x, jnp.zeros_like(norm(x)), jnp.asarray(False))
    steps, x, gap, done = jax.lax.while_loop(proceed, step, start)
    return checked(x, done, _CLAIM, _HINT, {"steps": steps, "last change": gap}, throw)


_CLAIM: Final = "the fixed-point iteration did not converge"
_HINT: Final = (
    "start nearer to the solution, allow more max_steps, loosen rtol and atol, or solve "
    "f(x) - x = 0 by covector.newton; throw=False gives NaNs instead"
)


def _newton(
    f: Function, x: Any, solver: Solver, rtol: Any, atol: Any, max_steps: int, throw: bool
) -> Any:
    limit = tolerance(rtol, atol)

    def proceed(state: Any) -> Any:
        k, _, _, size, done = state
        return (k < max_steps) & ~done & jnp.isfinite(size)

    def step(state: Any) -> Any:
        k, x, _, _, _ = state
        y, tangent = linearize(f, x)
        dx = jax.tree.map(jnp.negative, solver(tangent, y))
        size = norm(dx)
        done = (size <= limit(x)) & jnp.isfinite(size)
        x = _along(f, x, dx, norm(y), done)
        return k + 1, x, norm(y), size, done

    start = (0, x, jnp.zeros_like(norm(x)), jnp.zeros_like(norm(x)), jnp.asarray(False))
    steps, x, residual, size, done = jax.lax.while_loop(proceed, step, start)
    facts = {"steps": steps, "last residual": residual, "last step": size}
    return checked(x, done, _NEWTON_CLAIM, _NEWTON_HINT, facts, throw)


_NEWTON_CLAIM: Final = "Newton's method did not converge"
_NEWTON_HINT: Final = (
    "a step that is not finite means a singular derivative of f; start nearer to the root, allow "
    "more max_steps, or loosen rtol and atol; throw=False gives NaNs instead"
)


def _along(f: Function, x: Any, dx: Any, before: Any, done: Any) -> Any:
    """x + t dx for the first t = 1, 1/2, 1/4, ... that makes |f| smaller, or the last of them."""

    def at(t: Any) -> Any:
        return jax.tree.map(lambda a, d: a + t.astype(d.dtype) * d, x, dx)

    def proceed(t: Any) -> Any:
        return ~done & (t > 2.0**-10) & ~(norm(f(at(t))) < before)

    t = jax.lax.while_loop(proceed, lambda t: t / 2, jnp.ones_like(before))
    return at(t)


def tolerance(rtol: float | None, atol: float | None) -> Callable[[Any], Any]:
    """What a change of x may be for x to count as found."""

    def limit(x: Any) -> Any:
        size = norm(x)
        default = float(jnp.finfo(size.dtype).eps) ** 0.75
        relative = default if rtol is None else rtol
        return relative * size + (relative if atol is None else atol)

    return limit


def norm(x: Any) -> Any:
    """The Euclidean norm of a pytree, a real scalar, also where its square is none."""
    size = jnp.abs(ravel_pytree(x)[0])
    largest = jnp.max(size, initial=0)
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    return scale * jnp.linalg.norm(size / scale)


def _minus(y: Any, x: Any) -> Any:
    """y - x, leaf by leaf where they nest alike; else y, whose nesting is then complained about."""
    ours: Any = jax.tree.structure(x)
    if jax.tree.structure(y) != ours:
        return y
    return jax.tree.map(lambda a, b: a - b, y, x)
