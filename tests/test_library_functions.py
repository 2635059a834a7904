"""JAX's own functions with rules are recorded once in a process; users' are not."""

from __future__ import annotations

import threading
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector
from covector.frontend.library_functions import RECORDED
from covector.ir.graph import Graph
from covector.ir.primitive import PRIMITIVES
from covector.passes import tables

X = np.array([-1.0, 0.5, 2.0], np.float32)


@pytest.fixture(autouse=True)
def nothing_recorded() -> None:
    RECORDED.clear()


def called(fun: Any, *args: Any) -> Any:
    """The first call of a function with a rule in a program."""
    graph: Graph = covector.make_ir(fun)(*args).main
    return next(e for e in graph.equations if e.primitive.name == "custom_jvp_call")


@pytest.mark.smoke
def test_programs_share_what_was_recorded() -> None:
    first = called(lambda x: jax.nn.relu(x), X)
    second = called(lambda y: jax.nn.relu(2 * y).sum(), X)
    assert first.params["graph"] is second.params["graph"]
    assert first.params["jvp"] is second.params["jvp"]
    assert called(lambda x: jax.nn.relu(x), X[:2]).params["graph"] is not first.params["graph"]
    assert called(lambda x: jax.nn.relu6(x), X).params["graph"] is not first.params["graph"]


def test_a_rule_is_traced_once() -> None:
    grads = [covector.grad(lambda x, n=n: (n * jax.nn.relu(x)).sum())(X) for n in (1, 2, 3)]
    (entry,) = RECORDED.values()
    assert len(entry[0]["jvp"]._made) == 1
    for n, grad in zip((1, 2, 3), grads, strict=True):
        np.testing.assert_array_equal(grad, n * np.array([0, 1, 1], np.float32))


def test_equations_are_wherever_they_are_called() -> None:
    eqn = called(lambda x: jax.nn.relu(x), X)
    assert eqn.location is not None
    assert all(e.location is None for e in eqn.params["graph"].equations)
    module = covector.make_ir(covector.grad(lambda x: jax.nn.relu(x).sum()))(X)
    lines = {e.location.line for e in module.main.equations if e.location is not None}
    assert lines == {test_equations_are_wherever_they_are_called.__code__.co_firstlineno + 4}


def test_functions_of_users_are_recorded_for_each_program() -> None:
    @jax.custom_jvp
    def double(x: Any) -> Any:
        return 2 * x

    double.defjvps(lambda t, out, x: 2 * t)
    first, second = called(double, X), called(double, X)
    assert first.params["jvp"] is not second.params["jvp"]
    assert not RECORDED


def remat(fun: Any) -> Any:
    """The first call of a function with a rule that JAX has traced: in a jaxpr."""
    graph: Graph = covector.make_ir(jax.checkpoint(lambda x: fun(x)))(X).main
    inner: Graph = graph.equations[0].params["graph"]
    return next(e for e in inner.equations if e.primitive.name == "custom_jvp_call")


@pytest.mark.smoke
def test_programs_share_those_in_jaxprs() -> None:
    first, second = remat(jax.nn.relu), remat(lambda x: 2 * jax.nn.relu(x))
    assert first.params["graph"] is second.params["graph"]
    assert first.params["jvp"] is second.params["jvp"]
    assert remat(jax.nn.relu6).params["jvp"] is not first.params["jvp"]
    grad = covector.grad(jax.checkpoint(lambda x: jax.nn.relu(x).sum()))(X)
    np.testing.assert_array_equal(grad, np.array([0, 1, 1], np.float32))


@pytest.mark.smoke
@pytest.mark.parametrize("axes", [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("fun", [jax.nn.relu, lambda x: jnp.logaddexp(x, x[::-1])])
def test_functions_mapped_by_jax_in_jaxprs(fun: Any, axes: tuple[int, int]) -> None:
    """JAX's map of a function is part of its rule, and of one program."""
    x = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
    mapped = jax.checkpoint(lambda x: jax.vmap(fun, *axes)(x))
    for _ in range(2):
        found, expected = (
            (lib.grad(loss)(x), lib.hessian(loss)(x))
            for lib in (covector, jax)
            for loss in [lambda x: (mapped(x) ** 2).sum()]
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-6), found, expected)
    assert not RECORDED


@pytest.mark.smoke
def test_rules_of_users_in_jaxprs_are_traced_for_each_program() -> None:
    """Also those that JAX makes of users' by `defjvps`, and those that are JAX's, of functions that
    are not."""
    double = jax.custom_jvp(lambda x: 2 * x)
    double.defjvps(lambda t, out, x: 2 * t)
    assert remat(double).params["jvp"] is not remat(double).params["jvp"]
    assert not RECORDED
    triple = jax.custom_jvp(lambda x: 3 * x)
    triple.defjvp(jax.nn.relu.jvp)
    assert remat(triple).params["graph"] is not remat(jax.nn.relu).params["graph"]
    np.testing.assert_array_equal(
        jax.checkpoint(triple)(X), covector.jit(jax.checkpoint(triple))(X)
    )


def test_settings_are_told_apart() -> None:
    found = [called(lambda x: jax.nn.relu(x), X)]
    with jax.default_matmul_precision("float32"):
        found.append(called(lambda x: jax.nn.relu(x), X))
    with jax.default_prng_impl("rbg"):
        found.append(called(lambda x: jax.nn.relu(x), X))
    assert len({id(eqn.params["graph"]) for eqn in found}) == 3


def test_attributes_of_a_context_stay_in_it() -> None:
    from jax.experimental.xla_metadata import set_xla_metadata

    def told(x: Any) -> Any:
        with set_xla_metadata(kind="one"):
            return jax.nn.relu(x)

    assert "kind" in str(covector.make_ir(told)(X))
    assert "kind" not in str(covector.make_ir(lambda x: jax.nn.relu(x))(X))


def test_clear_caches_forgets_them() -> None:
    first = called(lambda x: jax.nn.relu(x), X)
    jax.clear_caches()
    assert called(lambda x: jax.nn.relu(x), X).params["graph"] is not first.params["graph"]


def test_a_rule_of_ours_that_is_replaced_is_asked_at_once() -> None:
    def wrong(b: Any, eqn: Any, tangents: Any) -> Any:
        return [b.mul(tangents[0], 7.0)]

    def f(x: Any) -> Any:
        return jnp.logaddexp(x, 0.0).sum()

    def slope() -> Any:
        return covector.grad(lambda x: covector.grad(f)(x).sum())(X)

    before = slope()
    with mock.patch.dict(tables.jvp.rules, {PRIMITIVES["exp"]: wrong}):
        assert not np.allclose(slope(), before)
    np.testing.assert_array_equal(slope(), before)


def test_threads_may_ask_for_one_rule_at_once() -> None:
    """JAX's flat functions note their outputs in themselves: two runs at once would disturb each
    other."""
    expected = jax.jacfwd(jax.jacfwd(lambda x: jax.nn.silu(jax.nn.relu6(x)).sum()))(X)
    found: list[Any] = []
    start = threading.Barrier(8)

    def run() -> None:
        start.wait()
        f = lambda x: jax.nn.silu(jax.nn.relu6(x)).sum()
        found.append(covector.jacfwd(covector.jacfwd(f))(X))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for got in found:
        np.testing.assert_allclose(got, expected, rtol=1e-6)
