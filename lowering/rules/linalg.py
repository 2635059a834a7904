"""Linear algebra: LAPACK, cuSOLVER and their like, called as JAX calls them on each platform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from jax.lax import linalg as jax_linalg

from ...ir.builder import Builder
from ...ir.errors import CovectorError
from ...ir.graph import Equation
from ...ir.ops import linalg as ops
from ...ir.ops import linalg_spectral as spectral
from ..context import Context, MlirValue
from ..tables import expanded, lower

Operands = Sequence[MlirValue]

ALGORITHMS: Final[dict[tuple[str, str], Any]] = {
    ("eig", "implementation"): jax_linalg.EigImplementation,
    ("eigh", "algorithm"): jax_linalg.EighImplementation,
    ("svd", "algorithm"): jax_linalg.SvdAlgorithm,
}


@lower.rule(
    ops.cholesky,
    ops.lu,
    ops.lu_pivots_to_permutation,
    ops.geqrf,
    ops.geqp3,
    ops.householder_product,
    ops.qr,
    spectral.eig,
    spectral.eigh,
    spectral.hessenberg,
    spectral.schur,
    spectral.svd,
    spectral.tridiagonal,
    ops.triangular_solve,
    ops.tridiagonal_solve,
    ops.symmetric_product,
)
def lower_linalg(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    name, params = eqn.primitive.name, dict(eqn.params)
    for (owner, key), algorithms in ALGORITHMS.items():
        if owner == name and isinstance(params[key], str):
            params[key] = algorithms[params[key]]
    if name == "schur":
        params["select_callable"] = None
    types = [x.type for x in eqn.inputs], [v.type for v in eqn.outputs]
    try:
        return ctx.borrow(name, *types, operands, **params)
    except NotImplementedError as error:
        platforms = " and ".join(ctx.platforms)
        raise CovectorError(
            f"{name} is not available on {platforms}", eqn, stage="lowering", hint=str(error)
        ) from None


@lower.rule(ops.ormqr)
def lower_ormqr(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """No reflectors make the identity; XLA divides by the size of the matrix that holds them."""
    if eqn.inputs[1].type.shape[-1] == 0:
        return operands[2:]
    return lower_linalg(ctx, eqn, operands)


@lower.rule(ops.cholesky_update)
def lower_cholesky_update(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """Libraries update one matrix at a time; a stack is updated row by row, all at once."""
    if len(eqn.inputs[1].type.shape) == 1:
        return lower_linalg(ctx, eqn, operands)
    return lower_stacked_update(ctx, eqn, operands)


def update_rows(b: Builder, r: Any, w: Any) -> Any:
    """For each row k of R in turn, the rotation of (row k, w) that makes element k of w zero."""
    *batch, n = w.type.shape
    axis = len(batch)
    w = b.reshape(w, new_sizes=(*batch, 1, n))

    def cut(x: Any, k: int, along: int) -> Any:
        """Row or column k."""
        start, limit = [0] * len(x.type.shape), list(x.type.shape)
        start[along], limit[along] = k, k + 1
        return b.slice(x, start_indices=tuple(start), limit_indices=tuple(limit))

    rows = []
    for k in range(n):
        row = cut(r, k, axis)
        x, z = cut(row, k, axis + 1), cut(w, k, axis + 1)
        larger = b.max(b.abs(x), b.abs(z))
        keeps = b.eq(z, b.full(z.type, 0))
        larger = b.select_n(keeps, larger, b.full(z.type, 1))
        x, z = b.div(x, larger), b.div(z, larger)
        length = b.sqrt(b.add(b.mul(x, x), b.mul(z, z)))
        c = b.select_n(keeps, b.div(x, length), b.full(z.type, 1))
        s = b.select_n(keeps, b.div(z, length), b.full(z.type, 0))
        rows.append(b.add(b.mul(c, row), b.mul(s, w)))
        w = b.sub(b.mul(c, w), b.mul(s, row))
    return b.concatenate(*rows, dimension=axis) if n else r


lower_stacked_update = expanded(update_rows)
