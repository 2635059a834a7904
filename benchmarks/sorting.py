"""Sorting on CPUs, and what sorts, beside JAX's.

    python benchmarks/sorting.py [--rounds 20]

Arrays of 100,000 elements. Results are compared before anything is timed. Compile times are of XLA
alone, in processor time; run times are wall times; medians of rounds in which both take turns.
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

N = 100_000


def cases() -> dict[str, tuple[Callable[..., Any], Any]]:
    """By name: a function and its argument."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=N), jnp.float32)
    rows, key = x.reshape(1000, -1), jax.random.key(0)
    return {
        "sort": (jnp.sort, x),
        "sort of rows": (jnp.sort, rows),
        "sort of columns": (lambda x: jnp.sort(x, 0), rows),
        "sort of bfloat16": (jnp.sort, x.astype(jnp.bfloat16)),
        "argsort": (jnp.argsort, x),
        "argsort of int32": (jnp.argsort, (x * 100).astype(jnp.int32)),
        "sort by two keys": (lambda x: lax.sort((x.round(1), jnp.flip(x), x), num_keys=2), x),
        "top 10": (lambda x: lax.top_k(x, 10), x),
        "top 10 of bfloat16": (lambda x: lax.top_k(x, 10), x.astype(jnp.bfloat16)),
        "top 10 of int32": (lambda x: lax.top_k(x, 10), (x * 1e6).astype(jnp.int32)),
        "median": (jnp.median, x),
        "unique": (lambda x: jnp.unique(x, size=1000), (x * 20).astype(jnp.int32)),
        "permutation": (lambda key: jax.random.permutation(key, N), key),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    header()
    for name, (f, x) in cases().items():
        show(name, beside_jax(covector.jit(f), jax.jit(f), (x,), rounds))


if __name__ == "__main__":
    main()
