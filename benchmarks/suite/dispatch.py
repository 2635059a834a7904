"""Time of one call of a compiled function of 1, 10, 100 and 1,000 arrays, ours beside jax.jit's."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
from measure import Times

import covector

LEAVES = (1, 10, 100, 1000)


def shift_all(xs: list[Any]) -> list[Any]:
    """As many results as arguments, at most ten: the time is that of the arguments."""
    return [x + 1 for x in xs[:10]]


def dispatch_times(leaves: int, rounds: int) -> Times:
    """Seconds a call, rounds interleaved."""
    xs = [jnp.full(8, float(i)) for i in range(leaves)]
    functions = {"jax": jax.jit(shift_all), "covector": covector.jit(shift_all)}
    for function in functions.values():
        jax.block_until_ready(function(xs))
    calls = max(20, 2000 // leaves)
    found: dict[str, list[float]] = {name: [] for name in functions}
    for i in range(rounds):
        for name in functions if i % 2 else reversed(functions):
            function = functions[name]
            start = time.perf_counter()
            for _ in range(calls):
                out = function(xs)
            found[name].append((time.perf_counter() - start) / calls)
            jax.block_until_ready(out)
    return {"dispatch": found}
