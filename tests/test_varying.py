"""Covector's functions inside of a `jax.shard_map` that JAX traces, with its checks on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector

P: Any = jax.sharding.PartitionSpec
X, W = jnp.arange(1.0, 9.0), jnp.float32(0.5)


def over_devices(f: Callable[..., Any], *in_specs: Any) -> Callable[..., Any]:
    if len(jax.devices()) < 4:
        pytest.skip("fewer than four devices")
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:4]), ("i",), axis_types=auto)
    return jax.shard_map(f, mesh=mesh, in_specs=in_specs or (P("i"),), out_specs=P("i"))  # type: ignore[no-any-return]


def scanned(x: Any) -> Any:
    """A loop that carries what differs between devices, and what does not."""
    (total, n), ys = jax.lax.scan(
        lambda c, t: ((c[0] + t * x, c[1] + 1), jnp.sin(c[0])), (x * 0, 0), jnp.ones(3)
    )
    return total * n + ys.sum(0)


def counted(x: Any) -> Any:
    return jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * x), (0, x * 0 + 1))[1]


@jax.custom_jvp
def tripled(x: Any) -> Any:
    return 2.0 * x


tripled.defjvp(lambda p, t: (tripled(p[0]), 3.0 * t[0]))


def summed(x: Any) -> Any:
    return jax.lax.psum(x, "i")


CALLS: dict[str, Callable[[Any], Callable[[Any], Any]]] = {
    "jit": lambda m: m.jit(jax.nn.relu),
    "constants": lambda m: m.jit(lambda x: jnp.where(x > 2, x, 0.0) * 2 + jnp.ones(2)),
    "grad": lambda m: m.grad(lambda x: jnp.mean(x**2 + 1)),
    "value": lambda m: lambda x: m.value_and_grad(lambda y: jnp.mean(y**2))(x)[0][None],
    "vmap": lambda m: m.vmap(lambda x: jnp.sin(x) * 2),
    "jvp": lambda m: lambda x: m.jvp(lambda y: jnp.sin(y) * W, (x,), (jnp.ones_like(x),))[1],
    "scan": lambda m: m.jit(scanned),
    "grad of scan": lambda m: m.grad(lambda x: scanned(x).sum()),
    "while": lambda m: m.jit(counted),
    "where it is": lambda m: m.jit(lambda x: x * jax.lax.axis_index("i")),
    "hessian": lambda m: lambda x: m.hessian(lambda y: jnp.sum(y**3))(x) @ x,
    "sum": lambda m: m.jit(lambda x: x * summed(jnp.sin(x)) - jax.lax.pmean(x, "i")),
    "sum of sum": lambda m: m.jit(lambda x: x + summed(summed(x))),
    "vmap of sum": lambda m: m.vmap(lambda x: x * summed(x)),
    "jvp of sum": lambda m: lambda x: m.jvp(lambda y: y * summed(y**2), (x,), (x,))[1],
    "jacfwd of sum": lambda m: lambda x: m.jacfwd(lambda y: y * summed(y))(x) @ x,
    "linear sum": lambda m: lambda x: m.linearize(lambda y: y * summed(y), x)[1](x),
    "loop of sums": lambda m: m.jit(
        lambda x: jax.lax.scan(lambda c, _: (c + summed(c * x), None), x, None, 3)[0]
    ),
    "fixed sum": lambda m: m.grad(lambda x: (x * jax.lax.stop_gradient(summed(x))).sum()),
    "jax.grad of jit": lambda m: jax.grad(m.jit(lambda x: (summed(jnp.sin(x)) * x).sum())),
}


@pytest.mark.parametrize("name", CALLS)
def test_as_in_jax(name: str) -> None:
    np.testing.assert_allclose(
        over_devices(CALLS[name](covector))(X), over_devices(CALLS[name](jax))(X), rtol=1e-6
    )


@pytest.mark.parametrize("transform", ["grad", "vjp", "linear_transpose"])
def test_sums_over_devices_are_refused(transform: str) -> None:
    """JAX sums the cotangents of a value that is the same on all devices."""

    def pulled(w: Any, x: Any) -> Any:
        f = lambda v: jnp.sum(v * x)
        if transform == "grad":
            return covector.grad(f)(w)[None]
        if transform == "vjp":
            return covector.vjp(f, w)[1](jnp.float32(1))[0][None]
        return covector.linear_transpose(f, w)(jnp.float32(1))[0][None]

    with pytest.raises(
        ValueError, match="by a value that is the same along i, where others differ"
    ):
        over_devices(pulled, P(), P("i"))(W, X)


PULLED: dict[str, Callable[[Any], Any]] = {
    "grad": covector.grad(lambda x: summed(x.sum())),
    "grad of a maximum": covector.grad(lambda x: jax.lax.pmax(x.sum(), "i")),
    "vjp": lambda x: covector.vjp(lambda x: x * summed(x), x)[1](x)[0],
    "vjp of a maximum": lambda x: covector.vjp(lambda x: jax.lax.pmax(x, "i"), x)[1](x)[0],
    "linear_transpose": lambda x: covector.linear_transpose(summed, x)(x)[0],
    "of a loop": covector.grad(
        lambda x: jax.lax.scan(lambda c, _: (c * summed(c), None), x, None, 3)[0].sum()
    ),
}


@pytest.mark.parametrize("name", PULLED)
def test_sums_that_would_be_transposed_are_refused(name: str) -> None:
    with pytest.raises(NotImplementedError, match=r"sums over devices, and is diff"):
        over_devices(PULLED[name])(X)


@pytest.mark.parametrize("transform", ["vjp", "linear_transpose"])
def test_cotangents_that_differ_are_refused(transform: str) -> None:
    """Of a function of values that do not: JAX refuses them, too."""

    def pulled(m: Any) -> Callable[..., Any]:
        f = lambda v: 2 * v
        pull = m.vjp(f, W)[1] if transform == "vjp" else m.linear_transpose(f, W)
        return lambda x: pull(x[0])[0][None]

    for m in (covector, jax):
        with pytest.raises((ValueError, TypeError)):
            over_devices(lambda x, m=m: pulled(m)(x))(X)


def test_rules_with_checks_of_jax() -> None:
    with jax.enable_checks(True):
        f = over_devices(tripled)
        np.testing.assert_array_equal(covector.grad(lambda x: f(x).sum())(X), 3 * jnp.ones(8))


def test_the_mesh_that_is_set() -> None:
    """A shard_map without a mesh of its own is for the devices of the one that is set."""
    over_devices(jnp.sin)
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:4]), ("i",), axis_types=auto)
    with jax.set_mesh(mesh):
        f = jax.shard_map(lambda x: x * jax.lax.axis_size("i"), in_specs=P("i"), out_specs=P("i"))
        np.testing.assert_array_equal(covector.jit(f)(X), X * 4)
        np.testing.assert_array_equal(covector.grad(lambda x: f(x).sum())(X), 4 * jnp.ones(8))
