"""A scalar expression of 2,000 operations: many tiny ones, as physics written out by hand has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from .program import Program


def expression(steps: int) -> Callable[[Any, Any], Any]:
    """A recurrence of ten operations, so many times."""

    def recurrence(x: Any, y: Any) -> Any:
        for i in range(steps):
            a = jnp.sin(x) * y + 0.1 * i
            b = jnp.tanh(a - x) / (1.5 + y * y)
            x, y = b + 0.3 * x, a * 0.2 - b
        return x * y

    return recurrence


def programs(quick: bool) -> list[Program]:
    """XLA's compile time grows faster than the program: quickly, a quarter of it."""
    steps = 50 if quick else 200
    name = f"{10 * steps:,} scalar operations"
    return [Program(name, expression(steps), (jnp.float32(0.3), jnp.float32(0.7)))]
