"""What linear algebra means: LAPACK's results, matrix by matrix, NaN where it gives up.

Factors that are unique up to signs or phases only are those that LAPACK returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..ops import linalg as l
from ..primitive import Primitive
from ..types import TensorType
from . import meanings, means

Array = np.ndarray[Any, Any]


def per_matrix(primitive: Primitive) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`@per_matrix(p)`: enter the meaning of p for operands without batch axes."""

    def enter(meaning: Callable[..., Any]) -> Callable[..., Any]:
        def over_batch(*operands: Array, **params: Any) -> list[Array]:
            types = primitive.infer(tuple(TensorType(x.shape, x.dtype) for x in operands), params)
            types = (types,) if isinstance(types, TensorType) else types
            results = [np.empty(t.shape, t.dtype) for t in types]  # type: ignore[arg-type]
            batch = operands[0].shape[: -RANK_OF_FIRST.get(primitive, 2)]
            for index in np.ndindex(batch):
                made = meaning(*(x[index] for x in operands), **params)
                for result, y in zip(
                    results, made if isinstance(made, tuple) else (made,), strict=True
                ):
                    result[index] = y
            return results

        meanings.define(primitive, over_batch)
        return meaning

    return enter


RANK_OF_FIRST = {l.lu_pivots_to_permutation: 1, l.tridiagonal_solve: 1}
"""Primitives whose first operand is not a matrix."""


def lapack(name: str, *operands: Array) -> Callable[..., Any]:
    """LAPACK's routine for the dtype of the operands."""
    import scipy.linalg

    (routine,) = scipy.linalg.get_lapack_funcs((name,), operands)
    return routine  # type: ignore[no-any-return]


def adjoint(a: Array) -> Array:
    return a.conj().T


# -- factorisations ------------------------------------------------------------------------------


@per_matrix(l.cholesky)
def _cholesky(a: Array) -> Array:
    try:
        return np.linalg.cholesky(a)
    except np.linalg.LinAlgError:
        return np.full_like(a, np.nan)


@per_matrix(l.cholesky_update)
def _cholesky_update(r: Array, w: Array) -> Array:
    """Row by row, the Givens rotation that makes an element of w zero."""
    r, w = r.copy(), w.copy()
    for k in range(len(w)):
        length = np.hypot(r[k, k], w[k])
        if w[k] != 0:
            c, s = r[k, k] / length, w[k] / length
            r[k], w = c * r[k] + s * w, c * w - s * r[k]
    return r


@per_matrix(l.lu)
def _lu(a: Array) -> tuple[Array, ...]:
    m = a.shape[0]
    if not a.size:
        return a, np.zeros(0, np.int32), np.arange(m)
    factors, pivots, info = lapack("getrf", a)(a)
    factors = np.full_like(a, np.nan) if info < 0 else factors
    return factors, pivots, permutation_of(pivots, m)


def permutation_of(pivots: Array, size: int) -> Array:
    """Rows 0, 1, ... after row i was exchanged with row pivots[i], for each i in turn."""
    rows = np.arange(size)
    for i, j in enumerate(pivots):
        rows[[i, j]] = rows[[j, i]]
    return rows


@per_matrix(l.lu_pivots_to_permutation)
def _lu_pivots_to_permutation(pivots: Array, permutation_size: int) -> Array:
    return permutation_of(pivots, permutation_size)


@per_matrix(l.geqrf)
def _geqrf(a: Array) -> tuple[Array, Array]:
    fixed = np.ones(a.shape[1], np.int64)
    factors, _, taus = factor_qr(a, fixed)
    return factors, taus


@per_matrix(l.geqp3)
def _geqp3(a: Array, columns: Array, use_magma: bool | None) -> tuple[Array, ...]:
    factors, order, taus = factor_qr(a, columns)
    return factors, order + 1, taus


def factor_qr(a: Array, fixed: Array) -> tuple[Array, Array, Array]:
    """R with the reflectors below it, the order of columns, and the factors of the reflectors.

    The columns that are `fixed` come first; after them, the one that is longest below row i is
    brought to column i.
    """
    a, order = a.copy(), np.arange(a.shape[1])
    n_fixed = 0
    for j in np.flatnonzero(fixed):
        exchange(a, order, n_fixed, int(j))
        n_fixed += 1
    taus = np.zeros(min(a.shape), a.dtype)
    for i in range(len(taus)):
        if i >= n_fixed:
            exchange(a, order, i, i + int(np.argmax(np.linalg.norm(a[i:, i:], axis=0))))
        beta, tail, taus[i] = reflector(a[i:, i])
        v = np.concatenate([np.ones(1, a.dtype), tail])
        a[i:, i + 1 :] -= np.conj(taus[i]) * np.outer(v, v.conj() @ a[i:, i + 1 :])
        a[i, i], a[i + 1 :, i] = beta, tail
    return a, order, taus


def exchange(a: Array, order: Array, i: int, j: int) -> None:
    a[:, [i, j]] = a[:, [j, i]]
    order[[i, j]] = order[[j, i]]


def reflector(x: Array) -> tuple[Any, Array, Any]:
    """(beta, v, tau): (I - tau [1, v] [1, v]^H)^H x = [beta, 0], beta real (LAPACK's larfg)."""
    alpha, tail = x[0], x[1:]
    if not tail.any() and not np.imag(alpha):
        return alpha, np.zeros_like(tail), 0
    beta = -np.copysign(np.linalg.norm(x), alpha.real)
    return beta, tail / (alpha - beta), (beta - alpha) / beta


def reflectors(a: Array, count: int) -> list[Array]:
    """The vectors v_i = [0, ..., 0, 1, a[i+1:, i]]."""
    below = np.tril(a, -1)[:, :count]
    return list((below + np.eye(*below.shape, dtype=a.dtype)).T)


def apply_reflectors(a: Array, taus: Array, c: Array) -> Array:
    """H_1 (H_2 (... (H_k c))), H_i = I - tau_i v_i v_i^H."""
    for v, tau in reversed(list(zip(reflectors(a, len(taus)), taus, strict=True))):
        c = c - tau * np.outer(v, v.conj() @ c)
    return c


@per_matrix(l.householder_product)
def _householder_product(a: Array, taus: Array) -> Array:
    return apply_reflectors(a, taus, np.eye(*a.shape, dtype=a.dtype))


@per_matrix(l.ormqr)
def _ormqr(a: Array, taus: Array, c: Array, left: bool, transpose: bool) -> Array:
    q = apply_reflectors(a, taus, np.eye(len(a), dtype=a.dtype))
    q = adjoint(q) if transpose else q
    return q @ c if left else c @ q


@per_matrix(l.qr)
def _qr(a: Array, pivoting: bool, full_matrices: bool, use_magma: bool | None) -> tuple[Array, ...]:
    m, n = a.shape
    k = m if full_matrices else min(m, n)
    free = np.zeros(n, np.int64) if pivoting and a.size else np.ones(n, np.int64)
    factors, order, taus = factor_qr(a, free)
    q = apply_reflectors(factors, taus, np.eye(m, k, dtype=a.dtype))
    r = np.triu(factors)[:k]
    # JAX, too, leaves an empty matrix's columns all numbered 0.
    return (q, r, order if a.size else 0 * order) if pivoting else (q, r)


# -- solves and products -------------------------------------------------------------------------


@per_matrix(l.triangular_solve)
def _triangular_solve(
    a: Array,
    b: Array,
    left_side: bool,
    lower: bool,
    transpose_a: bool,
    conjugate_a: bool,
    unit_diagonal: bool,
) -> Array:
    import scipy.linalg

    if not b.size:
        return b
    if b.dtype.name in ("float16", "bfloat16"):
        a, b = a.astype(np.float32), b.astype(np.float32)
    a = a.conj() if conjugate_a else a
    solve = scipy.linalg.get_blas_funcs("trsm", (a, b))
    x: Array = solve(
        1, a, b, side=not left_side, lower=lower, trans_a=transpose_a, diag=unit_diagonal
    )
    return x


@per_matrix(l.tridiagonal_solve)
def _tridiagonal_solve(dl: Array, d: Array, du: Array, b: Array, perturb_singular: bool) -> Array:
    """Gaussian elimination with partial pivoting; a row keeps the diagonal and two elements."""
    n = len(d)
    rows = np.zeros((n, 3), d.dtype)
    rows[:, 0] = d
    rows[:-1, 1] = du[:-1]
    x = b.copy()
    for i in range(n - 1):
        below = np.array([dl[i + 1], rows[i + 1, 0], rows[i + 1, 1]], d.dtype)
        if magnitude(below[0]) > magnitude(rows[i, 0]):
            rows[i], below = below, rows[i].copy()
            x[[i, i + 1]] = x[[i + 1, i]]
        factor = below[0] / rows[i, 0] if rows[i, 0] else below[0]
        rows[i + 1, :2] = below[1:] - factor * rows[i, 1:]
        x[i + 1] -= factor * x[i]
    if perturb_singular:
        _enlarge_pivots(rows)
    elif (rows[:, 0] == 0).any():
        return np.full_like(b, np.nan)
    for i in reversed(range(n)):
        for k in (1, 2):
            if i + k < n:
                x[i] -= rows[i, k] * x[i + k]
        x[i] /= rows[i, 0]
    return x


def magnitude(x: Any) -> Any:
    """LAPACK's: |re| + |im|."""
    return abs(x.real) + abs(x.imag)


def _enlarge_pivots(rows: Array) -> None:
    """Make pivots at least eps times the largest element of U."""
    least = np.finfo(rows.dtype).eps * max(abs(rows).max(initial=0), np.finfo(rows.dtype).tiny)
    pivots = rows[:, 0]
    sign = np.where(pivots == 0, 1, pivots / np.where(pivots == 0, 1, abs(pivots)))
    rows[:, 0] = np.where(abs(pivots) < least, sign * least, pivots)


@means(l.symmetric_product)
def _symmetric_product(a: Array, c: Array, alpha: float, beta: float) -> Array:
    return alpha * (a @ np.swapaxes(a, -1, -2)) + beta * c
