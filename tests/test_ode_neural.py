"""A neural ODE: solution, jvp, vjp and hvp against Diffrax and differences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ode_systems import assert_close, difference, inner, random_like

import covector

TIMES = [0.0, 0.4, 1.0]


@pytest.fixture(autouse=True)
def x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def network(y: Any, t: Any, layers: Any) -> Any:
    (w, b), (v, c) = layers
    return jnp.tanh(y @ w + b * jnp.cos(t)) @ v + c


def problem() -> tuple[Any, Any]:
    """Initial states of a batch that is solved as one system, and weights."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return jnp.asarray(rng.normal(size=shape) / 2)

    return normal(5, 2), [(normal(2, 6), normal(6)), (normal(6, 2), normal(2))]


def ours(y0: Any, layers: Any, **options: Any) -> Any:
    return covector.odeint(network, y0, jnp.array(TIMES), layers, **options)


def by_diffrax(y0: Any, layers: Any) -> Any:
    diffrax = pytest.importorskip("diffrax")
    return diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, layers: network(y, t, layers)),
        diffrax.Dopri5(),
        TIMES[0],
        TIMES[-1],
        None,
        y0,
        layers,
        saveat=diffrax.SaveAt(ts=jnp.array(TIMES)),
        stepsize_controller=diffrax.PIDController(rtol=1e-10, atol=1e-10),
        adjoint=diffrax.DirectAdjoint(),
        max_steps=256,
    ).ys


@pytest.mark.parametrize("adjoint", ["direct", pytest.param("backsolve", marks=pytest.mark.slow)])
def test_neural_ode(adjoint: str) -> None:
    def solve(y0: Any, layers: Any) -> Any:
        return ours(y0, layers, adjoint=adjoint, rtol=1e-9, atol=1e-9)

    args, v = problem(), random_like(problem(), 1)
    ys, pull = jax.vjp(by_diffrax, *args)
    c = random_like(ys, 2)
    wanted = pull(c)
    found, pushed = covector.jvp(solve, args, v)
    assert_close(found, ys, 1e-7)
    assert_close(inner(c, pushed), inner(wanted, v), 1e-7)
    assert_close(covector.vjp(solve, *args)[1](c), wanted, 1e-7)

    def loss(*args: Any) -> Any:
        return jnp.sum(solve(*args) ** 2)

    gradient = covector.jit(covector.grad(loss, (0, 1)))
    pushed = covector.jvp(covector.grad(loss, (0, 1)), args, v)[1]
    assert_close(pushed, difference(gradient, args, v, 1e-4), 1e-6)
