"""An LSTM over 100 steps."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .program import Normal, Program

LENGTH, WIDTH, BATCH = 100, 64, 16


def lstm(params: Any, xs: Any) -> Any:
    """Mean square of the hidden states, for gates (w, u, b) and xs f32[time, batch, width]."""
    w, u, b = params

    def step(carry: Any, x: Any) -> Any:
        h, c = carry
        i, f, g, o = jnp.split(x @ w + h @ u + b, 4, axis=-1)
        c = jax.nn.sigmoid(f + 1) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zero = jnp.zeros((BATCH, WIDTH))
    _, hs = jax.lax.scan(step, (zero, zero), xs)
    return jnp.mean(hs**2)


def arguments() -> tuple[Any, Any]:
    normal = Normal()
    gates = (
        normal(WIDTH, 4 * WIDTH, scale=0.1),
        normal(WIDTH, 4 * WIDTH, scale=0.1),
        normal(4 * WIDTH, scale=0.1),
    )
    return gates, normal(LENGTH, BATCH, WIDTH)


def programs(quick: bool) -> list[Program]:
    return [Program("LSTM, 100 steps", lstm, arguments())]
