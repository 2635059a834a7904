"""Solves of differential equations: their derivatives, against JAX, differences and laws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.ode import odeint as jax_odeint
from ode_systems import (
    LORENZ,
    TIGHT,
    assert_close,
    difference,
    inner,
    lorenz,
    pendulum,
    pendulum_arguments,
    random_like,
)

import covector

ADJOINTS = ("backsolve", "direct")
each_adjoint = pytest.mark.parametrize("adjoint", ADJOINTS)


@pytest.fixture(autouse=True)
def x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def solver(adjoint: str) -> Callable[..., Any]:
    return lambda y0, ts, a: covector.odeint(pendulum, y0, ts, a, adjoint=adjoint, **TIGHT)


def reference(y0: Any, ts: Any, a: Any) -> Any:
    return jax_odeint(pendulum, y0, ts, a, **TIGHT)


def loss_of(solve: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(solve(*args)))


# -- the question about the vjp of the Lorenz system ----------------------------------------------


@pytest.mark.smoke
@each_adjoint
def test_numbers_of_the_question(adjoint: str) -> None:
    """What `jax.vjp` gave there differs from the true cotangents by the tolerance of its solve, and
    so do ours; with a tight tolerance ours are the true ones."""
    ts = jnp.linspace(0, 1.0, 1000)

    def evolve(y0: Any, *args: Any, **options: Any) -> Any:
        return covector.odeint(lorenz, y0, ts, *args, adjoint=adjoint, **options)

    ys, pull = covector.vjp(evolve, *LORENZ)
    assert_close(ys, jax_odeint(lorenz, LORENZ[0], ts, *LORENZ[1:]), 1e-7)
    y0 = jnp.array([1.74762118, 26.45747015, -2.03017559])
    answer = (y0, 871.66349663, -83.07586548, -1754.48788565)
    assert_close(pull(jnp.ones_like(ys)), answer, rtol=2e-5)

    y0 = jnp.array([1.747634748, 26.457481029, -2.030170062])
    true = (y0, 871.663489886, -83.075871001, -1754.487857645)
    _, pull = covector.vjp(lambda *a: evolve(*a, rtol=1e-12, atol=1e-12), *LORENZ)
    assert_close(pull(jnp.ones_like(ys)), true, rtol=1e-8)


@each_adjoint
def test_jvp_along_beta(adjoint: str) -> None:
    """Against differences and against Diffrax's forward mode; its inner product with the vjp."""
    ts = jnp.linspace(0, 1.0, 50)

    def evolve(y0: Any, *args: Any) -> Any:
        return covector.odeint(lorenz, y0, ts, *args, adjoint=adjoint)

    v = (jnp.zeros(3), 0.0, 0.0, 1.0)
    ys, dys = covector.jvp(evolve, LORENZ, v)
    assert_close(dys, difference(evolve, LORENZ, v), rtol=3e-6)

    diffrax = pytest.importorskip("diffrax")

    def by_diffrax(y0: Any, *args: Any) -> Any:
        return diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: lorenz(y, t, *args)),
            diffrax.Dopri5(),
            0.0,
            1.0,
            None,
            y0,
            args,
            saveat=diffrax.SaveAt(ts=ts),
            stepsize_controller=diffrax.PIDController(rtol=1.4e-8, atol=1.4e-8),
            adjoint=diffrax.ForwardMode(),
        ).ys

    assert_close(dys, jax.jvp(by_diffrax, LORENZ, v)[1], rtol=1e-5)
    c = random_like(ys, 0)
    pulled = covector.vjp(evolve, *LORENZ)[1](c)
    exact = 1e-12 if adjoint == "direct" else 1e-6
    assert_close(inner(pulled, v), inner(c, dys), rtol=exact)


# -- derivatives of a system with everything ------------------------------------------------------


@each_adjoint
def test_first_derivatives(adjoint: str) -> None:
    """With respect to the state, every one of the times, and arguments: by covector and by JAX."""
    solve, args = solver(adjoint), pendulum_arguments()
    ys, pull = jax.vjp(reference, *args)
    c, v = random_like(ys, 1), random_like(args, 2)
    wanted = pull(c)
    got, pull = covector.vjp(solve, *args)
    assert_close(got, ys)
    assert_close(pull(c), wanted)
    assert_close(inner(c, covector.jvp(solve, args, v)[1]), inner(wanted, v))
    assert_close(jax.vjp(solve, *args)[1](c), wanted)
    assert_close(inner(c, jax.jvp(solve, args, v)[1]), inner(wanted, v))


@each_adjoint
@pytest.mark.slow
def test_second_derivatives(adjoint: str) -> None:
    """Forward over reverse, reverse over forward, reverse over reverse: one bilinear form."""
    loss, args = loss_of(solver(adjoint)), pendulum_arguments()
    everything, v = (0, 1, 2), random_like(args, 2)
    gradient = covector.grad(loss, argnums=everything)
    wanted = difference(jax.jit(jax.grad(loss_of(reference), everything)), args, v, 1e-3)
    forward_reverse = covector.jvp(gradient, args, v)[1]
    assert_close(forward_reverse, wanted, 5e-5)
    along = covector.grad(lambda *a: covector.jvp(loss, a, v)[1], argnums=everything)
    assert_close(along(*args), forward_reverse)
    twice = covector.grad(lambda *a: inner(gradient(*a), v), argnums=everything)
    assert_close(twice(*args), forward_reverse)


@each_adjoint
def test_direct_derivatives_are_exact(adjoint: str) -> None:
    """Loose tolerances: `direct` is the derivative of the numbers that the solve gives, in both
    modes; `backsolve` differs from it by the error that was allowed."""
    y0, ts, a = pendulum_arguments()

    def solve(y0: Any, a: Any) -> Any:
        return covector.odeint(pendulum, y0, ts, a, rtol=1e-3, atol=1e-3, adjoint=adjoint)

    ys, dys = covector.jvp(solve, (y0, a), (v := random_like((y0, a), 5)))
    c = random_like(ys, 6)
    gap = abs(inner(c, dys) - inner(covector.vjp(solve, y0, a)[1](c), v))
    assert gap < 1e-13 if adjoint == "direct" else gap < 1e-2


# -- batches --------------------------------------------------------------------------------------


@each_adjoint
def test_batches(adjoint: str) -> None:
    """Each example takes steps of its own; what examples share gets the sum of its cotangents."""
    solve, (y0, ts, a) = solver(adjoint), pendulum_arguments()
    y0s = jax.tree.map(lambda x: jnp.stack([x, 2 * x, -x]), y0)
    many = jnp.stack([a, 3 * a, 20 * a])
    axes = (0, None, 0)
    batch = covector.vmap(solve, axes)(y0s, ts, many)
    for i in range(3):
        alone = solve(jax.tree.map(lambda x, i=i: x[i], y0s), ts, many[i])
        assert_close(jax.tree.map(lambda x, i=i: x[i], batch), alone, 1e-12)

    everything = (0, 1, 2)
    loss, known = loss_of(solve), loss_of(reference)
    wanted = jax.vmap(jax.grad(known, everything), axes)(y0s, ts, many)
    assert_close(covector.vmap(covector.grad(loss, everything), axes)(y0s, ts, many), wanted)

    def total(y0s: Any, ts: Any, a: Any) -> Any:
        return jnp.sum(covector.vmap(loss, (0, None, None))(y0s, ts, a))

    wanted = jax.vmap(jax.grad(known, everything), (0, None, None))(y0s, ts, a)
    sums = (wanted[0], wanted[1].sum(0), wanted[2].sum(0))
    assert_close(covector.grad(total, argnums=everything)(y0s, ts, a), sums)


@each_adjoint
def test_jacobians(adjoint: str) -> None:
    solve, (y0, ts, a) = solver(adjoint), pendulum_arguments()
    wanted = jax.jacrev(reference, argnums=2)(y0, ts, a)
    assert_close(covector.jacfwd(solve, argnums=2)(y0, ts, a), wanted)
    assert_close(covector.jacrev(solve, argnums=2)(y0, ts, a), wanted)


def test_steps_of_a_batch() -> None:
    def solve(mu: Any) -> Any:
        return covector.solve_ode(lambda y, t: -mu * y, 1.0, t0=0.0, t1=1.0)

    together = covector.vmap(solve)(jnp.array([0.1, 1.0, 50.0]))
    alone = [solve(mu) for mu in (0.1, 1.0, 50.0)]
    assert [int(x) for x in together.steps] == [int(s.steps) for s in alone]
    assert together.steps[2] > 5 * together.steps[0]


# -- solves inside of other things ----------------------------------------------------------------


@each_adjoint
def test_inside_loops_branches_and_checkpoints(adjoint: str) -> None:
    y0, ts, a = pendulum_arguments()

    def chain(solve: Callable[..., Any]) -> Callable[..., Any]:
        def one(y: Any, factor: Any, a: Any) -> Any:
            ys = jax.checkpoint(solve)(y, ts, factor * a)
            return jax.tree.map(lambda x: x[-1], ys)

        def run(y0: Any, a: Any) -> Any:
            def step(y: Any, factor: Any) -> tuple[Any, Any]:
                y = jax.lax.cond(factor > 0.7, lambda: one(y, factor, a), lambda: y)
                return y, y[0]

            y, seen = jax.lax.scan(step, y0, jnp.array([0.5, 1.0, 1.5]))
            return jnp.sum(seen) + jnp.sum(y[1])

        return run

    wanted = jax.grad(chain(reference), (0, 1))(y0, a)
    assert_close(covector.jit(covector.grad(chain(solver(adjoint)), (0, 1)))(y0, a), wanted)


def test_closed_over_values() -> None:
    """Tracers of the enclosing function are arguments of the solve like any other."""
    ts = jnp.array([0.0, 1.0])

    def solve(k: Any) -> Any:
        return covector.odeint(lambda y, t: -k * y, jnp.exp(k), ts, **TIGHT)[-1]

    assert_close(covector.grad(solve)(1.7), jnp.array(0.0), atol=1e-9)
    assert_close(jax.grad(solve)(1.7), jnp.array(0.0), atol=1e-9)
    assert_close(covector.grad(covector.grad(lambda k: solve(k) * k**2))(1.7), jnp.array(2.0))
