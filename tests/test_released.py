"""What a call captured goes when the call is over; what outlives its recording is found."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector
from covector.passes.cse import cse_graph


@pytest.fixture(autouse=True)
def _texts_read_back() -> None:
    """The fixture of all tests keeps the programs; here nothing may."""


def calling(x: Any) -> Callable[[Any], Any]:
    inner = jax.jit(lambda y: jnp.sin(y) * x + jax.lax.stop_gradient(y))
    return lambda y: jnp.sum(inner(inner(y)))


PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "grad": lambda x: covector.grad(lambda y: jnp.vdot(jnp.tanh(y * x), x)),
    "jit": lambda x: covector.jit(lambda y: y * x),
    "grad of jit": lambda x: covector.grad(covector.jit(lambda y: jnp.sin(y * x).sum())),
    "grad of calls": lambda x: covector.grad(calling(x)),
    "grad of calls that keep nothing": lambda x: (
        lambda y: covector.grad(lambda z: z[0] * calling(x)(jax.lax.stop_gradient(z)))(y)
    ),
    "vmap": lambda x: covector.vmap(lambda y: y * x[0]),
    "linearize": lambda x: lambda y: covector.linearize(lambda z: jnp.sin(z) * x, y)[1](y),
    "vjp of large arrays": lambda x: (
        lambda y: covector.vjp(lambda z: jnp.tanh(jnp.tanh(z * x)), jnp.ones((4096, 10)) * y)
    ),
    "scan": lambda x: covector.grad(
        lambda y: jax.lax.scan(lambda c, _: (jnp.sin(c * x), None), y, None, length=3)[0].sum()
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_captured_arrays_go_with_the_call(name: str) -> None:
    PROGRAMS[name](jnp.full(10, 3.0))(jnp.ones(10))  # modules are loaded, rules are traced
    gc.disable()
    try:
        held = []
        for k in range(3):
            x = jnp.full(10, float(k))
            held.append(weakref.ref(x))
            PROGRAMS[name](x)(jnp.ones(10))
            del x
        assert [r() for r in held] == [None] * 3
    finally:
        gc.enable()


def test_variables_that_are_set_anew_let_go_of_what_they_were() -> None:
    def run() -> Any:
        x: Any = jnp.ones(10)
        held = weakref.ref(x)
        covector.jit(lambda: x + 1)()
        x = None
        return held()

    assert run() is None


def test_who_has_looked_at_the_variables_keeps_them() -> None:
    x = jnp.ones(10)
    seen = locals()
    assert covector.jit(lambda: x + 1)()[0] == 2
    assert seen["x"] is x


def test_a_graph_that_a_pass_leaves_as_it_is_holds_no_cycle() -> None:
    graph = covector.make_ir(jnp.sin)(1.0).main
    assert cse_graph(graph) is cse_graph(graph) is graph
    assert graph not in gc.get_referents(graph.derived)


def test_a_value_that_outlives_its_recording_is_found_with_what_holds_it() -> None:
    kept = []

    def f(x: Any) -> Any:
        kept.append(x)
        return x * 2.0

    with jax.check_tracer_leaks(), pytest.raises(Exception, match=r"Leaked trace[^$]*list"):
        covector.grad(f)(1.0)
    kept.clear()
    assert covector.grad(f)(1.0) == 2.0


def test_rules_may_hold_what_they_close_over() -> None:
    def outer(x: Any, y: Any) -> Any:
        @jax.custom_vjp
        def f(x: Any) -> Any:
            return x * y

        f.defvjp(lambda x: (f(x), x), lambda x, ct: (ct * x * y,))
        return covector.grad(lambda x: f(jnp.sin(x)))(x)

    with jax.check_tracer_leaks():
        found = covector.jit(outer)(2.0, 3.0)
    np.testing.assert_allclose(found, 3 * np.sin(2.0) * np.cos(2.0), rtol=1e-6)


@pytest.mark.parametrize("m", [covector, jax])
def test_gradients_are_arrays_of_their_own(m: Any) -> None:
    """They may be given away, though they have the numbers of an operand."""
    x, w = jnp.arange(3.0), jnp.ones(3)
    for f in (lambda w, x: (w * x).sum(), lambda w, x: jnp.vdot(w, x) / 1):
        for _ in range(3):
            first, second = m.grad(f, argnums=(0, 1))(w, x)
            over = m.value_and_grad(lambda w, f=f: f(w, x))(w)[1]
            assert not any(g is y for g in (first, second, over) for y in (w, x))
            for g in (first, second, over):
                jax.jit(lambda y: y + 1, donate_argnums=0)(g)
    np.testing.assert_array_equal(x * w, np.arange(3.0))


@pytest.mark.parametrize("m", [covector, jax])
def test_copies_are_new_arrays(m: Any) -> None:
    """Of tangents and cotangents, too: each can be given away without the other."""
    x, given = jnp.ones(3), jnp.arange(3.0)
    copied = lambda x: jnp.array(x, copy=True)
    out, pull = m.vjp(copied, x)
    moved = (
        out, *m.jvp(copied, (x,), (given,)), pull(given)[0], m.linearize(copied, x)[1](given),
        m.linear_transpose(copied, x)(given)[0], m.vmap(copied)(given),
    )  # fmt: skip
    assert not any(y is x or y is given for y in moved)
    jax.jit(lambda y: y + 1, donate_argnums=0)(moved[3])
    np.testing.assert_array_equal(given, np.arange(3.0))
