"""The second derivative of the incomplete gamma function in its shape, by quadrature.

With the density p(a, x) = x^(a-1) exp(-x) / Gamma(a), substituting t = x exp(-u) in the integral of
P(a, x), or t = x exp(u) in that of Q = 1 - P, gives for s = -1 or s = 1

    P or Q = x p I_0,      I_k = integral over u > 0 of u^k exp(s a u - x (exp(s u) - 1)),

and as p depends on a by a factor x^a / Gamma(a), with d = log(x) - digamma(a),

    d^2/da^2 (P or Q) = x p ((d^2 - trigamma(a)) I_0 + 2 s d I_1 + I_2).

Q where x > 1 and x > a. Elsewhere P, of a + 1 and not of a, so that nothing cancels for small a:
P(a, x) = x^a exp(-x) / Gamma(a + 1) + P(a + 1, x). The integrands are smooth and decay, so that the
trapezoidal rule in v, where u is a multiple of exp(v - exp(-v)), has an error that is exponentially
small in the number of nodes (Takahasi and Mori, 1974): here below 1e-11 of the result.
"""

from __future__ import annotations

from typing import Any

from ...ir.builder import Builder, Operand
from ...ir.types import FLOAT32, TensorType
from .elementwise import match_shape

FIRST, STEP, COUNT = -3.5, 1 / 12, 115
"""The nodes in v."""
GREATEST = 10.0
"""An exponent u after which integrands with s = 1 are 0: there x > 1 and x > a."""


def shape_curvature(b: Builder, a: Operand, x: Operand, like: TensorType) -> Operand:
    """(d^2 P / da^2) / p(a, x), and 0 at x = 0, of the type `like`."""
    a, x = (_wide(b, operand, like) for operand in (a, x))
    is_zero = b.eq(x, 0)
    one = b.full(x.type, 1)
    x = b.select_n(is_zero, x, one)
    upper = b.min(b.gt(x, 1), b.gt(x, a))
    next_a = b.add(a, 1)
    shape = b.select_n(upper, next_a, a)
    sign = b.select_n(upper, b.neg(one), one)
    offset = b.sub(b.log(x), b.digamma(shape))
    first = b.sub(b.square(offset), b.polygamma(one, shape))
    moments = _moments(b, shape, x, sign)
    terms = zip((first, b.mul(b.mul(sign, offset), 2), one), moments, strict=True)
    total = b.mul(b.mul(x, b.neg(sign)), b.sum_of([b.mul(*pair) for pair in terms], x.type))
    shifted = b.mul(b.div(x, a), b.add(first, total))
    curvature = b.select_n(upper, shifted, total)
    kept = b.select_n(is_zero, curvature, b.full(x.type, 0))
    return b.convert(kept, like.dtype, like.weak)


def _wide(b: Builder, operand: Operand, like: TensorType) -> Any:
    """The operand in the shape of the result, and at least in float32."""
    dtype = like.dtype if like.dtype.itemsize > FLOAT32.itemsize else FLOAT32
    return match_shape(b, b.convert(operand, dtype), like)


def _moments(b: Builder, a: Any, x: Any, sign: Any) -> list[Any]:
    """I_0, I_1 and I_2. The scale of the nodes follows that of the integrand, and as the integrals
    do not depend on it, it has no derivative."""
    scale = b.add(b.abs(b.sub(a, x)), b.sqrt(b.max(a, x)))
    scale = b.stop_gradient(b.div(b.full(x.type, 1), scale))
    shape = (*x.type.shape, COUNT)
    a, x, sign, scale = (b.broadcast(v, shape, range(len(shape) - 1)) for v in (a, x, sign, scale))
    v = b.add(b.mul(b.iota(dtype=x.type.dtype, shape=shape, dimension=len(shape) - 1), STEP), FIRST)
    decay = b.exp(b.neg(v))
    u = b.mul(scale, b.exp(b.sub(v, decay)))
    weight = b.mul(b.mul(u, b.add(decay, 1)), STEP)
    power = b.min(b.mul(sign, u), b.full(x.type, GREATEST))
    exponent = b.sub(b.mul(a, power), b.mul(x, b.expm1(power)))
    terms = [b.mul(weight, b.exp(exponent))]
    for _ in range(2):
        terms.append(b.mul(terms[-1], u))
    return [b.reduce_sum(term, axes=(len(shape) - 1,)) for term in terms]
