"""Solves of other libraries inside of functions that covector differentiates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.ode import odeint as jax_odeint
from ode_systems import LORENZ, assert_close, lorenz

import covector
from covector.ir.errors import ForwardModeError


@pytest.fixture(autouse=True)
def x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


TIMES = [0.0, 0.3, 0.6]
DIRECTION = ([0.0, 0.0, 0.0], 0.0, 0.0, 1.0)


def by_jax(y0: Any, *args: Any) -> Any:
    return jax_odeint(lorenz, y0, jnp.array(TIMES), *args)


def by_diffrax(adjoint: str) -> Callable[..., Any]:
    diffrax = pytest.importorskip("diffrax")

    def solve(y0: Any, *args: Any) -> Any:
        return diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: lorenz(y, t, *args)),
            diffrax.Tsit5(),
            TIMES[0],
            TIMES[-1],
            None,
            y0,
            args,
            saveat=diffrax.SaveAt(ts=jnp.array(TIMES)),
            stepsize_controller=diffrax.PIDController(rtol=1e-8, atol=1e-8),
            adjoint=getattr(diffrax, adjoint)(),
            max_steps=128,
        ).ys

    return solve


def gradients(solve: Callable[..., Any]) -> tuple[Any, Any]:
    """By covector and by JAX."""

    def loss(*args: Any) -> Any:
        return jnp.sum(jnp.sin(solve(*args)))

    everything = (0, 1, 2, 3)
    return covector.grad(loss, everything)(*LORENZ), jax.grad(loss, everything)(*LORENZ)


def test_odeint_of_jax() -> None:
    assert_close(*gradients(by_jax), 1e-10)
    y0s = jnp.stack([LORENZ[0], 2 * LORENZ[0]])
    axes = (0, None, None, None)
    batch = covector.vmap(by_jax, axes)(y0s, *LORENZ[1:])
    assert_close(batch, jax.vmap(by_jax, axes)(y0s, *LORENZ[1:]), 1e-10)


def test_odeint_of_jax_has_no_forward_mode() -> None:
    """The error offers what has."""
    v = (jnp.array(DIRECTION[0]), *DIRECTION[1:])
    with pytest.raises(ForwardModeError, match=r"or solve by covector\.odeint, of the same"):
        covector.jvp(by_jax, LORENZ, v)
    with pytest.raises(ForwardModeError, match=r"or solve by covector\.odeint, of the same"):
        covector.hessian(lambda y0: jnp.sum(by_jax(y0, *LORENZ[1:])))(LORENZ[0])
    ours = covector.jvp(lambda y0, *a: covector.odeint(lorenz, y0, jnp.array(TIMES), *a), LORENZ, v)
    assert_close(ours[0], by_jax(*LORENZ), 1e-7)


@pytest.mark.parametrize(
    "adjoint",
    [
        "RecursiveCheckpointAdjoint",
        pytest.param("DirectAdjoint", marks=pytest.mark.slow),
        pytest.param("BacksolveAdjoint", marks=pytest.mark.slow),
    ],
)
def test_diffrax_in_reverse(adjoint: str) -> None:
    assert_close(*gradients(by_diffrax(adjoint)), 1e-10)


def test_diffrax_forward_and_in_batches() -> None:
    solve = by_diffrax("ForwardMode")
    v = (jnp.array(DIRECTION[0]), *DIRECTION[1:])
    assert_close(covector.jvp(solve, LORENZ, v), jax.jvp(solve, LORENZ, v), 1e-10)
    y0s, axes = jnp.stack([LORENZ[0], 2 * LORENZ[0]]), (0, None, None, None)
    batch = covector.vmap(solve, axes)(y0s, *LORENZ[1:])
    assert_close(batch, jax.vmap(solve, axes)(y0s, *LORENZ[1:]), 1e-10)


def test_diffrax_without_forward_mode() -> None:
    v = (jnp.array(DIRECTION[0]), *DIRECTION[1:])
    with pytest.raises(ForwardModeError, match=r"adjoint=diffrax\.ForwardMode\(\)"):
        covector.jvp(by_diffrax("RecursiveCheckpointAdjoint"), LORENZ, v)
