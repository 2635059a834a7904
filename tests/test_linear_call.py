"""Linear functions with transposes of their own: jax.custom_derivatives.linear_call."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.custom_derivatives import linear_call

import covector
from covector.ir.errors import PassError

X = jnp.arange(3.0) + 1


def divided(r: Any, x: Any) -> Any:
    return x / r


def thrice_divided(r: Any, ct: Any) -> Any:
    return 3 * ct / r


def f(x: Any, r: Any = 2.0) -> Any:
    return jnp.sin(x) + linear_call(divided, thrice_divided, r, x)


def closing_over(x: Any, w: Any) -> Any:
    y = w * 2
    return linear_call(lambda _, x: x * y, lambda _, ct: ct * y * 5 + 0 * w, (), x).sum()


def test_as_in_jax() -> None:
    runs = [
        lambda lib: lib.jit(f)(X),
        lambda lib: lib.jvp(f, (X,), (X,)),
        lambda lib: lib.grad(lambda x: f(x).sum())(X),
        lambda lib: lib.grad(lambda x: lib.grad(lambda x: f(x).sum() ** 2)(x).sum())(X),
        lambda lib: lib.grad(closing_over)(X, X),
        lambda lib: lib.jit(lib.grad(closing_over))(X, X),
        lambda lib: lib.linear_transpose(lambda x: linear_call(
            divided, thrice_divided, 2.0, x), X)(X),
    ]  # fmt: skip
    for run in runs:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), run(covector), run(jax)
        )


def test_each_is_the_transpose_of_the_other() -> None:
    """Transposed twice it is the function itself again."""

    def g(x: Any) -> Any:
        return linear_call(divided, thrice_divided, 2.0, x)

    once = covector.linear_transpose(g, X)
    (twice,) = covector.linear_transpose(lambda ct: once(ct)[0], X)(X)
    np.testing.assert_array_equal(twice, X / 2)


def test_batches() -> None:
    """JAX has no batching rule for it."""
    rows = jnp.stack([X, X + 1])
    for axes in ((0, None), (None, 0), (0, 0)):
        args = [rows if axis == 0 else X for axis in axes]
        got = covector.vmap(covector.grad(closing_over), axes)(*args)
        pairs = [[a[i] if axis == 0 else a for a, axis in zip(args, axes, strict=True)]
                 for i in range(2)]  # fmt: skip
        want = jnp.stack([jax.grad(closing_over)(*pair) for pair in pairs])
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_text_and_back_in_jax() -> None:
    module = covector.make_ir(closing_over)(X, X)
    assert covector.parse(str(module)).verify() == module
    back = module.as_function()
    np.testing.assert_allclose(jax.grad(back)(X, X), jax.grad(closing_over)(X, X), rtol=1e-6)
    imported = covector.from_jaxpr(jax.make_jaxpr(f)(X))
    np.testing.assert_allclose(imported.run(X)[0], f(X), rtol=1e-6)


def test_a_residual_has_no_derivative() -> None:
    with pytest.raises(PassError, match="differentiated in a residual of linear_call"):
        covector.grad(lambda r: f(X, r).sum())(2.0)


def test_a_transpose_that_fails_is_asked_for_late() -> None:
    def fails(r: Any, ct: Any) -> Any:
        raise RuntimeError("no transpose today")

    def g(x: Any) -> Any:
        return linear_call(divided, fails, 2.0, x).sum()

    assert covector.jvp(g, (X,), (X,))[1] == 3.0
    with pytest.raises(RuntimeError, match="no transpose today"):
        covector.grad(g)(X)
