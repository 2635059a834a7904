"""Staging of gradient programs, ours beside JAX's, in one process.

    python benchmarks/staging.py [--blocks 12] [--rounds 5]

For the GPT of examples/gpt.py with unrolled blocks: time from Python function to program, of the
derivative alone, and to StableHLO; equations of the gradient program; time of a compiled gradient.
Rounds of the two are interleaved; medians are printed, with the ratio ours / JAX. Before anything
is timed the two gradients are compared.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import covector
from covector.passes import Pipeline

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
import gpt

GRADIENT = "linearize{wrt=0},transpose,cse,dce"


def seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def fresh(fun: Callable[..., Any]) -> Callable[..., Any]:
    """The same function as a new object, so that no cache knows it."""

    def loss(*args: Any) -> Any:
        return fun(*args)

    return loss


def count_jaxpr(jaxpr: Any) -> int:
    """Equations of a jaxpr and of the jaxprs in it, each called one counted once."""
    seen: set[int] = set()

    def count(j: Any) -> int:
        if id(j) in seen:
            return 0
        seen.add(id(j))
        total = len(j.eqns)
        for eqn in j.eqns:
            for value in eqn.params.values():
                for item in value if isinstance(value, (tuple, list)) else (value,):
                    inner = getattr(item, "jaxpr", item)
                    total += count(inner) if hasattr(inner, "eqns") else 0
        return total

    return count(jaxpr.jaxpr)


def count_program(module: covector.Module) -> int:
    """Equations of a module, each graph counted once."""
    return sum(len(g) for g in module.all_graphs())


def one_round(args: tuple[Any, ...]) -> dict[str, tuple[float, float]]:
    """(ours, JAX's) seconds for each stage."""
    forward_jax, _ = seconds(lambda: jax.make_jaxpr(fresh(gpt.loss))(*args))
    both_jax, _ = seconds(lambda: jax.make_jaxpr(jax.grad(fresh(gpt.loss)))(*args))
    lower_jax, _ = seconds(lambda: jax.jit(jax.grad(fresh(gpt.loss))).trace(*args).lower())
    forward, module = seconds(lambda: covector.make_ir(fresh(gpt.loss))(*args))
    pipeline = Pipeline.of(GRADIENT, verify_each=False)
    derive, _ = seconds(lambda: pipeline.run(module))
    lower, _ = seconds(lambda: covector.jit(covector.grad(fresh(gpt.loss))).trace(*args).lower())
    return {
        "trace the loss": (forward, forward_jax),
        "differentiate": (derive, both_jax - forward_jax),
        "trace, differentiate, lower": (lower, lower_jax),
    }


def run_times(args: tuple[Any, ...], rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of compiled gradients, ours and JAX's, interleaved; they must agree first."""
    ours, theirs = covector.jit(covector.grad(gpt.loss)), jax.jit(jax.grad(gpt.loss))
    for a, b in zip(jax.tree.leaves(ours(*args)), jax.tree.leaves(theirs(*args)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for run, kept in zip((ours, theirs), times, strict=True):
            kept.append(seconds(lambda run=run: jax.block_until_ready(run(*args)))[0])
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    config = gpt.Config(blocks=options.blocks)
    args = (gpt.init(config), next(iter(gpt.batches(config, 1))))
    one_round(args)  # what is only done once in a process is not counted
    rounds = [one_round(args) for _ in range(options.rounds)]
    print(
        f"jax {jax.__version__}, GPT of {options.blocks} blocks, medians of {options.rounds} rounds"
    )
    print(f"{'':30}{'covector':>12}{'jax':>12}{'ratio':>8}")
    for name in rounds[0]:
        ours = statistics.median(r[name][0] for r in rounds)
        theirs = statistics.median(r[name][1] for r in rounds)
        print(f"{name:30}{ours * 1e3:9.1f} ms{theirs * 1e3:9.1f} ms{ours / theirs:8.2f}")
    program = covector.run_passes(covector.make_ir(gpt.loss)(*args), "grad{wrt=0},cse,dce")
    n_ours = count_program(program)
    n_jax = count_jaxpr(jax.make_jaxpr(jax.grad(gpt.loss))(*args))
    print(f"{'equations of the gradient':30}{n_ours:12}{n_jax:12}{n_ours / n_jax:8.2f}")
    ours_run, jax_run = run_times(args, max(20, 4 * options.rounds))
    a, b = statistics.median(ours_run), statistics.median(jax_run)
    print(f"{'run the gradient':30}{a * 1e3:9.1f} ms{b * 1e3:9.1f} ms{a / b:8.2f}")


if __name__ == "__main__":
    main()
