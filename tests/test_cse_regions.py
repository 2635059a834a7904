"""Loops, branches and calls with equal regions on the same operands become one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import covector
from covector.ir.module import Module

X = jnp.asarray([0.3, -0.7, 0.2])


def looped(x: Any, by: float) -> Any:
    return lax.scan(lambda c, _: (jnp.sin(c) * by, c), x, None, length=3)[0]


def repeated(x: Any, by: float) -> Any:
    return lax.while_loop(lambda c: c[0] < 1, lambda c: c + by, x + 0)


def chosen(x: Any, by: float) -> Any:
    return lax.cond(x[0] > 0, lambda x: x * by, lambda x: looped(x, by), x)


def called(x: Any, by: float) -> Any:
    return jax.jit(lambda x: jnp.sin(jnp.cos(x * by)))(x)


def checkpointed(x: Any, by: float) -> Any:
    return jax.checkpoint(lambda x: jnp.sin(jnp.cos(x * by)))(x)


REGIONS = {
    "scan": looped,
    "while": repeated,
    "cond": chosen,
    "call": called,
    "checkpoint": checkpointed,
}


def merged(function: Callable[[Any], Any]) -> Module:
    module = covector.make_ir(function)(X)
    after = covector.run_passes(module, "cse,dce")
    after.verify()
    assert covector.parse(str(after)) == after
    for got, want in zip(after.run(X), module.run(X), strict=True):
        np.testing.assert_array_equal(got, want)
    return after


def count(module: Module, name: str) -> int:
    return sum(eqn.primitive.name == name for eqn in module.main.equations)


@pytest.mark.parametrize("name", REGIONS)
def test_equal_regions_are_run_once(name: str) -> None:
    f = REGIONS[name]
    assert count(merged(lambda x: (f(x, 0.5), f(x, 0.5), f(x, 0.5))), name) == 1


@pytest.mark.parametrize("name", REGIONS)
def test_other_regions_and_other_operands_are_not(name: str) -> None:
    f = REGIONS[name]
    module = merged(lambda x: (f(x, 0.5), f(x, 0.25), f(x, 0.5), f(x * 2, 0.5)))
    assert count(module, name) == 3


def test_the_sign_of_a_zero_in_a_region_counts() -> None:
    times = lambda zero: lambda x: jax.jit(lambda x: x * jnp.sin(x * zero))(x)
    assert count(merged(lambda x: (times(0.0)(x), times(-0.0)(x))), "call") == 2


def test_regions_with_effects_are_all_kept() -> None:
    def shown(x: Any) -> Any:
        return lax.scan(lambda c, _: (c * 2, jax.debug.print("{}", c)), x, None, length=2)[0]

    module = covector.make_ir(lambda x: shown(x) + shown(x))(X)
    assert count(covector.run_passes(module, "cse"), "scan") == 2


def test_what_is_merged_inside_is_merged_outside() -> None:
    def nested(x: Any) -> Any:
        return lax.scan(lambda c, _: (looped(c, 0.5) + looped(c, 0.5), None), x, None, length=2)[0]

    module = merged(lambda x: nested(x) + nested(x))
    assert count(module, "scan") == 1
    assert str(module).count(" scan[") == 2
