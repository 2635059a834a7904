"""Backward rules need not be linear in the cotangent: each of equal calls has its own.

A rule that clips makes of each of two cotangents of 3 a 1, and of their sum no 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector
from covector.passes import run_passes

Function = Callable[[Any], Any]


@jax.custom_vjp
def clipped(x: Any) -> Any:
    return x


clipped.defvjp(lambda x: (x, None), lambda _, ct: (jnp.clip(ct, -1, 1),))


@jax.custom_vjp
def normalised(x: Any) -> Any:
    return jnp.sin(x)


normalised.defvjp(lambda x: (jnp.sin(x), x), lambda x, ct: (jnp.cos(x) * ct / (1 + abs(ct)),))


def twice(f: Function) -> Function:
    return lambda x: 3 * f(x) + 3 * f(x)


def in_scan(f: Function) -> Function:
    def g(x: Any) -> Any:
        return jax.lax.scan(lambda c, _: (c + 3 * f(x) + 2 * f(x), None), 0 * x, length=3)[0]

    return g


PROGRAMS: dict[str, Callable[[Any, Function], Function]] = {
    "calls": lambda api, f: twice(f),
    "jitted calls": lambda api, f: twice(api.jit(f)),
    "jit around them": lambda api, f: api.jit(twice(f)),
    "JAX's jit around them": lambda api, f: jax.jit(twice(f)),
    "branches": lambda api, f: twice(lambda x: jax.lax.cond(jnp.sum(x) > 0, f, lambda x: x, x)),
    "checkpoints": lambda api, f: twice(jax.checkpoint(f)),
    "of loops": lambda api, f: twice(lambda x: jax.lax.fori_loop(0, 2, lambda i, c: f(c), x)),
    "of invariants": lambda api, f: in_scan(f),
    "of rows": lambda api, f: api.vmap(twice(f)),
    "of all rows alike": lambda api, f: lambda x: api.vmap(lambda y: twice(f)(x)[0] * y)(x),
    "in another rule": lambda api, f: twice(ruled(f)),
}


def summed(f: Function) -> Function:
    return lambda x: jnp.sum(f(x))


def ruled(f: Function) -> Function:
    """f with a rule of its own, by which it is differentiated through f's."""
    g = jax.custom_jvp(lambda x: f(x))
    g.defjvp(lambda primals, tangents: (f(*primals), jnp.cos(f(*primals)) * tangents[0]))
    return g


WAYS: dict[str, Callable[[Any, Function], Function]] = {
    "grad": lambda api, g: api.grad(g),
    "jit of grad": lambda api, g: api.jit(api.grad(g)),
    "grad of jit": lambda api, g: api.grad(api.jit(g)),
    "vjp": lambda api, g: lambda x: api.vjp(g, x)[1](1.0)[0],
    "jit of vjp": lambda api, g: api.jit(lambda x: api.vjp(g, x)[1](1.0)[0]),
    "vmap of grad": lambda api, g: lambda x: api.vmap(api.grad(g))(jnp.stack([x, 2 * x])),
    "second": lambda api, g: api.grad(lambda x: api.grad(g)(x).sum()),
}


@pytest.mark.parametrize("function", [clipped, normalised], ids=["clipped", "normalised"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_each_call_has_its_own_cotangent(program: str, function: Function) -> None:
    x = jnp.array([0.3, 0.8])
    for name, way in WAYS.items():
        found = [way(api, summed(PROGRAMS[program](api, function)))(x) for api in (covector, jax)]
        np.testing.assert_allclose(*found, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("wrap", [lambda f: f, covector.jit, jax.checkpoint])
@pytest.mark.parametrize("before", ["cse", "fold,cse,dce"])
def test_passes_keep_calls_apart(wrap: Any, before: str) -> None:
    module = covector.make_ir(twice(wrap(clipped)))(0.5)
    gradient = run_passes(module, f"{before},grad{{wrt=0}},cse,dce")
    assert gradient.as_function()(0.5)[0] == 2.0
