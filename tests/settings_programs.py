"""Uses of each transformation, as the tutorials have them, that JAX runs under all its strict
settings. Each takes the library (jax or covector) and returns numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Use = Callable[[Any], Any]

USES: dict[str, Use] = {}


def use(function: Use) -> Use:
    USES[function.__name__] = function
    return function


def vector() -> Any:
    return jnp.linspace(0.1, 1.0, 4)


def weights() -> Any:
    return jnp.reshape(jnp.linspace(-1.0, 1.0, 12), (4, 3)), jnp.zeros(3)


def predict(params: Any, x: Any) -> Any:
    w, b = params
    return jnp.tanh(x @ w + b).sum()


@use
def gradients(library: Any) -> Any:
    params, x = weights(), vector()
    return (
        library.grad(predict)(params, x),
        library.value_and_grad(lambda p: (predict(p, x), x), has_aux=True)(params),
        library.grad(lambda x, n: jnp.sum(x**n), argnums=0)(x, 3),
    )


@use
def orders(library: Any) -> Any:
    f = library.grad(lambda x: jnp.sin(x) * x**2)
    return library.grad(library.grad(f))(0.5), library.jit(library.grad(f))(0.5)


@use
def jacobians(library: Any) -> Any:
    f = lambda x: jnp.outer(jnp.sin(x), x)[:2]
    forward, backward = library.jacfwd(f)(vector()), library.jacrev(f)(vector())
    return forward, backward, library.hessian(lambda x: jnp.prod(jnp.exp(x)))(vector())


@use
def products(library: Any) -> Any:
    f, x = lambda x: jnp.cumsum(x**3), vector()
    out, tangent = library.jvp(f, (x,), (jnp.ones_like(x),))
    _, pull = library.vjp(f, x)
    _, push = library.linearize(f, x)
    (back,) = library.linear_transpose(push, x)(tangent)
    return out, tangent, pull(tangent), push(x), back


@use
def hessian_products(library: Any) -> Any:
    f, x = lambda x: jnp.sum(jnp.tanh(x) ** 2), vector()
    hvp = lambda v: library.grad(lambda x: jnp.vdot(library.grad(f)(x), v))(x)
    return library.vmap(hvp)(jnp.eye(4)), library.jvp(library.grad(f), (x,), (x,))[1]


@use
def examples(library: Any) -> Any:
    xs = jnp.stack([vector(), 2 * vector()])
    mapped = library.vmap(library.grad(predict), (None, 0))
    named = library.vmap(lambda x: x / lax.psum(x, "i"), axis_name="i")(xs)
    return mapped(weights(), xs), library.jit(mapped)(weights(), xs), named


@use
def forward_rules(library: Any) -> Any:
    @jax.custom_jvp
    def log1pexp(x: Any) -> Any:
        return jnp.log1p(jnp.exp(x))

    @log1pexp.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        (x,), (dx,) = primals, tangents
        slope = 1 - 1 / (1 + jnp.exp(x)) if x > 0 else jnp.exp(x) / (1 + jnp.exp(x))
        return log1pexp(x), slope * dx

    return library.grad(log1pexp)(3.0), library.grad(log1pexp)(-3.0)


@use
def backward_rules(library: Any) -> Any:
    @jax.custom_vjp
    def clipped(x: Any, limit: Any) -> Any:
        return x

    clipped.defvjp(
        lambda x, limit: (x, limit), lambda limit, ct: (jnp.clip(ct, -limit, limit), None)
    )
    f = lambda x: jnp.sum(jnp.sin(clipped(x, 0.5)) * 2)
    xs = jnp.stack([vector(), -vector()])
    return library.grad(f)(vector()), library.vmap(library.grad(f))(xs)


@use
def branches_in_python(library: Any) -> Any:
    def f(x: Any) -> Any:
        for _ in range(3):
            if x > 0.5:
                x = jnp.sin(x) * x
            else:
                x = x + 0.25
        return x

    return [library.value_and_grad(f)(x) for x in (0.1, 0.9)]


@use
def control_flow(library: Any) -> Any:
    def f(x: Any) -> Any:
        x, ys = lax.scan(lambda c, y: (jnp.sin(c) * y, c), x, jnp.stack([x, x * 2]))
        x = lax.cond(jnp.sum(x) > 0, lambda x: x * 2, lambda x: x / 3, x)
        x = lax.fori_loop(0, 3, lambda i, x: x * jnp.cos(x), x)
        return jnp.sum(x) + jnp.sum(ys**2)

    def g(x: Any) -> Any:
        return lax.while_loop(lambda x: jnp.sum(x) < 10, lambda x: x * 1.5, x)

    x = vector()
    return library.grad(f)(x), library.jit(library.grad(f))(x), library.jvp(g, (x,), (x,))


@use
def checkpoints(library: Any) -> Any:
    layer = jax.checkpoint(lambda x: jnp.sin(jnp.cos(x)))
    dots = jax.checkpoint(predict, policy=jax.checkpoint_policies.dots_saveable)
    return library.grad(lambda x: jnp.sum(layer(layer(x))))(vector()), library.grad(dots)(
        weights(), vector()
    )


@use
def complex_numbers(library: Any) -> Any:
    z = lax.complex(vector(), vector())
    f = lambda z: jnp.sum(jnp.exp(z) * jnp.conj(z))
    return (
        library.grad(lambda z: jnp.sum(z**2), holomorphic=True)(z),
        library.grad(lambda z: jnp.real(f(z)))(z),
        library.vjp(f, z)[1](jnp.ones_like(f(z))),
    )


@use
def closures(library: Any) -> Any:
    def outer(x: Any) -> Any:
        inner = library.grad(lambda y: jnp.sum(jnp.sin(x * y)))
        return jnp.sum(inner(x) * jax.grad(lambda y: jnp.sum(x * y**2))(x))

    return library.grad(outer)(vector()), jax.jit(library.grad(outer))(vector())


@use
def functions_out_of_jit(library: Any) -> Any:
    pull = library.jit(lambda x: library.vjp(jnp.sin, x)[1])(vector())
    return pull(vector()), jax.jit(lambda f, ct: f(ct))(pull, vector())


@use
def random_numbers(library: Any) -> Any:
    key = jax.random.key(0)
    drop = lambda x: jnp.where(jax.random.bernoulli(key, 0.5, x.shape), x, 0) ** 2
    return library.grad(lambda x: jnp.sum(drop(x)))(vector())


@use
def indexing_and_solving(library: Any) -> Any:
    def f(x: Any) -> Any:
        a = jnp.outer(x, x) + 4 * jnp.eye(4, dtype=x.dtype)
        y = jnp.linalg.solve(a, x[jnp.array([2, 0, 1, 1])])
        return jnp.sum(y.at[1].set(2.0)) + jnp.linalg.slogdet(a)[1]

    return library.grad(f)(vector()), library.jit(library.hessian(f))(vector())


@use
def arrays_of_numpy(library: Any) -> Any:
    x = np.linspace(0.1, 1, 3, dtype=np.float32)
    return library.grad(lambda x: jnp.vdot(x, x))(x), library.vmap(jnp.sin)(x)
