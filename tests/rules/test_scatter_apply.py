"""Functions applied to elements in place: `x.at[i].apply(f)`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import Case, f64, i32, laws, program

import covector
from covector.ir.builder import Builder
from covector.ir.graph import Value

X = jnp.linspace(0.2, 2.0, 6)
INDICES = [
    jnp.array([1, 1, 3]), jnp.array([1, 2]), 2, slice(1, 3), jnp.array([[1, 9], [-1, 1]]),
]  # fmt: skip


def _square():
    b, x = Builder(), Value(f64())
    return b.graph([x], [b.add(b.mul(x, x), b.sin(x))], "square")


def applied(operand, indices, windows, window, inserted, mapped, *, mode, at=(0, 3),
            batching=((), ()), **more):  # fmt: skip
    params = {
        "graph": _square(), "update_window_dims": window, "inserted_window_dims": inserted,
        "scatter_dims_to_operand_dims": mapped, "operand_batching_dims": batching[0],
        "scatter_indices_batching_dims": batching[1], "mode": mode,
    }  # fmt: skip
    graph = program(
        lambda b, x, i, w: [b.scatter_apply(x, i, w, **params)], operand, indices, windows
    )
    domain = [(-1.0, 1.0), at, (0.0, 0.0)]
    return Case(graph, [operand, indices, windows], domain=domain, wrt=(0,), jax_derivative=False,
                note=mode, **more)  # fmt: skip


CASES = [
    case
    for mode in ("FILL_OR_DROP", "CLIP")
    for case in (
        applied(f64(4, 6), i32(4, 2), f64(4, 2, 3), (1, 2), (), (0, 1), at=(-1, 4), mode=mode),
        applied(f64(3, 4, 2), i32(2, 3, 1), f64(2, 3, 2), (2,), (1,), (1,),
                batching=((0,), (1,)), at=(0, 2), mode=mode),
        applied(f64(4, 3), i32(0, 1), f64(0, 3), (1,), (0,), (0,), mode=mode),
        applied(f64(4), i32(1), f64(), (), (0,), (0,), at=(-1, 4), mode=mode),
        applied(f64(), i32(0), f64(), (), (), (), mode=mode),
    )
]  # fmt: skip


@laws(CASES)
def test_law(case, law):
    law(case)


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_as_in_jax(index):
    """JAX has no derivative of it: this is the derivative of a loop that writes one by one."""

    def f(x):
        return x.at[index].apply(lambda v: v * v + jnp.sin(v))

    module = covector.make_ir(f)(X)
    assert covector.parse(str(module)).verify() == module
    want = f(X)
    for got in (covector.jit(f)(X), module.interpret(X)[0], jax.jit(module.as_function())(X)):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    with jax.enable_x64(True):
        x, w = np.linspace(0.2, 2.0, 6), np.arange(1.0, 7.0)
        eye = 1e-6 * np.eye(6)
        steps = [(np.dot(w, f(jnp.asarray(x + e)) - f(jnp.asarray(x - e)))) / 2e-6 for e in eye]
        got = covector.grad(lambda x: jnp.dot(w, f(x)))(x)
        np.testing.assert_allclose(got, steps, rtol=1e-6)
        np.testing.assert_allclose(covector.jacfwd(lambda x: jnp.dot(w, f(x)))(x), got, rtol=1e-12)


def test_batches():
    rows, where = jnp.stack([X, X + 1]), jnp.array([[1, 1, 3], [0, 2, 2]])

    def f(x, i):
        return x.at[i].apply(jnp.cos)

    for axes in ((0, 0), (None, 0), (0, None)):
        xs = [a if axis == 0 else a[0] for a, axis in zip((rows, where), axes, strict=True)]
        want = jax.vmap(f, axes)(*xs)
        np.testing.assert_allclose(covector.vmap(f, axes)(*xs), want, rtol=1e-6)
