"""Primitives that other people define: recorded as they are, transformed by their rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import pallas
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

import covector
from covector.ir.errors import CovectorError, MissingRule
from covector.tools.listings import primitive_rows

X, Y = jnp.arange(3.0) + 0.3, jnp.arange(3.0) + 1


def product(x: Any, y: Any, *, scale: Any) -> Any:
    return x * y * scale.value


@jax.tree_util.register_pytree_node_class
class Scale:
    """A parameter that is no plain data."""

    def __init__(self, value: float) -> None:
        self.value = value

    def tree_flatten(self) -> Any:
        return (self.value,), None

    @classmethod
    def tree_unflatten(cls, _: Any, parts: Any) -> Scale:
        return cls(*parts)


def define_product() -> Any:
    p = Primitive("their_product")
    p.def_impl(product)
    p.def_abstract_eval(lambda x, y, *, scale: jax.core.ShapedArray(x.shape, x.dtype))
    mlir.register_lowering(p, mlir.lower_fun(product, multiple_results=False))

    def jvp(primals: Any, tangents: Any, *, scale: Any) -> Any:
        (x, y), (dx, dy) = primals, tangents
        terms = [] if isinstance(dx, ad.Zero) else [p.bind(dx, y, scale=scale)]
        terms += [] if isinstance(dy, ad.Zero) else [p.bind(x, dy, scale=scale)]
        return p.bind(x, y, scale=scale), sum(terms[1:], terms[0])

    def transpose(ct: Any, x: Any, y: Any, *, scale: Any) -> Any:
        if ad.is_undefined_primal(x):
            return p.bind(ct, y, scale=scale), None
        return None, p.bind(x, ct, scale=scale)

    def batch(args: Any, dims: Any, *, scale: Any) -> Any:
        n = next(a.shape[d] for a, d in zip(args, dims, strict=True) if d is not None)
        x, y = (
            jnp.broadcast_to(a, (n, *a.shape)) if d is None else jnp.moveaxis(a, d, 0)
            for a, d in zip(args, dims, strict=True)
        )
        return p.bind(x, y, scale=scale), 0

    ad.primitive_jvps[p] = jvp
    ad.primitive_transposes[p] = transpose
    batching.primitive_batchers[p] = batch
    return p


PRODUCT = define_product()
SCALE = Scale(3.0)


def loss(x: Any, y: Any) -> Any:
    return jnp.sum(jnp.sin(PRODUCT.bind(x, jnp.cos(y), scale=SCALE)))


def assert_same(run: Callable[[Any], Any]) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6), run(covector), run(jax))


@pytest.mark.parametrize("run", [
    lambda lib: lib.jit(loss)(X, Y),
    lambda lib: lib.jvp(loss, (X, Y), (Y, X)),
    lambda lib: lib.grad(loss, (0, 1))(X, Y),
    lambda lib: lib.hessian(loss)(X, Y),
    lambda lib: lib.vmap(loss, (0, None))(jnp.stack([X, Y]), Y),
    lambda lib: lib.vmap(lib.grad(loss, (0, 1)), (0, None))(jnp.stack([X, Y]), Y),
    lambda lib: lib.grad(lambda x: lib.vmap(loss, (1, None))(x, Y).sum())(jnp.stack([X, Y], 1)),
    lambda lib: lib.grad(lambda x: jax.lax.scan(
        lambda c, a: (PRODUCT.bind(c, c, scale=SCALE), a), x, Y)[0].sum())(X / 9),
])  # fmt: skip
def test_as_in_jax(run: Callable[[Any], Any]) -> None:
    assert_same(run)


def test_interpreter_and_back_in_jax() -> None:
    module = covector.make_ir(loss)(X, Y)
    want = loss(X, Y)
    np.testing.assert_allclose(module.interpret(X, Y)[0], want, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(module.as_function())(X, Y), want, rtol=1e-6)


def test_text() -> None:
    module = covector.make_ir(loss)(X, Y)
    assert 'foreign[name="their_product", target=opaque<"their_product">' in str(module)
    read = covector.parse(str(module)).verify()
    assert read == module
    for use in (lambda m: m.run(X, Y), lambda m: covector.passes.grad(m)):
        with pytest.raises(CovectorError, match="'their_product' was a thing of the process"):
            use(read)


def test_equations_with_equal_parameters_are_one() -> None:
    def twice(x: Any) -> Any:
        return PRODUCT.bind(x, x, scale=SCALE) + PRODUCT.bind(x, x, scale=SCALE)

    assert len(covector.make_ir(twice)(X).main) == 2


def test_what_no_author_gave() -> None:
    p = Primitive("their_bare")
    p.def_abstract_eval(lambda x: x)
    mlir.register_lowering(p, mlir.lower_fun(lambda x: x + 1, multiple_results=False))
    np.testing.assert_array_equal(covector.jit(p.bind)(X), X + 1)
    module = covector.make_ir(p.bind)(X)
    np.testing.assert_array_equal(module.interpret(X)[0], X + 1)
    for transform, what in ((covector.jacfwd, "derivative"), (covector.vmap, "batching")):
        with pytest.raises(MissingRule, match=f"their_bare has no {what}.*registered none"):
            transform(p.bind)(X)


def test_listed_as_falling_back() -> None:
    covector.make_ir(loss)(X, Y)
    (row,) = [row for row in primitive_rows() if row["primitive"] == "their_product"]
    assert row["jvp"] == row["lower"] == "falls back"


# -- JAX's own ways to bring code from elsewhere -------------------------------------------------


def sine_kernel(x: Any, out: Any) -> None:
    out[...] = jnp.sin(x[...])


def test_pallas() -> None:
    f = pallas.pallas_call(sine_kernel, out_shape=X, interpret=True)
    assert_same(lambda lib: lib.jit(f)(X))
    assert_same(lambda lib: lib.jvp(f, (X,), (Y,)))
    assert_same(lambda lib: lib.vmap(f)(jnp.stack([X, Y])))
    _, push = covector.linearize(f, X)  # which JAX can't: one kernel makes value and tangent
    np.testing.assert_allclose(push(Y), jax.jvp(f, (X,), (Y,))[1], rtol=2e-6)
    with pytest.raises(MissingRule, match="pallas_call has no transpose rule: its author"):
        covector.grad(lambda x: f(x).sum())(X)


def test_ffi() -> None:
    def cholesky(x: Any) -> Any:
        outs = (
            jax.ShapeDtypeStruct(x.shape, x.dtype), jax.ShapeDtypeStruct(x.shape[:-2], jnp.int32)
        )  # fmt: skip
        call = jax.ffi.ffi_call(
            "lapack_spotrf_ffi", outs, input_layouts=[(1, 0)], output_layouts=[(1, 0), None],
            vmap_method="sequential",
        )  # fmt: skip
        return jnp.tril(call(x, uplo=np.uint8(ord("L")))[0])

    a = jnp.array([[4.0, 1.0], [1.0, 3.0]])
    jnp.linalg.cholesky(a)  # which registers the library
    np.testing.assert_allclose(covector.jit(cholesky)(a), jnp.linalg.cholesky(a), rtol=1e-6)
    stack = jnp.stack([a, 2 * a])
    got = covector.vmap(cholesky)(stack)
    np.testing.assert_allclose(got, jnp.linalg.cholesky(stack), rtol=1e-6)
    with pytest.raises(ValueError, match="cannot be differentiated"):  # as the author says
        covector.jacfwd(cholesky)(a)


def test_refused_with_the_reason() -> None:
    with pytest.raises(CovectorError, match="tokens are not values"):
        covector.make_ir(lambda x: (x, jax.lax.create_token(x))[0])(X)


def test_attributes_of_equal_values() -> None:
    """True, 1 and 1.0 are equal, and not the same attribute."""
    values: list[Any] = [np.bool_(True), np.int8(1), np.float32(1), 1, 1.0]
    texts = set()
    for value in values:
        for attributes in ({"key": value}, {"key": {"inner": value}}):
            call = jax.ffi.ffi_call("not_called", jax.ShapeDtypeStruct((3,), jnp.float32))
            lowered = covector.jit(lambda x, call=call, given=attributes: call(x, **given)).lower(X)
            texts.add(lowered.as_text().partition("mhlo.backend_config")[2])
    assert len(texts) == 2 * len(values)


@pytest.mark.smoke
def test_equal_operations_are_lowered_once() -> None:
    """What is the same for JAX, parameters and types, is one function of the module; other
    parameters make another."""
    other = Scale(2.0)

    def f(x: Any, y: Any) -> Any:
        z = PRODUCT.bind(PRODUCT.bind(x, y, scale=SCALE), y, scale=SCALE)
        return PRODUCT.bind(z, y, scale=other)

    text = covector.jit(f).lower(X, Y).as_text()
    assert text.count("func private @their_product") == 2
    assert text.count("call @their_product") == 3
    np.testing.assert_allclose(covector.jit(f)(X, Y), jax.jit(f)(X, Y), rtol=1e-6)


def define_shifted(shared: Any) -> Any:
    """A primitive whose lowering calls a jitted function."""
    p = Primitive("their_shifted")
    fun = lambda x, *, by: shared(x) + by
    p.def_impl(fun)
    p.def_abstract_eval(lambda x, *, by: jax.core.ShapedArray(x.shape, x.dtype))
    mlir.register_lowering(p, mlir.lower_fun(fun, multiple_results=False))
    return p


@pytest.mark.smoke
def test_operations_share_what_their_lowerings_call() -> None:
    @jax.jit
    def wave(x: Any) -> Any:
        return jnp.sin(x) * jnp.cos(x)

    shifted = define_shifted(wave)
    f = lambda x: shifted.bind(shifted.bind(x, by=1.0), by=2.0)
    text = covector.jit(f).lower(X).as_text()
    assert text.count("func private @their_shifted") == 2
    assert text.count("func private @wave") == 1
    np.testing.assert_allclose(covector.jit(f)(X), jax.jit(f)(X), rtol=1e-6)


def test_operations_of_both_widths_are_lowered_beside_each_other() -> None:
    shifted = define_shifted(lambda x: 2 * x)
    with jax.enable_x64(True):
        wide = jnp.arange(3.0)

        def f(x: Any, y: Any) -> Any:
            return [shifted.bind(a, by=b) for a in (x, y) for b in (1.0, 2.0)]

        found, expected = covector.jit(f)(X, wide), jax.jit(f)(X, wide)
    for got, want in zip(found, expected, strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.smoke
def test_what_has_no_lowering_is_named_among_others() -> None:
    nowhere = Primitive("their_dream")
    nowhere.def_abstract_eval(lambda x: jax.core.ShapedArray(x.shape, x.dtype))
    f = lambda x: nowhere.bind(PRODUCT.bind(x, PRODUCT.bind(x, x, scale=SCALE), scale=Scale(2.0)))
    with pytest.raises(CovectorError, match="their_dream is not available on cpu") as caught:
        covector.jit(f).lower(X)
    assert caught.value.location is not None
