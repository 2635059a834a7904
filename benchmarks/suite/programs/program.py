"""What a program of the suite is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np


def gradient(library: Any, fun: Callable[..., Any]) -> Callable[..., Any]:
    """The gradient in the first argument, as `library` has it."""
    return library.grad(fun)


@dataclass(frozen=True)
class Program:
    """A function and what is differentiated of it.

    derive: (library, fun) -> the function that is staged, compiled and run.
    kind: "gradient" or "higher" (order), which have targets of their own.
    compiles: whether it is compiled and run too, or only staged (where compiling takes minutes).
    repeats: whether its blocks are unrolled, so that `optimize` finds them.
    rtol: how closely the libraries have to agree, relative to the largest entry of a result.
    """

    name: str
    fun: Callable[..., Any]
    args: tuple[Any, ...]
    derive: Callable[[Any, Callable[..., Any]], Callable[..., Any]] = gradient
    kind: str = "gradient"
    compiles: bool = True
    repeats: bool = False
    rtol: float = 1e-3


class Normal:
    """Reproducible float32 samples: `Normal()(3, 4, scale=0.1)`."""

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)

    def __call__(self, *shape: int, scale: float = 1.0) -> Any:
        return jnp.asarray(scale * self._random.normal(size=shape), jnp.float32)
