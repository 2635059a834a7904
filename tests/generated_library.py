"""Steps of primitives that one reaches through a function of JAX's, traced and inlined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from generated import F32, I32, U32, Drawing, Step
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.custom_batching import custom_vmap
from jax.custom_derivatives import linear_call
from jax.experimental.layout import Layout, with_layout_constraint
from jax.experimental.xla_metadata import set_xla_metadata

import covector
from covector.ir.types import TensorType


@jax.custom_jvp
def with_jvp(x: Any) -> Any:
    return jnp.sin(x) * 2


with_jvp.defjvp(lambda p, t: (with_jvp(*p), 2 * jnp.cos(p[0]) * t[0]))


@jax.custom_vjp
def with_vjp(x: Any) -> Any:
    return jnp.sin(x) * 2


with_vjp.defvjp(lambda x: (with_vjp(x), x), lambda x, ct: (2 * jnp.cos(x) * ct,))


@custom_vmap
def with_vmap(x: Any) -> Any:
    return jnp.sin(x) * 2


with_vmap.def_vmap(lambda size, batched, x: (2 * jnp.sin(x), True))


@jax.custom_vjp
def lazily(x: Any) -> Any:
    return jnp.sin(x) * 2


lazily.defvjp(
    lambda x: (jnp.sin(x) * 2, jnp.cos(x)), lambda c, ct: (2 * ct * c,), optimize_remat=True
)


@jax.custom_vjp
def saturating(x: Any) -> Any:
    return jnp.sin(x)


saturating.defvjp(lambda x: (jnp.sin(x), x), lambda x, ct: (jnp.cos(x) * jnp.tanh(ct),))


def saturating_each(v: Any) -> Any:
    """The backward rule makes of a sum no sum of what it makes of each: calls must stay apart."""
    again = jax.checkpoint(saturating)
    return 2 * saturating(v) + 3 * saturating(v) + again(v) * again(v)


def solved(a: Any, y: Any) -> Any:
    def solve(f: Any, y: Any) -> Any:
        return jnp.linalg.solve(jax.jacobian(f)(y), y)

    return lax.custom_linear_solve(lambda x: spread(a) @ x, y, solve, solve)


def spread(a: Any) -> Any:
    """A matrix that is far from singular, with eigenvalues apart."""
    return a / 4 + jnp.diag(jnp.arange(10.0, 19.0, 3, dtype=a.dtype))


def symmetric(a: Any) -> Any:
    return spread(a) + spread(a).T


def scattered(x: Any, y: Any, name: str) -> Any:
    numbers = lax.ScatterDimensionNumbers((1,), (0,), (0,))
    indices = jnp.array([[1], [7], [1], [0]])
    rows = jnp.stack([y, 2 * y, y[::-1], y])
    return getattr(lax, name)(x, indices, rows, numbers)


def key() -> Any:
    return jax.random.key(3)


WINDOWS: dict[str, Any] = {
    "window_dimensions": (2, 2), "window_strides": (1, 2), "padding": ((1, 0), (0, 1)),
}  # fmt: skip

FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "name": lambda a, v: checkpoint_name(jnp.sin(a), "named"),
    "custom_jvp_call": lambda a, v: with_jvp(a),
    "custom_vjp_call": lambda a, v: with_vjp(a),
    "nonlinear_backward": lambda a, v: saturating_each(v),
    "custom_vmap_call": lambda a, v: with_vmap(v),
    "forward_call": lambda a, v: jax.vjp(lazily, v)[1](v)[0],
    "linear_call": lambda a, v: linear_call(
        lambda r, x: r @ x, lambda r, ct: r.T @ ct, lax.stop_gradient(a), v
    ),
    "custom_linear_solve": solved,
    "xla_metadata_value": lambda a, v: set_xla_metadata(jnp.sin(a), k="1"),
    "reduce_window": lambda a, v: lax.reduce_window(a, 1.0, lambda x, y: x * y, **WINDOWS),
    "select_and_gather_add": lambda a, v: jax.jvp(
        lambda x: lax.reduce_window(x, -jnp.inf, lax.max, **WINDOWS), (a,), (a * 2,)
    )[1],
    "select_and_scatter_add": lambda a, v: jax.grad(
        lambda x: jnp.sum(lax.reduce_window(x, -jnp.inf, lax.max, **WINDOWS) ** 2)
    )(a),
    "ragged_dot_general": lambda a, v: lax.ragged_dot(a, jnp.stack([a, a.T]), jnp.array([1, 2])),
    "scatter_apply": lambda a, v: a.at[jnp.array([1, 1, 0])].apply(jnp.sin),
    "overlapping_scatter_max": lambda a, v: scattered(a, v, "scatter_max"),
    "overlapping_scatter_min": lambda a, v: scattered(a, v, "scatter_min"),
    "approx_top_k": lambda a, v: lax.approx_max_k(a, 2)[0],
    "cholesky_update": lambda a, v: lax.linalg.cholesky_update(
        jnp.linalg.cholesky(symmetric(a)).T, v
    ),
    "householder_product": lambda a, v: lax.linalg.householder_product(a, v[:2] / 4),
    "tridiagonal": lambda a, v: lax.linalg.tridiagonal(symmetric(a))[1],
    "schur": lambda a, v: jnp.diagonal(lax.linalg.schur(symmetric(a))[0]),
    "composite": lambda a, v: lax.composite(jnp.sin, "mine.sine")(a),
    "layout_constraint": lambda a, v: with_layout_constraint(jnp.sin(a), Layout((1, 0))),
    "qr": lambda a, v: jnp.abs(lax.linalg.qr(spread(a), pivoting=True, full_matrices=False)[1]),
    "scaled_dot": lambda a, v: lax.scaled_dot(
        a.astype(jnp.bfloat16), a.astype(jnp.bfloat16)
    ).astype(jnp.float32),
    "float8": lambda a, v: sum(
        v.astype(dtype).astype(jnp.float32) for dtype in (jnp.float8_e4m3fn, jnp.float8_e5m2)
    ),
    "float16": lambda a, v: jnp.sin(a.astype(jnp.float16)).astype(jnp.float32) @ v,
    "random_split": lambda a, v: v * jax.random.uniform(jax.random.split(key())[1], (3,)),
    "random_clone": lambda a, v: v * jax.random.normal(jax.random.clone(key()), (3,)),
    "random_wrap": lambda a, v: (
        jax.random.key_data(
            jax.random.fold_in(jax.random.wrap_key_data(jnp.uint32([1, 2])), jnp.uint32(7))
        )
        >> 28
    ),
    "debug_print": lambda a, v: (jax.debug.print("", ordered=False), v * 2)[1],
    "odeint": lambda a, v: covector.odeint(
        lambda y, t: jnp.sin(y) - t, v, jnp.linspace(0.0, 0.2, 3), rtol=1e-6, atol=1e-6
    ),
    "random_gamma": lambda a, v: jax.random.gamma(jax.random.key(3), jnp.abs(v) + 1),
    "random_uniform": lambda a, v: jax.random.uniform(jax.random.key(3), (3,)) * v,
    "random_rbg": lambda a, v: v * jax.random.uniform(jax.random.key(3, impl="unsafe_rbg"), (3,)),
    "mulhi": lambda a, v: lax.mulhi(lax.bitcast_convert_type(v, jnp.uint32), jnp.uint32(77)) >> 24,
    "igamma_grad_a": lambda a, v: lax.igamma_grad_a(jnp.float32(2.5), jnp.abs(v) + 0.5),
    "random_gamma_grad": lambda a, v: lax.random_gamma_grad(jnp.float32(2.5), jnp.abs(v) + 0.5),
}
"""Of a square matrix and a vector of three elements."""


def library(d: Drawing, name: str) -> None:
    a, v = d.of_type((3, 3), F32), d.of_type((3,), F32)
    shapes = [jax.ShapeDtypeStruct(shape, np.float32) for shape in ((3, 3), (3,))]
    graph = covector.make_ir(FUNCTIONS[name])(*shapes).main
    outputs = d.b.inline(graph, [a, v])
    d.evaluate()
    d.keep(*outputs)


def reflectors(d: Drawing, name: str) -> None:
    """Factors and exchanges of rows, which no public function of JAX's returns.

    Of regular matrices: a reflector of what is left of a singular one is that of a rounding error.
    """
    graph = covector.make_ir(spread)(jax.ShapeDtypeStruct((3, 3), np.float32)).main
    (a,) = d.b.inline(graph, [d.of_type((3, 3), F32)])
    d.evaluate()
    if name == "geqp3":
        free = d.b.full(TensorType((3,), I32), 0)
        d.keep(*d.emit("geqp3", a, free))
    elif name == "ormqr":
        packed, taus = d.emit("geqrf", a)
        d.keep(d.emit("ormqr", packed, taus, d.of_type((3, 2), F32), transpose=d.bool()))
    elif name == "lu_pivots_to_permutation":
        first = d.emit("iota", dtype=I32, shape=(3,), dimension=0)
        pivots = d.emit("clamp", first, d.of_type((3,), I32), d.b.full(first.type, 2))
        d.keep(d.emit(name, pivots, permutation_size=3))
    else:
        d.keep(*d.emit(name, a))


def random_words(d: Drawing, name: str) -> None:
    """Of generators and counters, as keys use them."""
    if name == "iota_2x32_shape":
        words = d.emit(name, shape=(2, 3))
    elif name == "rng_bit_generator":
        words = d.emit(name, d.of_type((4,), U32), shape=(3,), dtype=U32)
    else:
        count = {"philox2x32": 3, "philox4x32": 6, "threefry2x32": 4, "threefry4x32": 8}[name]
        words = d.emit(name, *(d.of_type((3,), U32) for _ in range(count)))
    d.keep(*(d.emit("shift_right_logical", w, 28) for w in words))


WORDS = (
    "iota_2x32_shape", "philox2x32", "philox4x32", "rng_bit_generator", "threefry2x32",
    "threefry4x32",
)  # fmt: skip
STEPS: dict[str, Step] = {name: lambda d, n=name: library(d, n) for name in FUNCTIONS}  # type: ignore[misc]
for _names, _step in (
    (("geqrf", "geqp3", "ormqr", "hessenberg", "lu_pivots_to_permutation"), reflectors),
    (WORDS, random_words),
):
    STEPS.update({name: lambda d, n=name, s=_step: s(d, n) for name in _names})  # type: ignore[misc]
