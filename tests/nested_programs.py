"""Functions around functions: every region primitive, to be nested in each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
from hypothesis import strategies as st
from jax import lax

Vector = Any
Function = Callable[[Any, Any], Any]  # (w: f32[3,3], x: f32[3]) -> f32[3]
Wrapper = Callable[[Function], Function]


def base_tanh(w: Any, x: Vector) -> Vector:
    return jnp.tanh(w @ x + 0.1)


def base_mixed(w: Any, x: Vector) -> Vector:
    return jnp.sin(x) * w[0] + x[::-1] * 0.5


def base_constant(w: Any, x: Vector) -> Vector:
    return w[1] * 0.3


# -- what may be done to a function ----------------------------------------------------------------


def in_scan(f: Function) -> Function:
    def g(w: Any, x: Vector) -> Vector:
        def step(c: Any, y: Any) -> Any:
            c = f(w, c) + y
            return c, c * y[0]

        c, ys = lax.scan(step, x, w)
        return c + ys.sum(0)

    return g


def in_reversed_scan(f: Function) -> Function:
    def g(w: Any, x: Vector) -> Vector:
        def step(c: Any, y: Any) -> Any:
            i, c = c
            return (i + 1, c * 0.5), (f(w, y) * (i + 1.0), c)

        (_, c), ys = lax.scan(step, (0, x), w, reverse=True)
        return c + ys[0].sum(0) + ys[1][0]

    return g


def in_fori(f: Function) -> Function:
    return lambda w, x: lax.fori_loop(0, 2, lambda i, c: f(w, c) + i * x, x)


def in_cond(f: Function) -> Function:
    return lambda w, x: lax.cond(x[0] > 0.1, lambda x: f(w, x), lambda x: x * w[2], x)


def in_switch(f: Function) -> Function:
    def g(w: Any, x: Vector) -> Vector:
        i = jnp.argmax(x)
        return lax.switch(i, [lambda: f(w, x), lambda: jnp.ones(3), lambda: f(w, x * x)])

    return g


def scan_written_out(f: Function) -> Function:
    """What `in_scan` means."""

    def g(w: Any, x: Vector) -> Vector:
        ys = jnp.zeros(3)
        for y in w:
            x = f(w, x) + y
            ys += x * y[0]
        return x + ys

    return g


def fori_written_out(f: Function) -> Function:
    """What `in_fori` means."""
    return lambda w, x: f(w, f(w, x)) + x


def in_jit(f: Function) -> Function:
    jitted = jax.jit(f)
    return lambda w, x: jitted(w, jitted(w, x)) * 0.5


def in_checkpoint(f: Function) -> Function:
    return jax.checkpoint(f)


def in_saving_checkpoint(f: Function) -> Function:
    return jax.checkpoint(f, policy=jax.checkpoint_policies.dots_saveable)


def in_vmap(f: Function) -> Function:
    return lambda w, x: jax.vmap(f, in_axes=(None, 0))(w, jnp.stack([x, x * w[0]])).sum(0)


def in_vmap_of_w(f: Function) -> Function:
    return lambda w, x: jax.vmap(f, in_axes=(0, None))(jnp.stack([w, w.T * 0.5]), x).sum(0)


def one_by_one(f: Function) -> Function:
    """What `in_vmap` means."""
    return lambda w, x: f(w, x) + f(w, x * w[0])


def one_by_one_of_w(f: Function) -> Function:
    """What `in_vmap_of_w` means."""
    return lambda w, x: f(w, x) + f(w.T * 0.5, x)


def in_custom_jvp(f: Function) -> Function:
    @jax.custom_jvp
    def g(w: Any, x: Vector) -> Vector:
        return f(w, x)

    @g.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        w, x = primals
        dw, dx = tangents
        return f(w, x), jnp.cos(x) * dx + dw[0] * 2.0

    return g


def in_custom_vjp(f: Function) -> Function:
    @jax.custom_vjp
    def g(w: Any, x: Vector) -> Vector:
        return f(w, x)

    def forward(w: Any, x: Vector) -> Any:
        return f(w, x), (w, jnp.cos(x))

    def backward(residuals: Any, ct: Any) -> Any:
        w, c = residuals
        return w * ct, c * ct * 2.0

    g.defvjp(forward, backward)
    return g


def in_grad(f: Function) -> Function:
    return lambda w, x: jax.grad(lambda x: (f(w, x) ** 2).sum())(x) * 0.1


def in_while(f: Function) -> Function:
    """Runs until a norm is large, two to four times: how often is not known before."""

    def g(w: Any, x: Vector) -> Vector:
        def body(c: Any) -> Any:
            y, k = c
            return f(w, y) * 0.3 + x, k + 1.0

        def proceeds(c: Any) -> Any:
            y, k = c
            return (jnp.sum(y**2) < 0.9) & (k < 4) | (k < 2)

        return lax.while_loop(proceeds, body, (x, 0.0))[0]

    return g


def in_linear_solve(f: Function) -> Function:
    def g(w: Any, x: Vector) -> Vector:
        a = w * 0.3 + 2.0 * jnp.eye(3)

        def solve(matvec: Any, b: Vector) -> Vector:
            return jnp.linalg.solve(jax.jacfwd(matvec)(b), b)

        return lax.custom_linear_solve(lambda y: a @ y, f(w, x), solve, solve)

    return g


def in_root(f: Function) -> Function:
    """y with y = x + f(w, y) / 10."""

    def g(w: Any, x: Vector) -> Vector:
        def residual(y: Vector) -> Vector:
            return y - x - 0.1 * f(w, lax.stop_gradient(x)) * y

        def solve(h: Any, y: Vector) -> Vector:
            return lax.fori_loop(0, 20, lambda _, y: y - h(y), y)

        def tangent_solve(h: Any, b: Vector) -> Vector:
            return jnp.linalg.solve(jax.jacfwd(h)(b), b)

        return lax.custom_root(residual, x, solve, tangent_solve)

    return g


BASES = (base_tanh, base_mixed, base_constant)
WRAPPERS = (
    in_scan,
    in_reversed_scan,
    in_fori,
    in_cond,
    in_switch,
    in_jit,
    in_checkpoint,
    in_saving_checkpoint,
    in_vmap,
    in_vmap_of_w,
    in_custom_jvp,
    in_custom_vjp,
    in_grad,
    in_while,
    in_linear_solve,
    in_root,
)


def is_possible(program: tuple[Function, list[Wrapper]]) -> bool:
    """Whether the program is one to JAX: a root differentiates its function forward, which a
    custom_vjp function does not allow; `in_grad` in reverse, which a while does not."""
    _, wrappers = program
    return not (_is_in(in_custom_vjp, in_root, wrappers) or _is_in(in_while, in_grad, wrappers))


def _is_in(inner: Wrapper, outer: Wrapper, wrappers: Sequence[Wrapper]) -> bool:
    return inner in wrappers and outer in wrappers[wrappers.index(inner) + 1 :]


def nest(base: Function, wrappers: Sequence[Wrapper]) -> Function:
    return reduce(lambda f, wrap: wrap(f), wrappers, base)


def as_meant(base: Function, wrappers: Sequence[Wrapper]) -> Function:
    """The program by whose derivatives JAX's word is right.

    Where a mapped argument matters to the rule of a custom_vjp function and not to the function,
    jax.vmap sums the cotangents over the batch before the rule; so examples go one by one. And a
    loop that was differentiated once has lost the rule of a custom_jvp function that another rule
    calls: the second derivative is that of what the function does; so loops are written out.
    """
    meant: dict[Wrapper, Wrapper] = {}
    if base is base_constant and in_custom_vjp in wrappers:
        meant = {in_vmap: one_by_one, in_vmap_of_w: one_by_one_of_w}
    written_out = {in_scan: scan_written_out, in_fori: fori_written_out}
    chosen = []
    for i, wrap in enumerate(wrappers):
        known = written_out if _a_rule_calls_another(wrappers[:i]) else meant
        chosen.append(known.get(wrap, meant.get(wrap, wrap)))
    return nest(base, chosen)


def _a_rule_calls_another(wrappers: Sequence[Wrapper]) -> bool:
    return any(_is_in(in_custom_jvp, outer, wrappers) for outer in (in_custom_jvp, in_custom_vjp))


programs = st.tuples(
    st.sampled_from(BASES), st.lists(st.sampled_from(WRAPPERS), min_size=1, max_size=3)
).filter(is_possible)

W = jnp.asarray([[0.2, -0.4, 0.1], [0.5, 0.3, -0.2], [0.1, 0.6, 0.4]])
X = jnp.asarray([0.3, -0.7, 0.2])
