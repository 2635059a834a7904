"""Programs of the corpus: loops, branches, calls, custom rules."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from corpus import program
from jax import lax

# -- control flow ----------------------------------------------------------------------------------


@program((3,), (6, 3))
def scan(carry, xs):
    def step(h, x):
        h = jnp.tanh(h + x)
        return h, h * 2

    return lax.scan(step, carry, xs)


@program((3,), (6, 3), (3,))
def scan_with_capture(carry, xs, w):
    def step(h, x):
        return jnp.sin(h * w) + x, (h.sum(), x)

    return lax.scan(step, carry, xs, reverse=True)


@program((3,))
def scan_without_inputs(x):
    return lax.scan(lambda c, _: (c * 1.1, None), x, None, length=4)


@program((3,))
def fori_loop(x):
    return lax.fori_loop(0, 5, lambda i, v: v * 0.5 + i, x)


@program((3,), tags="nonsmooth")
def while_loop(x):
    return lax.while_loop(lambda s: s[0] < 4, lambda s: (s[0] + 1, jnp.sin(s[1])), (0, x))


@program((3,), 1.0, tags="nonsmooth")
def cond(x, flag):
    return lax.cond(flag > 0, lambda v: jnp.sin(v), lambda v: v * 2, x)


@program((3,), 1)
def switch(x, i):
    return lax.switch(i, [jnp.sin, jnp.cos, lambda v: v * 2], x)


@program((4, 3))
def lax_map(x):
    return lax.map(lambda row: row / jnp.sum(row**2), x)


@program((5,), (5,))
def associative_scan(x, y):
    return lax.associative_scan(lambda a, b: (a[0] * b[0], b[0] * a[1] + b[1]), (x, y))


# -- calls and transformations ---------------------------------------------------------------------


@jax.jit
def _helper(x, y):
    return jnp.sin(x) * y


@program((3,), (3,))
def nested_jit(x, y):
    a = _helper(x, y)
    b = _helper(y, x)
    return _helper(a, b)


@functools.partial(jax.jit, static_argnums=1)
def _power(x, n):
    return x**n


@program((3,))
def nested_jit_static(x):
    return _power(x, 2) + _power(x, 3)


@program((3,))
def inner_grad(x):
    return jax.grad(lambda v: jnp.sum(jnp.sin(v) ** 2))(x)


@program((3,), (3,))
def inner_jvp(x, dx):
    return jax.jvp(lambda v: jnp.exp(v) * v, (x,), (dx,))


@program((4, 3), (3,))
def inner_vmap(x, y):
    return jax.vmap(lambda a: jnp.dot(a, y))(x), jax.vmap(jnp.outer, (0, None))(x, y)


@program((3,))
def inner_hessian(x):
    return jax.hessian(lambda v: jnp.sum(v**3))(x)


@program((3,))
def checkpointed(x):
    return jax.checkpoint(lambda v: jnp.sin(jnp.sin(v)))(x)


@program((3,))
def stopped_gradient(x):
    return x * lax.stop_gradient(jnp.sin(x))


@jax.custom_jvp
def _log1pexp(x):
    return jnp.log(1.0 + jnp.exp(x))


@_log1pexp.defjvp
def _log1pexp_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    return _log1pexp(x), (1 - 1 / (1 + jnp.exp(x))) * dx


@program((4,))
def custom_jvp(x):
    return _log1pexp(x) * 2


@jax.custom_vjp
def _clipped(x, scale):
    return x * scale


def _clipped_fwd(x, scale):
    return x * scale, (x, scale)


def _clipped_bwd(residuals, ct):
    x, scale = residuals
    return jnp.clip(ct * scale, -1, 1), jnp.sum(ct * x)


_clipped.defvjp(_clipped_fwd, _clipped_bwd)


@program((4,), ())
def custom_vjp(x, scale):
    return _clipped(jnp.sin(x), scale)


@program((4,))
def optimisation_step(x):
    def loss(v):
        return jnp.sum((v - 1) ** 2)

    value, gradient = jax.value_and_grad(loss)(x)
    return value, x - 0.1 * gradient
