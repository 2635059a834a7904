"""Layouts and metadata: said to the compiler, and kept through every pass."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import xla_metadata
from jax.experimental.layout import Layout, with_layout_constraint

import covector

X = jnp.arange(6.0).reshape(2, 3)


def f(x: Any) -> Any:
    y = with_layout_constraint(x.T * 2, Layout((1, 0)))
    y = xla_metadata.set_xla_metadata(jnp.sin(y), a=1, b=True)
    return (y * y).sum()


def test_as_in_jax() -> None:
    module = covector.make_ir(f)(X)
    assert covector.parse(str(module)).verify() == module
    want = jax.jit(f)(X)
    for got in (covector.jit(f)(X), module.interpret(X)[0], jax.jit(module.as_function())(X)):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    gradient = jax.grad(f)(X)
    np.testing.assert_allclose(covector.grad(f)(X), gradient, rtol=1e-6)
    rows = covector.vmap(covector.grad(f))(jnp.stack([X, X]))
    np.testing.assert_allclose(rows, jnp.stack([gradient, gradient]), rtol=1e-6)


def lines(g: Any, *words: str) -> list[str]:
    text = covector.jit(g).trace(X).lower().as_text()
    return [line for line in text.splitlines() if all(word in line for word in words)]


def test_what_the_compiler_is_told() -> None:
    for g in (f, covector.grad(f)):
        assert lines(g, "@LayoutConstraint", "dense<[0, 1]>")
        (sine,) = lines(g, "stablehlo.sine")
        assert 'mhlo.frontend_attributes = {a = "1", b = "true"}' in sine


@pytest.mark.skipif(
    not hasattr(xla_metadata, "xla_metadata_call"), reason="this JAX has no xla_metadata_call"
)
def test_calls_with_metadata() -> None:
    wrap = xla_metadata.xla_metadata_call2({"s": "forward"}, ad_metadata={"s": "backward"})
    g = wrap(lambda x: jnp.sin(x) * jnp.cos(x))

    def loss(x: Any) -> Any:
        return g(x).sum()

    assert lines(loss, "call @", 's = "forward"')
    assert lines(covector.vmap(loss), "call @", 's = "forward"')
    assert lines(covector.grad(loss), "call @", 's = "forward"')
    assert lines(covector.grad(loss), "call @", 's = "backward"')
    np.testing.assert_allclose(covector.grad(loss)(X), jax.grad(loss)(X), rtol=1e-6)
    module = covector.make_ir(covector.grad(loss))(X)
    assert covector.parse(str(module)).verify() == module
    np.testing.assert_allclose(jax.jit(module.as_function())(X), jax.grad(loss)(X), rtol=1e-6)


def test_jitted_functions_placed_on_one_device() -> None:
    mesh = jax.sharding.Mesh(jax.devices()[:1], ("x",))
    place = jax.NamedSharding(mesh, jax.P("x"))
    g = jax.jit(jnp.sin, in_shardings=place, out_shardings=place)
    np.testing.assert_allclose(covector.grad(lambda x: g(x).sum())(X), jnp.cos(X), rtol=1e-6)
