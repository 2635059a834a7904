"""Callbacks into Python: as often as in JAX, in the same order, through every transformation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import io_callback

import covector
from covector.ir.errors import CovectorError
from covector.ir.module import Module

F32 = jax.ShapeDtypeStruct((), jnp.float32)
Log = list[Any]


class Logged:
    """A function that reports values to a log, and what it reports when it runs."""

    def __init__(self) -> None:
        self.log: Log = []

    def look(self, x: Any, ordered: bool = False) -> Any:
        jax.debug.callback(self.put, x, ordered=ordered)
        return None

    def io(self, x: Any, ordered: bool = True) -> Any:
        return io_callback(self.put, F32, x, ordered=ordered)

    def pure(self, x: Any, **options: Any) -> Any:
        return jax.pure_callback(lambda a: np.sin(np.asarray(a)), x, x, **options)

    def put(self, x: Any) -> Any:
        self.log.append(np.asarray(x).tolist())
        return np.asarray(x, np.float32)

    def of(self, run: Callable[..., Any], *args: Any) -> tuple[Any, Log]:
        self.log.clear()
        result = jax.tree.map(np.asarray, run(*args))
        jax.effects_barrier()
        return result, list(self.log)


def assert_as_jax(
    make: Callable[[Logged], Callable[..., Any]],
    *args: Any,
    transform: Callable[[Any], Callable[..., Any]] = lambda lib: lambda f: f,
    exactly: bool = True,
) -> Log:
    """The same values and the same log from both; the log."""
    logged = Logged()
    f = make(logged)
    want, want_log = logged.of(jax.jit(transform(jax)(f)), *args)
    got, log = logged.of(covector.jit(transform(covector)(f)), *args)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), got, want)
    assert (log if exactly else sorted(map(str, log))) == (
        want_log if exactly else sorted(map(str, want_log))
    )
    return log


def in_loops(t: Logged) -> Callable[..., Any]:
    def f(x: Any) -> Any:
        t.look(x, ordered=True)

        def step(c: Any, a: Any) -> Any:
            t.look(c, ordered=True)
            return c * a, jnp.sin(c)

        c, ys = jax.lax.scan(step, x, jnp.arange(1.0, 4.0))
        c = jax.lax.fori_loop(0, 2, lambda i, c: (t.look(c + i, ordered=True), c * 2)[1], c)
        helper = jax.jit(lambda z: (t.look(z, ordered=True), z + 1)[1])
        c = jax.lax.cond(c > 0, lambda c: helper(c), lambda c: c, c)
        return helper(c) + ys.sum()

    return f


@pytest.mark.parametrize("transform", [
    lambda lib: lambda f: f,
    lambda lib: lib.grad,
    lambda lib: lambda f: lib.grad(lib.grad(f)),
    lambda lib: lambda f: lambda x: lib.jvp(f, (x,), (x,)),
])  # fmt: skip
def test_as_often_and_in_the_same_order_as_in_jax(transform: Any) -> None:
    log = assert_as_jax(in_loops, 2.0, transform=transform)
    assert len(log) == 8


def test_a_batch_calls_back_for_each_example() -> None:
    log = assert_as_jax(
        lambda t: lambda x: (t.look(x), x * 2)[1], jnp.arange(3.0),
        transform=lambda lib: lib.vmap, exactly=False,
    )  # fmt: skip
    assert sorted(log) == [0.0, 1.0, 2.0]


def test_print(capfd: pytest.CaptureFixture[str]) -> None:
    def f(x: Any) -> Any:
        jax.debug.print("x = {x} {}", 3, x=x)
        return jnp.sin(x)

    covector.jit(covector.grad(f))(1.0)
    jax.effects_barrier()
    assert capfd.readouterr().out == "x = 1.0 3\n"
    covector.grad(f)(2.0)
    jax.effects_barrier()
    assert capfd.readouterr().out == "x = 2.0 3\n"


def test_checkpoint_shows_once() -> None:
    logged = Logged()
    f = jax.checkpoint(lambda x: (logged.look(x), jnp.sin(jnp.sin(x)))[1])
    _, log = logged.of(covector.jit(covector.grad(f)), 1.0)
    assert log == [1.0]


def test_ordered_io_in_loops_branches_and_calls() -> None:
    def make(t: Logged) -> Callable[..., Any]:
        def f(x: Any) -> Any:
            y = t.io(x)
            y = jax.lax.fori_loop(0, 3, lambda i, c: (t.io(c + i), c + 1)[1], y)
            y = jax.lax.while_loop(lambda c: c < 7, lambda c: t.io(c + 1), y)
            y = jax.lax.switch(1, [lambda y: y, lambda y: t.io(y * 100)], y)
            y = jax.lax.cond(y > 0, lambda y: t.io(y * 2), lambda y: y, y)
            h = jax.jit(t.io)
            t.look(y, ordered=True)
            return h(y) + h(y + 1)

        return f

    assert len(assert_as_jax(make, 1.0)) == 12


def test_unordered_io() -> None:
    assert_as_jax(lambda t: lambda x: t.io(x, ordered=False) + 1, 1.0)
    log = assert_as_jax(
        lambda t: lambda x: t.io(x, ordered=False), jnp.arange(3.0),
        transform=lambda lib: lib.vmap, exactly=False,
    )  # fmt: skip
    assert sorted(log) == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("method", [
    "sequential", "sequential_unrolled", "expand_dims", "broadcast_all", "legacy_vectorized",
])  # fmt: skip
def test_vmap_methods_of_pure_callback(method: str) -> None:
    shapes: Log = []

    def add(x: Any, y: Any) -> Any:
        shapes.append((np.shape(x), np.shape(y)))
        return np.asarray(x) + np.asarray(y)

    def f(x: Any, y: Any) -> Any:
        return jax.pure_callback(add, x, x, y, vmap_method=method)

    x, y = jnp.arange(3.0), jnp.float32(2.0)
    found = []
    for lib in (jax, covector):
        shapes.clear()
        result = lib.jit(lib.vmap(f, in_axes=(0, None)))(x, y)
        found.append((np.asarray(result).tolist(), list(shapes)))
    assert found[0] == found[1]


def test_pure_callbacks_that_nobody_reads_are_dropped() -> None:
    logged = Logged()

    def f(x: Any) -> Any:
        jax.pure_callback(logged.put, F32, x)
        return x + 1

    assert logged.of(covector.jit(f), 1.0)[1] == []


def test_pure_callback_inside_of_a_custom_rule() -> None:
    @jax.custom_jvp
    def sine(x: Any) -> Any:
        return jax.pure_callback(lambda a: np.sin(np.asarray(a)), F32, x)

    sine.defjvp(lambda p, t: (sine(*p), jnp.cos(p[0]) * t[0]))
    assert np.isclose(covector.jit(covector.grad(sine))(1.0), np.cos(1.0))


@pytest.mark.parametrize(("transform", "make", "message"), [
    (covector.grad, lambda t: t.pure, "calls Python, whose derivative is not known"),
    (covector.grad, lambda t: t.io, "io_callback calls Python"),
    (covector.vmap, lambda t: t.io, "an ordered io_callback has no batch"),
    (covector.vmap, lambda t: t.pure, "vmap_method=None"),
])  # fmt: skip
def test_what_jax_refuses_too(transform: Any, make: Any, message: str) -> None:
    x = jnp.float32(1.0) if transform is covector.grad else jnp.ones(3)
    error = NotImplementedError if "vmap_method" in message else ValueError
    with pytest.raises(error, match=message) as raised:
        transform(make(Logged()))(x)
    assert "test_effects.py" in str(raised.value)


def test_ordered_effects_in_a_condition() -> None:
    logged = Logged()

    def f(x: Any) -> Any:
        return jax.lax.while_loop(lambda c: (logged.look(c, ordered=True), c < 3)[1], jnp.exp, x)

    want = logged.of(lambda: jax.jit(f)(1.0))
    assert len(want[1]) == 3
    assert logged.of(lambda: covector.jit(f)(1.0)) == want
    shown = logged.of(lambda: covector.make_ir(f)(1.0).interpret(1.0)[0])[1]
    assert shown == pytest.approx(want[1], rel=1e-6)


def test_a_tangent_is_shown_by_the_linear_half() -> None:
    logged = Logged()

    @jax.custom_jvp
    def f(x: Any) -> Any:
        return jnp.sin(x)

    @f.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        logged.look(tangents[0])
        return f(*primals), jnp.cos(primals[0]) * tangents[0]

    assert logged.of(lambda: covector.jvp(f, (1.0,), (3.0,)))[1] == [3.0]
    linear = covector.linearize(f, 1.0)[1]
    assert logged.of(linear, 2.0)[1] == [2.0]
    assert logged.of(covector.grad(f), 1.0)[1] == []


def test_text_and_equality() -> None:
    def shown(x: Any) -> None:
        pass

    def f(x: Any) -> Any:
        jax.debug.callback(shown, x)
        return x

    module = covector.make_ir(f)(1.0)
    assert 'callback=opaque<"shown">' in str(module)
    assert covector.make_ir(f)(1.0) == module  # the same function by the same name
    read = covector.parse(str(module)).verify()
    assert read == module
    assert str(read) == str(module)
    for run in (read.run, read.interpret):
        with pytest.raises(CovectorError, match="'shown' was a thing of the process"):
            run(1.0)


def test_interpreter_calls_back() -> None:
    logged = Logged()
    module: Module = covector.make_ir(in_loops(logged))(2.0)
    assert len(logged.of(lambda: module.interpret(2.0))[1]) == 8


def test_back_in_jax() -> None:
    logged = Logged()
    run = covector.make_ir(in_loops(logged))(2.0).as_function()
    assert len(logged.of(jax.jit(run), 2.0)[1]) == 8


def test_equal_programs_with_other_callbacks_are_not_confused() -> None:
    seen: Log = []
    for i in range(2):
        show = eval("lambda x: seen.append((i, float(x)))", {"seen": seen, "i": i})
        covector.jit(lambda x, show=show: (jax.debug.callback(show, x), x)[1])(1.0)
        jax.effects_barrier()
    assert seen == [(0, 1.0), (1, 1.0)]


def test_another_platform() -> None:
    """A callback is bound to the process: it cannot be lowered for a platform that is not here."""
    logged = Logged()
    traced = covector.jit(lambda x: (logged.look(x), x)[1]).trace(1.0)
    with pytest.raises(CovectorError, match="debug_callback is not available on tpu"):
        traced.lower(platforms=("tpu",))
