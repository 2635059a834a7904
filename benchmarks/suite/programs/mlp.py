"""A multilayer perceptron: per-example gradients, and the full Hessian of a small one."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from .program import Normal, Program


def network(params: Any, x: Any) -> Any:
    for w, b in params:
        x = jnp.tanh(x @ w + b)
    return jnp.sum(x**2)


def flat_network(flat: Any, x: Any) -> Any:
    """A small network whose parameters are one vector: 4 x 6, 6, 6 x 3, 3."""
    w1, b1 = flat[:24].reshape(4, 6), flat[24:30]
    w2, b2 = flat[30:48].reshape(6, 3), flat[48:51]
    return network([(w1, b1), (w2, b2)], x)


def per_example(library: Any, fun: Any) -> Any:
    return library.vmap(library.grad(fun), (None, 0))


def full_hessian(library: Any, fun: Any) -> Any:
    return library.hessian(fun)


def programs(quick: bool) -> list[Program]:
    normal = Normal()
    sizes = ((16, 64), (64, 64), (64, 8))
    params = [(normal(m, n, scale=m**-0.5), jnp.zeros(n)) for m, n in sizes]
    small = (normal(51, scale=0.3), normal(8, 4))
    return [
        Program("MLP, per-example gradients", network, (params, normal(64, 16)), per_example),
        Program("small net, full Hessian", flat_network, small, full_hessian, "higher"),
    ]
