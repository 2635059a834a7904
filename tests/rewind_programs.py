"""Programs whose loops end when their values say so, and what they do as Python loops.

In each, `while_loop` and `scan` are parameters: lax's own, or loops of Python that unroll, whose
derivatives JAX takes without any loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

X = np.array([0.3, -0.2, 0.5])
W = np.array([[0.5, 0.1, -0.2], [0.2, 0.7, 0.1], [-0.3, 0.2, 0.4]])


def while_of_python(cond: Callable[[Any], Any], body: Callable[[Any], Any], init: Any) -> Any:
    """Runs on the values behind JAX's tracers: only for conditions that do not depend on them."""
    carry = init
    while bool(jax.lax.stop_gradient(cond(carry))):
        carry = body(carry)
    return carry


def grows(while_loop: Any, x: Any, w: Any) -> Any:
    """Ends when a norm is large: 6 steps at (X, W)."""

    def body(c: Any) -> Any:
        x, k = c
        return jnp.tanh(x @ w) * 1.5 + x * 1.1, k + 1

    y, k = while_loop(lambda c: jnp.sum(c[0] ** 2) < 5.0, body, (x, 0))
    return jnp.sin(y).sum() * k


def no_step(while_loop: Any, x: Any, w: Any) -> Any:
    y = while_loop(lambda y: jnp.sum(y**2) < 0.0, lambda y: y @ w, x)
    return (y * y).sum()


def one_step(while_loop: Any, x: Any, w: Any) -> Any:
    y, _ = while_loop(lambda c: c[1] < 1, lambda c: (jnp.sin(c[0] @ w), c[1] + 1), (x, 0))
    return (y * y).sum()


def nested(while_loop: Any, x: Any, w: Any) -> Any:
    """A loop in a loop, each with a length of its own at each step."""

    def halved(y: Any) -> Any:
        return while_loop(lambda y: jnp.sum(y**2) > 0.05, lambda y: y @ w * 0.9, y)

    def body(c: Any) -> Any:
        i, y = c
        return i + 1, halved(y) + jnp.cos(x) * i

    _, y = while_loop(lambda c: c[0] < 3, body, (0, x))
    return jnp.exp(y).sum()


def complex_valued(while_loop: Any, x: Any, w: Any) -> Any:
    z = while_loop(
        lambda z: jnp.abs(z).sum() < 8.0, lambda z: z * (1.2 + 0.3j) + (z @ w) * 0.1j, x + 1j * x
    )
    return jnp.abs(z).sum()


def only_some_change(while_loop: Any, x: Any, w: Any) -> Any:
    """Carries that stay, that count, and that get a tangent late."""

    def body(c: Any) -> Any:
        i, _, b, kept = c
        return i + 2, b, jnp.sin(b) + kept, kept

    _, a, b, _ = while_loop(lambda c: c[0] < 9, body, (0, x, x * 0.0, w[0]))
    return (a * b).sum()


PROGRAMS = [grows, no_step, one_step, nested, complex_valued, only_some_change]
