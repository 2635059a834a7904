"""What errors show of where they come from: the user's frames, and the line of the operation."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector


def fail(x: Any) -> Any:
    raise KeyError("inside")


def pull(x: Any) -> Any:
    @jax.custom_vjp
    def f(x: Any) -> Any:
        return x

    f.defvjp(lambda x: (x, None), lambda _, ct: (fail(ct),))
    return covector.vjp(f, x)[1](x)


CALLS: dict[str, Callable[[Any], Any]] = {
    "jit": covector.jit(covector.jit(fail)),
    "grad of vmap": lambda x: covector.grad(covector.vmap(fail))(x[None]),
    "jvp": lambda x: covector.jvp(fail, (x,), (x,)),
    "linearize": lambda x: covector.linearize(fail, x),
    "hessian": covector.hessian(fail),
    "linear_transpose": lambda x: covector.linear_transpose(fail, x),
    "backward rule": pull,
}


def frames(call: Callable[[Any], Any], mode: str) -> tuple[set[str], list[str]]:
    """The files in the traceback of a failing call, and the notes on the error."""
    before = jax.config.jax_traceback_filtering  # type: ignore[attr-defined]
    jax.config.update("jax_traceback_filtering", mode)
    try:
        with pytest.raises(KeyError) as found:
            call(jnp.float32(1))
    finally:
        jax.config.update("jax_traceback_filtering", before)
    files = {frame.filename for frame in traceback.extract_tb(found.value.__traceback__)}
    return files, getattr(found.value, "__notes__", [])


@pytest.mark.parametrize("name", CALLS)
def test_tracebacks_are_filtered_as_jax_filters_its_own(name: str) -> None:
    files, notes = frames(CALLS[name], "quiet_remove_frames")
    assert files == {__file__}
    assert any("JAX_TRACEBACK_FILTERING=off" in note for note in notes)
    assert any("frontend" in file for file in frames(CALLS[name], "off")[0])


def test_invalid_values_are_traced_to_the_operation() -> None:
    def loss(x: Any) -> Any:
        return jnp.sum(x * jnp.sqrt(x))

    x = jnp.array([0.0, 2.0])
    places = (
        (covector.jit(lambda x: jnp.log(-x) + 1), jnp.ones(2), r"in log at .*_tracebacks\.py:\d+"),
        (covector.jit(covector.grad(loss)), x, r"in mul at .*_tracebacks\.py:\d+"),
        (covector.grad(loss), x, r"in \w+ at .*_tracebacks\.py:\d+"),
        (covector.jit(lambda x: x * 3), np.nan, r"invalid value \(nan\) in input x of lambda"),
    )
    with jax.debug_nans(True):
        for f, x, told in places:
            with pytest.raises(FloatingPointError, match=told):
                f(x)
    made = covector.jit(lambda x: jax.lax.cond(x > 0, lambda x: 1 / (x - 1), jnp.sin, x))
    with jax.debug_infs(True), pytest.raises(FloatingPointError, match=r"\(inf\) .* in cond"):
        made(1.0)
