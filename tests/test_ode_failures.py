"""ODE solves that fail, and what is refused: each says how far it came, or what to give instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ode_systems import assert_close

import covector
from covector.ir.errors import ArgumentError, CovectorError, SolveError


@pytest.fixture(autouse=True)
def x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


FAILURES: dict[str, tuple[Callable[[], Any], str]] = {
    "mxstep": (
        lambda: covector.odeint(lambda y, t: -y, 1.0, jnp.array([0.0, 9.0]), mxstep=3),
        r"solved up to t = \S+ in \d steps, then more than 3 steps between two outputs were needed",
    ),
    "max_steps": (
        lambda: covector.solve_ode(lambda y, t: -y, 1.0, t0=0.0, t1=9.0, max_steps=3),
        "then more than 3 steps were needed",
    ),
    "max_steps, close outputs": (
        lambda: covector.solve_ode(
            lambda y, t: -y,
            1.0,
            t0=0.0,
            t1=9.0,
            max_steps=30,
            hmax=0.1,
            saveat=jnp.linspace(0.0, 9.0, 200),
        ),
        r"in 30 steps, then more than 30 steps were needed",
    ),
    "not finite": (
        lambda: covector.odeint(lambda y, t: jnp.log(y - t), 1.0, jnp.array([0.0, 2.0])),
        r"solved up to t = 0\.59\d+ in \d+ steps, then a slope or the state was not finite",
    ),
    "not finite at the start": (
        lambda: covector.odeint(lambda y, t: y / t, 1.0, jnp.array([0.0, 2.0])),
        "solved up to t = 0 in 0 steps, then a slope or the state was not finite",
    ),
    "not finite, fixed steps": (
        lambda: covector.solve_ode(
            lambda y, t: jnp.log(y - t), 1.0, t0=0.0, t1=2.0, dt0=0.1, method="rk4"
        ),
        "was not finite",
    ),
    "singularity": (
        lambda: covector.odeint(lambda y, t: y * y, 1.0, jnp.array([0.0, 2.0])),
        r"solved up to t = 1 in \d+ steps, then the step became too small",
    ),
    "in a batch": (
        lambda: covector.vmap(lambda y: covector.odeint(lambda y, t: y * y, y, jnp.arange(3.0)))(
            jnp.array([0.1, 1.0])
        ),
        "example 1 of the batch: solved up to t = 1 ",
    ),
    "under grad": (
        lambda: covector.grad(
            lambda y: covector.odeint(lambda y, t: y * y, y, jnp.arange(3.0))[-1]
        )(1.0),
        "solved up to t = 1 ",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures(name: str) -> None:
    call, message = FAILURES[name]
    with pytest.raises(SolveError, match=message):
        call()


def test_failures_that_do_not_raise() -> None:
    s = covector.solve_ode(
        lambda y, t: y * y, 1.0, t0=0.0, t1=2.0, saveat=jnp.array([0.5, 1.5]), throw=False
    )
    assert int(s.status) != 0
    assert_close(s.ys[0], 2.0, 1e-4)
    assert jnp.isnan(s.ys[1])
    assert_close(s.reached, 1.0, 1e-3)


@pytest.mark.parametrize("adjoint", ["direct", "backsolve"])
def test_times_that_turn_around_are_found_while_the_program_runs(adjoint: str) -> None:
    """Only then are they known, under jit; the derivatives of the solution are NaN, too."""

    def total(k: Any, ts: Any) -> Any:
        return jnp.sum(covector.odeint(lambda y, t: -k * y, 1.0, ts, adjoint=adjoint, throw=False))

    for ts in ([0.0, 1.0, 0.5], [0.0, np.nan]):
        assert np.isnan(covector.jit(covector.grad(total))(1.0, jnp.array(ts)))
    s = covector.jit(
        lambda ts: covector.solve_ode(
            lambda y, t: -y, 1.0, t0=ts[0], t1=ts[2], saveat=ts, throw=False
        )
    )(jnp.array([0.0, 1.0, 0.5]))
    assert int(s.status) == 5


REFUSALS: dict[str, tuple[Callable[[], Any], str]] = {
    "method": (
        lambda: covector.solve_ode(lambda y, t: y, 1.0, t0=0.0, t1=1.0, method="dopri"),
        "there is no method 'dopri'",
    ),
    "adjoint": (
        lambda: covector.odeint(lambda y, t: y, 1.0, jnp.arange(2.0), adjoint="backsolv"),
        "there is no adjoint 'backsolv'",
    ),
    "fixed step": (
        lambda: covector.solve_ode(lambda y, t: y, 1.0, t0=0.0, t1=1.0, method="rk4"),
        "rk4 takes steps of a fixed size here: it needs dt0",
    ),
    "stiff backsolve": (
        lambda: covector.solve_ode(
            lambda y, t: -y, 1.0, t0=0.0, t1=1.0, method="kvaerno5", adjoint="backsolve"
        ),
        "kvaerno5 has the adjoint direct only",
    ),
    "structure": (
        lambda: covector.odeint(lambda y, t: (y, y), 1.0, jnp.arange(2.0)),
        "returns a tree",
    ),
    "shape": (
        lambda: covector.odeint(lambda y, t: jnp.zeros(3), jnp.zeros(2), jnp.arange(2.0)),
        r"returns a slope of shape \(3,\)",
    ),
    "integers": (
        lambda: covector.odeint(lambda y, t: y, 1, jnp.arange(2.0)),
        "states change continuously",
    ),
    "half precision": (
        lambda: covector.odeint(lambda y, t: -y, jnp.bfloat16(1), jnp.arange(2.0)),
        "bf16, in which small steps get lost",
    ),
    "tolerance": (
        lambda: covector.odeint(lambda y, t: y, 1.0, jnp.arange(2.0), rtol=-1e-3),
        "rtol is 0 at least; got -0.001",
    ),
    "step of no size": (
        lambda: covector.solve_ode(lambda y, t: y, 1.0, t0=0.0, t1=1.0, method="rk4", dt0=0.0),
        "dt0 is the size of a step; got 0",
    ),
    "step that is traced": (
        lambda: covector.grad(
            lambda h: covector.solve_ode(lambda y, t: y, 1.0, t0=0.0, t1=1.0, dt0=h).ys[0]
        )(0.1),
        "dt0 is a real number known beforehand",
    ),
    "times": (
        lambda: covector.odeint(lambda y, t: y, 1.0, jnp.array([0.0, 2.0, 1.0])),
        r"t\[1\] = 2.0 and t\[2\] = 1.0 do not",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name: str) -> None:
    call, message = REFUSALS[name]
    with pytest.raises(CovectorError, match=message) as error:
        call()
    assert isinstance(error.value, (ArgumentError, ValueError, TypeError))
