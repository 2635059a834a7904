"""The meaning of special functions, through scipy, which is imported when one is evaluated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from ..ops import special as s
from ..primitive import Primitive
from . import means
from .elementwise import widened

Array = Any


def _scipy(name: str, *arrays: Array) -> Array:
    from scipy import special

    return getattr(special, name)(*arrays)


_NAMES: Final[dict[Primitive, str]] = {
    s.erf: "erf",
    s.erfc: "erfc",
    s.erf_inv: "erfinv",
    s.lgamma: "gammaln",
    s.digamma: "digamma",
    s.igamma: "gammainc",
    s.igammac: "gammaincc",
    s.regularized_incomplete_beta: "betainc",
    s.bessel_i0e: "i0e",
    s.bessel_i1e: "i1e",
}


def _named(name: str) -> Callable[..., Array]:
    return lambda *xs, **params: _scipy(name, *map(widened, xs))


for _primitive, _name in _NAMES.items():
    means(_primitive)(_named(_name))


@means(s.zeta)
def zeta(x: Array, q: Array) -> Array:
    return _scipy("zeta", *(np.asarray(v, np.float64) for v in (x, q)))


@means(s.polygamma)
def polygamma(m: Array, x: Array) -> Array:
    """(-1)^(m+1) m! zeta(m+1, x), and digamma for m = 0."""
    m, x = np.asarray(m, np.float64), np.asarray(x, np.float64)
    sign = np.where(m % 2 == 0, -1.0, 1.0)
    higher = sign * _scipy("gamma", m + 1) * _scipy("zeta", m + 1, x)
    return np.where(m == 0, _scipy("digamma", x), higher)


@means(s.igamma_grad_a)
def igamma_grad_a(a: Array, x: Array) -> Array:
    """dP/da by Richardson's extrapolation of central differences, in float64."""
    a, x = np.asarray(a, np.float64), np.asarray(x, np.float64)
    step = 1e-3 * np.maximum(np.abs(a), 1e-3)

    def difference(h: Array) -> Array:
        return (_scipy("gammainc", a + h, x) - _scipy("gammainc", a - h, x)) / (2 * h)

    rough, fine, finest = difference(4 * step), difference(2 * step), difference(step)
    better, best = (4 * fine - rough) / 3, (4 * finest - fine) / 3
    return np.where(x == 0, 0.0, (16 * best - better) / 15)


@means(s.random_gamma_grad)
def random_gamma_grad(a: Array, x: Array) -> Array:
    """dx/da = -(dP/da) / p(x), where p is the density."""
    a, x = np.asarray(a, np.float64), np.asarray(x, np.float64)
    log_density = (a - 1) * np.log(x) - x - _scipy("gammaln", a)
    return np.where(x == 0, 0.0, -igamma_grad_a(a, x) / np.exp(log_density))
