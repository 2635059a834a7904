"""Programs of loops, branches, calls and checkpoint, and what tests ask of a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from covector.ir.graph import Equation, Graph, walk_graphs

X = jnp.asarray([0.3, -0.7, 1.1])
W = jnp.asarray([[0.2, -0.4, 0.1], [0.5, 0.3, -0.2], [0.1, 0.6, 0.4]])
XS = jnp.asarray([[0.1, 0.5, -0.3], [0.7, -0.2, 0.4], [-0.6, 0.8, 0.2], [0.3, 0.3, -0.9]])


def primitives(graph: Graph) -> list[str]:
    return [eqn.primitive.name for g in walk_graphs(graph) for eqn in g.equations]


def find(graph: Graph, name: str) -> list[Equation]:
    return [eqn for eqn in graph.equations if eqn.primitive.name == name]


def scan_rnn(w: Any, h: Any, xs: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = jnp.tanh(w @ h + x)
        return h, h * x

    return lax.scan(step, h, xs)


def scan_reverse(w: Any, h: Any, xs: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        return jnp.sin(h) * x + w[0], h

    return lax.scan(step, h, xs, reverse=True, unroll=2)


def scan_no_carry(xs: Any) -> Any:
    return lax.scan(lambda c, x: (c, jnp.cos(x)), (), xs)[1]


def scan_no_xs(h: Any) -> Any:
    return lax.scan(lambda c, _: (jnp.sin(c), c[0]), h, None, length=3)


def scan_zero_length(h: Any) -> Any:
    return lax.scan(lambda c, x: (jnp.sin(c) * x, c), h, jnp.zeros((0, 3)))


def scan_integer_carry(h: Any, xs: Any) -> Any:
    def step(c: Any, x: Any) -> Any:
        i, h = c
        return (i + 1, h * x + i), (i, h)

    return lax.scan(step, (0, h), xs)


def scan_late_tangent(a: Any, xs: Any) -> Any:
    """The tangent of xs reaches the first carry two iterations later, a's reaches none but one."""

    def step(c: Any, x: Any) -> Any:
        p, q, r, n = c
        return (jnp.sin(q), r * 2.0, x[0] * x[1], n + 1.0), p + n

    return lax.scan(step, (1.0, 2.0, a[0], 0.5), xs)


def scan_invariant(w: Any, h: Any) -> Any:
    """Residuals that every iteration would compute alike."""

    def step(h: Any, _: Any) -> Any:
        scale = jnp.cos(w) * 2.0
        return jnp.tanh(scale @ h), jnp.sum(scale)

    return lax.scan(step, h, None, length=3)


def nested_scan(w: Any, h: Any, xs: Any) -> Any:
    def outer(h: Any, x: Any) -> Any:
        def inner(g: Any, y: Any) -> Any:
            g = jnp.tanh(g * y + w[0])
            return g, g * h

        g, ys = lax.scan(inner, h, x[:, None] * w)
        return g + x, ys.sum(0)

    return lax.scan(outer, h, xs)


def cond_simple(x: Any, y: Any) -> Any:
    return lax.cond(x.sum() > 0, lambda x, y: (jnp.sin(x) * y, y), lambda x, y: (x, x * y), x, y)


def cond_one_constant(x: Any) -> Any:
    return lax.cond(x[0] > 0, lambda x: jnp.zeros(3), lambda x: jnp.exp(x), x)


def switch(i: Any, x: Any) -> Any:
    return lax.switch(i, [jnp.sin, lambda x: x**2 * jnp.exp(x), lambda x: jnp.ones(3) * 2.0], x)


def scan_of_cond(h: Any, xs: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = lax.cond(x[0] > 0, lambda h: jnp.sin(h) * x, lambda h: h * jnp.exp(h), h)
        return h, h.sum()

    return lax.scan(step, h, xs)


def jitted(w: Any, x: Any) -> Any:
    @jax.jit
    def layer(w: Any, x: Any) -> Any:
        return jnp.tanh(w @ x), x.sum()

    for _ in range(3):
        x, s = layer(w, x)
    return x * s


def fori_static(w: Any, x: Any) -> Any:
    return lax.fori_loop(0, 4, lambda i, x: jnp.tanh(w @ x) * (i + 1.0), x)


def while_counter(w: Any, x: Any) -> Any:
    def body(c: Any) -> Any:
        i, x = c
        return i + 2, jnp.sin(w @ x)

    return lax.while_loop(lambda c: c[0] <= 5, body, (0, x))


def checkpointed(w: Any, x: Any) -> Any:
    @jax.checkpoint
    def layer(w: Any, x: Any) -> Any:
        return jnp.sin(jnp.tanh(w @ x) * x)

    return layer(w, layer(w, x))


def checkpointed_dots(w: Any, x: Any) -> Any:
    def layer(w: Any, x: Any) -> Any:
        return jnp.sin(w @ jnp.tanh(w @ x))

    saving = jax.checkpoint(layer, policy=jax.checkpoint_policies.dots_saveable)
    return saving(w, x)


def checkpointed_scan(w: Any, h: Any, xs: Any) -> Any:
    @jax.checkpoint
    def step(h: Any, x: Any) -> Any:
        h = jnp.tanh(w @ h + x)
        return h, h * x

    return jax.checkpoint(lambda h: lax.scan(step, h, xs))(h)


def linear_solve(w: Any, x: Any) -> Any:
    a = jnp.eye(3) * 3.0 + w
    return lax.custom_linear_solve(
        lambda v: a @ v,
        x,
        solve=lambda _, b: jnp.linalg.inv(a) @ b,
        transpose_solve=lambda _, b: jnp.linalg.inv(a).T @ b,
    )


EVERY: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (scan_rnn, (W, X, XS)),
    (scan_reverse, (W, X, XS)),
    (scan_no_carry, (XS,)),
    (scan_no_xs, (X,)),
    (scan_zero_length, (X,)),
    (scan_integer_carry, (X, XS)),
    (scan_late_tangent, (X, XS)),
    (scan_invariant, (W, X)),
    (nested_scan, (W, X, XS)),
    (cond_simple, (X, X + 1)),
    (cond_simple, (-X, X + 1)),
    (cond_one_constant, (X,)),
    (switch, (1, X)),
    (switch, (2, X)),
    (scan_of_cond, (X, XS)),
    (jitted, (W, X)),
    (fori_static, (W, X)),
    (while_counter, (W, X)),
    (checkpointed, (W, X)),
    (checkpointed_dots, (W, X)),
    (checkpointed_scan, (W, X, XS)),
]
