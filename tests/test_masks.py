"""Masks and random numbers that are read late are stored, where that takes less memory."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector
from covector.ir.graph import Graph, walk_graphs
from covector.ir.ops.shape import optimization_barrier

WS = [jax.random.normal(jax.random.key(i), (128, 128)) / 8 for i in range(6)]
X = jax.random.normal(jax.random.key(9), (512, 128))
KEY = jax.random.key(7)


def net(layer: Any, ws: Any, x: Any, key: Any) -> Any:
    for i, w in enumerate(ws):
        x = layer(x @ w, jax.random.fold_in(key, i))
    return jnp.sum(x * x)


def relu(x: Any, key: Any) -> Any:
    return jax.nn.relu(x)


def leaky(x: Any, key: Any) -> Any:
    return jax.nn.leaky_relu(x)


def dropout(x: Any, key: Any) -> Any:
    keep = jax.random.bernoulli(key, 0.9, x.shape)
    return jnp.where(keep, jnp.tanh(x) / 0.9, 0)


def noise(x: Any, key: Any) -> Any:
    return jnp.tanh(x) * jax.random.normal(key, x.shape)


def gradient(layer: Any) -> Any:
    return covector.value_and_grad(lambda ws, x, key: net(layer, ws, x, key))


def barriers(graph: Graph) -> list[str]:
    return [
        str(e.outputs[0].type)
        for g in walk_graphs(graph)
        for e in g.equations
        if e.primitive is optimization_barrier
    ]


def temporary(compiled: Any) -> int:
    return int(compiled.memory_analysis().temp_size_in_bytes)


@pytest.mark.parametrize(
    ("layer", "share"), [(relu, 0.75), (leaky, 0.75), (dropout, 0.65), (noise, 0.56)]
)
def test_a_net_takes_less_memory_than_what_jax_makes_of_it(layer: Any, share: float) -> None:
    f = gradient(layer)
    ours = covector.compile(f, WS, X, KEY)
    theirs = jax.jit(jax.value_and_grad(lambda ws, x, key: net(layer, ws, x, key)))
    compiled = theirs.lower(WS, X, KEY).compile()
    assert temporary(ours) <= share * temporary(compiled)
    for got, want in zip(
        jax.tree.leaves(ours(WS, X, KEY)), jax.tree.leaves(compiled(WS, X, KEY)), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * float(np.abs(want).max()))


def test_each_mask_is_stored_once_and_the_program_means_the_same() -> None:
    module = covector.make_ir(gradient(dropout))(WS, X, KEY)
    stored = covector.run_passes(module, "masks{least=16384}")
    stored.verify()
    assert covector.parse(str(stored)) == stored
    assert barriers(stored.main).count("bool[512,128]") == len(WS)
    assert barriers(stored.main).count("key<fry>[]") == len(WS)  # drawn one after the other
    for got, want in zip(
        jax.tree.leaves(stored.run(WS, X, KEY)),
        jax.tree.leaves(module.run(WS, X, KEY)),
        strict=True,
    ):
        np.testing.assert_array_equal(got, want)


def alive(x: Any, key: Any) -> Any:
    """The backward pass reads x itself at the place where it reads x > 0."""
    return jnp.where(x > 0, x * x, 0)


def of_an_argument(ws: Any, x: Any, key: Any) -> Any:
    return jnp.sum(jnp.where(x > 0, jnp.tanh(x @ ws[0]), 0) @ ws[1])


def looped(ws: Any, x: Any, key: Any) -> Any:
    """A loop stacks its masks as they are."""
    return jnp.sum(jax.lax.scan(lambda x, w: (jax.nn.relu(x @ w), ()), x, jnp.stack(ws))[0])


@pytest.mark.parametrize(
    "function", [lambda *a: net(alive, *a), of_an_argument, looped], ids=["alive", "given", "loop"]
)
def test_no_mask_is_stored_beside_what_it_is_made_from(function: Any) -> None:
    module = covector.make_ir(covector.grad(function))(WS, X, KEY)
    assert barriers(covector.run_passes(module, "cse,dce,masks").main) == []


def test_small_masks_are_left_alone() -> None:
    module = covector.make_ir(gradient(relu))(WS, X[:64], KEY)
    assert barriers(covector.run_passes(module, "masks{least=16384}").main) == []
    assert len(barriers(covector.run_passes(module, "masks").main)) == len(WS)


@pytest.mark.parametrize(("layer", "share"), [(dropout, 0.3), (noise, 0.3)])
def test_plans_keep_masks_or_draw_them_again(layer: Any, share: float) -> None:
    """Down to a share of what JAX's program needs; the numbers are the same ones."""
    f = gradient(layer)
    plain = covector.compile(f, WS, X, KEY)
    theirs = jax.jit(jax.value_and_grad(lambda ws, x, key: net(layer, ws, x, key)))
    budget = int(share * temporary(theirs.lower(WS, X, KEY).compile()))
    planned = covector.compile(f, WS, X, KEY, memory_budget=budget)
    assert planned.report().honoured
    for got, want in zip(planned(WS, X, KEY), plain(WS, X, KEY), strict=True):
        jax.tree.map(np.testing.assert_array_equal, got, want)


def test_masks_that_save_next_to_nothing_are_left_alone() -> None:
    def loss(ws: Any, x: Any, key: Any) -> Any:
        for w in ws:
            x = jnp.tanh(x @ w)
        return jnp.sum(relu(x[:128] @ ws[0], key) @ ws[0])

    module = covector.make_ir(covector.grad(loss))(WS, X, KEY)
    assert barriers(covector.run_passes(module, "cse,dce,masks").main) == []
    alone = covector.make_ir(covector.grad(loss, argnums=1))(WS[:1], X[:128], KEY)
    assert barriers(covector.run_passes(alone, "cse,dce,masks").main) == ["bool[128,128]"]
