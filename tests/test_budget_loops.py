"""Memory budgets of programs whose memory is that of their loops."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import covector
from covector.passes.budget.errors import BudgetError
from covector.passes.budget.loop_choices import path_of
from covector.passes.budget.pairs import pairs_of

WIDTH, BATCH = 32, 64


def normal(seed: int, *shape: int) -> Any:
    return jax.random.normal(jax.random.key(seed), shape) / shape[-1] ** 0.5


def ode(p: Any, x: Any) -> Any:
    def step(x: Any, t: Any) -> Any:
        return x + 0.05 * jnp.tanh(x @ p[0] + t) @ p[1], ()

    return jnp.sum(lax.scan(step, x, jnp.linspace(0, 1, 128))[0] ** 2)


def lstm(p: Any, xs: Any) -> Any:
    """Its hidden states are read outside of the loop too."""

    def step(state: Any, x: Any) -> Any:
        h, c = state
        i, f, o, u = jnp.split(x @ p[0] + h @ p[1], 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(u)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zero = jnp.zeros(xs.shape[1:])
    return jnp.mean(lax.scan(step, (zero, zero), xs)[1] ** 2)


def attention(p: Any, x: Any) -> Any:
    """Keys and values in blocks: softmax on the way."""
    q, k, v = (x @ w for w in p)

    def block(carry: Any, kv: Any) -> Any:
        most, total, out = carry
        scores = q @ kv[0].T / 8.0
        higher = jnp.maximum(most, scores.max(-1))
        e, scale = jnp.exp(scores - higher[:, None]), jnp.exp(most - higher)
        return (higher, total * scale + e.sum(-1), out * scale[:, None] + e @ kv[1]), ()

    n, d = x.shape
    blocks = k.reshape(16, -1, d), v.reshape(16, -1, d)
    start = jnp.full(n, -1e9), jnp.zeros(n), jnp.zeros((n, d))
    (_, total, out), _ = lax.scan(block, start, blocks)
    return jnp.mean((out / total[:, None]) ** 2)


def layers(p: Any, x: Any) -> Any:
    """A loop over blocks whose own memory is large."""

    def layer(x: Any, w: Any) -> Any:
        scores = jax.nn.softmax((x @ w[0]) @ (x @ w[1]).T)
        return x + jax.nn.gelu(scores @ x @ w[2]), ()

    return jnp.mean(lax.scan(layer, x, p)[0] ** 2)


def nested(w: Any, x: Any) -> Any:
    def inner(x: Any, _: Any) -> Any:
        return jnp.tanh(x @ w), ()

    def outer(x: Any, _: Any) -> Any:
        return 1.01 * lax.scan(inner, x, None, length=12)[0], ()

    return jnp.sum(lax.scan(outer, x, None, length=12, reverse=True)[0] ** 2)


def two_loops(p: Any, x: Any) -> Any:
    for w in p:
        x, _ = lax.scan(lambda x, _, w=w: (jnp.sin(x @ w), ()), x, None, length=40)
    return jnp.sum(x**2)


def dropout(w: Any, x: Any) -> Any:
    def step(x: Any, key: Any) -> Any:
        keep = jax.random.bernoulli(key, 0.8, x.shape)
        return jnp.where(keep, jnp.tanh(x @ w) / 0.8, 0), ()

    return jnp.sum(lax.scan(step, x, jax.random.split(jax.random.key(3), 60))[0] ** 2)


def several(n: int, *shape: int) -> Any:
    return tuple(normal(10 + i, *shape) for i in range(n))


W, X = normal(0, WIDTH, WIDTH), normal(1, BATCH, WIDTH)
PROGRAMS: dict[str, tuple[Any, Any, Any, float]] = {  # and below which share of the whole they fit
    "ode": (ode, (W, normal(2, WIDTH, WIDTH)), X, 0.08),
    "lstm": (lstm, several(2, WIDTH, 128), normal(5, 96, 16, WIDTH), 0.35),
    "attention": (attention, several(3, WIDTH, WIDTH), normal(6, 512, WIDTH), 0.5),
    "layers": (layers, several(3, 16, WIDTH, WIDTH), normal(7, 128, WIDTH), 0.15),
    "nested": (nested, W, X, 0.1),
    "two loops": (two_loops, (W, normal(8, WIDTH, WIDTH)), X, 0.25),
    "dropout": (dropout, W, X, 0.4),
}  # fmt: skip
SLOW = PROGRAMS.keys() - {"ode"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in PROGRAMS]
)
def test_a_budget_reaches_below_the_stacks(name: str) -> None:
    """From all stacks to few states: within the budget, dearer bit by bit, the same gradients."""
    loss, params, x, least = PROGRAMS[name]
    gradient = covector.grad(loss)
    plain = covector.compile(gradient, params, x)
    want, whole = plain(params, x), plain.report().actual
    assert plain.report().predicted == pytest.approx(whole, rel=0.1)
    with pytest.raises(BudgetError) as caught:
        covector.compile(gradient, params, x, memory_budget=1)
    smallest = caught.value.smallest
    assert smallest <= least * whole
    costs = []
    for share in (1.0, 0.3, 0.0):
        budget = int(smallest + share * (0.95 * whole - smallest))
        compiled = covector.compile(gradient, params, x, memory_budget=budget)
        report = compiled.report()
        assert report.honoured
        assert report.predicted == pytest.approx(report.actual, rel=0.25)
        costs.append(report.plan.after.cost)
        assert all(f"keeps {loop.states} of its states" in str(report) for loop in report.loops())
        for got, expected in zip(
            jax.tree.leaves(compiled(params, x)), jax.tree.leaves(want), strict=True
        ):
            np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-6)
    assert costs == sorted(costs)


def test_states_are_counted_in_place_of_stacks() -> None:
    """The path of choices: all states, then fewer and fewer, each dearer and smaller."""
    loss, params, x, _ = PROGRAMS["ode"]
    graph = covector.make_ir(covector.grad(loss))(params, x).main
    (pair,) = pairs_of(graph)
    assert pair.length == 128
    assert pair.state_bytes == x.nbytes
    path = path_of(graph)
    states = [choice.snapshots[pair] for choice in path if pair in choice.snapshots]
    assert states[0] == 128
    assert states == sorted(states, reverse=True)
    assert states[-1] <= 4


def test_stacks_that_others_read_stay() -> None:
    """Outputs of the program, and what is read otherwise than slice by slice, backwards."""

    def f(w: Any, x: Any) -> Any:
        def step(x: Any, _: Any) -> Any:
            h = jnp.tanh(x @ w)
            return jnp.sin(h @ w), h

        last, hs = lax.scan(step, x, None, length=20)
        return jnp.sum(last**2), hs

    gradient = covector.grad(f, has_aux=True)
    graph = covector.make_ir(gradient)(W, X).main
    (pair,) = pairs_of(graph)
    assert pair.private
    assert not pair.private & set(graph.outputs)
    plain = covector.compile(gradient, W, X)
    planned = covector.compile(gradient, W, X, memory_budget=plain.report().actual // 2)
    assert planned.report().honoured
    for got, want in zip(jax.tree.leaves(planned(W, X)), jax.tree.leaves(plain(W, X)), strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_policy_within_a_loop_is_a_constraint() -> None:
    """What the body's checkpoint policy saves stays on its stack, whatever the budget."""
    policy = jax.checkpoint_policies.dots_saveable

    def f(w: Any, x: Any, policy: Any = policy) -> Any:
        def step(x: Any, _: Any) -> Any:
            return jax.checkpoint(lambda x: jnp.sin(x @ w), policy=policy)(x), ()

        return jnp.sum(lax.scan(step, x, None, length=50)[0])

    def free(w: Any, x: Any) -> Any:
        return f(w, x, None)

    smallest = []
    for g in (f, free):
        with pytest.raises(BudgetError) as caught:
            covector.compile(covector.grad(g), W, X, memory_budget=1)
        smallest.append(caught.value.smallest)
    assert smallest[1] < smallest[0] / 3
    assert smallest[0] >= 50 * X.nbytes


def test_the_planned_program_is_a_program() -> None:
    """It prints, reads back, and the pass makes the same of a text."""
    loss, params, x, _ = PROGRAMS["ode"]
    whole = covector.run_passes(covector.make_ir(loss)(params, x), "grad{wrt=0,1},cse,dce")
    planned = covector.run_passes(whole, "checkpoint{budget=400KiB}")
    assert "rewind" in str(planned)
    assert covector.parse(str(planned)) == planned
    again = covector.run_passes(covector.parse(str(whole)), "checkpoint{budget=400KiB}")
    assert again.hash() == planned.hash()
