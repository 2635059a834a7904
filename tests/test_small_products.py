"""Many products of small matrices on CPUs: sums of elementwise products."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector

SMALL = {
    "nn": "bij,bjk->bik",
    "tn": "bji,bjk->bik",
    "nt": "bij,bkj->bik",
    "vector": "bij,bj->bi",
    "batch last": "ijb,kjb->bik",
    "batch between": "ibj,jbk->bik",
    "two batch axes": "bcij,cbjk->bcik",
    "two contracted": "bijl,bjlk->bik",
    "two rows": "bilj,bjk->bilk",
}
LARGE = {"outer": "bi,bk->bik", "no batch": "ij,jk->ik", "scalars": "bj,bj->b"}
"""What is left to XLA: there is nothing to sum, or no batch, or sums alone."""

SIZES = {"b": 40, "c": 2, "i": 4, "j": 3, "k": 5, "l": 2}


def operands(equation: str, dtype: Any) -> list[Any]:
    draw = np.random.default_rng(0)
    made = []
    for axes in equation.split("->")[0].split(","):
        x = draw.normal(size=(2, *(SIZES[axis] for axis in axes)))
        made.append(jnp.asarray(x[0] + 1j * x[1] if "complex" in dtype else x[0], dtype))
    return made


def product(equation: str) -> Any:
    return lambda x, y: jnp.einsum(equation, x, y)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "bfloat16", "int32"])
@pytest.mark.parametrize("equation", (SMALL | LARGE).values(), ids=SMALL | LARGE)
def test_products_are_those_of_jax(equation: str, dtype: str) -> None:
    with jax.enable_x64(True):
        args = operands(equation, dtype)
        got, want = (library.jit(product(equation))(*args) for library in (covector, jax))
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        rtol = {"float64": 1e-13, "bfloat16": 2e-2}.get(dtype, 1e-5)
        np.testing.assert_allclose(
            np.asarray(got, complex), np.asarray(want, complex), rtol=rtol, atol=10 * rtol
        )


@pytest.mark.parametrize("equation", SMALL.values(), ids=SMALL)
def test_derivatives_are_those_of_jax(equation: str) -> None:
    args = operands(equation, "float32")

    def loss(x: Any, y: Any) -> Any:
        return (product(equation)(jnp.sin(x), y) ** 2).sum()

    for got, want in zip(
        covector.jit(covector.grad(loss, (0, 1)))(*args),
        jax.jit(jax.grad(loss, (0, 1)))(*args),
        strict=True,
    ):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("equation", (SMALL | LARGE).values(), ids=SMALL | LARGE)
def test_which_are_left_to_xla(equation: str) -> None:
    text = covector.jit(product(equation)).lower(*operands(equation, "float32")).as_text()
    assert ("dot_general" in text) == (equation in LARGE.values())


def test_a_chain_in_a_loop() -> None:
    """Each product is computed once, though the next reads each of its elements several times."""
    a, b = operands("bij,bij->b", "float32")
    a, b = (x[:, :3, :3] * 0.5 for x in (a, b))

    def last(a: Any, b: Any) -> Any:
        return jax.lax.scan(lambda c, _: (jnp.tanh(c @ b @ a @ b), None), a, None, length=5)[0]

    np.testing.assert_allclose(covector.jit(last)(a, b), jax.jit(last)(a, b), rtol=1e-4, atol=1e-5)


def test_empty() -> None:
    x, y = jnp.zeros((40, 0, 3)), jnp.zeros((40, 3, 4))
    assert covector.jit(jnp.matmul)(x, y).shape == (40, 0, 4)
    x, y = jnp.zeros((40, 2, 0)), jnp.zeros((40, 0, 4))
    np.testing.assert_array_equal(covector.jit(jnp.matmul)(x, y), np.zeros((40, 2, 4)))
