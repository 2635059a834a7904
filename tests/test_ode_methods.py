"""The methods of ODE solves: order, dense output, stiffness, dtypes, limits, text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.ode import odeint as jax_odeint
from ode_systems import assert_close, difference, inner, random_like, van_der_pol
from scipy import integrate, linalg

import covector
from covector.ir.errors import SolveError
from covector.ir.interpret import evaluate
from covector.ir.solvers.tableaus import METHODS


@pytest.fixture(autouse=True)
def x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def turning(y: Any, t: Any, w: Any) -> Any:
    """y'' = -w^2 y, with a forcing whose solution is known."""
    return jnp.array([y[1], -w * w * y[0] + jnp.exp(t)])


def turned(t: Any, w: float) -> Any:
    """Its solution from y = (1, 0)."""
    k = 1 / (1 + w * w)
    return k * np.exp(t) + (1 - k) * np.cos(w * t) - k / w * np.sin(w * t)


# -- the methods -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_order(method: str) -> None:
    """Halving the step divides the error by 2^order at the ends of steps; between them, where the
    polynomial is of lower order for some, at least by nearly 2^3."""
    times = jnp.array([0.37, 0.81, 0.25, 0.5, 0.75, 1.0]).sort()
    is_end = np.isin(times, [0.25, 0.5, 0.75, 1.0])

    def solve(dt: Any) -> Any:
        return covector.solve_ode(
            turning, jnp.array([1.0, 0.0]), 2.0, t0=0.0, t1=1.0, dt0=dt, saveat=times,
            method=method, rtol=None, atol=None,
        )  # fmt: skip

    order = METHODS[method].order
    sizes = (1 / 4, 1 / 8) if order == 5 else (1 / 16, 1 / 32)
    solutions = [solve(dt) for dt in sizes]
    assert [int(s.steps) for s in solutions] == [round(1 / dt) for dt in sizes]
    errors = [np.abs(s.ys[:, 0] - turned(times, 2.0)) for s in solutions]
    at_ends, between = (
        np.log2(np.linalg.norm(errors[0][where]) / np.linalg.norm(errors[1][where]))
        for where in (is_end, ~is_end)
    )
    assert order - 0.4 < at_ends < order + 1.3
    assert between > min(order, 3) - 0.4


@pytest.mark.parametrize("method", [m for m in METHODS if METHODS[m].error is not None])
def test_adaptive_steps_reach_the_tolerance(method: str) -> None:
    tolerance = 1e-5 if METHODS[method].order == 3 else 1e-8
    times = jnp.linspace(0.0, 3.0, 40)
    s = covector.solve_ode(
        turning, jnp.array([1.0, 0.0]), 3.0, t0=0.0, t1=3.0, saveat=times, method=method,
        rtol=tolerance, atol=tolerance,
    )  # fmt: skip
    error = np.max(np.abs(s.ys[:, 0] - turned(times, 3.0)))
    assert error < 300 * tolerance
    assert int(s.status) == 0
    assert float(s.reached) == 3.0


def test_a_hundred_dimensions() -> None:
    """A linear system: its solution and all its derivatives are matrix exponentials."""
    rng = np.random.default_rng(3)
    a = jnp.asarray(rng.normal(size=(100, 100)) / 10 - np.eye(100))
    y0 = jnp.asarray(rng.normal(size=100))
    v = random_like((a, y0), 4)
    c = random_like(y0, 5)

    def solve(a: Any, y0: Any) -> Any:
        return covector.odeint(lambda y, t, a: a @ y, y0, jnp.array([0.0, 1.0]), a)[-1]

    moved, pushed = linalg.expm_frechet(a, v[0])
    y, dy = covector.jvp(solve, (a, y0), v)
    assert_close(y, moved @ y0, 3e-7)
    assert_close(dy, pushed @ y0 + moved @ v[1], 3e-7)
    ct_a, ct_y0 = covector.vjp(solve, a, y0)[1](c)
    assert_close(ct_y0, moved.T @ c, 3e-7)
    assert_close(ct_a, linalg.expm_frechet(a.T, jnp.outer(c, y0))[1], 3e-7)


# -- stiff systems ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["kvaerno3", "kvaerno5"])
def test_stiff(method: str) -> None:
    """Van der Pol with mu = 1000: few steps, where an explicit method needs thousands."""
    times = jnp.linspace(0.0, 3.0, 7)
    y0 = jnp.array([2.0, 0.0])
    options = {"t0": 0.0, "t1": 3.0, "saveat": times}
    s = covector.solve_ode(van_der_pol, y0, 1000.0, method=method, rtol=1e-7, atol=1e-7, **options)
    known = integrate.solve_ivp(
        lambda t, y: np.asarray([y[1], 1000 * (1 - y[0] ** 2) * y[1] - y[0]]),
        (0.0, 3.0), [2.0, 0.0], "Radau", times, rtol=1e-10, atol=1e-12,
    )  # fmt: skip
    assert_close(s.ys, known.y.T, 1e-8)
    assert int(s.steps) < 60
    with pytest.raises(SolveError, match="more than 1000 steps were needed"):
        covector.solve_ode(van_der_pol, y0, 1000.0, max_steps=1000, **options)


def stiff_solution(y0: Any, mu: Any) -> Any:
    return covector.solve_ode(
        van_der_pol, y0, mu, t0=0.0, t1=1.0, saveat=jnp.array([0.5, 1.0]), method="kvaerno5",
        rtol=1e-9, atol=1e-9, max_steps=100,
    ).ys  # fmt: skip


def test_stiff_derivatives() -> None:
    """The implicit steps differentiated exactly: both modes agree to rounding."""
    args = (jnp.array([2.0, 0.0]), 50.0)
    v = random_like(args, 3)
    ys, dys = covector.jvp(stiff_solution, args, v)
    assert_close(dys, difference(stiff_solution, args, v, 1e-3), 1e-4)
    c = random_like(ys, 4)
    assert_close(inner(covector.vjp(stiff_solution, *args)[1](c), v), inner(c, dys), 1e-12)


@pytest.mark.slow
def test_stiff_second_derivatives_and_batches() -> None:
    y0, mu = jnp.array([2.0, 0.0]), 50.0

    def loss(y0: Any, mu: Any) -> Any:
        return jnp.sum(jnp.sin(stiff_solution(y0, mu)))

    v = random_like((y0, mu), 3)
    gradient = covector.grad(loss, (0, 1))
    pushed = covector.jvp(gradient, (y0, mu), v)[1]
    assert_close(covector.grad(lambda *a: inner(gradient(*a), v), (0, 1))(y0, mu), pushed, 1e-10)
    mus = jnp.array([1.0, 50.0])
    total = covector.grad(lambda mus: jnp.sum(covector.vmap(lambda m: loss(y0, m))(mus)))(mus)
    assert_close(total, jnp.stack([gradient(y0, m)[1] for m in mus]), 1e-10)


# -- states of all kinds ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["dopri5", "kvaerno3"])
def test_single_precision(method: str) -> None:
    y0, ts = jnp.float32(1.0), jnp.linspace(0, 1, 3, dtype=jnp.float32)

    def solve(k: Any) -> Any:
        return covector.solve_ode(
            lambda y, t: -k * y, y0, t0=ts[0], t1=ts[-1], saveat=ts, method=method, rtol=1e-4,
            atol=1e-4,
        ).ys  # fmt: skip

    ys, dys = covector.jvp(solve, (jnp.float32(2.0),), (jnp.float32(1.0),))
    assert ys.dtype == dys.dtype == jnp.float32
    assert_close(ys, np.exp(-2 * ts), 3e-4)
    assert_close(dys, -ts * np.exp(-2 * ts), 1e-3)


@pytest.mark.parametrize("adjoint", ["backsolve", "direct"])
def test_complex_state(adjoint: str) -> None:
    """JAX's convention for complex cotangents."""
    ts = jnp.linspace(0.0, 1.0, 4)
    y0, k = jnp.array([1.0 + 2.0j, -0.5j]), 0.3 + 1.5j

    def solve(y0: Any, k: Any) -> Any:
        return covector.odeint(lambda y, t: 1j * k * y, y0, ts, adjoint=adjoint)

    def exact(y0: Any, k: Any) -> Any:
        return jnp.exp(1j * k * ts[:, None]) * y0

    args, v = (y0, k), (jnp.array([0.2 + 1j, 3.0 + 0j]), 0.7 - 0.1j)
    c = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2, 2)) @ np.array([1, 1j]))
    assert_close(covector.jvp(solve, args, v), jax.jvp(exact, args, v), 1e-6)
    assert_close(covector.vjp(solve, *args)[1](c), jax.vjp(exact, *args)[1](c), 1e-6)


@pytest.mark.parametrize("adjoint", ["backsolve", "direct"])
def test_nothing_in_particular(adjoint: str) -> None:
    """One time only, a state without elements, times that are equal, time running backwards."""

    def f(y: Any, t: Any, a: Any) -> Any:
        return jax.tree.map(lambda x: -a * x, y)

    def solve(y0: Any, ts: Any, a: Any) -> Any:
        return covector.odeint(f, y0, ts, a, adjoint=adjoint)

    y0 = {"x": jnp.array([1.0, 2.0]), "empty": jnp.zeros((0, 3))}
    one = solve(y0, jnp.array([0.5]), 2.0)
    assert_close(one, jax.tree.map(lambda x: x[None], y0))
    ts = jnp.array([0.0, 0.5, 0.5, 1.0])
    ys, pull = covector.vjp(solve, y0, ts, 2.0)
    assert_close(ys["x"], jnp.exp(-2 * ts)[:, None] * y0["x"], 1e-7)
    cts = pull(jax.tree.map(jnp.ones_like, ys))
    assert_close(cts[0]["x"], jnp.full(2, jnp.exp(-2 * ts).sum()), 1e-7)
    assert_close(cts[2], -3 * jnp.sum(ts * jnp.exp(-2 * ts)), 1e-6)
    back = solve(jax.tree.map(lambda x: x[-1], ys), ts[::-1], 2.0)
    assert_close(back["x"], ys["x"][::-1], 1e-6)
    assert cts[0]["empty"].shape == (0, 3)


def test_steps_are_limited() -> None:
    seen = covector.odeint(lambda y, t: -y, 1.0, jnp.array([0.0, 1.0]), hmax=0.01)
    assert_close(seen[-1], np.exp(-1.0), 1e-12)
    s = covector.solve_ode(lambda y, t: -y, 1.0, t0=0.0, t1=1.0, hmax=0.01)
    assert int(s.steps) >= 100


def test_as_jax_under_each_of_its_transformations() -> None:
    """In jax.jit, jax.vmap and jax.lax.scan a solve is one of JAX's primitives."""
    ts = jnp.linspace(0.0, 1.0, 3)

    def solve(y0: Any) -> Any:
        return covector.odeint(lambda y, t: -y * t, y0, ts)

    y0s = jnp.array([1.0, 2.0])
    wanted = jnp.exp(-(ts**2) / 2) * y0s[:, None]
    assert_close(jax.jit(jax.vmap(solve))(y0s), wanted, 1e-7)
    assert_close(jax.jacfwd(solve)(1.0), wanted[0], 1e-7)
    assert_close(jax.jacrev(solve)(1.0), wanted[0], 1e-7)
    assert_close(jax.lax.map(solve, y0s), wanted, 1e-7)
    assert_close(jax_odeint(lambda y, t: -y * t, 1.0, ts), wanted[0], 1e-7)


def test_meaning_of_the_equations() -> None:
    """What the interpreter makes of the equations, without compiling them."""
    ts = jnp.linspace(0.0, 1.0, 3)

    def loss(y0: Any, k: Any) -> Any:
        ys = covector.odeint(lambda y, t: -k * y, y0, ts, rtol=1e-4, atol=1e-4)
        return jnp.sum(ys**2)

    args = (jnp.array([1.0, 2.0]), 0.7)
    module = covector.make_ir(covector.grad(loss, (0, 1)))(*args)
    names = [eqn.primitive.name for eqn in module.main.equations]
    assert names.count("ode") == names.count("linear_ode_back") == 1
    found = evaluate(module.main, [np.asarray(x) for x in args])
    assert_close(found, covector.grad(loss, (0, 1))(*args), 1e-10)
