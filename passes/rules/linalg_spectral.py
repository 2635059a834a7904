"""How eigenvalues and singular values transform.

First-order perturbation of simple eigenvalues: Giles (2008), section 3.1; of singular values:
section 3.2 and Townsend, Differentiating the singular value decomposition (2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.builder import Builder, Operand, Zero
from ...ir.errors import MissingRule
from ...ir.graph import Equation, Value
from ...ir.ops import linalg_spectral as l
from ...ir.types import INT32, is_complex
from .. import tables
from ..tables import Operands, restates_primal
from . import matrix as m
from .elementwise import scaled

restates_primal.update((l.eig, l.svd))  # they need vectors even where only values are asked for


def is_whole(subset: tuple[int, int] | None, n: int) -> bool:
    """Whether a subset of n values is none at all."""
    return subset is None or tuple(subset) == (0, n)


@tables.jvp.rule(l.eigh)
def jvp_eigh(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """A V = V diag(w): with P = V^H dA V, dw = diag(P) and dV = V (F o P), F_ij = 1 / (w_j - w_i)
    off the diagonal and 0 on it (V^H dV is skew; its diagonal is taken to be 0)."""
    v, w = eqn.outputs
    if not is_whole(eqn.params["subset_by_index"], eqn.inputs[0].type.shape[-1]):
        raise MissingRule("eigh of a part of the eigenvalues has no derivative", eqn)
    p = m.matmul(b, m.matmul(b, m.adjoint(b, v), tangents[0]), v)
    gaps = _differences(b, m.as_dtype(b, w, v.type.dtype))
    ones = m.identity(b, gaps.type)
    f = b.sub(b.integer_pow(b.add(gaps, ones), y=-1), ones)
    return [m.matmul(b, v, b.mul(f, p)), m.diagonal(b, m.real_part(b, p))]


def _differences(b: Builder, w: Operand) -> Any:
    """w_j - w_i at (i, j)."""
    return b.sub(m.rows(b, w), m.columns(b, w))


# -- eig -----------------------------------------------------------------------------------------


@tables.jvp.rule(l.eig)
def jvp_eig(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """A V = V diag(w): dw = diag(V^-1 dA V). Left eigenvectors are right ones of A^H."""
    left, right = (eqn.params[f"compute_{side}_eigenvectors"] for side in ("left", "right"))
    if (left or right) and not eqn.params["enable_eigvec_derivs"]:
        raise MissingRule(
            "the derivative of eigenvectors exists only where eigenvalues are simple and each "
            "vector has one largest component",
            eqn,
            hint="say that this holds, with jax.lax.linalg.eig(..., enable_eigvec_derivs=True)",
        )
    w = eqn.outputs[0]
    if not eqn.inputs[0].type.size:
        b.append(eqn)
        return [Zero(y.type) for y in eqn.outputs]
    v = _state_right_eigenvectors(b, eqn)
    da = m.as_dtype(b, tangents[0], v.type.dtype)
    if not (left or right):
        terms = b.mul(m.solve(b, v, da), m.flip(b, v))
        return [b.reduce_sum(terms, axes=(len(v.type.shape) - 1,))]
    dw, dv = _eigenvectors(b, w, v, da)
    results = [dw]
    if left:
        results.append(_eigenvectors(b, m.conjugate(b, w), eqn.outputs[1], m.adjoint(b, da))[1])
    return [*results, dv] if right else results


def _state_right_eigenvectors(b: Builder, eqn: Equation) -> Any:
    """Make the primal outputs, and the right eigenvectors whether asked for or not.

    Of eigenvalues alone, no derivative depends on how vectors are normalised, so second ones need
    nobody's word.
    """
    if eqn.params["compute_right_eigenvectors"]:
        b.append(eqn)
        return eqn.outputs[-1]
    v = Value(eqn.outputs[0].type.with_shape(eqn.inputs[0].type.shape))
    params = {**eqn.params, "compute_right_eigenvectors": True, "enable_eigvec_derivs": True}
    b.define((*eqn.outputs, v), like=eqn, params=params)
    return v


def _eigenvectors(b: Builder, w: Operand, v: Operand, da: Operand) -> tuple[Any, Any]:
    """dw and dV: with P = V^-1 dA V, dw = diag(P) and dV = U + V diag(c), U = V (F o P), F as for
    eigh.

    c keeps what LAPACK normalises. |v_j| = 1: Re c_j = -Re(v_j^H u_j). The largest component, at
    k, is real: Im c_j = -Im(u_kj) / v_kj.
    """
    p = m.matmul(b, m.solve(b, v, da), v)
    gaps = _differences(b, w)
    ones = m.identity(b, gaps.type)
    f = b.sub(b.div(b.literal(1, gaps.type), b.add(gaps, ones)), ones)
    u = m.matmul(b, v, b.mul(f, p))
    shape = v.type.shape
    axis = len(shape) - 2
    largest = b.argmax(b.abs(v), axes=(axis,), index_dtype=INT32)
    row = b.iota(dtype=INT32, shape=shape, dimension=axis)
    is_largest = b.eq(row, b.broadcast(largest, shape, (*range(axis), axis + 1)))

    def total(x: Operand) -> Any:
        return b.reduce_sum(x, axes=(axis,))

    def at_largest(x: Operand) -> Any:
        return total(b.select_n(is_largest, b.full(x.type, 0), x))

    growth = b.neg(b.real(total(b.mul(m.conjugate(b, v), u))))
    turn = b.neg(b.div(at_largest(b.imag(u)), at_largest(b.real(v))))
    du = b.mul(v, m.rows(b, b.complex(growth, turn)))
    return m.diagonal(b, p), b.add(u, du)


# -- svd -----------------------------------------------------------------------------------------


@tables.jvp.rule(l.svd)
def jvp_svd(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """A = U S V^H: with P = U^H dA V, ds = diag(Re P), and

        dU = U (F o (P S + S P^H) + D) + (1 - U U^H) dA V S^-1
        dV = V (F o (S P + P^H S))     + (1 - V V^H) dA^H U S^-1

    F_ij = 1 / (s_j^2 - s_i^2) off the diagonal, and 0 on it; D, for complex A, holds the imaginary
    part of P S^-1's diagonal: the phase that a pair of singular vectors shares is given to U. The
    last terms are there for A that is tall, or wide.
    """
    p = eqn.params
    shape = eqn.inputs[0].type.shape
    if p["compute_uv"] and p["full_matrices"] and shape[-1] != shape[-2]:
        raise MissingRule(
            "svd with all singular vectors of a matrix that is not square has no derivative",
            eqn,
            hint="ask for full_matrices=False",
        )
    if p["compute_uv"] and not is_whole(p["subset_by_index"], min(shape[-2:])):
        raise MissingRule("svd of a part of the singular vectors has no derivative", eqn)
    s, u, vh = _state_vectors(b, eqn)
    if not s.type.size:
        return [Zero(x.type) for x in eqn.outputs]
    da, v = tangents[0], m.adjoint(b, vh)
    mid = m.matmul(b, m.matmul(b, m.adjoint(b, u), da), v)
    ds = m.diagonal(b, m.real_part(b, mid))
    if not p["compute_uv"]:
        return [ds]
    return [ds, *_singular_vectors(b, da, s, u, v, mid)]


def _state_vectors(b: Builder, eqn: Equation) -> Sequence[Any]:
    """Make the primal outputs, and the singular vectors whether asked for or not."""
    if eqn.params["compute_uv"]:
        b.append(eqn)
        return eqn.outputs
    a, (s,) = eqn.inputs[0].type, eqn.outputs
    *batch, rows, cols = a.shape
    k = s.type.shape[-1]
    vectors = (Value(a.with_shape((*batch, rows, k))), Value(a.with_shape((*batch, k, cols))))
    params = {**eqn.params, "compute_uv": True, "full_matrices": False}
    b.define((s, *vectors), like=eqn, params=params)
    return s, *vectors


def _singular_vectors(
    b: Builder, da: Operand, s: Operand, u: Operand, v: Operand, mid: Operand
) -> list[Any]:
    dtype = mid.type.dtype
    s_row, s_column = m.rows(b, s), m.columns(b, s)
    gaps = b.mul(b.add(s_row, s_column), b.sub(s_row, s_column))
    ones = m.identity(b, gaps.type)
    f = b.sub(b.div(b.literal(1, gaps.type), b.add(gaps, ones)), ones)
    f, s_row, s_column = (m.as_dtype(b, x, dtype) for x in (f, s_row, s_column))
    ps, sp = b.mul(s_row, mid), b.mul(s_column, mid)
    inside = scaled(b, b.add(ps, m.adjoint(b, ps)), f)
    if is_complex(dtype):
        skew = m.scale(b, b.sub(mid, m.adjoint(b, mid)), 0.5)
        inverse = m.as_dtype(b, m.from_diagonal(b, _inverse(b, s)), dtype)
        inside = b.add(inside, b.mul(skew, inverse))
    du = m.matmul(b, u, inside)
    dv = m.matmul(b, v, scaled(b, b.add(sp, m.adjoint(b, sp)), f))
    rows, cols = da.type.shape[-2:]
    if rows > cols:
        du = b.add(du, b.div(_outside(b, u, m.matmul(b, da, v)), s_row))
    if rows < cols:
        dv = b.add(dv, b.div(_outside(b, v, m.matmul(b, m.adjoint(b, da), u)), s_row))
    return [du, m.adjoint(b, dv)]


def _inverse(b: Builder, s: Operand) -> Any:
    """1 / s, and 0 where s is 0."""
    is_zero = b.convert(b.eq(s, b.full(s.type, 0)), s.type.dtype)
    return b.sub(b.div(b.literal(1, s.type), b.add(s, is_zero)), is_zero)


def _outside(b: Builder, q: Operand, x: Operand) -> Any:
    """(1 - Q Q^H) X: what of X is orthogonal to the columns of Q."""
    return b.sub(x, m.matmul(b, q, m.matmul(b, m.adjoint(b, q), x)))
