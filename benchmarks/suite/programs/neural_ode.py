"""A neural ODE: a network as a vector field, 20 steps of Runge and Kutta's fourth order."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .program import Normal, Program

STEPS = 20


def field(params: Any, y: Any, t: Any) -> Any:
    h = y
    for w, b in params[:-1]:
        h = jnp.tanh(h @ w + b + t)
    w, b = params[-1]
    return h @ w + b


def loss(params: Any, y0: Any, target: Any) -> Any:
    dt = 1.0 / STEPS

    def step(y: Any, t: Any) -> Any:
        k1 = field(params, y, t)
        k2 = field(params, y + dt / 2 * k1, t + dt / 2)
        k3 = field(params, y + dt / 2 * k2, t + dt / 2)
        k4 = field(params, y + dt * k3, t + dt)
        return y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

    y, _ = jax.lax.scan(step, y0, jnp.arange(STEPS) * dt)
    return jnp.mean((y - target) ** 2)


def programs(quick: bool) -> list[Program]:
    normal = Normal()
    sizes = ((4, 64), (64, 64), (64, 4))
    params = [(normal(m, n, scale=m**-0.5), jnp.zeros(n)) for m, n in sizes]
    return [Program("neural ODE, 20 RK4 steps", loss, (params, normal(32, 4), normal(32, 4)))]
