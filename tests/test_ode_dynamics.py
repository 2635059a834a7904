"""Dynamics that call, loop and branch: their derivatives are taken apart as those of programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from ode_systems import assert_close, difference, inner

import covector


@pytest.fixture(autouse=True)
def x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@jax.custom_vjp
def sine(x: Any, k: Any) -> Any:
    return jnp.sin(k * x)


sine.defvjp(
    lambda x, k: (sine(x, k), (x, k)),
    lambda r, c: (jnp.cos(r[1] * r[0]) * r[1] * c, jnp.sum(jnp.cos(r[1] * r[0]) * r[0] * c)),
)


def calls(y: Any, t: Any, k: Any) -> Any:
    """Functions in functions, whose results are multiplied by what they depend on."""
    return jax.jit(lambda y: jax.jit(lambda z: z * jnp.roll(z, 1))(y) * jax.nn.softplus(y))(y) * k


def loops(y: Any, t: Any, k: Any) -> Any:
    def body(c: Any, w: Any) -> tuple[Any, Any]:
        c = jnp.sin(c * w) * y + k * c
        return c, c * c

    c, ys = lax.scan(body, y, jnp.array([0.3, 0.6]))
    c = lax.fori_loop(0, 2, lambda i, c: jnp.sin(c * k) + 0.1 * y, c)
    return jnp.roll(c, 1) * 0.3 - jnp.sum(ys, 0) * 0.1


def branches(y: Any, t: Any, k: Any) -> Any:
    return lax.cond(k > 0, lambda y: jnp.sin(k * y) * jnp.roll(y, 1), lambda y: y, y)


def recomputed(y: Any, t: Any, k: Any) -> Any:
    return jax.checkpoint(lambda y, k: jnp.sin(y * k) * jnp.roll(y, 1))(y, k) * jnp.cos(y)


def custom(y: Any, t: Any, k: Any) -> Any:
    return sine(jnp.roll(y, 1), k) * y


@pytest.mark.parametrize("adjoint", ["direct", pytest.param("backsolve", marks=pytest.mark.slow)])
def test_derivatives_of_calls(adjoint: str) -> None:
    check(calls, adjoint)


@pytest.mark.slow
@pytest.mark.parametrize("adjoint", ["direct", "backsolve"])
@pytest.mark.parametrize("dynamics", [loops, branches, recomputed, custom])
def test_derivatives(dynamics: Callable[..., Any], adjoint: str) -> None:
    check(dynamics, adjoint)


def check(dynamics: Callable[..., Any], adjoint: str) -> None:
    """First and second ones, both modes, against differences."""
    ts, weights = jnp.linspace(0.0, 0.8, 3), jnp.arange(1.0, 10.0).reshape(3, 3)

    def loss(y0: Any, k: Any) -> Any:
        options = {"rtol": 1e-9, "atol": 1e-9, "adjoint": adjoint}
        return jnp.sum(jnp.sin(covector.odeint(dynamics, y0, ts, k, **options)) * weights)

    point, v = (jnp.array([0.5, -0.3, 0.8]), 1.3), (jnp.array([0.3, 0.2, -0.5]), 0.7)
    gradient = covector.grad(loss, (0, 1))
    wanted = difference(covector.jit(loss), point, v)
    assert_close(inner(gradient(*point), v), wanted, 1e-5)
    if dynamics is not custom:
        assert_close(covector.jvp(loss, point, v)[1], wanted, 1e-5)
        second = covector.jit(lambda *p: covector.jvp(gradient, p, v)[1])(*point)
        assert_close(second, difference(covector.jit(gradient), point, v), 2e-4)
