"""Systems whose solutions and derivatives the tests of ODE solves know, and how they compare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

TIGHT = {"rtol": 1e-11, "atol": 1e-11}


def lorenz(y: Any, t: Any, rho: Any, sigma: Any, beta: Any) -> Any:
    x, y_, z = y
    return jnp.array([sigma * (y_ - x), x * (rho - z) - y_, x * y_ - beta * z])


LORENZ = (np.array([5.0, 5.0, 5.0]), 28.0, 10.0, 8 / 3)
"""y0, rho, sigma, beta of the question about `odeint`'s vjp."""


def pendulum(state: Any, t: Any, a: Any) -> Any:
    """A pytree as state, explicit time, an argument."""
    position, velocity = state
    return velocity * jnp.cos(t), -a * jnp.sin(position) - 0.1 * velocity


def pendulum_arguments() -> tuple[Any, Any, Any]:
    """y0, ts, a."""
    y0 = (jnp.array([0.3, 0.5]), jnp.array([1.0, -0.2]))
    return y0, jnp.linspace(0.0, 2.0, 5), jnp.array([1.3, 2.0])


def van_der_pol(y: Any, t: Any, mu: Any) -> Any:
    return jnp.array([y[1], mu * (1 - y[0] * y[0]) * y[1] - y[0]])


def random_like(tree: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: jnp.asarray(rng.normal(size=jnp.shape(x)), jnp.result_type(x)), tree
    )


def inner(a: Any, b: Any) -> Any:
    """<a, b> of two trees."""
    return sum(jnp.sum(x * y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def difference(f: Callable[..., Any], args: Any, v: Any, step: float = 1e-4) -> Any:
    """The central difference quotient of f along v."""
    moved = [jax.tree.map(lambda x, d, s=s: x + s * d, args, v) for s in (step, -step)]
    ahead, behind = (f(*m) for m in moved)
    return jax.tree.map(lambda p, q: (p - q) / (2 * step), ahead, behind)


def assert_close(got: Any, want: Any, rtol: float = 1e-8, atol: float | None = None) -> None:
    got, want = jax.tree.leaves(got), jax.tree.leaves(want)
    for x, y in zip(got, want, strict=True):
        assert jnp.shape(x) == jnp.shape(y)
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol if atol is None else atol)
