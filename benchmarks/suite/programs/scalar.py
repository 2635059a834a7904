"""A scalar expression of 2,000 operations: many tiny ones, as physics written out by hand has."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from .program import Program


def expression(x: Any, y: Any) -> Any:
    """A recurrence of ten operations, two hundred times."""
    for i in range(200):
        a = jnp.sin(x) * y + 0.1 * i
        b = jnp.tanh(a - x) / (1.5 + y * y)
        x, y = b + 0.3 * x, a * 0.2 - b
    return x * y


def programs(quick: bool) -> list[Program]:
    return [Program("2,000 scalar operations", expression, (jnp.float32(0.3), jnp.float32(0.7)))]
