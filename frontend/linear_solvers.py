"""Solvers of linear systems that are given by a function: matrix-free GMRES and CG, and dense.

A solver is a function (matvec, b) -> x with matvec(x) = b, over pytrees. Those here are made for
the use inside of implicit derivatives: they run to the precision of the dtype, and a system that is
singular or on which they stall is an error that says so.

GMRES: Saad and Schultz, SIAM J. Sci. Stat. Comput. 7 (1986); CG: Hestenes and Stiefel, J. Res. NBS
49 (1952).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ..ir.errors import UsageError, did_you_mean
from .solve_checks import checked
from .vectorize import vmap

Matvec = Callable[[Any], Any]
Solver = Callable[[Matvec, Any], Any]

DENSE_UP_TO: Final = 128
"""The number of unknowns up to which `"auto"` forms the matrix."""


@dataclass(frozen=True)
class Dense:
    """LU factorisation of the matrix, whose columns come of one batched matvec."""

    throw: bool = True

    def __call__(self, matvec: Matvec, b: Any) -> Any:
        flat, nested, apply = _flattened(matvec, b)
        n = flat.shape[0]
        if not n:
            return b
        matrix = vmap(apply, out_axes=1)(jnp.eye(n, dtype=flat.dtype))
        x = _factored_solve(matrix, flat)
        # Rounding makes a singular matrix regular, and then the solution is huge.
        size = _norm(flat)
        condition = _norm(matrix) * _norm(x) / jnp.where(size > 0, size, 1)
        ok = condition * _eps(flat) < 1  # which NaNs and infinities are not
        facts = {"condition number at least": condition}
        x = _verdict(x, ok, "a dense linear solve", facts, self.throw)
        if jnp.iscomplexobj(x):
            x = _if_linear(x, apply, flat, self.throw)
        return nested(x)


def _factored_solve(matrix: Any, b: Any) -> Any:
    """By LU, which there is from single precision on."""
    dtype = jnp.promote_types(b.dtype, jnp.float32)
    return jnp.linalg.solve(matrix.astype(dtype), b.astype(dtype)).astype(b.dtype)


def _if_linear(x: Any, apply: Matvec, b: Any, throw: bool) -> Any:
    """x, if the matrix that was found from real vectors is right for complex ones."""
    residual, size = _norm(apply(x) - b), _norm(b)
    ok = (residual <= math.sqrt(_eps(b)) * size) | ~jnp.isfinite(residual)
    claim = "matvec is not linear over the complex numbers"
    hint = "where it conjugates, solve for real and imaginary parts as two unknowns"
    return checked(x, ok, claim, hint, {"relative residual": residual / size}, throw)


@dataclass(frozen=True)
class Cg:
    """Conjugate gradients, for matrices that are Hermitian and positive definite.

    rtol: of the residual, relative to b; by default 10 epsilon. max_steps: by default ten times the
    number of unknowns.
    """

    rtol: float | None = None
    max_steps: int | None = None
    throw: bool = True

    def __call__(self, matvec: Matvec, b: Any) -> Any:
        flat, nested, apply = _flattened(matvec, b)
        goal = (self.rtol or 10 * _eps(flat)) * _norm(flat)
        limit = self.max_steps or 10 * max(1, flat.shape[0])

        def proceed(state: Any) -> Any:
            k, *_, rr, _, stalled = state
            return (jnp.sqrt(rr) > goal) & (k < limit) & (stalled < _PATIENCE) & jnp.isfinite(rr)

        def step(state: Any) -> Any:
            k, x, r, p, rr, best, stalled = state
            q = apply(p)
            alpha = rr / jnp.real(jnp.vdot(p, q))
            x, r = x + alpha * p, r - alpha * q
            new = _square(r)
            stalled = jnp.where(new < 0.9 * best, 0, stalled + 1)
            return k + 1, x, r, r + (new / rr) * p, new, jnp.minimum(best, new), stalled

        rr = _square(flat)
        start = (0, jnp.zeros_like(flat), flat, flat, rr, rr, 0)
        steps, x, *_ = jax.lax.while_loop(proceed, step, start)
        return nested(_accepted(x, apply, flat, goal, steps, "conjugate gradients", self.throw))


_PATIENCE: Final = 50


@dataclass(frozen=True)
class Gmres:
    """Restarted GMRES, for any regular matrix.

    rtol: of the residual, relative to b; by default 10 epsilon. restart: the dimension of the
    Krylov spaces. max_cycles: of restarts; it ends before when a cycle gains nothing.
    """

    rtol: float | None = None
    restart: int = 40
    max_cycles: int = 50
    throw: bool = True

    def __call__(self, matvec: Matvec, b: Any) -> Any:
        flat, nested, apply = _flattened(matvec, b)
        m = max(1, min(self.restart, flat.shape[0]))
        goal = (self.rtol or 10 * _eps(flat)) * _norm(flat)

        def proceed(state: Any) -> Any:
            k, _, residual, gained = state
            return (residual > goal) & (k < self.max_cycles) & gained

        def cycle(state: Any) -> Any:
            k, x, residual, _ = state
            y = x + _krylov(apply, flat - apply(x), m, goal)
            after = _norm(flat - apply(y))
            better = after < residual
            x = jnp.where(better, y, x)
            return k + 1, x, jnp.where(better, after, residual), after < 0.5 * residual

        start = (0, jnp.zeros_like(flat), _norm(flat), jnp.asarray(True))
        steps, x, *_ = jax.lax.while_loop(proceed, cycle, start)
        return nested(_accepted(x, apply, flat, goal, steps, "GMRES", self.throw))


def _krylov(apply: Matvec, r: Any, m: int, goal: Any) -> Any:
    """The x in the Krylov space of r, of dimension m at most, for which |r - A x| is least.

    The columns of the Hessenberg matrix are kept triangular by Givens rotations, so that the
    residual is known in each step: the last entry of the rotated right-hand side.
    """
    size = _norm(r)
    basis = jnp.zeros((m + 1, r.shape[0]), r.dtype).at[0].set(r / jnp.where(size > 0, size, 1))
    triangle = jnp.eye(m, dtype=r.dtype)
    rotations = jnp.zeros((m, 2), r.dtype).at[:, 0].set(1)
    rhs = jnp.zeros(m + 1, r.dtype).at[0].set(size)

    def proceed(state: Any) -> Any:
        k, _, _, _, rhs = state
        return (k < m) & (jnp.abs(rhs[k]) > goal)

    def step(state: Any) -> Any:
        k, basis, triangle, rotations, rhs = state
        w, column = _orthogonalised(apply(basis[k]), basis)
        below = _norm(w)
        basis = basis.at[k + 1].set(w / jnp.where(below > 0, below, 1))
        column = jax.lax.fori_loop(0, k, lambda i, c: _rotate(c, i, rotations[i]), column)
        cosine, sine = column[k], below.astype(r.dtype)
        length = jnp.sqrt(jnp.abs(cosine) ** 2 + below**2)
        length = jnp.where(length > 0, length, 1)
        rotations = rotations.at[k].set(jnp.stack([cosine / length, sine / length]))
        column = column.at[k + 1].set(sine)
        column, rhs = _rotate(column, k, rotations[k]), _rotate(rhs, k, rotations[k])
        used = jnp.arange(m) <= k
        triangle = triangle.at[:, k].set(jnp.where(used, column[:m], 0))
        return k + 1, basis, triangle, rotations, rhs

    k, basis, triangle, _, rhs = jax.lax.while_loop(
        proceed, step, (0, basis, triangle, rotations, rhs)
    )
    found = jnp.where(jnp.arange(m) < k, rhs[:m], 0)
    y = jax.scipy.linalg.solve_triangular(triangle, found)
    return y @ basis[:m]


def _orthogonalised(w: Any, basis: Any) -> tuple[Any, Any]:
    """w without its parts along the basis, and these: Gram-Schmidt, twice for its rounding."""
    first = basis.conj() @ w
    w = w - first @ basis
    second = basis.conj() @ w
    return w - second @ basis, first + second


def _rotate(column: Any, i: Any, rotation: Any) -> Any:
    """Entries i and i+1 turned by a rotation (c, s), s real: (c* x + s y, -s x + c y)."""
    c, s = rotation
    x, y = column[i], column[i + 1]
    return column.at[i].set(jnp.conj(c) * x + s * y).at[i + 1].set(c * y - s * x)


# -- what they share -------------------------------------------------------------------------------


def _flattened(matvec: Matvec, b: Any) -> tuple[Any, Callable[[Any], Any], Matvec]:
    """b as a vector, how to nest such a vector again, and matvec on vectors."""
    flat, nested = ravel_pytree(b)
    return flat, nested, lambda v: ravel_pytree(matvec(nested(v)))[0]


def _square(x: Any) -> Any:
    return jnp.real(jnp.vdot(x, x))


def _norm(x: Any) -> Any:
    return jnp.sqrt(_square(jnp.ravel(x)))


def _eps(x: Any) -> float:
    return float(jnp.finfo(x.dtype).eps)


def _accepted(x: Any, apply: Matvec, b: Any, goal: Any, steps: Any, what: str, throw: bool) -> Any:
    """A solution whose residual is what rounding allows, or what was asked for."""
    residual, size = _norm(b - apply(x)), _norm(b)
    # rounding may end the progress before the goal: then half of the digits must be right
    ok = (residual <= goal) | (residual <= math.sqrt(_eps(b)) * size)
    facts = {"relative residual": residual / jnp.where(size > 0, size, 1), "steps": steps}
    return _verdict(x, ok, f"a linear solve by {what}", facts, throw)


def _verdict(x: Any, ok: Any, what: str, facts: dict[str, Any], throw: bool) -> Any:
    claim = f"{what} failed: the system is singular or nearly so"
    return checked(x, ok, claim, _HINT, facts, throw)


_HINT: Final = (
    "in an implicit derivative that means that the solution is not isolated (it has no derivative "
    "there), or that it was not found accurately; throw=False gives NaNs instead"
)


@dataclass(frozen=True)
class Auto:
    """Dense for small systems, matrix-free for large ones: CG if definite, else GMRES."""

    throw: bool = True
    definite: bool = False

    def __call__(self, matvec: Matvec, b: Any) -> Any:
        n = sum(jnp.size(x) for x in jax.tree.leaves(b))
        if n <= DENSE_UP_TO:
            return Dense(self.throw)(matvec, b)
        return (Cg if self.definite else Gmres)(throw=self.throw)(matvec, b)


SOLVERS: Final[dict[str, Callable[..., Solver]]] = {
    "auto": Auto,
    "cg": Cg,
    "dense": Dense,
    "gmres": Gmres,
}


def find_solver(solver: str | Solver, throw: bool, definite: bool = False) -> Solver:
    """The solver of a name, or the function given. Raises UsageError for an unknown name."""
    if not isinstance(solver, str):
        return solver
    if solver not in SOLVERS:
        raise UsageError(
            f"there is no linear solver {solver!r}",
            hint=did_you_mean(solver, SOLVERS) or f"there are: {', '.join(SOLVERS)}",
        )
    if solver == "auto":
        return Auto(throw, definite)
    return SOLVERS[solver](throw=throw)
