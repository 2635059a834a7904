"""Tangents of integers, float0, leave compiled and mapped functions as they leave JAX's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import covector

FLOAT0 = jax.dtypes.float0
X, COUNTS = jnp.arange(1.0, 4.0), jnp.arange(3)
ZERO, ZEROS = np.zeros((), FLOAT0), np.zeros(3, FLOAT0)


def times(x: Any, i: Any) -> Any:
    return x * i


def pair(x: Any, i: Any) -> Any:
    return x * i, i


def both(fun: Any) -> dict[str, Any]:
    return {"fun": fun, "argnums": (0, 1), "allow_int": True}


@jax.custom_vjp
def told(x: Any) -> Any:
    return x


told.defvjp(lambda x: (x, None), lambda *_: ((2.0, jnp.zeros((), FLOAT0)),))


def looped(x: Any, i: Any) -> Any:
    return jax.lax.scan(lambda c, _: (told(c), None), (x, i), None, length=2)[0][0]


@jax.custom_vjp
def passed_on(x: Any, z: Any) -> Any:
    return 2 * x, z, x


passed_on.defvjp(
    lambda x, z: (passed_on(x, z), z), lambda z, cts: (3 * cts[0] * (z.dtype == FLOAT0), None)
)


@functools.cache
def saved() -> Any:
    """A program of floats and integers that jax.export saves. Its pull-backs, saved like it, have
    operands and results of float0."""
    return jax.export.export(jax.jit(lambda x, i: (x * x * i, i + 1)))(X, COUNTS)


def pulled_twice(m: Any) -> Any:
    """The pull-back of a saved program, and the pull-back of that."""
    _, pull = m.vjp(saved().call, X, COUNTS)
    cts, pull_again = m.vjp(pull, (X, ZEROS))
    return cts, pull_again(cts)


CALLS: dict[str, Callable[[Any], Any]] = {
    "jacrev": lambda m: m.jacrev(**both(times))(X, COUNTS),
    "jacrev, scalar": lambda m: m.jacrev(**both(lambda x, i: (x * i).sum()))(X, 2),
    "jacrev of numbers": lambda m: m.jacrev(**both(times))(2.0, 3),
    "jit of grad": lambda m: m.jit(m.grad(**both(times)))(2.0, 3),
    "vmap of grad": lambda m: m.vmap(m.grad(**both(times)))(X, COUNTS),
    "vmap of grad to another axis": lambda m: m.vmap(
        m.grad(**both(lambda x, i: (x * i).sum())), in_axes=1, out_axes=(0, 1)
    )(X[None].repeat(2, 0), COUNTS[None].repeat(2, 0)),
    "jit of jvp": lambda m: m.jit(lambda x, i: m.jvp(pair, (x, i), (x, ZEROS)))(X, COUNTS),
    "vmap of jvp": lambda m: m.vmap(lambda x, i: m.jvp(pair, (x, i), (x, ZERO)))(X, COUNTS),
    "jit of vjp": lambda m: m.jit(lambda x, i: m.vjp(pair, x, i)[1]((x, ZEROS)))(X, COUNTS),
    "auxiliary": lambda m: m.grad(lambda x: (x.sum(), ZEROS), has_aux=True)(X),
    "cotangent of float0": lambda m: m.vjp(lambda x: (x, ZEROS), X)[1]((X, ZEROS)),
    "argument of jit": lambda m: m.jit(lambda z, x: (z, 2 * x))(ZEROS, X),
    "argument of vmap": lambda m: m.vmap(lambda z, x: (z, 2 * x))(ZEROS, X),
    "tangent into jit": lambda m: m.jit(lambda t: m.jvp(lambda i: i * 2, (3,), (t,)))(ZERO),
    "rule in a loop": lambda m: m.grad(**both(looped))(2.0, 3),
    "a function with a rule returns it": lambda m: m.grad(lambda x: m.jit(passed_on)(x, ZERO)[0])(
        2.0
    ),
    "it leaves a function with a rule": lambda m: m.vjp(lambda x: passed_on(x, ZERO), X)[0],
    "saved program": lambda m: m.vjp(saved().call, X, COUNTS)[1]((X, ZEROS)),
    "saved program, twice": pulled_twice,
    "saved program, twice, compiled": lambda m: m.jit(pulled_twice, static_argnums=0)(m),
    "saved pull-back": lambda m: m.jit(saved().vjp().call)(X, COUNTS, X, ZEROS),
    "rule of integers": lambda m: m.jit(lambda i: m.vjp(told, (1.0, i))[1]((1.0, ZERO)))(2),
}


@pytest.mark.parametrize("name", CALLS)
def test_as_in_jax(name: str) -> None:
    ours, theirs = CALLS[name](covector), CALLS[name](jax)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for got, want in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert got.dtype == want.dtype and np.shape(got) == np.shape(want)
        if want.dtype != FLOAT0:
            np.testing.assert_allclose(got, want, rtol=1e-6)
