"""Arrays that their user laid out in memory in another than the usual way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.layout import Format, Layout

import covector

USUAL = jnp.arange(12.0).reshape(3, 4)
HERE = jax.sharding.SingleDeviceSharding(jax.devices()[0])
BY_COLUMNS = Format(Layout(major_to_minor=(1, 0)), HERE)
TURNED = jax.device_put(USUAL, BY_COLUMNS)


def f(x: Any) -> Any:
    return jnp.sum(x @ x.T) + jnp.sum(jnp.sin(x) * jnp.arange(4.0))


CALLS: dict[str, Callable[[Any], Any]] = {
    "jit": covector.jit(f),
    "jit of grad": covector.jit(covector.grad(f)),
    "grad": covector.grad(f),
    "vjp": lambda x: covector.vjp(f, x)[1](1.0)[0],
    "vmap": covector.vmap(jnp.sin),
    "compile": lambda x: covector.compile(f, x)(x),
    "budget": covector.jit(f, memory_budget="1GiB"),
    "checkpointed": covector.grad(covector.checkpoint(f)),
}


@pytest.mark.parametrize("name", CALLS)
def test_values_are_read_as_they_are_laid_out(name: str) -> None:
    call = CALLS[name]
    for x in (TURNED, USUAL, TURNED):
        np.testing.assert_allclose(call(x), call(np.asarray(x)), rtol=1e-6)
    np.testing.assert_allclose(call(TURNED), call(USUAL), rtol=1e-6)


def test_what_is_compiled_for_a_layout_refuses_another() -> None:
    for made_for, given in ((TURNED, USUAL), (USUAL, TURNED)):
        with pytest.raises(ValueError, match=r"argument 0 of f is laid out .* jax\.device_put"):
            covector.compile(f, made_for)(given)


def test_asking_for_a_layout_is_refused() -> None:
    with pytest.raises(covector.CovectorError, match=r"lay out arrays with jax\.device_put"):
        covector.jit(f, in_shardings=BY_COLUMNS)(USUAL)


def test_keys_have_no_layout() -> None:
    """Keys that were put on a device: of these, JAX does not say how they are laid out."""
    keys = jax.device_put(jax.random.split(jax.random.key(3), 4), HERE)
    want = jax.vmap(jax.random.normal)(keys)
    np.testing.assert_array_equal(covector.vmap(jax.random.normal)(keys), want)
    np.testing.assert_array_equal(covector.jit(jax.vmap(jax.random.normal))(keys), want)
    compiled = covector.compile(jax.vmap(jax.random.normal), keys)
    np.testing.assert_array_equal(compiled(keys), want)
