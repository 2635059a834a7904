"""How solves of structured systems, and the symmetric product, transform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.builder import Builder, Operand, Zero
from ...ir.graph import Equation
from ...ir.ops import linalg as l
from .. import tables
from ..tables import Operands
from . import matrix as m
from .elementwise import as_weak, strong
from .linalg import batch_stacked


@tables.jvp.rule(l.triangular_solve)
def jvp_triangular_solve(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """op(A) X = Y: dX = op(A)^-1 (dY - op(dA) X), mutatis mutandis on the right.

    The products are taken in the cheaper order, and dA's unread triangle does not count.
    """
    a, y = eqn.inputs
    (x,) = eqn.outputs
    da, dy = tangents
    p = eqn.params
    terms = [b.emit(eqn.primitive, a, dy, **p)[0]]
    if not isinstance(da, Zero):
        da = m.keep(b, da, "le" if p["lower"] else "ge", _skipped(p))
        da = b.neg(m.flip(b, da) if p["transpose_a"] else da)
        da = m.conjugate(b, da) if p["conjugate_a"] else da
        rows, cols = y.type.shape[-2:]

        def divide(z: Operand) -> Operand:
            return b.emit(eqn.primitive, a, z, **p)[0]

        if p["left_side"]:
            term = divide(m.matmul(b, da, x)) if rows > cols else m.matmul(b, divide(da), x)
        else:
            term = divide(m.matmul(b, x, da)) if rows < cols else m.matmul(b, x, divide(da))
        terms.append(term)
    return [b.sum_of(terms, x.type)]


def _skipped(params: dict[str, Any]) -> int:
    """How far the part of A that is read stays from the diagonal."""
    if not params["unit_diagonal"]:
        return 0
    return -1 if params["lower"] else 1


@tables.transpose.rule(l.triangular_solve)
def transpose_triangular_solve(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    a = eqn.inputs[0]
    params = {**eqn.params, "transpose_a": not eqn.params["transpose_a"]}
    return [Zero(a.type), b.triangular_solve(a, cts[0], **params)]


@tables.jvp.rule(l.tridiagonal_solve)
def jvp_tridiagonal_solve(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """A X = Y: dX = A^-1 (dY - dA X)."""
    *diagonals, _ = eqn.inputs
    (x,) = eqn.outputs
    *d_diagonals, dy = tangents
    terms = [] if isinstance(dy, Zero) else [dy]
    for offset, dd in zip((-1, 0, 1), d_diagonals, strict=True):
        if not isinstance(dd, Zero):
            neighbours = _neighbours(b, x, offset) if offset else x
            terms.append(as_weak(b, b.neg(b.mul(m.columns(b, dd), neighbours)), x))
    right = b.sum_of(terms, x.type)
    return b.emit(l.tridiagonal_solve, *diagonals, right, **eqn.params)


def _neighbours(b: Builder, x: Operand, offset: int) -> Any:
    """The rows above or below, strongly typed: so are cotangents of diagonals beside the main."""
    return strong(b, m.pad_matrix(b, x, (-offset, offset), (0, 0)))


@tables.transpose.rule(l.tridiagonal_solve)
def transpose_tridiagonal_solve(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    """The diagonals change places: du[i] stands at (i, i+1), dl[i] at (i, i-1)."""
    lower, diagonal, upper, _ = eqn.inputs
    below, above = _shift(b, upper, 1), _shift(b, lower, -1)
    ct = b.tridiagonal_solve(below, diagonal, above, cts[0], **eqn.params)
    return [*(Zero(x.type) for x in eqn.inputs[:3]), ct]


def _shift(b: Builder, v: Operand, by: int) -> Any:
    """Vectors moved along, with zeros where they leave."""
    config = (*((0, 0, 0),) * (len(v.type.shape) - 1), (by, -by, 0))
    return b.pad(v, b.literal(0, v.type), padding_config=config)


@tables.jvp.rule(l.symmetric_product)
def jvp_symmetric_product(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """alpha (dA A^T + A dA^T) + beta dC."""
    a, (da, dc) = eqn.inputs[0], tangents
    terms = []
    if not isinstance(da, Zero):
        half = m.matmul(b, da, m.flip(b, a))
        terms.append(m.scale(b, b.add(half, m.flip(b, half)), eqn.params["alpha"]))
    if not isinstance(dc, Zero):
        terms.append(m.scale(b, dc, eqn.params["beta"]))
    return [b.sum_of(terms, eqn.outputs[0].type)]


# -- batch ---------------------------------------------------------------------------------------


@tables.batch.rule(l.triangular_solve)
def batch_triangular_solve(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """Many right-hand sides for one matrix are the columns (or rows) of one right-hand side."""
    if batched[0]:
        return batch_stacked(b, eqn, inputs, batched, size)
    return _solve_side_by_side(b, eqn, inputs, -1 if eqn.params["left_side"] else -2)


@tables.batch.rule(l.tridiagonal_solve)
def batch_tridiagonal_solve(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    if any(batched[:3]):
        return batch_stacked(b, eqn, inputs, batched, size)
    return _solve_side_by_side(b, eqn, inputs, -1)


def _solve_side_by_side(
    b: Builder, eqn: Equation, inputs: Operands, axis: int
) -> tuple[Operands, Sequence[bool]]:
    """Move the batch axis in front of `axis`, join the two, solve, and move it back."""
    *matrices, y = inputs
    size, *shape = y.type.shape
    target = len(shape) + axis  # where the batch axis goes
    there = (*range(1, target + 1), 0, *range(target + 1, len(shape) + 1))
    back = (target, *range(target), *range(target + 1, len(shape) + 1))
    moved = b.transpose(y, permutation=there)
    joined = (*shape[:target], size * shape[target], *shape[target + 1 :])
    (x,) = b.emit(eqn.primitive, *matrices, b.reshape(moved, new_sizes=joined), **eqn.params)
    return [b.transpose(b.reshape(x, new_sizes=moved.type.shape), permutation=back)], (True,)
