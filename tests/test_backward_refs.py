"""Mutable arrays to which backward rules of custom_vjp functions write, beside JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector
from covector.ir.errors import CovectorError


@jax.custom_vjp
def stash(ref: Any, x: Any) -> Any:
    """x; the backward rule keeps a decaying sum of its cotangents, and reads it."""
    return x


def _stash_fwd(ref: Any, x: Any) -> Any:
    return x, ref


def _stash_bwd(ref: Any, g: Any) -> Any:
    ref[...] = 0.5 * ref[...] + g
    return None, g * (1 + ref[...])


stash.defvjp(_stash_fwd, _stash_bwd)


@jax.custom_vjp
def counted(ref: Any, x: Any) -> Any:
    """Writes in both passes: the forward pass multiplies, the backward pass adds."""
    ref[...] *= 2.0
    return x * 3.0


def _counted_fwd(ref: Any, x: Any) -> Any:
    ref[...] *= 2.0
    return x * 3.0, ref


def _counted_bwd(ref: Any, g: Any) -> Any:
    jax.ref.addupdate(ref, ..., g)
    return None, 3.0 * g


counted.defvjp(_counted_fwd, _counted_bwd)


def twice(ref: Any, x: Any) -> Any:
    return stash(ref, jnp.sin(stash(ref, jnp.sin(x))))


def through_jit(ref: Any, x: Any) -> Any:
    return jax.jit(twice)(ref, x) * stash(ref, x)


def branched(ref: Any, x: Any) -> Any:
    """A branch that calls, one that does not, and one that writes in the forward pass."""
    other = jax.lax.cond(x < 0, lambda y: stash(ref, y), lambda y: y * 2, x)

    def write(y: Any) -> Any:
        ref[...] = ref[...] + 1
        return y

    return jax.lax.switch(1, [lambda y: y, lambda y: twice(ref, y), write], other) * jax.lax.cond(
        x > 0, lambda y: twice(ref, y), write, x
    )


def straight(ref: Any, x: Any) -> Any:
    """What `branched` does where x is positive; JAX cannot differentiate such branches."""
    return twice(ref, 2 * x) * twice(ref, x)


def scanned(ref: Any, x: Any) -> Any:
    def step(c: Any, z: Any) -> Any:
        return stash(ref, jnp.sin(c * z)), stash(ref, c)

    c, ys = jax.lax.scan(step, x, jnp.array([1.1, 0.9, 0.7]))
    return c * ys.sum()


def rematted(ref: Any, x: Any) -> Any:
    return jax.checkpoint(lambda y: twice(ref, jnp.cos(y)))(x)


def both_ways(ref: Any, x: Any) -> Any:
    return counted(ref, counted(ref, x) ** 2) * ref[...].astype(jnp.float32) ** 0


def idle(ref: Any, x: Any) -> Any:
    """Calls that the result does not depend on, or that do not depend on what is differentiated."""
    stash(ref, x)
    return stash(ref, jnp.float32(2.0)) * stash(ref, x) + jax.lax.stop_gradient(stash(ref, x))


PROGRAMS = [
    twice, through_jit, branched, scanned, rematted, both_ways, idle
]  # fmt: skip
IN_JAX = {branched: straight}
each_program = pytest.mark.parametrize("f", PROGRAMS, ids=lambda f: f.__name__)


def run(call: Callable[[Any], Any]) -> list[np.ndarray]:
    """What a call with a new ref returns, and what the ref holds then."""
    ref = jax.new_ref(jnp.float32(1.5))
    found = call(ref)
    return [np.asarray(x) for x in jax.tree.leaves((found, ref[...]))]


def check(got: list[np.ndarray], want: list[np.ndarray]) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6), got, want)


X = jnp.float32(0.7)


@each_program
def test_gradients_against_jax(f: Callable[..., Any]) -> None:
    """grad and value_and_grad: a ref that is an argument, and one that is closed over."""
    want = run(lambda ref: jax.value_and_grad(IN_JAX.get(f, f), 1)(ref, X))
    check(run(lambda ref: covector.value_and_grad(f, 1)(ref, X)), want)
    check(run(lambda ref: covector.value_and_grad(lambda x: f(ref, x))(X)), want)
    check(run(lambda ref: covector.jit(covector.value_and_grad(f, 1))(ref, X)), want)
    check(run(lambda ref: covector.grad(f, 1)(ref, X)), want[1:])


@each_program
def test_pull_backs_against_jax(f: Callable[..., Any]) -> None:
    """A pull-back reads and writes when it is called, each time that it is."""

    def pulled(lib: Any, f: Any) -> Callable[[Any], Any]:
        def call(ref: Any) -> Any:
            y, pull = lib.vjp(lambda x: f(ref, x), X)
            before = ref[...] + 0
            ref[...] = 4.0
            return y, before, pull(jnp.float32(2.0)), pull(jnp.float32(-1.0))

        return call

    check(run(pulled(covector, f)), run(pulled(jax, IN_JAX.get(f, f))))


def test_two_refs_and_aux() -> None:
    def f(refs: Any, x: Any) -> Any:
        a, b = refs
        y = stash(a, jnp.sin(x)) * counted(b, x)
        return stash(a, y), {"y": y}

    def call(lib: Any) -> Any:
        refs = jax.new_ref(jnp.float32(1.0)), jax.new_ref(jnp.float32(2.0))
        return lib.grad(f, 1, has_aux=True)(refs, X), refs[0][...], refs[1][...]

    check(jax.tree.leaves(call(covector)), jax.tree.leaves(call(jax)))


def test_parts_of_an_array() -> None:
    """A history of the largest cotangents, as for training in eight bits."""

    @jax.custom_vjp
    def scaled(x: Any, history: Any) -> Any:
        return x

    def backward(history: Any, g: Any) -> Any:
        history[:] = jnp.roll(history[:], 1).at[0].set(jnp.max(jnp.abs(g)))
        return g / jnp.max(history[:]), None

    scaled.defvjp(lambda x, history: (x, history), backward)

    def train(lib: Any) -> Any:
        history = jax.new_ref(jnp.zeros(4))
        loss = lib.jit(lambda w: (scaled(w * w, history) * jnp.arange(3.0)).sum())
        w = jnp.array([0.5, -1.0, 2.0])
        for _ in range(3):
            w = w - 0.1 * lib.grad(loss)(w)
        return w, history[...]

    check(list(train(covector)), list(train(jax)))


def test_covector_jit_inside() -> None:
    """Functions that covector has jitted, called in what is differentiated."""

    def f(ref: Any, x: Any) -> Any:
        return covector.jit(twice)(ref, x) * covector.jit(lambda y: stash(ref, y))(x)

    got = run(lambda ref: covector.jit(covector.value_and_grad(covector.jit(f), 1))(ref, X))
    check(got, run(lambda ref: jax.value_and_grad(through_jit, 1)(ref, X)))


def test_while_loops() -> None:
    """A while loop (JAX has no reverse mode for it): its rules write, last iteration first."""
    ref = jax.new_ref(jnp.float32(1.5))

    def looped(x: Any) -> Any:
        return jax.lax.while_loop(
            lambda c: c[0] < 3, lambda c: (c[0] + 1, stash(ref, jnp.sin(c[1]))), (0, x)
        )[1]

    def unrolled(ref: Any, x: Any) -> Any:
        for _ in range(3):
            x = stash(ref, jnp.sin(x))
        return x

    got = covector.grad(looped)(X)
    want = run(lambda ref: jax.grad(unrolled, 1)(ref, X))
    check([np.asarray(got), np.asarray(ref[...])], want)


def _inside(x: Any) -> Any:
    return stash(jax.new_ref(jnp.float32(0.0)), x)


def _mapped(x: Any) -> Any:
    ref = jax.new_ref(jnp.float32(0.0))
    return covector.vmap(covector.grad(lambda y: stash(ref, y)))(jnp.stack([x, x]))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (covector.grad(_inside), "writes to a mutable array"),
        (_mapped, "unbatched"),
        (lambda x: covector.linearize(_inside, x)[1](x), "no forward-mode|forward"),
    ],
    ids=["made inside", "vmap", "linearize"],
)
def test_refused(call: Callable[[Any], Any], words: str) -> None:
    """What there is no second value for is an error, not lost."""
    with pytest.raises((CovectorError, ValueError, TypeError), match=words):
        call(X)
