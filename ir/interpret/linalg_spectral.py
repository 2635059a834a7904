"""What eigenvalues and singular values are: LAPACK's, matrix by matrix, NaN where it gives up."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops import linalg_spectral as l
from .linalg import lapack, per_matrix

Array = np.ndarray[Any, Any]


@per_matrix(l.eig)
def _eig(
    a: Array,
    compute_left_eigenvectors: bool,
    compute_right_eigenvectors: bool,
    enable_eigvec_derivs: bool,
    implementation: str | None,
) -> tuple[Array, ...]:
    import scipy.linalg

    wanted = [compute_left_eigenvectors, compute_right_eigenvectors]
    try:
        w, *both = scipy.linalg.eig(a, left=True, right=True, check_finite=False)
    except np.linalg.LinAlgError:
        w, both = np.full(len(a), np.nan), [np.full_like(a, np.nan)] * 2
    return (w, *(v for v, is_wanted in zip(both, wanted, strict=True) if is_wanted))


@per_matrix(l.eigh)
def _eigh(
    a: Array,
    lower: bool,
    sort_eigenvalues: bool,
    subset_by_index: tuple[int, int] | None,
    algorithm: str | None,
) -> tuple[Array, Array]:
    start, stop = subset_by_index or (0, len(a))
    try:
        w, v = np.linalg.eigh(a, "L" if lower else "U")
    except np.linalg.LinAlgError:
        w, v = np.full(len(a), np.nan), np.full_like(a, np.nan)
    return v[:, start:stop], w[start:stop]


@per_matrix(l.hessenberg)
def _hessenberg(a: Array) -> tuple[Array, Array]:
    reduced, taus, _ = lapack("gehrd", a)(a)
    return reduced, taus[: len(a) - 1]


@per_matrix(l.schur)
def _schur(a: Array, compute_schur_vectors: bool, sort_eig_vals: bool) -> tuple[Array, ...]:
    import scipy.linalg

    if sort_eig_vals:
        raise NotImplementedError("LAPACK's schur form with sorted eigenvalues")
    try:
        t, z = scipy.linalg.schur(a, "complex" if np.iscomplexobj(a) else "real")
    except np.linalg.LinAlgError:
        t = z = np.full_like(a, np.nan)
    return (t, z) if compute_schur_vectors else (t,)


@per_matrix(l.svd)
def _svd(
    a: Array,
    full_matrices: bool,
    compute_uv: bool,
    subset_by_index: tuple[int, int] | None,
    algorithm: str | None,
) -> tuple[Array, ...]:
    m, n = a.shape
    start, stop = subset_by_index or (0, min(m, n))
    u, s, vh = safe_svd(a, full_matrices)
    if not compute_uv:
        return (s[start:stop],)
    if full_matrices:
        return s, u, vh
    return s[start:stop], u[:, start:stop], vh[start:stop]


def safe_svd(a: Array, full: bool) -> tuple[Array, Array, Array]:
    try:
        u, s, vh = np.linalg.svd(a, full_matrices=full)
    except np.linalg.LinAlgError:
        (m, n), k = a.shape, min(a.shape)
        nan = np.full((max(m, n), max(m, n)), np.nan)
        return nan[:m, : m if full else k], nan[0, :k], nan[: n if full else k, :n]
    return u, s, vh


@per_matrix(l.tridiagonal)
def _tridiagonal(a: Array, lower: bool) -> tuple[Array, ...]:
    name = "hetrd" if np.iscomplexobj(a) else "sytrd"
    reduced, d, e, taus, _ = lapack(name, a)(a, lower=lower)
    return reduced, d, e, taus
