"""Where fused operations end on CPUs: what is deep and read by several is computed once."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector
from covector.ir.graph import walk_graphs
from covector.lowering import tables
from covector.lowering.barriers import barrier_options
from covector.lowering.borders import LONGEST, MANY, borders_of, computed_again
from covector.lowering.flat_program import flat_lengths

X = jnp.linspace(-1.0, 1.0, 64 * 32, dtype=jnp.float32).reshape(64, 32)


def residual(x: Any, blocks: int) -> Any:
    """A residual stream: each block reads it, and adds to it."""
    for i in range(blocks):
        w = jnp.full((32, 32), 0.01 * (i + 1), x.dtype)
        centred = x - x.mean(axis=1, keepdims=True)
        x = x + jnp.tanh(centred * (1.0 + 0.1 * i)) @ w
    return (x**2).sum()


def barriers(fun: Any, *args: Any) -> int:
    text = covector.jit(fun).lower(*args).as_text()
    return int(text.count("stablehlo.optimization_barrier"))


def recurrence(x: Any, steps: int) -> Any:
    """Numbers that each follow from the two before, and not cheaply."""
    y = x
    for i in range(steps):
        x, y = y, 0.3 * x + jnp.tanh(y * (1.0 + 0.1 * i)) / (1.5 + x * x)
    return x * y


def hlo_size(fun: Any, size: int, x: Any) -> int:
    compiled = covector.jit(covector.grad(lambda x: fun(x, size))).lower(x).compile()
    return int(compiled.as_text().count(" = "))


@pytest.mark.smoke
@pytest.mark.parametrize(("fun", "x"), [(residual, X), (recurrence, jnp.float32(0.3))])
def test_code_of_chains_grows_as_their_depth(fun: Any, x: Any) -> None:
    sizes = [hlo_size(fun, n, x) for n in (8, 16, 32)]
    assert (sizes[2] - sizes[1]) < 2.3 * (sizes[1] - sizes[0])


def test_results_of_recurrences_are_those_of_jax() -> None:
    f = lambda x: recurrence(x, 40)
    x = jnp.float32(0.3)
    assert barriers(covector.grad(f), x) > 0
    got, want = covector.jit(covector.grad(f))(x), jax.jit(jax.grad(f))(x)
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.bfloat16])
def test_results_are_those_of_jax(dtype: Any) -> None:
    with jax.enable_x64(dtype == jnp.float64):
        x = jnp.asarray(np.asarray(X), dtype)
        f = lambda x: residual(x, 12)
        assert barriers(covector.grad(f), x) > 0
        got, want = covector.jit(covector.grad(f))(x), jax.jit(jax.grad(f))(x)
        rtol = float(64 * jnp.finfo(dtype).eps)
        scale = float(abs(want).max())
        got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
        np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * scale)


def chain(x: Any, n: int) -> Any:
    for i in range(n):
        x = jnp.sin(x) * x + 0.1 * i
    return x


def test_what_ends_up_in_one_operation_is_not_cut() -> None:
    assert barriers(lambda x: chain(x, 3 * MANY), X) == 0


def test_what_several_read_is_cut_where_it_is_deep() -> None:
    both = lambda x, n: (jnp.cos(chain(x, n)), chain(x, n).sum())
    assert barriers(lambda x: both(x, MANY), X) == 1
    assert barriers(lambda x: both(x, 1), X) == 0
    graph = covector.make_ir(lambda x: both(x, MANY))(X).main
    found = borders_of(graph)
    assert found.keys() == {graph}
    assert found[graph] <= {v for eqn in graph.equations for v in eqn.outputs}


@pytest.mark.parametrize(
    ("last", "is_cut"),
    [
        (jnp.negative, True),
        (jnp.tanh, False),
        (lambda x: x / X, False),
        (lambda x: x / 3.0, True),
        (lambda x: x / X[:, :1], True),
        (lambda x: x / X[:, 0].reshape(64, 1), True),
        (lambda x: x / jnp.sqrt(X), True),
    ],
)
def test_what_is_costly_is_not_cut_for_xla_computes_it_once(last: Any, is_cut: bool) -> None:
    """XLA divides by what is repeated, and by roots, by multiplying, which is not."""
    both = lambda x: (jnp.cos(last(chain(x, MANY))), last(chain(x, MANY)).sum())
    assert barriers(both, X) == is_cut


def test_what_is_in_memory_anyway_is_not_cut() -> None:
    """A sum of arrays that a product reads: XLA does not compute it again beside that."""

    def f(x: Any, y: Any) -> Any:
        total = chain(x, MANY) + y
        return total @ total.T, jnp.cos(total), total.sum()

    assert barriers(f, X, X) == 0
    assert barriers(lambda x, y: f(x, y[0, 0]), X, X) == 1


def test_shifted_elements_are_others() -> None:
    """One fused operation reads a value in three places, and computes it for each."""

    def f(x: Any) -> Any:
        for _ in range(MANY):
            x = jnp.concatenate([x[:1], x[2:] - x[1:-1] + x[:-2], x[-1:]])
        return x

    assert barriers(f, X[0]) > 2
    np.testing.assert_allclose(covector.jit(f)(X[0]), jax.jit(f)(X[0]), rtol=1e-5)


def test_programs_planned_to_a_memory_are_left_as_planned() -> None:
    f = lambda x: residual(jax.lax.optimization_barrier(x), 12)
    graph = covector.make_ir(covector.grad(f))(X).main
    assert borders_of(graph) == {}
    assert borders_of(covector.make_ir(covector.grad(lambda x: residual(x, 12)))(X).main) != {}


# -- functions, loops, branches --------------------------------------------------------------------


def block(x: Any, w: Any) -> Any:
    x = x + jax.nn.gelu(x @ w)
    return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)


def stacked(x: Any, n: int, block: Any = block) -> Any:
    for i in range(n):
        x = block(x, jnp.full((32, 32), 0.01 * (i + 1), x.dtype))
    return x


def in_a_loop(x: Any, n: int) -> Any:
    return jax.lax.scan(lambda x, _: (stacked(x, n), None), x, None, length=2)[0]


def in_a_while(x: Any, n: int) -> Any:
    return jax.lax.fori_loop(0, 2, lambda _, x: stacked(x, n), x)


def in_a_branch(x: Any, n: int) -> Any:
    return jax.lax.cond(x[0, 0] < 10, lambda x: stacked(x, n), jnp.sin, x)


@jax.custom_jvp
def with_a_rule(x: Any, w: Any) -> Any:
    return block(x, w)


with_a_rule.defjvp(lambda xs, dxs: jax.jvp(block, xs, dxs))

PLACES = {
    "plain": stacked,
    "compiled": lambda x, n: stacked(x, n, jax.jit(block)),
    "inside of compiled": lambda x, n: stacked(x, n, jax.jit(lambda x, w: jax.jit(block)(x, w))),
    "custom": lambda x, n: stacked(x, n, with_a_rule),
    "checkpointed": lambda x, n: stacked(x, n, jax.checkpoint(block)),
    "loop": in_a_loop,
    "while": in_a_while,
    "branch": in_a_branch,
}


@pytest.mark.parametrize("place", PLACES)
def test_code_grows_as_the_depth_wherever_it_is(place: str) -> None:
    f = PLACES[place]
    loss = lambda x, n: (f(x, n) ** 3 * X).sum()
    sizes = [hlo_size(loss, n, X) for n in (4, 8, 16)]
    assert (sizes[2] - sizes[1]) < 2.3 * (sizes[1] - sizes[0])
    deep = lambda x: loss(x, 6)
    got, want = covector.jit(covector.grad(deep))(X), jax.grad(deep)(X)
    scale = float(abs(want).max())
    np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-4 * scale)


def test_functions_of_several_results_have_borders_behind_and_inside() -> None:
    @jax.jit
    def both(x: Any) -> Any:
        inner = chain(x, MANY)
        return jnp.cos(inner) * 2.0, inner.sum(), chain(inner, MANY)

    def f(x: Any) -> Any:
        a, b, c = both(x)
        d, e, g = both(a)
        return b, jnp.cos(c), c.sum(), jnp.cos(d), e, g

    assert barriers(f, X) >= 2
    for got, want in zip(covector.jit(f)(X), jax.jit(f)(X), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_loops_over_little_have_no_borders() -> None:
    """XLA makes kernels of them, in whose code there may be no barrier."""
    shared = jax.jit(lambda x: (jnp.cos(chain(x, MANY)), chain(x, MANY).sum()))

    def body(x: Any, _: None) -> Any:
        a, b = shared(x)
        return a + b, None

    def f(x: Any) -> Any:
        return jax.lax.scan(body, x, None, length=3)[0], shared(x)

    assert barriers(f, X[0]) == 0
    assert barriers(f, X) > 0
    for x in (X[0], X):
        for got, want in zip(
            jax.tree.leaves(covector.jit(f)(x)), jax.tree.leaves(jax.jit(f)(x)), strict=True
        ):
            np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("width", "is_cut"), [(1, False), (4, False), (5, True), (32, True)])
def test_loops_over_many_small_values_have_borders(width: int, is_cut: bool) -> None:
    """Each holds few bytes, all together do not: XLA makes no kernel of the loop."""

    def heat(y: Any, _: Any) -> Any:
        for _ in range(6):
            left, right = jnp.roll(y, 1, axis=1), jnp.roll(y, -1, axis=1)
            y = 0.3 * (left + right - 2 * y) + jnp.sin(y)
        return y, None

    def f(x: Any) -> Any:
        return jax.lax.scan(heat, x, None, length=3)[0]

    x = X[:4, :width]
    assert (barriers(f, x) > 0) == is_cut
    np.testing.assert_allclose(covector.jit(f)(x), jax.jit(f)(x), rtol=1e-5, atol=1e-6)


def test_what_is_computed_again_is_counted() -> None:
    """By the elements of what has several readers that are not fused, but not of scalars."""

    def f(x: Any) -> Any:
        y = x * 2.0 + 1.0
        return y @ jnp.ones((32, 32)), jnp.roll(y + 1.0, 1), y * 3.0

    counted = computed_again(covector.make_ir(f)(X).main)
    assert counted == 2 * computed_again(covector.make_ir(f)(X[:32]).main) > X.size
    assert computed_again(covector.make_ir(lambda x: (x * 2.0, x + 1.0))(X).main) == 0
    assert computed_again(covector.make_ir(lambda x: recurrence(x, 9))(X[0, 0]).main) == 0


def test_kernels_have_no_borders_though_what_they_call_has_elsewhere() -> None:
    @jax.jit
    def slope(y: Any, t: Any) -> Any:
        inner = chain(y, MANY) * 1e-3
        return inner * jnp.cos(t) - inner.sum()

    def f(y: Any) -> Any:
        return covector.odeint(slope, y, jnp.linspace(0.0, 1.0, 3)), slope(y, y[0])

    y = X.reshape(-1)[:8]
    lowered = covector.jit(f).lower(y)
    assert lowered._lowering.has_kernels
    in_solves = [g for e in lowered.program.equations for g in tables.callees.find(e)(e)]
    kernels = [e.params["graph"] for g in in_solves for e in g.equations if e.params.get("kernel")]
    borders = borders_of(lowered.program)
    assert kernels and borders
    assert borders.keys().isdisjoint(walk_graphs(*kernels))
    assert all(bool(jnp.isfinite(x).all()) for x in lowered.compile()(y))


def test_functions_that_call_each_other_often_are_left_alone() -> None:
    def nested(depth: int) -> Any:
        if depth == 0:
            return lambda x: jnp.sin(x) * x
        inner = jax.jit(nested(depth - 1))
        return lambda x: inner(inner(x))

    graph = covector.make_ir(nested(40))(X).main
    assert flat_lengths(graph)[graph] > LONGEST
    assert borders_of(graph) == {}


def test_small_loops_beside_borders_run() -> None:
    def f(x: Any) -> Any:
        small, _ = jax.lax.scan(lambda c, _: (jnp.sin(c) + 1.0, None), x[0, :4], None, length=5)
        return residual(x, 12) + small.sum()

    assert barriers(covector.grad(f), X) > 0
    got, want = covector.jit(covector.grad(f))(X), jax.grad(f)(X)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_only_barriers_in_loops_keep_loops_from_being_kernels() -> None:
    options = barrier_options("cpu", {}, "0.10.2", in_loops=False)
    assert options == {"xla_disable_hlo_passes": "cse_barrier_expander"}
    assert barrier_options("cpu", {}, "0.11.1", in_loops=False) == {}


def test_other_platforms_fuse_as_they_like() -> None:
    f = covector.grad(lambda x: residual(x, 12))
    text = covector.jit(f).trace(X).lower(platforms=["cuda"]).as_text()
    assert "optimization_barrier" not in text
