"""Effects happen as often as the function says, in its order, whatever is made of the function.

The reference is the function itself, run for one example at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.experimental import io_callback
from laws import interpret

import covector
from covector.passes import run_passes

Function = Callable[[Any], Any]  # f32[] -> f32[]
Log = list[tuple[int, float]]

LOG: Log = []
ORDERED, OTHER = 10, 20
"""Tags of effects that are ordered, and of those that are not, start here."""


def look(tag: int, x: Any, ordered: bool) -> None:
    def put(x: Any) -> None:
        LOG.append((tag, float(x)))

    jax.debug.callback(put, x, ordered=ordered)


def base(kind: str) -> Function:
    """A function that prints, in order or not, or asks for values from outside."""
    ordered = kind == "ordered"

    def asking(x: Any) -> Any:
        def answer(x: Any) -> Any:
            LOG.append((OTHER, float(x)))
            return np.float32(x * 0.5)

        return jnp.sin(x) + io_callback(answer, jnp.float32(0.0), lax.stop_gradient(x))

    def f(x: Any) -> Any:
        look(ORDERED if ordered else OTHER, x, ordered)
        y = jnp.sin(x)
        look(ORDERED + 1 if ordered else OTHER + 1, y, ordered)
        return y

    return asking if kind == "asking" else f


# -- what may be done to a function ----------------------------------------------------------------


def in_scan(f: Function) -> Function:
    def step(c: Any, a: Any) -> Any:
        c = f(c) + a
        return c, c * a

    return lambda x: sum(v.sum() for v in lax.scan(step, x, jnp.asarray([0.3, -0.2])))


def in_unrolled_scan(f: Function) -> Function:
    return lambda x: lax.scan(lambda c, _: (f(c), None), x, None, length=3, unroll=2)[0]


def in_fori(f: Function) -> Function:
    return lambda x: lax.fori_loop(0, 2, lambda i, c: f(c + i), x)


def in_while(f: Function) -> Function:
    """As often as x says, which is not differentiated there."""

    def g(x: Any) -> Any:
        start = (0, lax.stop_gradient(x))
        n = jnp.ceil(jnp.abs(start[1]) * 3).astype(int)
        return x * lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, f(c[1])), start)[1]

    return g


def in_condition(f: Function) -> Function:
    """The condition of a loop looks on, too. (It has no place for what is ordered.)"""

    def g(x: Any) -> Any:
        x0 = lax.stop_gradient(x)

        def test(c: Any) -> Any:
            look(OTHER + 2, c[1], False)
            return c[0] < jnp.abs(x0)

        return x + lax.while_loop(test, lambda c: (c[0] + 0.3, c[1] * 0.5), (0.0, x0))[1] + f(x)

    return g


def in_cond(f: Function) -> Function:
    return lambda x: lax.cond(x > 0.2, f, lambda x: x * 2.0, x)


def in_switch(f: Function) -> Function:
    def quiet(x: Any) -> Any:
        return x * 0.5

    def loud(x: Any) -> Any:
        look(ORDERED + 2, x, True)
        return x + 1.0

    return lambda x: lax.switch((x * 4).astype(int), [quiet, f, loud], x)


def in_jit(f: Function) -> Function:
    called = jax.jit(f)
    return lambda x: called(x) * called(x + 0.1)


def in_checkpoint(f: Function) -> Function:
    return jax.checkpoint(f)


def in_reversed_scan(f: Function) -> Function:
    xs = jnp.asarray([0.3, -0.2, 0.7])
    return lambda x: lax.scan(lambda c, a: (f(c) * a, c), x, xs, reverse=True)[0]


def in_empty_scan(f: Function) -> Function:
    """Never."""
    return lambda x: lax.scan(lambda c, _: (f(c), None), x, None, length=0)[0]


def in_dynamic_loop(f: Function) -> Function:
    """As often as x says; reverse mode runs it backwards."""

    def g(x: Any) -> Any:
        n = jnp.ceil(jnp.abs(lax.stop_gradient(x)) * 3).astype(int)
        return lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, f(c[1])), (0, x))[1]

    return g


def in_vmap(f: Function) -> Function:
    return lambda x: jax.vmap(f)(jnp.stack([x, x + 0.1])).sum()


def in_custom_jvp(f: Function) -> Function:
    @jax.custom_jvp
    def g(x: Any) -> Any:
        return f(x)

    g.defjvp(lambda p, t: (f(*p), jnp.cos(p[0]) * t[0]))
    return g


def in_linear_solve(f: Function) -> Function:
    def g(x: Any) -> Any:
        a = 2.0 + f(x)
        solve = lambda _, b: b / a
        return lax.custom_linear_solve(lambda y: a * y, x, solve, solve)

    return g


def unread(f: Function) -> Function:
    return lambda x: (f(x), x * 2.0)[1]


WRAPPERS = (
    in_scan, in_unrolled_scan, in_fori, in_while, in_condition, in_cond, in_switch, in_jit,
    in_checkpoint, in_reversed_scan, in_empty_scan, in_dynamic_loop, in_vmap, in_custom_jvp,
    in_linear_solve, unread, jax.named_call,
)  # fmt: skip
# JAX's own vmap refuses some that ask, and what was asked in a loop's step is not asked again.
AND_ASK = tuple(wrap for wrap in WRAPPERS if wrap not in (in_vmap, in_dynamic_loop))


def wrapped(kinds: list[str], wrappers: Sequence[Any]) -> st.SearchStrategy[Function]:
    wraps = st.lists(st.sampled_from(wrappers), min_size=1, max_size=3)
    return st.builds(
        lambda kind, wraps: reduce(lambda f, wrap: wrap(f), wraps, base(kind)),
        st.sampled_from(kinds),
        wraps,
    )


looking = wrapped(["ordered", "unordered"], WRAPPERS)
asking = wrapped(["asking"], AND_ASK)

XS = np.asarray([0.4, -0.7, 0.9, 0.1], np.float32)

ONE: dict[str, Callable[[Function], Function]] = {
    "value": lambda f: f,
    "jvp": lambda f: lambda x: covector.jvp(f, (x,), (x,)),
    "grad": covector.grad,
    "linearize": lambda f: lambda x: covector.linearize(f, x)[1](x),
    "grad of grad": lambda f: covector.grad(covector.grad(f)),
    "jvp of grad": lambda f: lambda x: covector.jvp(covector.grad(f), (x,), (x,)),
    "checkpoint": lambda f: covector.grad(covector.checkpoint(f)),
    "snapshots": lambda f: covector.grad(covector.checkpoint_loops(f, snapshots=1)),
    "hessian": covector.hessian,
}
BATCH: dict[str, Callable[[Function], Function]] = {
    "vmap": covector.vmap,
    "vmap of grad": lambda f: covector.vmap(covector.grad(f)),
    "grad of vmap": lambda f: covector.grad(lambda xs: covector.vmap(f)(xs).sum()),
    "jvp of vmap": lambda f: lambda xs: covector.jvp(covector.vmap(f), (xs,), (xs,)),
}
CLEAN_UP = (
    "", "dce", "cse", "fold", "inline", "dce,cse,fold,inline,dce", "outline", "outline,inline",
    "materialize", "stacks",
)  # fmt: skip


def log_of(run: Callable[[], Any]) -> Log:
    LOG.clear()
    jax.block_until_ready(run())
    jax.effects_barrier()
    return list(LOG)


def as_written(f: Function, x: Any) -> Log:
    return log_of(lambda: jax.jit(f)(x))


def assert_same(got: Log, want: Log, in_order: bool = True) -> None:
    """The same effects; those that are ordered in the same order, if there is one."""
    assert len(got) == len(want)
    np.testing.assert_allclose(sorted(got), sorted(want), atol=1e-4)
    if in_order:
        first, second = ([e for e in log if e[0] < OTHER] for log in (got, want))
        np.testing.assert_allclose(first, second, atol=1e-4)


transformed = st.tuples(looking, st.sampled_from(sorted(ONE))) | st.tuples(
    asking, st.sampled_from(sorted(set(ONE) - {"snapshots"}))
)


@given(transformed, st.sampled_from(CLEAN_UP), st.sampled_from(XS))
@settings(max_examples=25)
def test_as_often_as_written(drawn: tuple[Function, str], passes: str, x: Any) -> None:
    f, transform = drawn
    module = covector.make_ir(ONE[transform](f))(x).verify()
    after = run_passes(module, passes) if passes else module
    assert_same(log_of(lambda: interpret(after.main, x)), as_written(f, x))


@given(looking | asking, st.sampled_from(sorted(BATCH)), st.sampled_from(CLEAN_UP))
@settings(max_examples=25)
def test_once_for_each_example(f: Function, transform: str, passes: str) -> None:
    module = covector.make_ir(BATCH[transform](f))(XS).verify()
    after = run_passes(module, passes) if passes else module
    want = [entry for x in XS for entry in as_written(f, x)]
    assert_same(log_of(lambda: interpret(after.main, XS)), want, in_order=False)


@pytest.mark.parametrize("transform", ["grad", "jvp", "vmap", "vmap of grad"])
def test_compiled(transform: str) -> None:
    f = in_scan(in_cond(in_while(in_switch(base("unordered")))))
    if transform in ONE:
        got, want = log_of(lambda: covector.jit(ONE[transform](f))(XS[0])), as_written(f, XS[0])
    else:
        got = log_of(lambda: covector.jit(BATCH[transform](f))(XS))
        want = [entry for x in XS for entry in as_written(f, x)]
    assert got
    assert_same(got, want, in_order=transform in ONE)


@pytest.mark.parametrize("outer", [in_while, in_cond, in_switch], ids=lambda f: f.__name__)
@pytest.mark.parametrize("inner", [in_while, in_cond, in_switch], ids=lambda f: f.__name__)
def test_each_example_asks_where_it_is(inner: Function, outer: Function) -> None:
    """Of a branch in a branch, whatever each example is told there."""
    f = outer(inner(base("asking")))
    got = log_of(lambda: covector.jit(covector.vmap(covector.grad(f)))(XS))
    assert_same(got, [entry for x in XS for entry in as_written(f, x)], in_order=False)
    np.testing.assert_allclose(covector.vmap(f)(XS), [f(x) for x in XS], rtol=1e-5)
