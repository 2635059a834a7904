"""The loops of solves in a few unknowns become one kernel each on CPUs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.ode import odeint

import covector
from covector.lowering import kernels
from covector.lowering.emit import lower_module

TS = jnp.linspace(0.0, 1.0, 3)


def solve(y0: Any, k: Any) -> Any:
    return covector.odeint(lambda y, t, k: jnp.sin(k * y) - y @ jnp.ones((3, 3)) / 9, y0, TS, k)


def calls_of_kernels(f: Callable[..., Any], *args: Any, platform: str = "cpu") -> int:
    module = covector.make_ir(f)(*args)
    return lower_module(module, (platform,)).as_text().count("xla_cpu_small_call")


POINT = (jnp.array([0.3, -0.2, 0.5]), 1.3)


def loss(y0: Any, k: Any) -> Any:
    return jnp.sum(solve(y0, k) ** 2)


def test_values_and_derivatives_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Written as kernels and as loops of kernels. A gradient has a loop forward and one back."""

    def derivatives(y0: Any, k: Any) -> Any:
        return solve(y0, k), covector.grad(loss, (0, 1))(y0, k)

    assert calls_of_kernels(covector.grad(loss), *POINT) == 2
    got = covector.jit(derivatives)(*POINT)
    monkeypatch.setattr(kernels, "SMALL", 0)
    assert calls_of_kernels(covector.grad(lambda *x: loss(*x)), *POINT) == 0
    want = covector.jit(lambda *x: derivatives(*x))(*POINT)
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-6)


def test_other_platforms_have_loops() -> None:
    def quiet(y0: Any) -> Any:
        return covector.solve_ode(lambda y, t: -y, y0, t0=0.0, t1=1.0, throw=False).ys

    assert calls_of_kernels(quiet, POINT[0]) == 1
    assert calls_of_kernels(quiet, POINT[0], platform="cuda") == 0


@pytest.mark.parametrize(
    "dynamics",
    [
        lambda y, t: jnp.sort(y),
        lambda y, t: jnp.outer(y, y) @ jnp.outer(y, y) @ y,
        lambda y, t: jnp.linalg.solve(jnp.eye(3) + jnp.outer(y, y), y),
        lambda y, t: y * jnp.sum(jnp.sin(jnp.arange(1e5) * y[0])),
    ],
    ids=["sort", "product", "library", "large"],
)
def test_what_kernels_cannot_do_stays_a_loop(dynamics: Callable[..., Any]) -> None:
    assert calls_of_kernels(lambda y: covector.odeint(dynamics, y, TS), POINT[0]) == 0


@pytest.mark.parametrize("adjoint", ["direct", "backsolve"])
def test_what_would_be_computed_often_stays_a_loop(adjoint: str) -> None:
    """A kernel computes values again for each that reads them: too many for large states. The loop
    then has borders, and compiles in the time of its steps."""

    def heat(y: Any, t: Any, k: Any) -> Any:
        for _ in range(2):
            y = k * (jnp.roll(y, 1) - 2 * y + jnp.roll(y, -1)) + 0.1 * jnp.sin(y)
        return y

    def end(y: Any, k: Any) -> Any:
        return covector.odeint(heat, y, TS, k, adjoint=adjoint)[-1].sum()

    y = jnp.linspace(0.0, 1.0, 64)
    gradient = covector.grad(end, (0, 1))
    assert calls_of_kernels(gradient, y, 0.2) == 0
    assert "optimization_barrier" in covector.jit(gradient).lower(y, 0.2).as_text()
    want = jax.grad(lambda y, k: odeint(heat, y, TS, k)[-1].sum(), (0, 1))(y, 0.2)
    for a, b in zip(covector.jit(gradient)(y, 0.2), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)


def test_beside_barriers() -> None:
    """XLA's emitter of kernels would fail at a barrier."""

    def both(y0: Any, k: Any) -> Any:
        return loss(jax.checkpoint(lambda y: jnp.sin(y) * k)(y0), k)

    gradient = covector.grad(both)
    assert calls_of_kernels(gradient, *POINT) == 0
    wanted = jax.grad(lambda y: loss(jnp.sin(y) * POINT[1], POINT[1]))(POINT[0])
    np.testing.assert_allclose(covector.jit(gradient)(*POINT), wanted, rtol=1e-5)


def test_an_argument_that_nothing_reads() -> None:
    """XLA drops it from the loop, not from the call."""

    def run(y0: Any, k: Any) -> Any:
        return covector.odeint(lambda y, t, k: -y + 0.0 * k, y0, TS, k)

    np.testing.assert_allclose(covector.jit(run)(POINT[0], 1.0)[-1], POINT[0] / np.e, rtol=1e-5)


def test_what_the_emitter_lacks_after_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of matrices, here let through: the program is compiled again, with a loop."""
    monkeypatch.setattr(kernels, "_is_written", lambda eqn: True)

    def run(y: Any) -> Any:
        return covector.odeint(lambda y, t: -y @ (y.T @ y), y, TS)

    y = jnp.full((16, 16), 0.1)
    assert calls_of_kernels(run, y) == 1
    wanted = covector.vmap(run)(y[None])[0]
    np.testing.assert_allclose(covector.jit(run)(y), wanted, rtol=1e-5)
