"""A corpus of ordinary JAX programs: how a program and its arguments are entered.

Each is a `Program`: a name, a function, example arguments. Arguments are made by a function, so
that importing a corpus computes nothing. `tags` say what a program is not: "integer" (nothing to
differentiate), "nonsmooth" (finite differences may straddle a kink), "random", "effects".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Program:
    """A function with example arguments."""

    name: str
    function: Callable[..., Any]
    make_arguments: Callable[[], tuple[Any, ...]]
    tags: frozenset[str]

    @property
    def arguments(self) -> tuple[Any, ...]:
        return self.make_arguments()

    @property
    def differentiable(self) -> tuple[int, ...]:
        """Positions of the arguments all of whose leaves are floats or complex."""
        return tuple(
            i
            for i, x in enumerate(self.arguments)
            if jax.tree.leaves(x)
            and all(
                jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) for leaf in jax.tree.leaves(x)
            )
        )

    def __repr__(self) -> str:
        return self.name


PROGRAMS: list[Program] = []


def program(*arguments: Any, tags: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter the decorated function. An argument that is a shape stands for floats of that shape."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        def make_arguments() -> tuple[Any, ...]:
            rng = np.random.default_rng(len(function.__name__))
            return tuple(
                jax.tree.map(lambda a: _make(a, rng), x, is_leaf=_is_spec) for x in arguments
            )

        PROGRAMS.append(
            Program(function.__name__, function, make_arguments, frozenset(tags.split()))
        )
        return function

    return enter


def _is_spec(x: Any) -> bool:
    return isinstance(x, tuple) and all(isinstance(n, int) for n in x)


def _make(spec: Any, rng: np.random.Generator) -> Any:
    if callable(spec):
        return spec(rng)
    if _is_spec(spec):
        return jnp.asarray(rng.normal(size=spec), jnp.float32)
    return spec


def positive(*shape: int) -> Callable[[np.random.Generator], Any]:
    """Floats between 0.5 and 2."""
    return lambda rng: jnp.asarray(rng.uniform(0.5, 2.0, size=shape), jnp.float32)


def unit(*shape: int) -> Callable[[np.random.Generator], Any]:
    """Floats between -0.8 and 0.8."""
    return lambda rng: jnp.asarray(rng.uniform(-0.8, 0.8, size=shape), jnp.float32)


def integers(high: int, *shape: int, dtype: Any = np.int32) -> Callable[[np.random.Generator], Any]:
    """Integers from 0 to below high."""
    return lambda rng: jnp.asarray(rng.integers(0, high, size=shape), dtype)


def flags(*shape: int) -> Callable[[np.random.Generator], Any]:
    return lambda rng: jnp.asarray(rng.integers(0, 2, size=shape), bool)


def complexes(*shape: int) -> Callable[[np.random.Generator], Any]:
    return lambda rng: jnp.asarray(
        rng.normal(size=shape) + 1j * rng.normal(size=shape), jnp.complex64
    )


def key(rng: np.random.Generator) -> Any:
    return jax.random.key(0)


def raw_key(rng: np.random.Generator) -> Any:
    return jax.random.PRNGKey(0)
