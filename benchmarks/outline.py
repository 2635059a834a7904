"""Compile time against run time: what `optimize` saves and costs, beside jax.jit.

    python benchmarks/outline.py [--blocks 12] [--rounds 20]

The value and gradient of examples/gpt.py with unrolled blocks, compiled by jax and by covector for
each goal, and for run time with the level of LLVM's optimisation that the others have. Compile
times are of XLA alone, wall and processor; run times are interleaved medians.
Before anything is timed the results are compared.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

import covector
from covector.passes.outline import GOALS

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
import gpt


def compiled(lowered: Any, options: dict[str, Any] | None = None) -> tuple[Any, float, float]:
    """The executable, and the seconds that it took: wall, processor."""
    wall, processor = time.perf_counter(), time.process_time()
    made = lowered.compile(options)
    return made, time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    config = gpt.Config(blocks=options.blocks)
    args = (gpt.init(config), next(iter(gpt.batches(config, 1))))
    lowered: dict[str, Any] = {"jax": jax.jit(jax.value_and_grad(gpt.loss)).lower(*args)}
    for goal in GOALS:
        gradient = covector.value_and_grad(gpt.loss)
        lowered[goal] = covector.jit(gradient, optimize=goal).lower(*args)
    made = {name: compiled(program) for name, program in lowered.items()}
    made["  LLVM's level 1"] = compiled(
        lowered["run-time"].traced.lower(), {"xla_backend_optimization_level": 1}
    )
    want = jax.tree.leaves(made["jax"][0](*args))
    seconds: dict[str, list[float]] = {name: [] for name in made}
    for name, (run, _, _) in made.items():
        for a, b in zip(jax.tree.leaves(run(*args)), want, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6, err_msg=name)
    for _ in range(options.rounds):
        for name, (run, _, _) in made.items():
            start = time.perf_counter()
            jax.block_until_ready(run(*args))
            seconds[name].append(time.perf_counter() - start)
    print(f"jax {jax.__version__}, GPT of {options.blocks} blocks, ratios to jax in parentheses")
    print(f"{'':16}{'compile s':>18}{'processor s':>18}{'run ms':>18}{'temp MiB':>16}")
    base = made["jax"]
    for name, (run, wall, processor) in made.items():
        median = statistics.median(seconds[name])
        columns = [
            f"{wall:8.2f} ({wall / base[1]:.2f})",
            f"{processor:8.2f} ({processor / base[2]:.2f})",
            f"{median * 1e3:8.1f} ({median / statistics.median(seconds['jax']):.2f})",
        ]
        temporary = run.memory_analysis().temp_size_in_bytes / 2**20
        print(f"{name:16}" + "".join(f"{c:>18}" for c in columns) + f"{temporary:16.1f}")


if __name__ == "__main__":
    main()
