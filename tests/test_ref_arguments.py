"""Mutable arrays among the arguments of `jvp`, `linearize` and `vjp`."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector

X, DX = jnp.float32(0.7), jnp.float32(2.0)


def reads(x: Any, ref: Any) -> Any:
    return jnp.sin(x) * ref[...]


def writes(x: Any, ref: Any) -> Any:
    y = ref[...] * x
    ref[...] = jnp.sin(ref[...] * x)
    return y


def accumulates(x: Any, ref: Any) -> Any:
    for _ in range(2):
        ref[...] += x * ref[...]
    return x


def forgets(x: Any, ref: Any) -> Any:
    ref[...] = jnp.ones_like(ref[...])
    return x * 2


def pushed(m: ModuleType, f: Any) -> Any:
    ref, tangent = jax.new_ref(3.0), jax.new_ref(5.0)
    out = m.jvp(f, (X, ref), (DX, tangent))
    return out, ref[...], tangent[...]


def close(a: Any, b: Any) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), a, b)


@pytest.mark.parametrize("f", [reads, writes, accumulates, forgets])
def test_tangents_of_mutable_arrays_are_in_mutable_arrays(f: Any) -> None:
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        pushed(covector, f),
        pushed(jax, f),
    )

    @covector.jit
    def inside(x: Any) -> Any:
        ref, tangent = jax.new_ref(3.0), jax.new_ref(5.0)
        return covector.jvp(f, (x, ref), (DX, tangent)), ref[...], tangent[...]

    close(inside(X), pushed(jax, f))


def test_a_value_is_no_tangent_of_a_mutable_array() -> None:
    with pytest.raises(ValueError, match="the tangent of a mutable array is one, too"):
        covector.jvp(reads, (X, jax.new_ref(3.0)), (DX, DX))
    with pytest.raises(ValueError, match="the tangent of a mutable array is one, too"):
        covector.jvp(reads, (X, DX), (DX, jax.new_ref(3.0)))


def test_the_pull_back_has_no_cotangent_of_a_mutable_array() -> None:
    ref, total = jax.new_ref(3.0), jax.new_ref(1.0)
    _, pull = covector.vjp(reads, X, ref)
    with pytest.raises(ValueError, match="no cotangent for a mutable array"):
        pull(DX)
    with pytest.raises(ValueError, match="no cotangent for a mutable array"):
        pull.with_refs(jax.ad.GradValue(), total)(DX)
    ct, nothing = pull.with_refs(total, jax.ad.DontWant())(DX)
    assert isinstance(ct, jax.ad.GradRef)
    assert isinstance(nothing, jax.ad.DidntWant)
    np.testing.assert_allclose(total[...], 1 + 3 * jnp.cos(X) * DX, rtol=1e-6)
    first, _ = covector.vjp(lambda r, x: reads(x, r), ref, X)[1].with_refs(
        jax.ad.DontWant(), jax.ad.GradValue()
    )(DX)[::-1]
    np.testing.assert_allclose(first, 3 * jnp.cos(X) * DX, rtol=1e-6)


def test_a_linearized_function_takes_no_tangents_of_mutable_arrays() -> None:
    y, push = covector.linearize(reads, X, jax.new_ref(3.0))
    np.testing.assert_allclose(y, 3 * jnp.sin(X), rtol=1e-6)
    with pytest.raises(ValueError, match="takes no tangents of mutable arrays"):
        push(DX, jax.new_ref(1.0))
