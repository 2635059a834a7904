"""Outline: repeated blocks found by structure, and the programs with functions in their place."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import assert_close, made

import covector
from covector.frontend.goals import GOALS, goal_options
from covector.ir.errors import UsageError
from covector.ir.interpret import evaluate
from covector.lowering import jax_compat
from covector.passes import run_passes
from covector.passes.blocks.choose import choose_blocks
from covector.passes.blocks.fingerprint import wiring
from covector.passes.blocks.repeats import apart, intervals, shared_prefixes, suffix_array
from covector.passes.outline import outline_graph

texts = st.lists(st.integers(0, 3), min_size=1, max_size=40).map(np.array)


@given(texts)
@settings(max_examples=100, deadline=None)
def test_suffixes_are_in_order(text: Any) -> None:
    order, rank = suffix_array(text)
    suffixes = sorted(range(len(text)), key=lambda i: text[i:].tolist())
    assert order.tolist() == suffixes
    assert [order[r] for r in rank] == list(range(len(text)))


@given(texts)
@settings(max_examples=100, deadline=None)
def test_intervals_are_the_repeated_stretches(text: Any) -> None:
    order, rank = suffix_array(text)
    shared = shared_prefixes(text, order, rank)
    n = len(text)
    for i in range(1, n):
        a, b = text[order[i - 1] :].tolist(), text[order[i] :].tolist()
        same = [x == y for x, y in zip(a, b, strict=False)]
        assert shared[i] == (same.index(False) if False in same else len(same))
    found = {
        (length, tuple(sorted(order[first : last + 1].tolist())))
        for length, first, last in intervals(text, order, rank, 1)
    }
    want = set()
    for length in range(1, n):
        by_stretch: dict[tuple[int, ...], list[int]] = {}
        for i in range(n - length + 1):
            by_stretch.setdefault(tuple(text[i : i + length].tolist()), []).append(i)
        for starts in by_stretch.values():
            longer = {tuple(text[i : i + length + 1].tolist()) for i in starts}
            if len(starts) > 1 and (len(longer) > 1 or len(next(iter(longer))) == length):
                want.add((length, tuple(starts)))
    assert found == want


def test_stretches_that_do_not_overlap() -> None:
    assert apart([0, 2, 3, 6, 7], 3) == [0, 3, 6]


# -- programs --------------------------------------------------------------------------------------


def layer(w: Any, x: Any) -> Any:
    h = jnp.tanh(x @ w["a"] + w["b"])
    h = h - h.mean(-1, keepdims=True)
    return x + h / jnp.sqrt((h * h).sum(-1, keepdims=True) + 1e-3)


def model(layers: int, x: Any) -> Any:
    """A loss, and its arguments: layers with weights of their own, written one after the other."""

    def loss(ws: Any, x: Any) -> Any:
        for w in ws:
            x = layer(w, x)
        return (x * x).sum()

    rng = np.random.default_rng(0)
    size = x.shape[-1]
    ws = [
        {"a": rng.normal(size=(size, size)) / 3, "b": rng.normal(size=size)} for _ in range(layers)
    ]
    return loss, (jax.tree.map(lambda w: jnp.asarray(w, jnp.float32), ws), x)


X = jnp.linspace(-1.0, 1.0, 20).reshape(4, 5)


def gradient_module(layers: int) -> tuple[covector.Module, list[Any]]:
    loss, args = model(layers, X)
    module = run_passes(made(loss, *args), "inline,grad{value=true},cse,dce")
    return module, jax.tree.leaves(args)


def test_the_blocks_of_a_gradient() -> None:
    module, leaves = gradient_module(8)
    small = run_passes(module, "outline")
    calls = [e for e in small.main.equations if e.params.get("outlined")]
    functions = {e.params["graph"] for e in calls}
    assert len(functions) == 2  # one of the layers forward, one of those backward
    assert len(calls) >= 2 * 7
    total = sum(map(len, small.all_graphs()))
    assert 3 * total < len(module.main.equations)
    assert_close(evaluate(small.main, leaves), evaluate(module.main, leaves))
    twice = run_passes(module, "outline,outline")
    assert covector.parse(str(twice)) == twice
    assert run_passes(small, "inline") == small


def test_size_grows_with_blocks_and_functions_do_not() -> None:
    sizes = []
    for layers in (6, 12):
        small = run_passes(gradient_module(layers)[0], "outline")
        sizes.append(sum(len(g) for n, g in small.graphs.items() if n != small.entry))
        assert not small.main.effects
    functions = [len(run_passes(gradient_module(n)[0], "outline").all_graphs()) for n in (6, 12)]
    assert functions[0] == functions[1]


@given(st.integers(1, 5), st.integers(0, 3), st.integers(0, 3), st.integers(4, 30))
@settings(max_examples=25, deadline=None)
def test_outlined_programs_compute_the_same(
    copies: int, before: int, after: int, shortest: int
) -> None:
    """Blocks with other equations around them, and one that is wired otherwise."""

    def f(x: Any, y: Any) -> Any:
        for _ in range(before):
            x = jnp.cos(x)
        for i in range(copies):
            a, b = (x, y) if i != 2 else (y, x)
            x, y = jnp.sin(a) * b + a, jnp.exp(-b * b) - jnp.tanh(a * 0.5) * i
        for _ in range(after):
            y = jnp.cos(y)
        return x * y, x

    args = (X, X * 0.3 + 0.1)
    graph = made(f, *args).main
    small = outline_graph(graph, shortest)
    assert_close(evaluate(small, args), evaluate(graph, args))


def test_blocks_are_alike_in_what_they_read() -> None:
    """The same operations in the same order, on other operands: no copies of each other."""
    module = covector.parse("""
    func @f(x: f32[], y: f32[]) -> (f32[], f32[]) {
      a: f32[] = sin x
      b: f32[] = mul a x
      c: f32[] = sin y
      d: f32[] = mul c x
      return b, d
    }""")
    first, second = (module.main.equations[i : i + 2] for i in (0, 2))
    assert wiring(first)[0] != wiring(second)[0]
    assert choose_blocks(module.main, 2) == []
    assert outline_graph(module.main, 2) is module.main


def test_effects_stay_where_they_are() -> None:
    def f(x: Any) -> Any:
        for _ in range(4):
            x = jnp.sin(x) * 2.0 + 1.0
            jax.debug.print("{x}", x=x)
        return x

    small = run_passes(made(f, 1.0), "outline{shortest=2}")
    assert sum(bool(e.effects) for e in small.main.equations) == 4
    calls = [e for e in small.main.equations if e.primitive.name == "call"]
    assert len(calls) == 4


def test_derivatives_of_outlined_programs() -> None:
    loss, args = model(4, X)
    module = run_passes(made(loss, *args), "inline,cse,dce")
    leaves = jax.tree.leaves(args)
    got = run_passes(module, "outline,grad")
    assert_close(evaluate(got.main, leaves), jax.tree.leaves(jax.grad(loss, (0, 1))(*args)))


# -- compiled --------------------------------------------------------------------------------------


def chain(steps: int) -> Any:
    """A function of elementwise operations, which XLA makes one loop of."""

    def f(x: Any) -> Any:
        for _ in range(steps):
            x = jnp.sin(x) * x + jnp.exp(-x * x)
        return x.sum()

    return f


def test_a_block_is_written_once_and_called() -> None:
    loss, args = model(10, X)
    gradient = covector.value_and_grad(loss)
    whole = covector.compile(gradient, *args)
    small = covector.compile(gradient, *args, passes="outline")
    assert_close(small(*args), whole(*args))
    dots = [compiled.lowered.as_text().count("dot_general") for compiled in (whole, small)]
    assert 2 * dots[1] < dots[0]
    assert whole.as_text().count(" call(") == 0
    assert small.as_text().count(" call(") >= 18  # XLA keeps them


def test_blocks_of_long_loops_are_functions_on_cpus() -> None:
    """What is cut into short loops anyway is left as it is; accelerators get all blocks."""
    layers, args = model(10, X)
    for f, xs, long in ((chain(40), (X,), True), (chain(10), (X,), False), (layers, args, False)):
        for goal in GOALS[1:]:
            jitted = covector.jit(covector.value_and_grad(f), optimize=goal)
            traced = jitted.trace(*xs)
            assert traced.optimize == goal
            lowered = traced.lower(platforms=("cpu",)).as_text()
            assert ('inlineable = "false"' in lowered) == long
            assert 'inlineable = "false"' in traced.lower(platforms=("cuda",)).as_text()
            assert_close(jitted(*xs), covector.value_and_grad(f)(*xs))


def test_balanced_leaves_programs_without_blocks_alone() -> None:
    def f(x: Any) -> Any:
        return jnp.sin(x) + jnp.cos(x)

    def mixed(x: Any) -> Any:
        return chain(60)(x) + sum([(x @ jnp.ones((5, n))).sum() for n in range(1, 150)])

    assert "inlineable" not in covector.jit(f, optimize="balanced").lower(X).as_text()
    for goal, is_outlined in (("balanced", False), ("compile-time", True)):
        lowered = covector.jit(mixed, optimize=goal).lower(X).as_text()
        assert ("inlineable" in lowered) == is_outlined


@pytest.mark.parametrize("goal", GOALS)
def test_llvm_does_less_unless_run_time_is_the_goal(
    goal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    load = jax_compat.load

    def noting(*args: Any, **kwargs: Any) -> Any:
        asked.append(dict(args[7]))
        return load(*args, **kwargs)

    monkeypatch.setattr(jax_compat, "load", noting)
    level = "xla_backend_optimization_level"

    def f(x: Any) -> Any:
        return jnp.sin(x) + GOALS.index(goal)

    covector.jit(f, optimize=goal)(X)
    covector.compile(f, X, optimize=goal)
    covector.jit(f, optimize=goal, compiler_options={level: 2})(X)
    less = {} if goal == "run-time" else {level: 1}
    assert asked == [less, less, {level: 2}]
    assert goal_options(goal, "cuda", None) is None


def test_wrong_goals() -> None:
    with pytest.raises(UsageError, match="optimize is one of run-time, balanced, compile-time"):
        covector.compile(jnp.sin, X, optimize="fast")
    with pytest.raises(UsageError, match="memory_budget does not go together with optimize"):
        covector.jit(jnp.sin, optimize="compile-time", memory_budget="1MiB")
    with pytest.raises(UsageError, match="one equation at least"):
        run_passes(made(jnp.sin, X), "outline{shortest=0}")
