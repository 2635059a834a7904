"""Linear algebra: LAPACK, cuSOLVER and their like, called as JAX calls them on each platform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from jax.lax import linalg as jax_linalg

from ...ir.graph import Equation
from ...ir.ops import linalg as ops
from ..context import Context, MlirValue
from ..tables import lower

ALGORITHMS: Final[dict[tuple[str, str], Any]] = {
    ("eig", "implementation"): jax_linalg.EigImplementation,
    ("eigh", "algorithm"): jax_linalg.EighImplementation,
    ("svd", "algorithm"): jax_linalg.SvdAlgorithm,
}


@lower.rule(
    ops.cholesky,
    ops.cholesky_update,
    ops.lu,
    ops.lu_pivots_to_permutation,
    ops.geqrf,
    ops.geqp3,
    ops.householder_product,
    ops.ormqr,
    ops.qr,
    ops.eig,
    ops.eigh,
    ops.hessenberg,
    ops.schur,
    ops.svd,
    ops.tridiagonal,
    ops.triangular_solve,
    ops.tridiagonal_solve,
    ops.symmetric_product,
)
def lower_linalg(ctx: Context, eqn: Equation, operands: Sequence[MlirValue]) -> Sequence[MlirValue]:
    name, params = eqn.primitive.name, dict(eqn.params)
    for (owner, key), algorithms in ALGORITHMS.items():
        if owner == name and isinstance(params[key], str):
            params[key] = algorithms[params[key]]
    if name == "schur":
        params["select_callable"] = None
    types = [x.type for x in eqn.inputs], [v.type for v in eqn.outputs]
    return ctx.borrow(name, *types, operands, **params)
