"""Layouts and metadata: said to the compiler, and kept through every pass."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import compute_on, xla_metadata
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


def test_contexts_with_metadata() -> None:
    """Each operation in the context has it, those of derivatives, of rules that are traced later,
    of loops and of jitted functions too; and none outside."""

    @jax.custom_vjp
    def g(x: Any) -> Any:
        return jnp.tanh(x)

    g.defvjp(lambda x: (jnp.tanh(x), x), lambda x, ct: (ct * jnp.sqrt(1 + x),))

    def loss(x: Any) -> Any:
        x = jnp.exp(x / 8)
        with xla_metadata.set_xla_metadata(part="head", size=2):
            x = jax.jit(jnp.sin)(x) + g(x)
            x, _ = jax.lax.scan(lambda c, row: (c * row, None), x[0], x)
        return jnp.log(x).sum()

    of_context = 'mhlo.frontend_attributes = {part = "head", size = "2"}'
    for f, wanted in (
        (loss, ("sine", "tanh", "multiply")),
        (covector.grad(loss), ("sine", "cosine", "sqrt", "multiply")),
        (covector.vmap(covector.grad(lambda x: loss(x[None]))), ("sine", "sqrt")),
    ):
        for word in wanted:
            there = lines(f, f"stablehlo.{word}")
            assert there and any(of_context in line for line in there), word
        for word in ("exponential", "log"):
            assert not lines(f, f"stablehlo.{word} ", of_context)
    module = covector.make_ir(covector.grad(loss))(X)
    assert covector.parse(str(module)).verify() == module
    want = jax.grad(loss)(X)
    for got in (covector.grad(loss)(X), module.interpret(X)[0]):
        np.testing.assert_allclose(got, want, rtol=1e-5)
    exported = jax.jit(module.as_function())
    np.testing.assert_allclose(exported(X), want, rtol=1e-5)
    assert of_context in exported.lower(X).as_text()


def told(f: Callable[[Any], Any], **metadata: Any) -> Callable[[Any], Any]:
    """f in a context."""

    def g(x: Any) -> Any:
        with xla_metadata.set_xla_metadata(**metadata):
            return f(x)

    return g


cos_untold = told(jnp.cos, a=None)
REGIONS: dict[str, Callable[[Any], Any]] = {
    "cond": lambda x: jax.lax.cond(x < 0, jnp.sin, cos_untold, x),
    "cond, told another": lambda x: jax.lax.cond(x < 0, jnp.sin, told(jnp.cos, a=None, b=2), x),
    "while": lambda x: jax.lax.while_loop(lambda x: cos_untold(x) > 9, jnp.sin, x),
    "scan": lambda x: jax.lax.scan(lambda c, _: (cos_untold(jnp.sin(c)), None), x, None, 2)[0],
    "jit": lambda x: jax.jit(lambda x: cos_untold(jnp.sin(x)))(x),
}


@pytest.mark.parametrize("name", REGIONS)
def test_metadata_that_regions_unset(name: str) -> None:
    """As JAX has it: the operations of a region say themselves what is told of them."""
    f = told(REGIONS[name], a=1)
    words = ("stablehlo.cosine", "stablehlo.sine")
    ours, theirs = (
        [
            [re.findall(r"\b[ab] = \"\d\"", x) for x in text.splitlines() if word in x]
            for word in words
        ]
        for text in (m.jit(f).lower(0.5).as_text() for m in (covector, jax))
    )
    if name != "scan" or jax.__version_info__ < (0, 12):  # which tells its whole body again
        assert ours == theirs
    assert ours[1] == [['a = "1"']] and 'a = "1"' not in ours[0][0]


def test_derivatives_of_what_regions_unset() -> None:
    text = covector.jit(covector.jacfwd(told(REGIONS["scan"], a=1))).lower(0.5).as_text()
    sines = [x for x in text.splitlines() if "stablehlo.sine" in x]
    cosines = [x for x in text.splitlines() if "stablehlo.cosine" in x]
    for found in (sines, cosines):  # the function's own, and the derivative of the other one
        assert sorted('a = "1"' in x for x in found) == [False, True]


def test_a_context_is_part_of_what_is_compiled() -> None:
    f = covector.jit(jnp.sin)
    np.testing.assert_allclose(f(X), jnp.sin(X), rtol=1e-6)
    with xla_metadata.set_xla_metadata(a=1):
        assert lines(f, "stablehlo.sine", "frontend_attributes")
    assert not lines(f, "frontend_attributes")


IS_CONTEXT = "out_memory_spaces" not in inspect.signature(compute_on.compute_on).parameters
"""Whether this JAX's compute_on is a context, as it was before jax 0.12."""


@pytest.mark.skipif(not IS_CONTEXT, reason="compute_on is a function here")
def test_operations_on_another_processor() -> None:
    def f(x: Any) -> Any:
        x = jnp.exp(x)
        with compute_on.compute_on("device_host"):
            x = jnp.sin(x)
        with compute_on.compute_on("gpu_stream:1"):
            return jnp.tanh(x)

    for g in (f, covector.grad(lambda x: f(x).sum())):
        assert lines(g, "stablehlo.sine", '_xla_compute_type = "host"')
        assert lines(g, "stablehlo.tanh", '_xla_stream_annotation = "1"')
        assert not lines(g, "stablehlo.exponential", "frontend_attributes")
    assert lines(covector.grad(lambda x: f(x).sum()), "stablehlo.cosine", '"host"')
    np.testing.assert_allclose(covector.jit(f)(X), jax.jit(f)(X), rtol=1e-6)


@pytest.mark.skipif(
    IS_CONTEXT and not hasattr(compute_on, "compute_on2"), reason="this JAX has the context only"
)
def test_calls_on_another_processor() -> None:
    on = getattr(compute_on, "compute_on2", compute_on.compute_on)
    place = {"compute_type": "device_host", "out_memory_spaces": jax.memory.Space.Device}
    f = on(lambda x: jnp.sin(x) * x, **place)

    def loss(x: Any) -> Any:
        return f(x).sum()

    for g in (loss, covector.vmap(loss), covector.grad(loss)):
        assert lines(g, "call @", '_xla_compute_type = "host"')
    assert len(lines(covector.grad(loss), "call @", '_xla_compute_type = "host"')) == 2
    np.testing.assert_allclose(covector.grad(loss)(X), jax.grad(loss)(X), rtol=1e-6)
    module = covector.make_ir(loss)(X)
    assert covector.parse(str(module)).verify() == module
    assert '_xla_compute_type = "host"' in jax.jit(module.as_function()).lower(X).as_text()
    to_host = on(jnp.sin, **(place | {"out_memory_spaces": jax.memory.Space.Host}))
    eqns = covector.make_ir(to_host)(X).main.equations
    assert [eqn.primitive.name for eqn in eqns] == ["xla_metadata_call", "device_put"]
    assert eqns[1].params["target"] == "pinned_host"


def test_jitted_functions_placed_on_one_device() -> None:
    mesh = jax.sharding.Mesh(jax.devices()[:1], ("x",))
    place = jax.NamedSharding(mesh, jax.P("x"))
    g = jax.jit(jnp.sin, in_shardings=place, out_shardings=place)
    np.testing.assert_allclose(covector.grad(lambda x: g(x).sum())(X), jnp.cos(X), rtol=1e-6)


def test_named_scopes() -> None:
    """Operations are named in their scopes, those of loops and of derivatives too."""

    def f(x: Any) -> Any:
        x = jnp.exp(x)
        with jax.named_scope("decoder"):
            x = jax.lax.fori_loop(0, 3, lambda _, c: jnp.tanh(c), x)
            with jax.named_scope("my attention"):
                return jnp.sin(x)

    module = covector.make_ir(covector.grad(lambda x: f(x).sum()))(X)
    assert covector.parse(str(module)).verify() == module
    scopes = {e.primitive.name: e.location.scope for e in module.main.equations if e.location}
    assert scopes["cos"] == "decoder/my attention"
    assert scopes["exp"] == "" and scopes["scan"] == "decoder"
    named = covector.jit(f).trace(X).lower().as_text(debug_info=True)
    exported = jax.jit(covector.make_ir(f)(X).as_function()).lower(X).as_text(debug_info=True)
    for text in (named, exported):
        assert 'loc("' in text and "decoder/my attention/" in text
    assert "decoder/tanh" in named or "decoder/c/tanh" in named
    assert "decoder/exp" not in named
