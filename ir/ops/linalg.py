"""Linear algebra: factorisations, eigenvalues, singular values, structured solves.

The last axes of an operand are its matrix (or vector); all axes before them are batch axes, which
all operands share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from ..errors import TypeRuleError
from ..primitive import REQUIRED, Primitive, Types, define
from ..types import (
    INT32,
    Dtype,
    TensorType,
    dtype_category,
    dtype_name,
)
from .operands import all_weak, same_dtype

Params = dict[str, Any]
Shape = tuple[int, ...]

REAL: Final = frozenset({"float32", "float64"})
FIELD: Final = REAL | {"complex64", "complex128"}
"""The dtypes that LAPACK computes in."""

Results = Callable[[Dtype, Sequence[Shape], Params], Sequence[tuple[Shape, Dtype]]]
"""(dtype, shapes of the operands' matrices, params) -> shape and dtype of each output's matrix."""


def batch_shape(name: str, types: Types, ranks: Sequence[int]) -> Shape:
    """The batch axes that operands share, whose matrices have these ranks. Raises TypeRuleError."""
    if len(types) != len(ranks):
        raise TypeRuleError(f"{name} takes {len(ranks)} operands, got {len(types)}")
    for t, rank in zip(types, ranks, strict=True):
        if len(t.shape) < rank:
            raise TypeRuleError(f"{name} takes an operand of rank {rank} or more, got {t}")
    batches = [t.shape[: len(t.shape) - rank] for t, rank in zip(types, ranks, strict=True)]
    if any(batch != batches[0] for batch in batches):
        raise TypeRuleError(f"the batch axes of {name}'s operands differ: {batches}")
    return batches[0]


def check_dtype(name: str, dtype: Dtype, accepted: frozenset[str]) -> None:
    if dtype.name not in accepted:
        raise TypeRuleError(
            f"{name} does not take {dtype_name(dtype)}; it takes {', '.join(sorted(accepted))}"
        )


def check_square(name: str, shape: Shape) -> None:
    if shape[-1] != shape[-2]:
        raise TypeRuleError(f"{name} takes square matrices, got one of shape {shape}")


def define_linalg(
    name: str,
    ranks: Sequence[int],
    results: Results,
    accepted: frozenset[str] = FIELD,
    **fields: Any,
) -> Primitive:
    """Define a primitive of operands of one dtype, whose matrices have these ranks."""

    def infer(types: Types, params: Params) -> Types:
        batch = batch_shape(name, types, ranks)
        dtype = same_dtype(name, types)
        check_dtype(name, dtype, accepted)
        matrices = [t.shape[len(batch) :] for t in types]
        weak = all_weak(types)
        made = results(dtype, matrices, params)
        return tuple([TensorType((*batch, *shape), out, weak) for shape, out in made])

    return define(name, infer, family="linalg", **fields)


def _square(name: str) -> Results:
    """One output, like the one operand, which is square."""

    def results(dtype: Dtype, shapes: Sequence[Shape], params: Params) -> Any:
        check_square(name, shapes[0])
        return [(shapes[0], dtype)]

    return results


# -- factorisations ------------------------------------------------------------------------------

cholesky = define_linalg("cholesky", (2,), _square("cholesky"))
"""L with A = L L^H, reading the lower triangle of A only; the upper one of L is unspecified.
NaN where A is not positive definite."""


def _cholesky_update(dtype: Dtype, shapes: Sequence[Shape], params: Params) -> Any:
    check_square("cholesky_update", shapes[0])
    if shapes[1] != shapes[0][:1]:
        raise TypeRuleError(f"cholesky_update of {shapes[0]} by a vector of shape {shapes[1]}")
    return [(shapes[0], dtype)]


cholesky_update = define_linalg("cholesky_update", (2, 1), _cholesky_update, REAL)
"""`cholesky_update R w`: upper triangular R' with R'^T R' = R^T R + w w^T."""


def _lu(dtype: Dtype, shapes: Sequence[Shape], params: Params) -> Any:
    m, n = shapes[0]
    return [((m, n), dtype), ((min(m, n),), INT32), ((m,), INT32)]


lu = define_linalg("lu", (2,), _lu)
"""A[permutation] = L U, as (L below the diagonal and U on and above it, pivots, permutation).
Row i was exchanged with row pivots[i] at step i."""


def _infer_pivots(types: Types, params: Params) -> TensorType:
    batch = batch_shape("lu_pivots_to_permutation", types, (1,))
    check_dtype("lu_pivots_to_permutation", types[0].dtype, frozenset({"int32"}))
    size = params["permutation_size"]
    if size < types[0].shape[-1]:
        raise TypeRuleError(f"{types[0].shape[-1]} pivots do not permute {size} rows")
    return TensorType((*batch, size), INT32, types[0].weak)


lu_pivots_to_permutation = define(
    "lu_pivots_to_permutation",
    _infer_pivots,
    defaults={"permutation_size": REQUIRED},
    not_differentiable="its results are not real numbers",
)
"""The permutation that exchanging row i with row pivots[i] for each i in turn amounts to."""


def _geqrf(dtype: Dtype, shapes: Sequence[Shape], params: Params) -> Any:
    return [(shapes[0], dtype), ((min(shapes[0]),), dtype)]


geqrf = define_linalg("geqrf", (2,), _geqrf)
"""A = Q R as (R on and above the diagonal, reflectors v_i below it; their factors tau_i)."""


def _infer_geqp3(types: Types, params: Params) -> Types:
    batch = batch_shape("geqp3", types, (2, 1))
    a, columns = types
    check_dtype("geqp3", a.dtype, FIELD)
    if dtype_category(columns.dtype) != "int" or columns.shape[-1] != a.shape[-1]:
        raise TypeRuleError(f"geqp3 takes one integer for each column of {a}, got {columns}")
    weak = all_weak(types)
    taus = TensorType((*batch, min(a.shape[-2:])), a.dtype, weak)
    return TensorType(a.shape, a.dtype, weak), TensorType(columns.shape, columns.dtype, weak), taus


geqp3 = define("geqp3", _infer_geqp3, defaults={"use_magma": None}, family="linalg")
"""`geqp3 A columns`: A[:, p] = Q R with |R[i, i]| decreasing, as (R and reflectors, p, taus);
p counts from 1. Columns for which `columns` is not 0 are moved to the front first."""


def _householder_product(dtype: Dtype, shapes: Sequence[Shape], params: Params) -> Any:
    (m, n), (k,) = shapes
    if m < n or k > n:
        raise TypeRuleError(f"householder_product of {k} reflectors in a matrix of shape {(m, n)}")
    return [((m, n), dtype)]


householder_product = define_linalg("householder_product", (2, 1), _householder_product)
"""The first columns of H_1 H_2 ... H_k, H_i = I - tau_i v_i v_i^H; v_i as geqrf leaves them."""


def _ormqr(dtype: Dtype, shapes: Sequence[Shape], params: Params) -> Any:
    (m, _), _, c = shapes
    if c[0 if params["left"] else 1] != m:
        raise TypeRuleError(f"ormqr multiplies a matrix of shape {c} by an orthogonal one of {m}")
    return [(c, dtype)]


ormqr = define_linalg("ormqr", (2, 1, 2), _ormqr, defaults={"left": True, "transpose": False})
"""`ormqr a taus c`: Q c or (not left) c Q, Q = H_1 ... H_k as in geqrf; transpose: with Q^H."""


def _qr(dtype: Dtype, shapes: Sequence[Shape], params: Params) -> Any:
    m, n = shapes[0]
    k = m if params["full_matrices"] else min(m, n)
    made: list[tuple[Shape, Dtype]] = [((m, k), dtype), ((k, n), dtype)]
    return [*made, ((n,), INT32)] if params["pivoting"] else made


qr = define_linalg(
    "qr", (2,), _qr, defaults={"pivoting": False, "full_matrices": True, "use_magma": None}
)
"""A = Q R; with pivoting A[:, p] = Q R, p third."""

# -- solves and products -------------------------------------------------------------------------

ANY_FIELD: Final = FIELD | {"float16", "bfloat16"}


def _triangular_solve(dtype: Dtype, shapes: Sequence[Shape], params: Params) -> Any:
    a, b = shapes
    check_square("triangular_solve", a)
    if b[0 if params["left_side"] else 1] != a[0]:
        side = "left" if params["left_side"] else "right"
        raise TypeRuleError(f"triangular_solve of {b} by a matrix of shape {a} on the {side}")
    return [(b, dtype)]


triangular_solve = define_linalg(
    "triangular_solve",
    (2, 2),
    _triangular_solve,
    ANY_FIELD,
    defaults={
        "left_side": False,
        "lower": False,
        "transpose_a": False,
        "conjugate_a": False,
        "unit_diagonal": False,
    },
    linear_in=(1,),
)
"""`triangular_solve a b`: x with op(a) x = b (left_side) or x op(a) = b, reading one triangle of a;
op transposes and conjugates as said. With unit_diagonal the diagonal is taken to be 1, unread."""


def _tridiagonal_solve(dtype: Dtype, shapes: Sequence[Shape], params: Params) -> Any:
    lower, diagonal, upper, b = shapes
    if not lower == diagonal == upper == b[:1]:
        raise TypeRuleError(f"tridiagonal_solve takes diagonals as long as b, got {shapes}")
    return [(b, dtype)]


tridiagonal_solve = define_linalg(
    "tridiagonal_solve",
    (1, 1, 1, 2),
    _tridiagonal_solve,
    defaults={"perturb_singular": False},
    linear_in=(3,),
)
"""`tridiagonal_solve dl d du b`: x with dl[i] x[i-1] + d[i] x[i] + du[i] x[i+1] = b[i]; the first
of dl and the last of du are 0. perturb_singular: tiny pivots are made larger."""


def _symmetric_product(dtype: Dtype, shapes: Sequence[Shape], params: Params) -> Any:
    a, c = shapes
    check_square("symmetric_product", c)
    if a[0] != c[0]:
        raise TypeRuleError(f"symmetric_product of {a} cannot be added to {c}")
    return [(c, dtype)]


symmetric_product = define_linalg(
    "symmetric_product",
    (2, 2),
    _symmetric_product,
    REAL,
    defaults={"alpha": 1.0, "beta": 0.0},
    float_params=True,
)
"""`symmetric_product a c`: alpha a a^T + beta c, for a symmetric c."""
