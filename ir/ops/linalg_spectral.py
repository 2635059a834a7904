"""Eigenvalues, singular values, and the forms that lead to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import TypeRuleError
from ..types import Dtype, complex_dtype, real_dtype
from .linalg import Params, Shape, check_square, define_linalg


def _eig(dtype: Dtype, shapes: Sequence[Shape], params: Params) -> Any:
    check_square("eig", shapes[0])
    count = params["compute_left_eigenvectors"] + params["compute_right_eigenvectors"]
    return [(shape, complex_dtype(dtype)) for shape in (shapes[0][:1], *[shapes[0]] * count)]


eig = define_linalg(
    "eig",
    (2,),
    _eig,
    defaults={
        "compute_left_eigenvectors": True,
        "compute_right_eigenvectors": True,
        "enable_eigvec_derivs": False,
        "implementation": None,
    },
)
"""Eigenvalues w, then left and right eigenvectors as asked for: V_l^H A = diag(w) V_l^H and
A V_r = V_r diag(w), columns of length 1 whose largest component is real.

`enable_eigvec_derivs`: the user vouches for what derivatives of eigenvectors need.
"""


def _eigh(dtype: Dtype, shapes: Sequence[Shape], params: Params) -> Any:
    check_square("eigh", shapes[0])
    n, subset = shapes[0][0], params["subset_by_index"]
    d = n if subset is None else subset[1] - subset[0]
    return [((n, d), dtype), ((d,), real_dtype(dtype))]


eigh = define_linalg(
    "eigh",
    (2,),
    _eigh,
    defaults={
        "lower": True,
        "sort_eigenvalues": True,
        "subset_by_index": None,
        "algorithm": None,
    },
)
"""(V, w) with A V = V diag(w), V unitary, w ascending; reads one triangle of the Hermitian A."""


def _hessenberg(dtype: Dtype, shapes: Sequence[Shape], params: Params) -> Any:
    check_square("hessenberg", shapes[0])
    n = shapes[0][0]
    if not n:
        raise TypeRuleError("hessenberg takes matrices of at least one row")
    return [((n, n), dtype), ((n - 1,), dtype)]


hessenberg = define_linalg("hessenberg", (2,), _hessenberg)
"""A = Q H Q^H as (H on and above the subdiagonal, reflectors below it; their factors)."""


def _schur(dtype: Dtype, shapes: Sequence[Shape], params: Params) -> Any:
    check_square("schur", shapes[0])
    return [(shapes[0], dtype)] * (1 + params["compute_schur_vectors"])


schur = define_linalg(
    "schur", (2,), _schur, defaults={"compute_schur_vectors": True, "sort_eig_vals": False}
)
"""T, and Z if asked for, with A = Z T Z^H, Z unitary and T upper triangular (block triangular for
real A, with 2 x 2 blocks for complex pairs of eigenvalues)."""


def _svd(dtype: Dtype, shapes: Sequence[Shape], params: Params) -> Any:
    m, n = shapes[0]
    k, subset, full = min(m, n), params["subset_by_index"], params["full_matrices"]
    if subset is not None:
        if full and subset != (0, k):
            raise TypeRuleError("svd with full_matrices computes all singular values, no subset")
        k = min(k, subset[1] - subset[0])
    values = ((k,), real_dtype(dtype))
    if not params["compute_uv"]:
        return [values]
    return [values, ((m, m if full else k), dtype), ((n if full else k, n), dtype)]


svd = define_linalg(
    "svd",
    (2,),
    _svd,
    defaults={
        "full_matrices": True,
        "compute_uv": True,
        "subset_by_index": None,
        "algorithm": None,
    },
)
"""s, and U and V^H if asked for, with A = U diag(s) V^H and s descending."""


def _tridiagonal(dtype: Dtype, shapes: Sequence[Shape], params: Params) -> Any:
    check_square("tridiagonal", shapes[0])
    n, real = shapes[0][0], real_dtype(dtype)
    if not n:
        raise TypeRuleError("tridiagonal takes matrices of at least one row")
    return [((n, n), dtype), ((n,), real), ((n - 1,), real), ((n - 1,), dtype)]


tridiagonal = define_linalg("tridiagonal", (2,), _tridiagonal, defaults={"lower": True})
"""A = Q T Q^H of a Hermitian A, as (T and reflectors in one triangle; diagonal of T; subdiagonal of
T; the reflectors' factors)."""
