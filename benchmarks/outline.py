"""Compile time against run time: what `optimize` saves and costs, beside jax.jit.

    python benchmarks/outline.py [--blocks 12] [--rounds 20]

Value and gradient of two programs of unrolled blocks, compiled by jax, by covector for each goal,
and with all blocks that repeat as functions (the pass outline): examples/gpt.py, and a chain of
elementwise operations. Compile times are of XLA alone, wall and processor; run times are
interleaved medians. Before anything is timed the results are compared.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import covector
from covector.frontend.goals import GOALS

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
import gpt


def compiled(lowered: Any) -> tuple[Any, float, float]:
    """The executable, and the seconds that it took: wall, processor."""
    wall, processor = time.perf_counter(), time.process_time()
    made = lowered.compile()
    return made, time.perf_counter() - wall, time.process_time() - processor


def chain(blocks: int) -> tuple[Any, tuple[Any, ...]]:
    """Five steps of a recurrence for each block, on a thousand numbers."""

    def loss(x: Any) -> Any:
        for _ in range(5 * blocks):
            x = jnp.sin(x) * x + jnp.exp(-x * x)
        return x.sum()

    return loss, (jnp.linspace(-2, 2, 1000),)


def model(blocks: int) -> tuple[Any, tuple[Any, ...]]:
    config = gpt.Config(blocks=blocks)
    return gpt.loss, (gpt.init(config), next(iter(gpt.batches(config, 1))))


def measure(name: str, loss: Any, args: tuple[Any, ...], rounds: int) -> None:
    """Print the table of one program."""
    gradient = covector.value_and_grad(loss)
    lowered: dict[str, Any] = {"jax": jax.jit(jax.value_and_grad(loss)).lower(*args)}
    for goal in GOALS:
        lowered[goal] = covector.jit(gradient, optimize=goal).lower(*args)
    lowered["pass outline"] = covector.jit(gradient, passes="outline").lower(*args)
    made = {row: compiled(program) for row, program in lowered.items()}
    want = jax.tree.leaves(made["jax"][0](*args))
    seconds: dict[str, list[float]] = {row: [] for row in made}
    for row, (run, _, _) in made.items():
        for a, b in zip(jax.tree.leaves(run(*args)), want, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6, err_msg=row)
    for _ in range(rounds):
        for row, (run, _, _) in made.items():
            start = time.perf_counter()
            jax.block_until_ready(run(*args))
            seconds[row].append(time.perf_counter() - start)
    print(f"{name:16}{'compile s':>18}{'processor s':>18}{'run ms':>18}{'temp MiB':>16}")
    base, medians = made["jax"], {row: statistics.median(s) for row, s in seconds.items()}
    for row, (run, wall, processor) in made.items():
        columns = [
            f"{wall:8.2f} ({wall / base[1]:.2f})",
            f"{processor:8.2f} ({processor / base[2]:.2f})",
            f"{medians[row] * 1e3:8.2f} ({medians[row] / medians['jax']:.2f})",
        ]
        temporary = run.memory_analysis().temp_size_in_bytes / 2**20
        print(f"{row:16}" + "".join(f"{c:>18}" for c in columns) + f"{temporary:16.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    print(f"jax {jax.__version__}, {options.blocks} blocks, ratios to jax in parentheses")
    for name, make in (("GPT", model), ("chain", chain)):
        measure(name, *make(options.blocks), options.rounds)


if __name__ == "__main__":
    main()
