"""How linear algebra transforms.

Below, dA is the tangent of A, and X o Y the elementwise product. The derivatives of factorisations
hold where the factors are differentiable; where eigenvalues or singular values coincide, those of
vectors are infinite or NaN, as in JAX.

Sources: Giles, Collected matrix derivative results for forward and reverse mode algorithmic
differentiation (2008); Murray, Differentiation of the Cholesky decomposition (arXiv 1602.07527);
de Hoog, Anderssen, Lukas, Differentiation of matrix functionals using triangular factorization
(2011); others are named at the rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.builder import Builder, Operand, Zero
from ...ir.errors import MissingRule
from ...ir.graph import Equation
from ...ir.ops import linalg as l
from ...ir.ops import linalg_spectral as spectral
from ...ir.primitive import Primitive
from ...ir.types import is_complex
from .. import tables
from ..tables import Operands, materialise_batch
from . import matrix as m
from .elementwise import strong

# -- refused -------------------------------------------------------------------------------------


def refuse_jvp(primitive: Primitive, reason: str) -> None:
    """Enter that there is no derivative, and why."""

    def jvp_refused(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
        raise MissingRule(f"{primitive.name} has no derivative: {reason}", eqn)

    tables.jvp.define(primitive, jvp_refused)


for primitive, reason in {
    l.cholesky_update: "only the factor it returns has one; differentiate cholesky",
    l.geqrf: "Householder reflectors are an intermediate form; differentiate qr",
    l.geqp3: "Householder reflectors are an intermediate form; differentiate qr",
    l.householder_product: "its operands are an intermediate form; differentiate qr",
    l.ormqr: "its operands are an intermediate form; differentiate qr",
    spectral.hessenberg: "the reduction depends on choices that are not smooth",
    spectral.schur: "the Schur form depends on the order of eigenvalues, which is not smooth",
    spectral.tridiagonal: "Householder reflectors are an intermediate form; differentiate eigh",
}.items():
    refuse_jvp(primitive, reason)


# -- cholesky ------------------------------------------------------------------------------------


@tables.jvp.rule(l.cholesky)
def jvp_cholesky(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """dL = L phi(L^-1 dA L^-H), phi: the lower triangle with half of the diagonal (Murray).

    For from A = L L^H, L^-1 dA L^-H = L^-1 dL + (L^-1 dL)^H is a lower triangle and its adjoint.
    Only the lower triangle of A is read, so only that of dA counts.
    """
    factor = m.lower_triangle(b, eqn.outputs[0])
    below = m.lower_triangle(b, tangents[0], -1)
    da = b.add(m.lower_triangle(b, _hermitian_diagonal(b, tangents[0])), m.adjoint(b, below))
    flags = {"transpose_a": True, "conjugate_a": is_complex(factor.type.dtype), "lower": True}
    right = m.solve_triangular(b, factor, da, left_side=False, **flags)
    both = m.lower_triangle(b, m.solve_triangular(b, factor, right, lower=True))
    halves = b.add(m.identity(b, both.type), b.literal(1, both.type))
    return [m.matmul(b, factor, b.div(both, halves))]


def _hermitian_diagonal(b: Builder, x: Operand) -> Any:
    """x with the imaginary parts of its diagonal dropped."""
    if not is_complex(x.type.dtype):
        return x
    return b.complex(b.real(x), b.sub(b.imag(x), m.keep(b, b.imag(x), "eq")))


# -- lu ------------------------------------------------------------------------------------------


@tables.jvp.rule(l.lu)
def jvp_lu(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """P A = L U: dL = L tril(M, -1), dU = triu(M) U with M = L^-1 P dA U^-1 (de Hoog et al.).

    For M = L^-1 dL + dU U^-1 is a strictly lower and an upper triangle. L is made square with unit
    columns, U with unit rows, so that both can be divided by.
    """
    both, pivots, order = eqn.outputs
    rows, cols = both.type.shape[-2:]
    k = min(rows, cols)
    if not k:
        return [Zero(v.type) for v in eqn.outputs]
    below = m.lower_triangle(b, m.part(b, both, None, (0, k)), -1)
    below = m.pad_matrix(b, below, (0, 0), (0, rows - k))
    lower = b.add(below, m.identity(b, below.type))
    above = m.upper_triangle(b, m.part(b, both, (0, k), None))
    above = m.pad_matrix(b, above, (0, cols - k), (0, 0))
    ones = m.identity(b, above.type)
    upper = b.add(above, b.sub(ones, _first_ones(b, ones, k)))
    da = m.take(b, tangents[0], order, -2)
    mid = m.solve_triangular(b, lower, da, lower=True, unit_diagonal=True)
    mid = m.solve_triangular(b, upper, mid, left_side=False)
    dl = m.matmul(b, lower, m.lower_triangle(b, mid, -1))
    du = m.matmul(b, m.upper_triangle(b, mid), upper)
    return [b.add(dl, du), Zero(pivots.type), Zero(order.type)]


def _first_ones(b: Builder, ones: Operand, k: int) -> Any:
    """An identity matrix with only its first k ones."""
    n = ones.type.shape[-1]
    return m.pad_matrix(b, m.part(b, ones, (0, k), (0, k)), (0, n - k), (0, n - k))


# -- qr ------------------------------------------------------------------------------------------


@tables.jvp.rule(l.qr)
def jvp_qr(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """A = Q R, split where R is square.

    A wide A = [A1, A2] has A1 = Q R1 and R2 = Q^H A2, so dR2 = dQ^H A2 + Q^H dA2. A tall A has
    A = Q1 R1; the columns of Q beyond those of Q1 complete it.
    """
    a, da = eqn.inputs[0], tangents[0]
    q, r, *order = eqn.outputs
    rows, cols = a.type.shape[-2:]
    zeros = [Zero(v.type) for v in order]
    if not a.type.size:
        return [Zero(q.type), Zero(r.type), *zeros]
    if order:
        a, da = m.take(b, a, order[0], -1), m.take(b, da, order[0], -1)
    if rows < cols:
        first, rest = (0, rows), (rows, cols)
        dq, dr1 = thin_qr(b, q, m.part(b, r, None, first), m.part(b, da, None, first))
        dr2 = b.add(
            m.matmul(b, m.adjoint(b, dq), m.part(b, a, None, rest)),
            m.matmul(b, m.adjoint(b, q), m.part(b, da, None, rest)),
        )
        return [dq, b.concatenate(dr1, dr2, dimension=len(a.type.shape) - 1), *zeros]
    if q.type.shape[-1] == cols:
        return [*thin_qr(b, q, r, da), *zeros]
    q1, r1 = m.part(b, q, None, (0, cols)), m.part(b, r, (0, cols), None)
    dq1, dr1 = thin_qr(b, q1, r1, da)
    dq = b.concatenate(dq1, completing(b, q, dq1), dimension=len(a.type.shape) - 1)
    return [dq, m.pad_matrix(b, dr1, (0, rows - cols), (0, 0)), *zeros]


def thin_qr(b: Builder, q: Operand, r: Operand, da: Operand) -> tuple[Any, Any]:
    """dQ and dR for a square R (Walter, Lehmann, Lamour: On evaluating higher-order derivatives of
    the QR decomposition, 2012).

    With M = Q^H dA R^-1 = Q^H dQ + dR R^-1, a skew Hermitian matrix W and an upper triangle: W is
    M below the diagonal, and so known above it, and M's imaginary part on it.
    dR = (M - W) R and dQ = dA R^-1 - Q (M - W).
    """
    da_by_r = m.solve_triangular(b, r, da, left_side=False)
    mid = m.matmul(b, m.adjoint(b, q), da_by_r)
    below = m.lower_triangle(b, mid, -1)
    skew = b.sub(below, m.adjoint(b, below))
    skew, mid, da_by_r = (strong(b, x) for x in (skew, mid, da_by_r))  # as in JAX
    if is_complex(mid.type.dtype):
        imaginary = b.sub(mid, b.convert(b.real(mid), mid.type.dtype))
        skew = b.add(skew, m.keep(b, imaginary, "eq"))
    dq = b.add(m.matmul(b, q, b.sub(skew, mid)), da_by_r)
    return dq, m.matmul(b, b.sub(mid, skew), r)


def completing(b: Builder, q: Operand, dq1: Operand) -> Any:
    """The tangent of the columns Q2 of Q = [Q1, Q2], equations 32 and 33 of arXiv 2409.13374.

    With Q1 = [T; B] cut below its square part and Z = B (T - I)^-1,
    dQ2 = dQ1 Z^H - (Q1 + Q2 Z) (dB - Z dT)^H: the Householder reflectors move no more than needed.
    """
    rows, n = dq1.type.shape[-2:]
    q1, q2 = m.part(b, q, None, (0, n)), m.part(b, q, None, (n, rows))
    top, bottom = m.part(b, q1, (0, n), None), m.part(b, q1, (n, rows), None)
    dtop, dbottom = m.part(b, dq1, (0, n), None), m.part(b, dq1, (n, rows), None)
    shifted = b.sub(top, m.identity(b, top.type))
    z_adjoint = m.solve_adjoint(b, shifted, m.adjoint(b, bottom))
    z = m.adjoint(b, z_adjoint)
    moved = m.adjoint(b, b.sub(dbottom, m.matmul(b, z, dtop)))
    frame = b.add(q1, m.matmul(b, q2, z))
    return b.sub(m.matmul(b, dq1, z_adjoint), m.matmul(b, frame, moved))


# -- batch ---------------------------------------------------------------------------------------


@tables.batch.rule(
    l.cholesky, l.cholesky_update, l.lu, l.lu_pivots_to_permutation, l.geqrf, l.geqp3, l.qr,
    l.householder_product, l.ormqr, l.symmetric_product, spectral.eig, spectral.eigh,
    spectral.hessenberg, spectral.schur, spectral.svd, spectral.tridiagonal,
)  # fmt: skip
def batch_stacked(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """One batch axis more in front."""
    full = [materialise_batch(b, x, is_b, size) for x, is_b in zip(inputs, batched, strict=True)]
    outputs = b.emit(eqn.primitive, *full, **eqn.params)
    return outputs, (True,) * len(outputs)
