"""Loops, branches and rules of covector's functions inside of JAX's shard_map, which checks along
which axes values vary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P

import covector

Function = Callable[..., Any]
X, W = jnp.linspace(-2.0, 3.0, 16), jnp.linspace(0.5, 2.0, 4)


@jax.custom_jvp
def with_jvp(x: Any) -> Any:
    return jnp.sin(x)


with_jvp.defjvp(lambda p, t: (with_jvp(*p), 2.0 * jnp.cos(p[0]) * t[0]))


@jax.custom_vjp
def with_vjp(x: Any) -> Any:
    return jnp.sin(x)


with_vjp.defvjp(lambda x: (with_vjp(x), x), lambda x, ct: (2.0 * jnp.cos(x) * ct,))


def summed(x: Any) -> Any:
    """What is carried varies only after some steps."""

    def step(c: Any, a: Any) -> Any:
        first, second = c
        return (second, second + a * jnp.sin(x)), first

    last, firsts = lax.scan(step, (jnp.zeros(4), jnp.ones(4)), jnp.arange(3.0))
    return last[0] + firsts.sum(0)


def halved(x: Any) -> Any:
    start = 0, jnp.ones(4)
    return lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * 0.5 + x), start)[1]


def chosen(x: Any) -> Any:
    return lax.cond(x.sum() > 0, lambda x: x * 2.0, lambda x: jnp.zeros_like(x), x)


FUNCTIONS: dict[str, Function] = {
    "scan": summed,
    "while": halved,
    "cond": chosen,
    "custom_jvp": with_jvp,
    "custom_vjp": with_vjp,
    "jit": lambda x: jax.jit(lambda x: x * W)(x) + jax.jit(jnp.sin)(x),
}
TRANSFORMED: dict[str, Callable[[Any, Function], Function]] = {
    "jit": lambda lib, f: lib.jit(f),
    "grad": lambda lib, f: lib.grad(lambda x: f(x).sum()),
    "jit of grad": lambda lib, f: lib.jit(lib.grad(lambda x: f(x).sum())),
    "grad of checkpoint": lambda lib, f: lib.grad(lib.checkpoint(lambda x: f(x).sum())),
    "vmap": lambda lib, f: lambda x: lib.vmap(f)(jnp.stack([x, x * 0.5])).sum(0),
}


def on_devices(f: Function) -> Function:
    kinds = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((4,), ("i",), axis_types=kinds)
    return jax.shard_map(f, mesh=mesh, in_specs=P("i"), out_specs=P("i"))


@pytest.mark.parametrize("transform", TRANSFORMED)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_as_in_jax(name: str, transform: str) -> None:
    one = TRANSFORMED[transform](covector, FUNCTIONS[name])
    try:
        want = on_devices(TRANSFORMED[transform](jax, FUNCTIONS[name]))(X)
    except (TypeError, ValueError):  # JAX asks for a pcast of what a loop carries
        want = jnp.concatenate([one(x) for x in X.reshape(4, 4)])
    np.testing.assert_allclose(on_devices(one)(X), want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.jit(on_devices(one))(X), want, rtol=1e-5, atol=1e-6)


def test_what_is_the_same_on_all_devices_stays_so() -> None:
    """A loop of such values returns such values, beside others that vary."""
    mesh = jax.make_mesh((4,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))

    def loop(w: Any, x: Any) -> Any:
        step = lambda c, a: ((c[0] * 1.1 + a, c[1] * c[0]), None)
        return lax.scan(step, (w, x), jnp.arange(3.0))[0]

    def run(lib: Any) -> Any:
        specs = P(), P("i")
        return jax.shard_map(lib.jit(loop), mesh=mesh, in_specs=specs, out_specs=specs)(0.5, X)

    for a, b in zip(run(covector), run(jax), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
