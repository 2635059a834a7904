"""Halves that are apart save what takes the least memory; the linear map stays the same."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws import assert_close

import covector
from covector.passes import run_passes
from covector.passes.slim import WORTH

WS = [jax.random.normal(jax.random.key(i), (128, 128)) / 24 for i in range(3)]
X = jax.random.normal(jax.random.key(9), (256, 128))
SLOPE = jnp.sin(jnp.arange(128.0))
LAYER = X.nbytes


def net(act: Any, ws: Any, x: Any) -> Any:
    for w in ws:
        x = act(x @ w)
    return x


def plain_relu(x: Any) -> Any:
    return jnp.where(x > 0, x, 0)


def kept(linear: Any) -> int:
    """Bytes of the arrays that a linear function holds."""
    arrays = {id(x): x for x in jax.tree.leaves(linear) if isinstance(x, jax.Array)}
    return sum(x.nbytes for x in arrays.values())


WEIGHTS = sum(w.nbytes for w in WS)
CASES: dict[str, tuple[Any, int]] = {
    "tanh": (jnp.tanh, 4 * LAYER),  # x, and what each layer makes
    "square": (lambda x: x * x + x, 6 * LAYER),  # what it makes is not what its slope is made of
    "where": (plain_relu, 3 * LAYER + 3 * LAYER // 4),  # masks are bytes; x and two layers
    "a call": (jax.jit(jax.nn.silu), 7 * LAYER),  # x, what each layer is made of, its sigmoid
    "calls in a call": (jax.jit(lambda x: jax.nn.soft_sign(x)), 4 * LAYER),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("transformation", ["vjp", "linearize", "vjp out of jit"])
def test_what_is_kept_and_the_map(name: str, transformation: str) -> None:
    act, most = CASES[name]

    def at_point(m: Any) -> tuple[int, Any]:
        def pull(ws: Any, x: Any) -> Any:
            return m.vjp(lambda ws, x: net(act, ws, x), ws, x)[1]

        if transformation == "linearize":
            linear = m.linearize(lambda ws, x: net(act, ws, x), WS, X)[1]
            return kept(linear), linear(WS, X)
        linear = (jax.jit(pull) if "jit" in transformation else pull)(WS, X)
        return kept(linear), linear(X * SLOPE)

    (ours, got), (theirs, want) = at_point(covector), at_point(jax)
    assert ours <= min(most + WEIGHTS, theirs)
    jax.tree.map(lambda a, b: assert_close(a, b, rtol=1e-4, atol=1e-3), got, want)


def test_the_halves_are_text_and_mean_the_same() -> None:
    module = covector.make_ir(lambda x: jnp.tanh(x) * x)(X[:4])
    whole, slim = run_passes(module, "linearize"), run_passes(module, "linearize{slim=0}")
    slim.verify()
    assert covector.parse(str(slim)) == slim
    assert len(slim.main.outputs) < len(whole.main.outputs)
    residuals = slim.run(X[:4])[1:]
    (linear,) = [g for g in slim.graphs if g.endswith("linear")]
    got = slim.replace(entry=linear).run(*residuals, X[:4])
    assert_close(got, jax.jvp(lambda x: jnp.tanh(x) * x, (X[:4],), (X[:4],))[1])
    pulled = run_passes(slim, "transpose")
    pulled.verify()


def test_small_halves_and_dear_operations_stay() -> None:
    def small(x: Any) -> Any:
        return jnp.tanh(x)

    assert 2 * X[:8].nbytes < WORTH
    assert kept(covector.vjp(small, X[:8])[1]) == X[:8].nbytes  # the slope
    assert kept(covector.vjp(jnp.sin, X)[1]) == X.nbytes  # cos x, not x and a function again


def test_residuals_says_what_vjp_keeps() -> None:
    found = covector.residuals(lambda ws: net(jnp.tanh, ws, X))(WS)
    assert sum(r.nbytes for r in found) == kept(
        covector.vjp(lambda ws: net(jnp.tanh, ws, X), WS)[1]
    )
    assert all(r.why() for r in found)


def test_rules_that_look_at_values_still_may() -> None:
    @jax.custom_vjp
    def f(x: Any) -> Any:
        return x * x

    def bwd(x: Any, ct: Any) -> tuple[Any]:
        return (2 * x * ct if x[0, 0] != 0 else ct,)

    f.defvjp(lambda x: (x * x, x), bwd)
    _, pull = covector.vjp(lambda x: f(x * 2) + x * x * 3, X)
    _, wanted = jax.vjp(lambda x: f(x * 2) + x * x * 3, X)
    np.testing.assert_allclose(pull(X)[0], wanted(X)[0], rtol=1e-5)
