"""What holds for every program: covector computes what JAX does, transformations included.

A law is written once, for an `api` that is `jax` or `covector`. JAX's word is one compiled
function of all laws; covector's is each law's program. `generated_checks` compares them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from generated import BF16, F16, ROWS, Program
from generated_axis import AXIS

Array = np.ndarray[Any, Any]

RTOL = {F16: 2e-2, BF16: 1e-1}
"""By the least precise dtype in a program; 2e-4 for others."""


def is_inexact(x: Any) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.inexact))  # NumPy does not know of bfloat16


class Subject:
    """A program as a function, with tangents, cotangents and rows for its example inputs.

    One with collectives is a function of rows: each is given the example inputs, nearly.
    """

    def __init__(self, program: Program) -> None:
        self.module = program.module
        function = program.module.as_function()
        self.one: Callable[..., list[Any]] = lambda *xs: jax.tree.leaves(function(*xs))
        self.has_axis = program.has_axis
        rng = np.random.default_rng(7)
        self.inputs = [np.asarray(x) for x in program.inputs]
        if self.has_axis:
            self.inputs = [self._rows(rng, x) for x in self.inputs]
        self.active = [is_inexact(x) for x in self.inputs]
        types = program.module.main.output_types
        outputs = [self._struct(t) for t in types]
        self.differentiable = [is_inexact(t) for t in outputs]
        self.tangents = [normal(rng, x) for x in self.floats(self.inputs)]
        self.cts = [normal(rng, t) for t in outputs if is_inexact(t)]
        self.rows = [self._rows(rng, x) for x in self.inputs]
        rtols = [RTOL.get(dtype, 2e-4) for dtype in program.dtypes]
        self.rtol = max(rtols)

    def _struct(self, type: Any) -> jax.ShapeDtypeStruct:
        shape = (ROWS, *type.shape) if self.has_axis else type.shape
        return jax.ShapeDtypeStruct(shape, type.dtype)

    def _rows(self, rng: np.random.Generator, x: Array) -> Array:
        if not is_inexact(x):
            return np.stack([x, np.flip(x)])
        return np.stack([x, x * (1 + 0.1 * rng.uniform(-1, 1, x.shape))]).astype(x.dtype)

    def f(self, api: Any, *xs: Any) -> list[Any]:
        if self.has_axis:
            ys: list[Any] = api.vmap(self.one, axis_name=AXIS)(*xs)
            return ys
        return self.one(*xs)

    def floats(self, xs: Sequence[Any]) -> list[Any]:
        return [x for x, active in zip(xs, self.active, strict=True) if active]

    def smooth(self, api: Any, xs: Sequence[Any]) -> Callable[..., list[Any]]:
        """The inexact outputs as a function of the inexact inputs; the others are as in xs."""

        def g(*floats: Any) -> list[Any]:
            given = iter(floats)
            ys = self.f(
                api, *(next(given) if a else x for x, a in zip(xs, self.active, strict=True))
            )
            return [y for y, d in zip(ys, self.differentiable, strict=True) if d]

        return g

    def loss(self, api: Any, xs: Sequence[Any], cts: Sequence[Any]) -> Callable[[list[Any]], Any]:
        """A real function of the inexact inputs."""

        def h(floats: list[Any]) -> Any:
            ys = self.smooth(api, xs)(*floats)
            return sum(jnp.sum(jnp.real(y * ct)) for y, ct in zip(ys, cts, strict=True))

        return h

    def arguments(self) -> tuple[Any, ...]:
        """What laws take: inputs, tangents, cotangents, rows."""
        return self.inputs, self.tangents, self.cts, self.rows


def normal(rng: np.random.Generator, like: Any) -> Array:
    x = rng.normal(size=like.shape)
    if np.issubdtype(like.dtype, np.complexfloating):
        x = x + 1j * rng.normal(size=like.shape)
    return np.asarray(x).astype(like.dtype)


# -- laws: (api, subject, inputs, tangents, cts, rows) -> results ----------------------------------


def value(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return s.f(api, *xs)


def jvp(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return api.jvp(s.smooth(api, xs), s.floats(xs), ts)


def vjp(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    ys, pull = api.vjp(s.smooth(api, xs), *s.floats(xs))
    return ys, pull(cts)


def vmap(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return api.vmap(partial(s.f, api))(*rows)


def vmap_of_first(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    in_axes = (0, *(None for _ in xs[1:]))
    return api.vmap(partial(s.f, api), in_axes=in_axes, out_axes=0)(rows[0], *xs[1:])


def vmap_of_rest(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    if len(xs) == 1:
        return ()
    return api.vmap(partial(s.f, api), in_axes=(None, *(0 for _ in xs[1:])))(xs[0], *rows[1:])


def vmap_of_grad(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return api.vmap(api.grad(s.loss(api, xs, cts)))(s.floats(rows))


def grad_of_vmap(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return api.grad(lambda floats: jnp.sum(api.vmap(s.loss(api, xs, cts))(floats)))(s.floats(rows))


def pushed(api: Any, s: Subject, xs: Any, ts: Any) -> Callable[..., list[Any]]:
    """The tangents as a function of the inexact inputs."""
    return lambda *floats: api.jvp(s.smooth(api, xs), list(floats), ts)[1]


def pulled(api: Any, s: Subject, xs: Any, cts: Any) -> Callable[..., tuple[Any, ...]]:
    """The cotangents as a function of the inexact inputs."""
    return lambda *floats: api.vjp(s.smooth(api, xs), *floats)[1](cts)


def over_rows(api: Any, s: Subject, rows: Any) -> Callable[..., list[Any]]:
    """The inexact outputs as a function of the inexact inputs, of all rows."""

    def g(*floats: Any) -> list[Any]:
        given = iter(floats)
        full = [next(given) if a else x for x, a in zip(rows, s.active, strict=True)]
        ys = api.vmap(partial(s.f, api))(*full)
        return [y for y, d in zip(ys, s.differentiable, strict=True) if d]

    return g


def twice(xs: Any, axis: int = 0) -> list[Any]:
    return [jnp.stack([x, x], axis) for x in xs]


def jvp_of_jvp(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return api.jvp(pushed(api, s, xs, ts), s.floats(xs), ts)


def jvp_of_vjp(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return api.jvp(pulled(api, s, xs, cts), s.floats(xs), ts)


def jvp_of_vmap(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return api.jvp(over_rows(api, s, rows), s.floats(rows), twice(ts))


def vjp_of_jvp(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return api.vjp(pushed(api, s, xs, ts), *s.floats(xs))[1](cts)


def vjp_of_vjp(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return api.vjp(pulled(api, s, xs, cts), *s.floats(xs))[1](tuple(ts))


def vjp_of_vmap(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return api.vjp(over_rows(api, s, rows), *s.floats(rows))[1](twice(cts))


def vmap_of_jvp(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return api.vmap(pushed(api, s, xs, ts))(*s.floats(rows))


def vmap_of_vjp(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    back = api.vmap(lambda floats, cts: pulled(api, s, xs, cts)(*floats), in_axes=(0, -1))
    return back(s.floats(rows), twice(cts, -1))


def vmap_of_vmap(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    inner = api.vmap(partial(s.f, api))
    return api.vmap(inner, in_axes=-1, out_axes=-1)(*twice(rows, -1))


BATCHING = (vmap, vmap_of_first, vmap_of_rest, vmap_of_vmap)
DERIVATIVES = (jvp, vjp, vmap_of_grad, grad_of_vmap)
PAIRS = (
    jvp_of_jvp, jvp_of_vjp, jvp_of_vmap, vjp_of_jvp, vjp_of_vjp, vjp_of_vmap,
    vmap_of_jvp, vmap_of_vjp,
)  # fmt: skip
"""All pairs of the three, beside `vmap_of_vmap`."""
Law = Callable[..., Any]
