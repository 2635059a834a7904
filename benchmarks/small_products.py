"""Many products of small matrices on CPUs, and chains of them, beside JAX's.

    python benchmarks/small_products.py [--rounds 20]

Of 1000 square matrices each: one product, the gradient of a chain of five, and the gradient of a
scan of 20 steps of three products, as poses along an arm or filters over time have them. Results
are compared before anything is timed. Compile times are of XLA alone, in processor time; run times
are wall times; medians of rounds in which both take turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from beside_jax import beside_jax, header, show
from jax import lax

import covector

MATRICES = 1000


def product(library: Any) -> Callable[..., Any]:
    return lambda a, b: a @ b


def chain(library: Any) -> Callable[..., Any]:
    return library.grad(lambda a, b: ((a @ b @ a @ b @ a) ** 2).sum(), (0, 1))


def scanned(library: Any) -> Callable[..., Any]:
    def loss(a: Any, b: Any) -> Any:
        return lax.scan(lambda c, _: (jnp.sin(c @ b @ a @ b), None), a, None, length=20)[0].sum()

    return library.grad(loss, (0, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    header()
    draw = np.random.default_rng(0)
    for n in (3, 4, 6, 8):
        near = np.eye(n) + 0.1 * draw.normal(size=(2, MATRICES, n, n))
        args = tuple(jnp.asarray(x / n, jnp.float32) for x in near)
        for name, make in {"product": product, "chain": chain, "scan": scanned}.items():
            ours, theirs = (library.jit(make(library)) for library in (covector, jax))
            show(f"{name}, {n}x{n}", beside_jax(ours, theirs, args, rounds))


if __name__ == "__main__":
    main()
