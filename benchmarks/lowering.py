"""Time of lowering to StableHLO, ours against jax.jit's, of the gradient of a deep network.

    python benchmarks/lowering.py [--layers 300] [--rounds 5]

Prints microseconds of processor time for each equation, the best of the rounds, verification of the
module included. Exits with 1 when ours takes more than 30.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from covector.frontend.importer import from_jaxpr
from covector.lowering.emit import lower_module

LIMIT = 30.0


def network(x: Any, weights: Any) -> Any:
    for w in weights:
        x = jnp.tanh(x @ w) + jnp.sin(x) * 2.0
    return (x**2).sum()


def best(run: Callable[[], Any], rounds: int) -> float:
    """The least processor time of a run, in seconds."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    arguments = jnp.ones((4, 8)), [jnp.eye(8)] * options.layers
    gradient = jax.grad(network)
    module = from_jaxpr(jax.make_jaxpr(gradient)(*arguments))
    n = len(module.main)
    ours = best(lambda: lower_module(module), options.rounds) / n * 1e6
    theirs = 0.0
    for _ in range(options.rounds):  # jax.jit remembers: each round has a function of its own
        traced = jax.jit(lambda *xs: gradient(*xs)).trace(*arguments)
        time_taken = best(traced.lower, 1) / n * 1e6
        theirs = min(theirs or time_taken, time_taken)
    print(f"{n} equations: covector {ours:.1f} us, jax.jit {theirs:.1f} us for each")
    return ours > LIMIT


if __name__ == "__main__":
    sys.exit(main())
