"""Functions exported for sizes that are left open: JAX's transformations do what ours cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import covector
from covector.ir.errors import UsageError

W = jnp.arange(4.0)


def loss(w: Any, x: Any) -> Any:
    return jnp.sum(jnp.tanh(x @ w) ** 2)


def times(x: Any, *, n: int) -> Any:
    return x * n


PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "jit": lambda m: m.jit(jnp.sin),
    "in jax.jit": lambda m: jax.jit(m.grad(lambda x: jnp.sin(x).sum())),
    "vmap of grad of jit": lambda m: m.jit(m.vmap(m.grad(lambda x: m.jit(jnp.tanh)(x).sum()))),
    "jvp": lambda m: m.jit(lambda x: m.jvp(jnp.sin, (x,), (x,))),
    "vjp": lambda m: m.jit(lambda x: m.vjp(jnp.sin, x)[1](x)),
    "linearize": lambda m: m.jit(lambda x: m.linearize(jnp.sin, x)[1](x)),
    "linear_transpose": lambda m: m.jit(lambda x: m.linear_transpose(lambda y: 2 * y, x)(x)),
    "hessian": lambda m: m.jit(m.vmap(m.hessian(lambda v: jnp.sum(v**3)))),
    "checkpoint": lambda m: m.jit(m.grad(m.checkpoint(lambda x: jnp.sin(jnp.sin(x)).sum()))),
    "an argument beside": lambda m: m.jit(lambda x: m.grad(loss)(W, x)),
    "closed over": lambda m: m.jit(lambda x: m.grad(lambda w: loss(w, x))(W)),
    "auxiliary": lambda m: m.jit(m.value_and_grad(lambda x: (x.sum(), x * 2), has_aux=True)),
    "static": lambda m: m.jit(lambda x: m.jit(lambda x, n: x * n, static_argnums=1)(x, 3)),
    "by name": lambda m: m.jit(lambda x: m.jit(times, static_argnames="n")(n=3, x=x)),
}


def rows(sizes: str = "n, 4") -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(export.symbolic_shape(sizes), jnp.float32)


@pytest.mark.parametrize("name", PROGRAMS)
def test_exported_for_all_sizes(name: str) -> None:
    ours, theirs = (export.export(PROGRAMS[name](m))(rows()) for m in (covector, jax))
    assert str(ours.in_avals) == str(theirs.in_avals)
    assert str(ours.out_avals) == str(theirs.out_avals)
    for n in (1, 3):
        x = jnp.arange(4.0 * n).reshape(n, 4)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), ours.call(x), theirs.call(x)
        )


def test_exported_programs_of_open_sizes_are_called_in_programs() -> None:
    """At sizes that are known then."""

    def scaled(x: Any) -> Any:
        return jnp.sin(x) * jnp.arange(1, x.shape[0] + 1, dtype=x.dtype)[:, None]

    exported = export.export(jax.jit(scaled))(rows())
    for n in (1, 3):
        x = jnp.arange(4.0 * n).reshape(n, 4)
        np.testing.assert_allclose(covector.jit(exported.call)(x), scaled(x), rtol=1e-6)
        np.testing.assert_allclose(
            covector.jit(lambda x: 2 * exported.call(x[1:]))(jnp.concatenate([x, x])),
            2 * scaled(jnp.concatenate([x[1:], x])),
            rtol=1e-6,
        )


ONLY_OURS: dict[str, Callable[[], Any]] = {
    "passes": lambda: covector.jit(jnp.sin, passes="cse"),
    "memory_budget": lambda: covector.jit(jnp.sin, memory_budget="1MiB"),
    "optimize": lambda: covector.jit(jnp.sin, optimize="balanced"),
    "memory_budget of grad": lambda: jax.jit(covector.grad(jnp.sum, memory_budget="1MiB")),
    "custom_vjp": lambda: jax.jit(
        lambda x: covector.jvp(jnp.sin, (x,), (x,), custom_vjp="transpose")
    ),
    "make_ir": lambda: jax.jit(lambda x: covector.make_ir(jnp.sin)(x)),
}


@pytest.mark.parametrize("name", ONLY_OURS)
def test_what_jax_has_not_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="of known sizes"):
        export.export(ONLY_OURS[name]())(rows())
