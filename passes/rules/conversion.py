"""Derivatives of conversion and selection, and how those batch whose operands differ in shape.

Complex numbers are pairs of reals to derivatives: the cotangent of `real` is complex(ct, 0), that
of `imag` complex(0, -ct), as in JAX.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from ...ir.builder import Builder, Operand, Zero
from ...ir.graph import Equation
from ...ir.ops import elementwise as e
from ...ir.types import dtype_category, is_complex, is_inexact
from .. import tables
from ..tables import Operands, materialise_batch, unary_transpose
from .elementwise import conj, match_shape

Batched = tuple[Operands, Sequence[bool]]


# -- conversion ----------------------------------------------------------------------------------


@tables.jvp.rule(e.convert_element_type)
def jvp_convert(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    (y,) = eqn.outputs
    if not is_inexact(y.type.dtype):
        return [Zero(y.type)]
    return b.emit(eqn.primitive, *tangents, **eqn.params)


@unary_transpose(e.convert_element_type)
def transpose_convert(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    x = eqn.inputs[0].type
    return b.convert(ct, x.dtype, x.weak)


@unary_transpose(e.reduce_precision)
def transpose_reduce_precision(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    return b.reduce_precision(ct, **eqn.params)


@unary_transpose(e.copy)
@unary_transpose(e.copy_p)
def transpose_copy(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    """A copy, too: whoever gets the cotangent may give away the one that came in."""
    return b.emit(eqn.primitive, ct)[0]


@unary_transpose(e.real)
def transpose_real(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    return b.complex(ct, b.literal(0, ct.type.strong))


@unary_transpose(e.imag)
def transpose_imag(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    return b.complex(b.literal(0, ct.type.strong), b.neg(ct))


@unary_transpose(e.conj)
def transpose_conj(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    return conj(b, ct) if is_complex(eqn.inputs[0].type.dtype) else b.real(ct)


@tables.transpose.rule(e.complex_)
def transpose_complex(b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]) -> Operands:
    (ct,) = cts
    re, im = (x.type for x in eqn.inputs)
    return [
        tables.unbroadcast(b, b.real(ct), re) if linear[0] else Zero(re),
        tables.unbroadcast(b, b.neg(b.imag(ct)), im) if linear[1] else Zero(im),
    ]


@tables.batch.rule(e.bitcast_convert_type)
def batch_bitcast(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    return b.emit(eqn.primitive, *inputs, **eqn.params), (True,)


# -- selection -----------------------------------------------------------------------------------


@tables.jvp.rule(e.select_n)
def jvp_select(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    if all(isinstance(t, Zero) for t in tangents[1:]):
        return [Zero(eqn.outputs[0].type)]
    return b.emit(e.select_n, eqn.inputs[0], *tangents[1:])


@tables.transpose.rule(e.select_n)
def transpose_select(b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]) -> Operands:
    """Each case receives ct where it was selected, zeros elsewhere."""
    (ct,) = cts
    which, *cases = eqn.inputs
    if len(cases) == 1:
        return [Zero(which.type), ct]
    zeros = b.full(ct.type, 0)
    result: list[Operand] = [Zero(x.type) for x in eqn.inputs]
    if dtype_category(which.type.dtype) == "bool":
        for i, sides in enumerate([(ct, zeros), (zeros, ct)]):
            if linear[i + 1]:
                result[i + 1] = b.select_n(which, *sides)
        return result
    index = b.clamp(b.literal(0, which.type), which, b.literal(len(cases) - 1, which.type))
    for i in range(len(cases)):
        if linear[i + 1]:
            result[i + 1] = b.select_n(b.eq(index, i), zeros, ct)
    return result


@tables.batch.rule(e.select_n)
def batch_select(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    """Cases get a batch axis; so does the selector, unless it is one scalar for all."""
    which, *cases = eqn.inputs
    shape = (size, *cases[0].type.shape)
    selector = inputs[0]
    if batched[0] and not which.type.shape:
        selector = b.broadcast(selector, shape, (0,))
    elif not batched[0] and which.type.shape:
        selector = materialise_batch(b, selector, False, size)
    given = zip(inputs[1:], batched[1:], strict=True)
    filled = [materialise_batch(b, x, is_batched, size) for x, is_batched in given]
    return b.emit(e.select_n, selector, *filled), (True,)


@tables.jvp.rule(e.clamp)
def jvp_clamp(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """The tangent of the operand that the result equals; strictly inside for x itself."""
    low, x, high = eqn.inputs
    (z,) = eqn.outputs
    both = functools.partial(b.emit, e.and_)
    conditions: tuple[Callable[[], Operand], ...] = (
        (
            lambda: both(b.eq(low, z), b.ne(x, z))[0],
            lambda: both(b.ne(low, z), b.ne(high, z))[0],
            lambda: both(b.eq(high, z), b.ne(x, z))[0],
        )
        if is_complex(z.type.dtype)
        else (
            lambda: b.emit(e.and_, b.gt(low, x), b.lt(low, high))[0],
            lambda: b.emit(e.and_, b.gt(x, low), b.lt(x, high))[0],
            lambda: b.lt(high, x),
        )
    )
    terms = []
    for t, condition in zip(tangents, conditions, strict=True):
        if not isinstance(t, Zero):
            chosen = match_shape(b, t, z.type)
            terms.append(b.select_n(condition(), b.full(x.type, 0), chosen))
    return [b.sum_of(terms, z.type)]


@tables.batch.rule(e.clamp)
def batch_clamp(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    """x gets a batch axis; so do the bounds, unless they are scalars for all."""
    shape = (size, *eqn.inputs[1].type.shape)
    filled = []
    for i, (x, is_batched) in enumerate(zip(inputs, batched, strict=True)):
        rank = len(eqn.inputs[i].type.shape)
        if i == 1 or (not is_batched and rank):
            x = materialise_batch(b, x, is_batched, size)
        elif is_batched and rank + 1 < len(shape):
            x = b.broadcast(x, shape, (0,))
        filled.append(x)
    return b.emit(e.clamp, *filled), (True,)


# -- polynomials ---------------------------------------------------------------------------------


@tables.jvp.rule(e.polynomial)
def jvp_polynomial(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """dx (c1 + 2 c2 x + ...) + (dc0 + dc1 x + ...)."""
    x, *coefficients = eqn.inputs
    dx, *dcs = tangents
    (z,) = eqn.outputs
    terms: list[Operand] = []
    if not isinstance(dx, Zero) and len(coefficients) > 1:
        slopes = [b.mul(c, k) for k, c in enumerate(coefficients) if k]
        terms.append(match_shape(b, b.mul(dx, b.polynomial(x, *slopes, **eqn.params)), z.type))
    if not all(isinstance(dc, Zero) for dc in dcs):
        filled = [b.literal(0, x.type) if isinstance(dc, Zero) else dc for dc in dcs]
        terms.append(match_shape(b, b.polynomial(x, *filled, **eqn.params), z.type))
    return [b.sum_of(terms, z.type)]


@tables.transpose.rule(e.polynomial)
def transpose_polynomial(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    """ct_ck = ct x^k."""
    x, *coefficients = eqn.inputs
    result: list[Operand] = [Zero(x.type)]
    (ct,) = cts
    for k, c in enumerate(coefficients):
        ct = b.mul(ct, x) if k else ct
        result.append(tables.unbroadcast(b, ct, c.type) if linear[k + 1] else Zero(c.type))
    return result
