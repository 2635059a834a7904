"""What loops stack for later loops: as little as cheap operations allow, and the same gradients."""

from __future__ import annotations

import itertools
import random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector
from covector.ir.graph import Graph
from covector.ir.ops.control import scan, scan_sizes
from covector.passes.min_cut import cheapest_cut

LENGTH, WIDTH, BATCH = 6, 5, 3
W = jax.random.normal(jax.random.key(0), (WIDTH, WIDTH))
X = jax.random.normal(jax.random.key(1), (BATCH, WIDTH))


def stacks_of(graph: Graph) -> list[tuple[int, ...]]:
    """The shapes of what the first loop stacks."""
    loop = next(e for e in graph.equations if e.primitive is scan)
    return [v.type.shape for v in loop.outputs[scan_sizes(loop)[1] :]]


def tanh(w: Any, x: Any) -> Any:
    return jnp.sum(jax.lax.scan(lambda x, _: (jnp.tanh(x @ w), ()), x, None, LENGTH)[0] ** 2)


def backwards(w: Any, x: Any) -> Any:
    def step(x: Any, y: Any) -> Any:
        return jnp.tanh(x @ w) * y + x, ()

    ys = jnp.linspace(0.5, 1, LENGTH)
    return jnp.sum(jax.lax.scan(step, x, ys, reverse=True)[0] ** 2)


def states_returned(w: Any, x: Any) -> Any:
    return jnp.mean(jax.lax.scan(lambda x, _: (jnp.tanh(x @ w),) * 2, x, None, LENGTH)[1] ** 2)


def dropout(w: Any, x: Any) -> Any:
    def step(x: Any, key: Any) -> Any:
        keep = jax.random.bernoulli(key, 0.7, x.shape)
        return jnp.where(keep, jnp.tanh(x @ w) / 0.7, 0), ()

    keys = jax.random.split(jax.random.key(5), LENGTH)
    return jnp.sum(jax.lax.scan(step, x, keys)[0] ** 2)


def lstm(w: Any, x: Any) -> Any:
    def step(carry: Any, _: Any) -> Any:
        h, c = carry
        i, f, g = (h @ w * k for k in (1.0, 0.5, 2.0))
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jnp.tanh(c), c), h

    return jnp.mean(jax.lax.scan(step, (x, x), None, LENGTH)[1] ** 2)


def nested(w: Any, x: Any) -> Any:
    def outer(x: Any, _: Any) -> Any:
        return jax.lax.scan(lambda x, _: (jnp.tanh(x @ w), ()), x, None, 3)[0] + x, ()

    return jnp.sum(jax.lax.scan(outer, x, None, LENGTH)[0] ** 2)


LOOPS = [tanh, backwards, states_returned, dropout, lstm, nested]


@pytest.mark.parametrize("loop", LOOPS)
def test_gradients_stay_and_no_more_is_stacked(loop: Any) -> None:
    whole = covector.run_passes(covector.make_ir(covector.grad(loop, (0, 1)))(W, X), "cse,dce")
    less = covector.run_passes(whole, "stacks,dce")
    less.verify()
    for got, want in zip(less.run(W, X), whole.run(W, X), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)
    assert sum(map(np.prod, stacks_of(less.main))) <= sum(map(np.prod, stacks_of(whole.main)))


def test_a_loop_over_tanh_stacks_its_states_alone() -> None:
    """Two stacks become one, and no product runs twice; XLA's temporary memory says the same."""
    module = covector.make_ir(covector.grad(tanh))(W, X)
    less = covector.run_passes(module, "stacks")
    assert stacks_of(less.main) == [(LENGTH, BATCH, WIDTH)]
    assert str(less).count("dot_general[") == str(module).count("dot_general[")
    n, w, x = 64, jnp.eye(128), jnp.ones((64, 128))

    def long(w: Any, x: Any) -> Any:
        return jnp.sum(jax.lax.scan(lambda x, _: (jnp.tanh(x @ w), ()), x, None, n)[0] ** 2)

    temporary = covector.compile(covector.grad(long), w, x).memory_analysis().temp_size_in_bytes
    assert temporary < 1.2 * n * x.nbytes


@pytest.mark.parametrize("loop", [tanh, lstm, backwards])
def test_second_derivatives_and_batches(loop: Any) -> None:
    """Compiled programs stack less whatever they are derivatives of."""

    def norm(grad: Any) -> Any:
        return lambda w, x: jnp.sum(grad(loop)(w, x) ** 2)

    got = covector.jit(covector.grad(norm(covector.grad)))(W, X)
    np.testing.assert_allclose(got, jax.jit(jax.grad(norm(jax.grad)))(W, X), rtol=2e-4, atol=1e-5)
    ws = jnp.stack([W, 2 * W])
    got = covector.jit(covector.vmap(covector.grad(loop), (0, None)))(ws, X)
    want = jax.vmap(jax.grad(loop), (0, None))(ws, X)
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=1e-5)


def test_the_cut_is_the_cheapest() -> None:
    """Against all subsets, on random programs."""
    generator = random.Random(0)
    for _ in range(60):
        n = generator.randint(1, 8)
        costs = [generator.randint(0, 5) for _ in range(n)]
        operands: list[list[int] | None] = [
            None if v == 0 or generator.random() < 0.3
            else sorted({generator.randrange(v) for _ in range(2)})
            for v in range(n)
        ]  # fmt: skip
        wanted = {generator.randrange(n) for _ in range(2)}

        def suffices(
            saved: Any, operands: Any = operands, n: int = n, wanted: Any = wanted
        ) -> bool:
            there: set[int] = set()
            for v in range(n):
                if v in saved or (operands[v] is not None and there.issuperset(operands[v])):
                    there.add(v)
            return wanted <= there

        subsets = itertools.chain.from_iterable(
            itertools.combinations(range(n), k) for k in range(n + 1)
        )
        least = min(sum(costs[v] for v in s) for s in subsets if suffices(set(s)))
        found = cheapest_cut(costs, operands, wanted)
        assert suffices(set(found))
        assert sum(costs[v] for v in found) == least
