"""Python control flow on values under un-jitted transformations."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector


def branch(x: Any) -> Any:
    return jnp.sin(x) if x > 0 else x**2


def newton(x: Any) -> Any:
    """The square root of x; how many steps that takes depends on x."""
    y = x
    while abs(y * y - x) > 1e-5:
        y = 0.5 * (y + x / y)
    return y


@pytest.mark.smoke
@pytest.mark.parametrize("x", [1.5, -1.5])
def test_branches_follow_the_value(x: float) -> None:
    np.testing.assert_allclose(covector.grad(branch)(x), jax.grad(branch)(x))
    np.testing.assert_allclose(
        covector.grad(covector.grad(branch))(x), jax.grad(jax.grad(branch))(x)
    )


def test_loops_until_a_value_is_reached() -> None:
    want = jax.grad(newton)(2.0)
    np.testing.assert_allclose(covector.grad(newton)(2.0), want, rtol=1e-6)
    np.testing.assert_allclose(covector.jvp(newton, (2.0,), (1.0,))[1], want, rtol=1e-6)
    np.testing.assert_allclose(covector.vjp(newton, 2.0)[1](1.0)[0], want, rtol=1e-6)
    np.testing.assert_allclose(covector.linearize(newton, 2.0)[1](1.0), want, rtol=1e-6)


def test_nested_with_jax() -> None:
    want = jax.grad(jax.grad(newton))(2.0)
    np.testing.assert_allclose(jax.grad(covector.grad(newton))(2.0), want, rtol=1e-5)
    np.testing.assert_allclose(covector.grad(jax.grad(newton))(2.0), want, rtol=1e-5)


def test_exceptions_in_the_function() -> None:
    def f(x: Any) -> Any:
        try:
            if x < 3:
                return 2.0 * x**3
            raise ValueError
        except ValueError:
            return jnp.pi * x

    y, pull = covector.vjp(f, 4.0)
    np.testing.assert_allclose(y, 4 * jnp.pi)
    np.testing.assert_allclose(covector.jit(pull)(1.0)[0], jnp.pi)


def test_nobody_asks_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from covector.frontend import known

    asked: list[Any] = []
    monkeypatch.setattr(
        known.KnownValues, "_compute", lambda self, trace, value: asked.append(value)
    )
    covector.grad(lambda x: jnp.sin(x) * x)(1.0)
    assert not asked


@pytest.mark.parametrize(
    "call",
    [
        lambda: covector.jit(branch)(1.0),
        lambda: covector.vmap(branch)(jnp.ones(2)),
        lambda: covector.make_ir(branch)(1.0),
        lambda: jax.jit(covector.grad(branch))(1.0),
        lambda: covector.grad(jax.jit(branch))(1.0),
    ],
    ids=["jit", "vmap", "make_ir", "jit of grad", "grad of jit"],
)
def test_values_that_are_not_known_are_an_error(call: Any) -> None:
    with pytest.raises(jax.errors.TracerBoolConversionError, match=r"test_known\.py:1\d|branch"):
        call()


def test_effects_do_not_happen_twice() -> None:
    seen: list[Any] = []

    def f(x: Any) -> Any:
        jax.debug.callback(seen.append, x)
        return x * 2 if x > 0 else x

    np.testing.assert_allclose(covector.grad(f)(1.0), 2.0)
    jax.effects_barrier()
    assert len(seen) == 1


def test_values_of_arguments_that_are_not_mapped() -> None:
    f = lambda x, n: x * (3 if n > 2 else 1)
    x = jnp.arange(3.0)
    np.testing.assert_allclose(covector.vmap(f, (0, None))(x, 3.0), 3 * x)


@jax.custom_jvp
def sine_or_cosine(x: Any) -> Any:
    return jnp.sin(x) if x > 0 else jnp.cos(x)


@sine_or_cosine.defjvp
def sine_or_cosine_jvp(primals: Any, tangents: Any) -> Any:
    (x,), (dx,) = primals, tangents
    return sine_or_cosine(x), (2.0 if x > 0 else 3.0) * x * dx


@jax.custom_vjp
def clipped(x: Any) -> Any:
    return jnp.sin(x) if x > 0 else jnp.cos(x)


def clipped_fwd(x: Any) -> Any:
    return (jnp.sin(x) if x > 0 else jnp.cos(x)), x


def clipped_bwd(x: Any, ct: Any) -> Any:
    return (2.0 * ct * x if x > 0 else 3.0 * ct,)


clipped.defvjp(clipped_fwd, clipped_bwd)

RULED = [
    sine_or_cosine,
    clipped,
    lambda x: sine_or_cosine(x) + sine_or_cosine(-x),
    lambda x: clipped(x) * clipped(-x),
    lambda x: clipped(jnp.sin(x)),
]


@pytest.mark.smoke
@pytest.mark.parametrize("x", [1.5, -1.5])
@pytest.mark.parametrize("f", RULED)
def test_rules_branch_on_values(f: Any, x: float) -> None:
    np.testing.assert_allclose(covector.grad(f)(x), jax.grad(f)(x), rtol=1e-6)
    np.testing.assert_allclose(covector.vjp(f, x)[1](2.0)[0], jax.vjp(f, x)[1](2.0)[0], rtol=1e-6)
    np.testing.assert_allclose(covector.jacrev(f)(x), jax.jacrev(f)(x), rtol=1e-6)
    second = jax.grad(jax.grad(f))(x)
    np.testing.assert_allclose(covector.grad(covector.grad(f))(x), second, rtol=1e-6)


def test_rules_branch_on_values_nested_with_jax() -> None:
    want = jax.grad(jax.grad(sine_or_cosine))(-1.5)
    np.testing.assert_allclose(jax.grad(covector.grad(sine_or_cosine))(-1.5), want)
    np.testing.assert_allclose(covector.grad(jax.grad(sine_or_cosine))(-1.5), want)


@pytest.mark.parametrize("f", [sine_or_cosine, clipped])
def test_rules_under_jit_cannot(f: Any) -> None:
    with pytest.raises(jax.errors.TracerBoolConversionError):
        covector.jit(covector.grad(f))(1.0)


def test_nothing_of_a_call_stays_behind() -> None:
    with jax.checking_leaks():
        np.testing.assert_allclose(covector.grad(sine_or_cosine)(-1.5), -4.5)
        np.testing.assert_allclose(jax.jit(covector.grad(jax.nn.relu))(1.5), 1.0)
        np.testing.assert_allclose(covector.grad(jax.jit(jax.nn.softplus))(0.0), 0.5)


@pytest.mark.parametrize("branches_on", ["cotangent", "residual", "constant"])
@pytest.mark.parametrize("api", [jax, covector])
def test_nothing_is_known_in_what_is_compiled(api: Any, branches_on: str) -> None:
    """Not the first cotangent either, nor an array of zeros."""
    f = api.custom_vjp(jnp.tanh)

    def bwd(x: Any, ct: Any) -> Any:
        looked_at = {"cotangent": ct, "residual": x, "constant": jnp.zeros(()) + 1}
        return (ct if looked_at[branches_on] > 0 else -ct,)

    f.defvjp(lambda x: (jnp.tanh(x), x), bwd)
    with pytest.raises(jax.errors.TracerBoolConversionError):
        api.jit(api.grad(f))(0.3)
    assert api.grad(f)(0.3) == 1
