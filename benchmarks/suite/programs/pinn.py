"""A physics-informed network: the residual of Burgers' equation, with nested derivatives.

u_t + u u_x = nu u_xx: the first derivatives by reverse mode, the second by forward over reverse.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from .program import Normal, Program


def network(params: Any, x: Any, t: Any) -> Any:
    h = jnp.stack([x, t], axis=-1)
    for w, b in params[:-1]:
        h = jnp.tanh(h @ w + b)
    w, b = params[-1]
    return (h @ w + b)[..., 0]


def residual_gradient(library: Any, fun: Any) -> Any:
    """The gradient of the mean squared residual in the network's parameters."""

    def residual(params: Any, x: Any, t: Any) -> Any:
        u = fun(params, x, t)
        u_t = library.grad(fun, 2)(params, x, t)
        slope = lambda z: library.grad(fun, 1)(params, z, t)
        u_x, u_xx = library.jvp(slope, (x,), (jnp.ones_like(x),))
        return u_t + u * u_x - 0.01 * u_xx

    def loss(params: Any, xs: Any, ts: Any) -> Any:
        batched = library.vmap(residual, (None, 0, 0))
        return jnp.mean(batched(params, xs, ts) ** 2)

    return library.grad(loss)


def programs(quick: bool) -> list[Program]:
    normal = Normal()
    sizes = ((2, 32), (32, 32), (32, 32), (32, 1))
    params = [(normal(m, n, scale=m**-0.5), jnp.zeros(n)) for m, n in sizes]
    points = (normal(256), normal(256))
    return [
        Program("PINN, Burgers", network, (params, *points), residual_gradient, "higher", rtol=5e-3)
    ]
