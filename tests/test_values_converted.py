"""Values that Python and NumPy convert under un-jitted transformations, where JAX has arrays: what
no derivative goes through, and what is not mapped over."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector

X, DATA = jnp.arange(3.0) + 1, jnp.array([1.0, 2.0, 4.0])
COUNTS = jnp.array([1, 1, 2])

SUMS: dict[str, Callable[[Any], Any]] = {
    "a mask": lambda x: (x[x > 1] ** 2).sum(),
    "a mask that is set": lambda x: x.at[x > 1].set(0.0).sum() + x[0],
    "places": lambda x: (x[jnp.nonzero(x > 1)] ** 2).sum(),
    "NumPy's choice": lambda x: (np.where(x > 1, 2.0, 3.0) * x).sum(),
    "an index": lambda x: x[int(np.asarray(jnp.argmax(x)))] ** 2,
    "a list": lambda x: sum((x > 1).tolist()) * x[0],
    "an item": lambda x: (x[0] < 2).item() * x[0],
    "a stopped value": lambda x: x.sum() * float(jax.lax.stop_gradient(x[1] * 3)),
    "rounded values": lambda x: (x * np.asarray(jnp.floor(x))).sum(),
    "a closed-over array": lambda x: (x * np.asarray(DATA * 2)).sum(),
    "unique values": lambda x: x[0] * jnp.unique(COUNTS).sum(),
    "their counts": lambda x: (x[:2] * jnp.unique(COUNTS, return_counts=True)[1]).sum(),
    "repetitions": lambda x: jnp.repeat(x, COUNTS).sum(),
    "sizes": lambda x: (jnp.ones(int((x > 1).sum())) * x[0]).sum(),
}


@pytest.mark.parametrize("name", SUMS)
def test_what_does_not_move(name: str) -> None:
    f = SUMS[name]
    for run in (
        lambda m: m.value_and_grad(f)(X),
        lambda m: m.jvp(f, (X,), (X,)),
        lambda m: m.vjp(f, X)[1](jnp.float32(2.0)),
        lambda m: m.hessian(f)(X),
    ):
        jax.tree.map(np.testing.assert_allclose, run(covector), run(jax))


OTHERS: dict[str, Callable[[ModuleType], Any]] = {
    "an argument": lambda m: m.grad(lambda x, d: x * np.asarray(d).sum())(2.0, DATA),
    "where an argument is": lambda m: m.grad(
        lambda x, d: x * len(d.devices()) * (d is DATA) * d.block_until_ready().sum()
    )(2.0, DATA),
    "where an argument that is not mapped is": lambda m: m.vmap(
        lambda x, d: x * len(d.sharding.device_set), in_axes=(0, None)
    )(X, DATA),
    "its text": lambda m: m.grad(lambda x, d: x * len(f"{d[0]:.2f}"))(2.0, DATA),
    "the text of a stopped value": lambda m: m.grad(
        lambda x: x * len(f"{jax.lax.stop_gradient(x * 2):.2f}")
    )(2.0),
    "an argument that is not mapped": lambda m: m.vmap(
        lambda x, d: x * np.asarray(d)[d > 1].sum(), in_axes=(0, None)
    )(X, DATA),
    "of an outer trace": lambda m: m.grad(
        lambda y: m.vmap(lambda x: (x * y[y > 1]).sum())(DATA).sum()
    )(X),
    "of an outer trace, twice": lambda m: m.grad(
        lambda y: m.grad(lambda x: (x[x > 1] ** 2 * y).sum())(X).sum()
    )(2.0),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_given(name: str) -> None:
    np.testing.assert_allclose(OTHERS[name](covector), OTHERS[name](jax), rtol=1e-6)


MOVING: dict[str, Callable[[ModuleType], Any]] = {
    "by grad": lambda m: m.grad(lambda x: np.asarray(x).sum() * x[0])(X),
    "by vmap": lambda m: m.vmap(lambda x: DATA[x > 1].sum())(X),
    "by grad around vmap": lambda m: m.grad(
        lambda y: m.vmap(lambda x: x * np.asarray(y).sum())(X).sum()
    )(2.0),
    "by grad in jit": lambda m: m.jit(m.grad(lambda x: x[x > 1].sum()))(X),
}


@pytest.mark.parametrize("name", MOVING)
def test_what_moves_is_not_converted(name: str) -> None:
    for lib in (jax, covector):
        with pytest.raises(
            (jax.errors.TracerArrayConversionError, jax.errors.NonConcreteBooleanIndexError)
        ):
            MOVING[name](lib)
