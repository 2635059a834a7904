"""Derivatives of special functions."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes

from ...ir.builder import Builder, Operand
from ...ir.ops import special as s
from ...ir.primitive import Primitive
from ..weakness import is_slope_weak
from .elementwise import Entry, Push, define_pushes, ones, scaled, strong
from .incomplete_gamma import shape_curvature


def push_erf(sign: int) -> Push:
    """Of erf, or of erfc with sign -1: 2/sqrt(pi) exp(-x^2)."""
    primitive = s.erf if sign > 0 else s.erfc

    def push(b: Builder, t: Operand, z: Operand, x: Operand, accuracy: Any = None) -> Operand:
        if not is_slope_weak(primitive, x.type.with_shape(())):
            x = strong(b, x)
        gauss = b.exp(b.neg(b.square(x)), accuracy=accuracy)
        return b.mul(t, b.mul(gauss, sign * 2 / math.sqrt(math.pi)))  # strong beside an array

    return push


def gamma_density(b: Builder, a: Operand, x: Operand) -> Operand:
    """x^(a-1) exp(-x) / Gamma(a)."""
    return b.exp(b.sub(b.sub(b.mul(b.sub(a, b.literal(1, a.type)), b.log(x)), x), b.lgamma(a)))


def beta_density(b: Builder, p: Operand, q: Operand, x: Operand) -> Operand:
    """x^(p-1) (1-x)^(q-1) / B(p, q)."""
    one = b.literal(1, b.add(p, q).type)
    left = scaled(b, b.log1p(b.neg(x)), b.sub(q, one))
    powers = b.add(left, scaled(b, b.log(x), b.sub(p, one)))
    log_beta = b.sub(b.add(b.lgamma(p), b.lgamma(q)), b.lgamma(b.add(p, q)))
    return b.exp(b.sub(powers, log_beta))


def push_gamma_grad_a(b: Builder, t: Operand, z: Operand, a: Operand, x: Operand) -> Operand:
    return b.mul(t, b.mul(gamma_density(b, a, x), shape_curvature(b, a, x, z.type)))


def push_gamma_grad_x(b: Builder, t: Operand, z: Operand, a: Operand, x: Operand) -> Operand:
    """d/dx dP/da = dp/da = p (log(x) - digamma(a)), for the density p."""
    return b.mul(t, b.mul(gamma_density(b, a, x), b.sub(b.log(x), b.digamma(a))))


def push_sample_grad_a(b: Builder, t: Operand, z: Operand, a: Operand, x: Operand) -> Operand:
    """z = -(dP/da) / p, so dz/da = -(d^2 P/da^2) / p - z (dp/da) / p; 0 at x = 0, where z is."""
    is_zero = b.eq(x, 0)
    slope = b.sub(b.log(b.select_n(is_zero, x, ones(b, x))), b.digamma(a))
    return b.mul(t, b.neg(b.add(shape_curvature(b, a, x, z.type), b.mul(z, slope))))


def push_sample_grad_x(b: Builder, t: Operand, z: Operand, a: Operand, x: Operand) -> Operand:
    """z = -(dP/da) / p, so dz/dx = digamma(a) - log(x) - z p'/p, and p'/p = (a - 1)/x - 1."""
    slope = b.sub(b.div(b.sub(a, 1), x), 1)
    return b.mul(t, b.sub(b.sub(b.digamma(a), b.log(x)), b.mul(z, slope)))


def push_i1e(b: Builder, t: Operand, z: Operand, x: Operand) -> Operand:
    """I0e(x) - z (sign(x) + 1/x); 1/2 at 0, where z/x is 0/0."""
    tiny = float(ml_dtypes.finfo(x.type.dtype).eps)
    is_away = b.gt(b.abs(x), tiny)
    away = b.select_n(is_away, b.full(x.type, tiny), x)
    both = b.add(b.sign(away), b.integer_pow(away, y=-1))
    slope = b.sub(b.bessel_i0e(away), b.mul(z, both))
    return scaled(b, t, b.select_n(is_away, b.full(x.type, 0.5), slope))


PUSH: dict[Primitive, tuple[Entry, ...]] = {
    s.erf: (push_erf(1),),
    s.erfc: (push_erf(-1),),
    s.erf_inv: (lambda b, t, z, x: b.mul(t, b.mul(b.exp(b.square(z)), math.sqrt(math.pi) / 2)),),
    s.lgamma: (lambda b, t, z, x: b.mul(t, b.digamma(x)),),
    s.digamma: (lambda b, t, z, x: b.mul(t, b.polygamma(1, x)),),
    s.polygamma: (
        "in its order",
        lambda b, t, z, m, x: scaled(b, t, b.polygamma(b.add(m, 1), x)),
    ),
    s.igamma: (
        lambda b, t, z, a, x: scaled(b, t, b.igamma_grad_a(a, x)),
        lambda b, t, z, a, x: scaled(b, t, gamma_density(b, a, x)),
    ),
    s.igammac: (
        lambda b, t, z, a, x: scaled(b, t, b.neg(b.igamma_grad_a(a, x))),
        lambda b, t, z, a, x: scaled(b, t, b.neg(gamma_density(b, a, x))),
    ),
    s.igamma_grad_a: (push_gamma_grad_a, push_gamma_grad_x),
    s.random_gamma_grad: (push_sample_grad_a, push_sample_grad_x),
    s.regularized_incomplete_beta: (
        "in its shape parameters",
        "in its shape parameters",
        lambda b, t, z, p, q, x: scaled(b, t, beta_density(b, p, q, x)),
    ),
    s.zeta: (
        "in its exponent",
        lambda b, t, z, x, q: b.mul(t, b.mul(b.zeta(b.add(x, 1), q), b.neg(x))),
    ),
    s.bessel_i0e: (lambda b, t, z, x: b.mul(t, b.sub(b.bessel_i1e(x), b.mul(b.sign(x), z))),),
    s.bessel_i1e: (push_i1e,),
}

define_pushes(PUSH)
