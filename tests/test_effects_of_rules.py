"""Effects of rules and solvers: for the examples that are in a branch, once each; none of those
that wait for a derivative that nobody takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.custom_derivatives import linear_call
from jax.experimental import io_callback
from laws import interpret
from test_effect_counts import (
    BATCH,
    LOG,
    ONE,
    OTHER,
    Function,
    assert_same,
    base,
    in_scan,
    log_of,
    look,
)  # fmt: skip

import covector
from covector.passes import run_passes

FUNCTION, RULE, BACK = OTHER + 10, OTHER + 11, OTHER + 12


def shown(tag: int, x: Any) -> Any:
    look(tag, x, False)
    return jnp.sin(x)


def with_jvp(x: Any) -> Any:
    @jax.custom_jvp
    def f(x: Any) -> Any:
        return shown(FUNCTION, x)

    f.defjvp(lambda p, t: (shown(RULE, p[0]), jnp.cos(p[0]) * t[0]))
    return f(x)


def with_vjp(x: Any) -> Any:
    @jax.custom_vjp
    def f(x: Any) -> Any:
        return shown(FUNCTION, x)

    def backward(x: Any, ct: Any) -> Any:
        look(BACK, x, False)
        return (jnp.cos(x) * ct,)

    f.defvjp(lambda x: (shown(RULE, x), x), backward)
    return f(x)


def quiet_jvp(x: Any) -> Any:
    """Only its rule shows anything."""

    @jax.custom_jvp
    def f(x: Any) -> Any:
        return jnp.sin(x)

    f.defjvp(lambda p, t: (shown(RULE, p[0]), jnp.cos(p[0]) * t[0]))
    return f(x)


def quiet_vjp(x: Any) -> Any:
    """Both of its rules show something."""

    @jax.custom_vjp
    def f(x: Any) -> Any:
        return jnp.sin(x)

    def backward(x: Any, ct: Any) -> Any:
        look(BACK, ct, False)
        return (jnp.cos(x) * ct,)

    f.defvjp(lambda x: (shown(RULE, x), x), backward)
    return f(x)


def with_loop_back(x: Any) -> Any:
    """Of a loop of as many steps as x says: each step of the way back shows something."""

    def loop(y: Any) -> Any:
        n = jnp.ceil(jnp.abs(lax.stop_gradient(y)) * 4)
        step = lambda c: (c[0] + 1, quiet_vjp(c[1]))
        return lax.while_loop(lambda c: c[0] < n, step, (0.0, y))[1]

    return covector.grad(loop)(x)


def on_each_device(x: Any) -> Any:
    mesh = jax.make_mesh((1,), ("i",))
    spec = jax.sharding.PartitionSpec()
    f = partial(shown, FUNCTION)
    return jax.shard_map(f, mesh=mesh, in_specs=spec, out_specs=spec)(x)


def with_solve(x: Any) -> Any:
    def solve(_: Any, b: Any) -> Any:
        look(FUNCTION, b, False)
        return b / (2.0 + x)

    return lax.custom_linear_solve(lambda y: (2.0 + x) * y, jnp.sin(x), solve, solve)


def with_linear_call(x: Any) -> Any:
    def scaled(tag: int) -> Callable[[Any, Any], Any]:
        return lambda r, y: (look(tag, r, False), r * y)[1]

    return linear_call(scaled(FUNCTION), scaled(BACK), lax.stop_gradient(x), jnp.sin(x))


def in_branch(f: Function) -> Function:
    return lambda x: lax.cond(x > 0.2, f, lambda x: x * 2.0, x)


def in_loop_in_branch(f: Function) -> Function:
    return in_branch(lambda x: lax.fori_loop(0, 2, lambda _, c: f(c), x))


XS = jnp.asarray([0.5, 0.1, -0.4, 0.3])


@pytest.mark.parametrize("wrap", [in_branch, in_loop_in_branch])
@pytest.mark.parametrize(
    "f",
    [
        with_jvp, with_vjp, with_solve, with_linear_call, quiet_jvp, quiet_vjp, on_each_device,
        with_loop_back,
    ],
)  # fmt: skip
@pytest.mark.parametrize("transform", ["vmap", "vmap of grad", "grad of vmap", "jvp of vmap"])
def test_for_the_examples_that_are_there(transform: str, f: Function, wrap: Any) -> None:
    if f in (with_vjp, quiet_vjp) and "jvp" in transform:
        return  # forward mode is refused
    if f is with_loop_back and transform != "vmap":
        return  # a first derivative already
    one = {"vmap": "value", "jvp of vmap": "jvp"}.get(transform, "grad")
    alone = covector.jit(ONE[one](wrap(f)))
    want = [entry for x in XS for entry in log_of(partial(alone, x))]
    assert want or (f in (quiet_jvp, quiet_vjp) and transform == "vmap")
    module = covector.make_ir(BATCH[transform](wrap(f)))(XS).verify()
    compiled = f is on_each_device  # the interpreter is one device
    run = covector.jit(module.as_function()) if compiled else partial(interpret, module.main)
    assert_same(log_of(lambda: run(XS)), want, in_order=False)
    module = run_passes(covector.make_ir(covector.vmap(wrap(f)))(XS), "materialize").verify()
    read = covector.parse(str(module)).verify()
    assert str(read) == str(module)


def test_a_batching_rule_shows_what_it_does_if_an_example_is_there() -> None:
    @jax.custom_batching.custom_vmap
    def f(x: Any) -> Any:
        return shown(FUNCTION, x)

    @f.def_vmap
    def all_at_once(size: int, batched: list[bool], x: Any) -> Any:
        look(RULE, x.sum(), False)
        return jnp.sin(x), True

    def log(g: Function, xs: Any) -> Any:
        module = covector.make_ir(covector.vmap(in_branch(g)))(xs).verify()
        return log_of(lambda: interpret(module.main, xs))

    np.testing.assert_allclose(log(f, XS), [(RULE, XS.sum())], rtol=1e-6)
    assert log(f, -(XS**2)) == []
    assert log(lambda x: x * f(1.0), XS) == [(FUNCTION, 1.0)] * 2  # not of the batch


def test_a_rule_that_nobody_asks_for_has_no_effect() -> None:
    """Its function is quiet: the call may be dropped, merged, and run for its value alone."""

    @jax.custom_jvp
    def f(x: Any) -> Any:
        return jnp.sin(x)

    f.defjvp(lambda p, t: (shown(RULE, p[0]), t[0]))
    module = run_passes(covector.make_ir(lambda x: (f(x), x * 2.0)[1])(1.0), "materialize")
    assert not module.main.effects
    assert len(run_passes(module, "dce").main.equations) == 1


def test_ordered_effects_of_what_never_runs() -> None:
    f = base("ordered")

    def never(x: Any) -> Any:
        step = jax.jit(lambda c, _: (f(c), None))
        return lax.scan(lambda c, _: lax.scan(step, c, None, length=0), x, None, length=0)[0]

    assert log_of(lambda: covector.jit(never)(1.0)) == []
    assert log_of(lambda: covector.jit(covector.hessian(jax.checkpoint(never)))(1.0)) == []


@pytest.mark.parametrize("name", ["value", "grad", "jvp"])
def test_a_condition_whose_answers_are_foreseen_still_shows(name: str) -> None:
    """A loop of literals, which XLA counts when it compiles."""

    def proceeds(c: Any) -> Any:
        look(OTHER, c[1], False)
        return c[0] < 2.0

    def f(x: Any) -> Any:
        return x * lax.while_loop(proceeds, lambda c: (c[0] + 1.0, c[1] * 0.5), (0.0, 1.0))[1]

    log = log_of(lambda: covector.jit(ONE[name](f))(np.float32(3.0)))
    assert sorted(log) == [(OTHER, 0.25), (OTHER, 0.5), (OTHER, 1.0)]


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit, jax.checkpoint, in_branch, in_scan])
def test_callbacks_of_both_rules_stay(wrap: Callable[[Function], Function], ordered: bool) -> None:
    """Where the function is called in a scan, too: JAX forgets the forward rule's there."""

    def call(tag: int, x: Any) -> None:
        put = lambda x: LOG.append((tag, float(x)))
        io_callback(put, None, x, ordered=ordered)

    @jax.custom_vjp
    def f(x: Any) -> Any:
        call(FUNCTION, x)
        return jnp.sin(x)

    def fwd(x: Any) -> Any:
        call(RULE, x)
        return jnp.sin(x), x

    def bwd(x: Any, ct: Any) -> Any:
        call(BACK, x)
        return (jnp.cos(x) * ct,)

    f.defvjp(fwd, bwd)
    g, x = wrap(f), jnp.float32(0.5)
    there = [y for _, y in log_of(lambda: covector.jit(g)(x))]
    want = [*((RULE, y) for y in there), *((BACK, y) for y in reversed(there))]
    for gradient in (covector.grad(g), covector.jit(covector.grad(g))):
        got = log_of(lambda gradient=gradient: gradient(x))
        in_order = (lambda log: log) if ordered else sorted
        np.testing.assert_allclose(in_order(got), in_order(want), rtol=1e-5)
    assert_same(log_of(lambda: covector.vjp(g, x)[0]), want[: len(there)])
