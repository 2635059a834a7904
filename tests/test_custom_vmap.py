"""Functions with batching rules of their own: jax.custom_batching.custom_vmap."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.custom_batching import custom_vmap, sequential_vmap

import covector
from covector.ir.errors import CovectorError

X, Y = jnp.arange(3.0) + 1, jnp.arange(3.0) - 1
ROWS = jnp.stack([X, Y, X * Y, X + Y])


@custom_vmap
def product(x: Any, y: Any) -> Any:
    return jnp.sin(x) * y


@product.def_vmap
def _product_rule(size: int, batched: list[bool], x: Any, y: Any) -> Any:
    """Ten times what it should be, so that it shows whether it was asked."""
    return 10 * jnp.sin(x) * y, True


def tenfold(api: Any, *axes: Any) -> Any:
    return api.vmap(product, in_axes=axes)(*(X if axis is None else ROWS for axis in axes))


def assert_same(run: Any) -> None:
    jax.tree.map(
        lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-6), run(covector), run(jax)
    )


def test_the_rule_is_asked() -> None:
    for axes in ((0, 0), (0, None), (None, 0)):
        assert_same(lambda api, axes=axes: tenfold(api, *axes))
        assert_same(lambda api, axes=axes: api.jit(lambda: tenfold(api, *axes))())
    assert_same(lambda api: api.jit(product)(X, Y))
    assert_same(lambda api: api.vmap(jax.jit(product))(ROWS, ROWS))


def test_its_derivative_is_that_of_the_function() -> None:
    """JAX has no reverse mode of it, and asks the rule where only tangents are batched."""
    assert_same(lambda api: api.jvp(product, (X, Y), (Y, X)))
    np.testing.assert_allclose(covector.jacfwd(product)(X, Y), jnp.diag(jnp.cos(X) * Y), rtol=1e-6)
    got = covector.grad(lambda x, y: product(x, y).sum(), argnums=(0, 1))(X, Y)
    np.testing.assert_allclose(got, (jnp.cos(X) * Y, jnp.sin(X)), rtol=1e-6)


def test_derivatives_of_batches_and_batches_of_derivatives() -> None:
    def along(api: Any, x: Any, y: Any) -> Any:
        return api.jvp(product, (x, y), (y, x))

    assert_same(lambda api: api.vmap(lambda x, y: along(api, x, y))(ROWS, ROWS))
    assert_same(lambda api: api.jvp(api.vmap(product), (ROWS, ROWS), (ROWS, ROWS)))
    got = covector.vmap(lambda x: covector.jvp(lambda x: product(x, Y), (x,), (X,))[1])(ROWS)
    np.testing.assert_allclose(got, 10 * jnp.cos(ROWS) * X * Y, rtol=1e-5)
    got = covector.grad(lambda rows: covector.vmap(product)(rows, rows).sum())(ROWS)
    want = jax.grad(lambda rows: (10 * jnp.sin(rows) * rows).sum())(ROWS)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_one_by_one() -> None:
    @sequential_vmap
    def f(x: Any, y: Any) -> Any:
        return {"s": jnp.sin(x) + y}

    assert_same(lambda api: api.vmap(f)(ROWS, ROWS))
    assert "scan" in str(covector.make_ir(covector.vmap(f))(ROWS, ROWS))


def test_text_and_back_in_jax() -> None:
    module = covector.make_ir(product)(X, Y)
    assert 'custom_vmap_call[graph=@product_1, rule=thunk<"_product_rule">]' in str(module)
    assert covector.parse(str(module)).verify() == module
    np.testing.assert_allclose(module.interpret(X, Y)[0], product(X, Y), rtol=1e-6)
    back = module.as_function()
    np.testing.assert_allclose(jax.vmap(back)(ROWS, ROWS), tenfold(jax, 0, 0), rtol=1e-6)
    imported = covector.from_jaxpr(jax.make_jaxpr(product)(X, Y))
    np.testing.assert_allclose(imported.run(X, Y)[0], product(X, Y), rtol=1e-6)


def test_a_rule_that_says_too_little() -> None:
    @custom_vmap
    def f(x: Any) -> Any:
        return x, x

    @f.def_vmap
    def rule(size: int, batched: list[bool], x: Any) -> Any:
        return (x, x), True

    with pytest.raises(CovectorError, match="returns flags of the structure"):
        covector.vmap(f)(ROWS)
