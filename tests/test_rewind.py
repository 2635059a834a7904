"""Loops run backwards from a few kept states: reverse mode through `while`, snapshots of scans."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from laws import assert_close, made
from rewind_programs import PROGRAMS, W, X, grows, nested, while_of_python

import covector
from covector.ir.errors import ArgumentError, PassError, SolveError, UsageError
from covector.ir.interpret import evaluate
from covector.ir.revolve import advances, distance, first_positions, repeats
from covector.passes import run_passes
from covector.passes.reverse import grad_graph

# -- the schedule ----------------------------------------------------------------------------------


@cache
def fewest(length: int, snapshots: int) -> int:
    """The fewest steps forwards, by trying each place for the next snapshot."""
    if length <= 1:
        return 0
    if snapshots == 1:
        return length * (length - 1) // 2
    return min(
        k + fewest(length - k, snapshots - 1) + fewest(k, snapshots) for k in range(1, length)
    )


@pytest.mark.parametrize("snapshots", [1, 2, 3, 5, 8])
def test_the_closed_form_is_the_optimum(snapshots: int) -> None:
    for length in range(1, 60):
        assert advances(length, snapshots) == fewest(length, snapshots)
        k = distance(length, snapshots)
        if snapshots > 1 and length > 1:
            rest = fewest(length - k, snapshots - 1) + fewest(k, snapshots)
            assert k + rest == fewest(length, snapshots)


def test_known_optima() -> None:
    want = {3: 13155, 10: 4636, 20: 3747, 45: 2953}
    assert {s: advances(1000, s) + 1000 for s in want} == want
    assert repeats(2145, 64) == 2
    assert repeats(2146, 64) == 3
    assert first_positions(10**9, 50)[:2] == (0, distance(10**9, 50))
    with pytest.raises(UsageError, match="one snapshot at least, not 0"):
        repeats(3, 0)


# -- scans: how many steps are taken ---------------------------------------------------------------

_steps = 0


def _tick(x: Any) -> Any:
    global _steps
    _steps += 1
    return x


@jax.custom_jvp
def counted(x: Any) -> Any:
    """sin(x) + x, whose evaluations are counted, those for its derivative too."""
    y = jnp.sin(x) + x
    return jax.pure_callback(_tick, jax.ShapeDtypeStruct(y.shape, y.dtype), y)


@counted.defjvp
def _(primals: Any, tangents: Any) -> Any:
    return counted(*primals), (jnp.cos(primals[0]) + 1) * tangents[0]


def scanned(n: int, reverse: bool, step: Callable[[Any], Any] = counted) -> Callable[..., Any]:
    """A scan with a const, a carry, xs and ys."""

    def f(x: Any, w: Any, xs: Any) -> Any:
        def body(c: Any, u: Any) -> Any:
            y = step(c * w + u)
            return y, y * u

        last, ys = lax.scan(body, x, xs, reverse=reverse, length=n)
        return last + jnp.sin(ys).sum()

    return f


@pytest.mark.parametrize(
    ("length", "snapshots"),
    [(3, 1), (3, 2), (10, 1), (10, 2), (10, 3), (10, 9), (10, 40), (57, 4), (1000, 10), (1000, 45)],
)
def test_the_fewest_steps_are_taken(length: int, snapshots: int) -> None:
    global _steps
    f = scanned(length, reverse=length % 2 == 1)
    args = (0.3, 0.4, jnp.linspace(0.0, 0.1, length))
    gradient = covector.jit(
        covector.grad(covector.checkpoint_loops(f, snapshots=snapshots), (0, 1, 2))
    )
    jax.block_until_ready(gradient(*args))
    _steps = 0
    got = jax.block_until_ready(gradient(*args))
    assert _steps == advances(length, snapshots) + length
    assert_close(got, covector.grad(f, (0, 1, 2))(*args), rtol=1e-4)


@given(st.integers(0, 12), st.integers(1, 14), st.booleans())
@settings(max_examples=15, deadline=None)
def test_snapshots_of_scans_change_no_derivative(n: int, snapshots: int, reverse: bool) -> None:
    f = scanned(n, reverse, jnp.sin)
    args = (0.3, 0.4, jnp.linspace(0.1, 0.5, n))
    g = made(covector.checkpoint_loops(f, snapshots=snapshots), *args).main
    flags = (True, True, True)
    got = evaluate(grad_graph(g, flags), args)
    assert_close(got, evaluate(grad_graph(made(f, *args).main, flags), args))


@pytest.mark.parametrize("reverse", [False, True])
def test_every_transformation_of_a_scan_with_snapshots(reverse: bool) -> None:
    f = scanned(9, reverse, jnp.sin)
    g = covector.checkpoint_loops(f, snapshots=3)
    args = (0.3, 0.4, jnp.linspace(0.1, 0.5, 9))
    for d in (partial(covector.grad, argnums=(0, 1, 2)), covector.hessian):
        assert_close(d(g)(*args), d(f)(*args))
    hessian = covector.jacrev(covector.jacrev(g, argnums=2), argnums=2)
    assert_close(hessian(*args), jax.hessian(f, argnums=2)(*args))
    many = (jnp.arange(4.0) / 4, 0.4, jnp.ones((4, 9)) * args[2])
    batched = covector.vmap(covector.grad(g, (0, 1, 2)), (0, None, 0))
    assert_close(batched(*many), jax.vmap(jax.grad(f, (0, 1, 2)), (0, None, 0))(*many))
    assert_close(jax.jit(covector.grad(g))(*args), jax.grad(f)(*args))


# -- while -----------------------------------------------------------------------------------------


def both(program: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    return partial(program, lax.while_loop), partial(program, while_of_python)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_gradients_of_dynamic_loops(program: Callable[..., Any]) -> None:
    loop, unrolled = both(program)
    with jax.enable_x64(True):
        args = (jnp.asarray(X), jnp.asarray(W))
        value, got = covector.value_and_grad(loop, (0, 1))(*args)
        want = jax.grad(unrolled, (0, 1))(*args)
        assert_close((value, got), (unrolled(*args), want), rtol=1e-9, atol=1e-12)
        few = covector.grad(covector.checkpoint_loops(loop, snapshots=2), (0, 1))
        assert_close(few(*args), want, rtol=1e-9, atol=1e-12)
        assert_close(jax.jit(few)(*args), want, rtol=1e-9, atol=1e-12)
        _, tangent = covector.jvp(loop, args, (args[0] * 2, args[1] - 1))
        dot = sum(jnp.vdot(c, t) for c, t in zip(got, (args[0] * 2, args[1] - 1), strict=True))
        assert_close(dot, tangent, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("program", [grows, nested], ids=lambda p: p.__name__)
def test_second_derivatives_of_dynamic_loops(program: Callable[..., Any]) -> None:
    loop, unrolled = both(program)
    loop = covector.checkpoint_loops(loop, snapshots=3)
    with jax.enable_x64(True):
        args = (jnp.asarray(X), jnp.asarray(W))
        want = jax.hessian(unrolled)(*args)
        assert_close(covector.hessian(loop)(*args), want, rtol=1e-9)
        assert_close(covector.jacrev(covector.jacfwd(loop))(*args), want, rtol=1e-9)
        assert_close(covector.jacrev(covector.jacrev(loop))(*args), want, rtol=1e-9)
        assert_close(
            covector.hvp(loop, args, args)[1],
            jax.jvp(jax.grad(unrolled, (0, 1)), args, args)[1],
            rtol=1e-9,
        )


def test_batches_of_dynamic_loops() -> None:
    """Each example takes steps of its own number; what it does not take changes nothing."""
    loop, unrolled = both(grows)
    xs = jnp.asarray([X, X * 3, X * 30, X / 4])
    w = jnp.asarray(W)
    want = [jax.grad(unrolled, (0, 1))(x, w) for x in xs]
    outer = covector.vmap(covector.grad(loop, (0, 1)), (0, None))(xs, w)
    assert_close(outer, jax.tree.map(lambda *g: jnp.stack(g), *want))
    inner = covector.grad(lambda xs: covector.vmap(loop, (0, None))(xs, w).sum())(xs)
    assert_close(inner, jnp.stack([g for g, _ in want]))
    directions = covector.vmap(covector.vjp(loop, xs[0], w)[1])(jnp.arange(3.0))
    assert_close(directions[0], jnp.arange(3.0)[:, None] * want[0][0])


def test_a_bound_that_is_an_argument() -> None:
    """fori_loop up to a number that is not known before."""

    def f(x: Any, n: Any) -> Any:
        return lax.fori_loop(0, n, lambda i, y: jnp.sin(y) * (i + 1.0), x).sum()

    def unrolled(x: Any, n: int) -> Any:
        for i in range(n):
            x = jnp.sin(x) * (i + 1.0)
        return x.sum()

    x = jnp.asarray(X, jnp.float32)
    gradient = covector.jit(covector.grad(f))
    for n in (0, 1, 2, 17):
        assert_close(gradient(x, n), jax.grad(unrolled)(x, n))


def test_draws_are_repeated_exactly() -> None:
    """A key that the loop carries is part of its state."""

    def f(x: Any, key: Any) -> Any:
        def body(c: Any) -> Any:
            i, y, key = c
            key, own = jax.random.split(key)
            return i + 1, jnp.sin(y) * jax.random.uniform(own, y.shape), key

        return lax.while_loop(lambda c: c[0] < 5, body, (jnp.int32(x.sum() * 0), x, key))[1].sum()

    def unrolled(x: Any, key: Any) -> Any:
        for _ in range(5):
            key, own = jax.random.split(key)
            x = jnp.sin(x) * jax.random.uniform(own, x.shape)
        return x.sum()

    for key in (jax.random.key(3), jax.random.PRNGKey(3)):
        x = jnp.asarray(X, jnp.float32)
        for snapshots in (1, 2, 9):
            g = covector.grad(covector.checkpoint_loops(f, snapshots=snapshots))
            assert_close(g(x, key), jax.grad(unrolled)(x, key))


def test_in_other_regions() -> None:
    """In a scan, a branch and a checkpointed function."""

    def step(while_loop: Any, y: Any, u: Any) -> Any:
        def inner(y: Any) -> Any:
            return while_loop(lambda y: jnp.sum(y**2) < 2.0, lambda y: y * 1.3 + u, y)

        return jax.checkpoint(inner)(y) * 0.3 if while_loop is lax.while_loop else inner(y) * 0.3

    us = np.array([0.1, 0.4, 0.2])

    def f(x: Any) -> Any:
        def body(y: Any, u: Any) -> Any:
            return lax.cond(u > 0.15, lambda y: step(lax.while_loop, y, u), jnp.sin, y), None

        return lax.scan(body, x, jnp.asarray(us))[0].sum()

    def unrolled(x: Any) -> Any:
        for u in us:
            x = step(while_of_python, x, u) if u > 0.15 else jnp.sin(x)
        return x.sum()

    with jax.enable_x64(True):
        x = jnp.asarray(X)
        assert_close(covector.grad(f)(x), jax.grad(unrolled)(x), rtol=1e-10)
        assert_close(covector.hessian(f)(x), jax.hessian(unrolled)(x), rtol=1e-10)


def test_nothing_is_kept_that_the_derivative_does_not_need() -> None:
    """The state of a loop that is linear in what it carries is its counter alone, or nothing."""

    def f(x: Any, w: Any) -> Any:
        return lax.while_loop(lambda c: c[0] < 7, lambda c: (c[0] + 1, c[1] @ w), (x.size, x))[1]

    def total(x: Any, n: Any) -> Any:
        body = lambda c: (c[0] + 1, 2.0 * c[1])
        return lax.while_loop(lambda c: c[0] < n, body, (0, x))[1].sum()

    module = run_passes(made(total, X, 4), "grad{wrt=0}, cse, dce")
    (rewound,) = [e for e in module.main.equations if e.primitive.name == "rewind"]
    assert rewound.params["num_state"] == 0
    assert_close(evaluate(module.main, (X, 4)), [np.full(3, 16.0)])


# -- bounded loops ---------------------------------------------------------------------------------


def test_a_loop_with_a_bound() -> None:
    def f(max_steps: int) -> Any:
        run = partial(covector.while_loop, max_steps=max_steps)
        return lambda x: grows(run, x, jnp.asarray(W, jnp.float32))

    x = jnp.asarray(X, jnp.float32)
    unrolled = partial(grows, while_of_python)
    want = jax.grad(unrolled)(x, jnp.asarray(W, jnp.float32))
    assert_close(covector.grad(f(30))(x), want)
    assert_close(covector.jit(covector.grad(f(6)))(x), want)
    assert_close(covector.vmap(covector.grad(f(6)))(x[None]), want[None])
    for again in (x, x, X):  # the same program again, and one of numbers that are no jax.Array
        with pytest.raises(SolveError, match="while_loop has not ended after 3 steps"):
            covector.grad(f(3))(again)
    with pytest.raises(UsageError, match="a number that is known when the program is made"):
        covector.jit(lambda x, n: f(n)(x))(x, 3)


def test_wrong_numbers() -> None:
    loop = partial(grows, lax.while_loop)
    with pytest.raises(UsageError, match="snapshots is one at least, not 0"):
        covector.checkpoint_loops(loop, snapshots=0)(X, W)
    with pytest.raises(UsageError, match="either a number of snapshots or a budget"):
        covector.checkpoint_loops(loop)(X, W)
    with pytest.raises(UsageError, match="max_steps is one at least, not 0"):
        covector.while_loop(lambda x: x < 1, lambda x: x + 1, 0.0, max_steps=0)
    with pytest.raises(ArgumentError, match="takes a function"):
        covector.checkpoint_loops(3, snapshots=1)
    with pytest.raises(PassError, match="more than the budget of 8 B for its snapshots") as caught:
        covector.make_ir(covector.checkpoint_loops(loop, budget=8))(X, W)
    assert "rewind_programs.py" in str(caught.value)
    assert "the smallest budget that this loop can keep is" in str(caught.value)


def test_a_budget_is_as_many_states_as_fit() -> None:
    f = scanned(40, False, jnp.sin)
    args = (np.float32(0.3), np.float32(0.4), np.ones(40, np.float32))
    module = made(covector.checkpoint_loops(f, budget=30), *args)
    (loop,) = [e for e in module.main.equations if e.primitive.name == "scan"]
    assert loop.params["snapshots"] == 7  # of a float each
