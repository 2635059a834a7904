"""Cumulative operations and their gradients on CPUs, beside JAX's.

    python benchmarks/cumulative.py [--rounds 20]

Along one long axis, along the last of a matrix, and along one with others behind it. Results are
compared before anything is timed. Compile times are of XLA alone, in processor time; run times are
wall times; medians of rounds in which both take turns.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from beside_jax import beside_jax, header, show
from jax import lax

import covector

sys.path.insert(0, str(Path(__file__).resolve().parent / "suite"))
from programs.program import Normal

SHAPES = {"65536": ((1 << 16,), 0), "256x256": ((256, 256), 1), "16x256x32": ((16, 256, 32), 1)}
"""By what they are called: a shape, and the axis."""

Fun = Callable[[Any], Any]


def operations(axis: int) -> dict[str, Fun]:
    return {
        "cumsum": lambda x: lax.cumsum(x, axis),
        "cumprod": lambda x: lax.cumprod(1 + 0.1 * x, axis),
        "cummax": lambda x: lax.cummax(x, axis),
        "cumlogsumexp": lambda x: lax.cumlogsumexp(x, axis),
    }


def gradient_of(library: Any, f: Fun) -> Callable[[Any, Any], Any]:
    return library.grad(lambda x, ct: (f(x) * ct).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    header()
    normal = Normal()
    for called, (shape, axis) in SHAPES.items():
        x, ct = jnp.asarray(normal(*shape)), jnp.asarray(normal(*shape))
        for name, f in operations(axis).items():
            show(f"{name} {called}", beside_jax(covector.jit(f), jax.jit(f), (x,), rounds))
            ours, theirs = (library.jit(gradient_of(library, f)) for library in (covector, jax))
            show("  gradient", beside_jax(ours, theirs, (x, ct), rounds))


if __name__ == "__main__":
    main()
