"""Functions with derivative rules of their own inside of a shard_map."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P

import covector

Function = Callable[..., Any]
X, W = jnp.linspace(-1.0, 1.0, 8), jnp.linspace(0.5, 2.0, 8)


@jax.custom_jvp
def doubled(x: Any, w: Any) -> Any:
    return 2.0 * x + w


doubled.defjvps(lambda dx, y, x, w: 3.0 * dx * jnp.sin(x) + y * dx, lambda dw, _, x, w: dw * x)


@jax.custom_jvp
def totalled(x: Any, w: Any) -> Any:
    return lax.psum(x, "i") * w


totalled.defjvp(
    lambda p, t: (totalled(*p), lax.psum(t[0] * jnp.cos(p[0]), "i") * p[1] + t[1] * p[0])
)


@jax.custom_vjp
def pulled(x: Any, w: Any) -> Any:
    return jnp.sin(x) * w


pulled.defvjp(
    lambda x, w: (pulled(x, w), (x, w)),
    lambda r, ct: (3.0 * ct * jnp.cos(r[0]), jnp.clip(ct * r[0], -0.5, 0.5)),
)


@jax.custom_vjp
def pulled_together(x: Any, w: Any) -> Any:
    return x * lax.psum(w, "i")


pulled_together.defvjp(
    lambda x, w: (pulled_together(x, w), (x, lax.psum(w, "i"))),
    lambda r, ct: (ct * r[1], lax.pcast(lax.psum(ct * r[0], "i"), "i", to="varying")),
)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def forgetful(f: Function, x: Any, w: Any) -> Any:
    return f(x) * w


forgetful.defvjp(
    lambda f, x, w: (f(x) * w, (x, w)),
    lambda f, r, ct: (ct * f(r[0]) * r[1], ct),
    optimize_remat=True,
)


def of_library(x: Any, w: Any) -> Any:
    rows = jnp.stack([x, jax.nn.relu(w)])
    return jax.nn.softplus(x) * jax.nn.logsumexp(rows, axis=0) + jax.nn.softmax(rows, axis=0)[0]


def looped(x: Any, w: Any) -> Any:
    step = jax.checkpoint(lambda c, _: (doubled(c, w) * 0.3, pulled(c, w)))
    c, ys = lax.scan(step, x, None, length=2)
    return jnp.where(c > 0, c, 0.5 * c) + ys.sum(0)


def written_out(x: Any, w: Any) -> Any:
    """What `looped` means: JAX's second derivatives of it have lost the rules."""
    first, second = pulled(x, w), pulled(doubled(x, w) * 0.3, w)
    c = doubled(doubled(x, w) * 0.3, w) * 0.3
    return jnp.where(c > 0, c, 0.5 * c) + first + second


FUNCTIONS = {
    "custom_jvp": doubled,
    "custom_jvp with a sum": totalled,
    "custom_vjp": pulled,
    "custom_vjp with a sum": pulled_together,
    "optimize_remat": partial(forgetful, jnp.cos),
    "of the library": of_library,
    "in a loop": looped,
}


def mapped(f: Function, check_vma: bool) -> Function:
    mesh = jax.make_mesh((2,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.shard_map(
        f, mesh=mesh, in_specs=(P("i"), P("i")), out_specs=P("i"), check_vma=check_vma
    )


@pytest.mark.parametrize("check_vma", [True, False], ids=["vma", "plain"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_are_those_of_jax(name: str, check_vma: bool) -> None:
    f = mapped(FUNCTIONS[name], check_vma)

    weights = jnp.arange(1.0, 9.0)

    def loss(x: Any, w: Any) -> Any:
        return (f(x, w) * weights).sum()

    want, got = jax.jit(jax.grad(loss, (0, 1)))(X, W), covector.grad(loss, (0, 1))(X, W)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(covector.jit(covector.grad(loss, (0, 1)))(X, W), want, rtol=1e-5)
    rows = jnp.stack([X, X * 0.5])
    want = jnp.stack([jax.jit(jax.grad(loss))(x, W) for x in rows])
    got = covector.vmap(covector.grad(loss), (0, None))(rows, W)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "optimize_remat"])
def test_second_derivatives_are_those_of_jax(name: str) -> None:
    """All but what JAX itself cannot differentiate again."""

    def twice(lib: Any, f: Function) -> Any:
        loss = lambda x: (mapped(f, True)(x, W) * jnp.arange(1.0, 9.0)).sum()
        return lib.jit(lib.grad(lambda x: jnp.sin(lib.grad(loss)(x)).sum()))(X)

    meant = written_out if name == "in a loop" else FUNCTIONS[name]
    got, want = twice(covector, FUNCTIONS[name]), twice(jax, meant)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
