"""Gradients within a memory budget, ours beside JAX's checkpointing: peak against time.

    python benchmarks/memory.py [--only GPT] [--rounds 5] [--plot memory.png] [--json memory.json]

Peak is `temp_size_in_bytes` of the compiled gradient, time the median of interleaved runs. JAX's
points: no checkpoint; `jax.checkpoint` around every k blocks, for every k (the best one-level
grouping is among them, and every block, and every root of n); the whole function with each of the
policies that save dots. They are compiled with the repair that JAX's own compile lacks on CPU up to
jaxlib 0.11.0 (`xla_disable_hlo_passes=cse_barrier_expander`); without it most of them save nothing.
Ours: budgets from JAX's peak down to the smallest feasible. Gradients are compared before anything
is timed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from memory_programs import Program, programs

import covector
from covector.frontend.budget import compiled_contractions
from covector.lowering.barriers import barrier_options

MIB = 2**20
SHARES = (0.75, 0.5, 0.35, 0.25, 0.18, 0.12)


@dataclass
class Point:
    """One way to compute a gradient. predicted: of ours, what the plan says (MiB)."""

    side: str
    name: str
    peak: float
    contractions: int
    run: Callable[..., Any]
    budget: float | None = None
    predicted: float | None = None
    seconds: float = 0.0


def baselines(program: Program) -> Iterator[Point]:
    policies = jax.checkpoint_policies
    n = len(program.blocks)
    ways = {"no checkpoint": program.loss()}
    for k in [k for k in range(1, n) if -(-n // k) != -(-n // (k + 1)) or k == 1]:
        ways[f"every {k}"] = program.loss(k)
    for name in ("dots_saveable", "dots_with_no_batch_dims_saveable", "nothing_saveable"):
        ways[name] = jax.checkpoint(program.loss(), policy=getattr(policies, name))
    options = barrier_options(jax.default_backend(), {})
    for name, loss in ways.items():
        run = jax.jit(jax.grad(loss)).lower(program.params, program.x).compile(options)
        yield Point("jax", name, peak_of(run), count_dots(run), run)


def ours(program: Program, theirs: list[Point]) -> Iterator[Point]:
    """No budget, then JAX's peaks and shares of its largest, the smallest feasible last."""
    gradient, args = covector.grad(program.loss()), (program.params, program.x)
    yield point_of("no budget", covector.compile(gradient, *args), None)
    largest = theirs[0].peak
    wanted = {share * largest for share in SHARES} | {p.peak for p in theirs}
    budgets = sorted({round(b, 1) * MIB for b in wanted if b < 0.97 * largest}, reverse=True)
    try:
        covector.compile(gradient, *args, memory_budget=1)
    except covector.BudgetError as error:
        budgets = [b for b in budgets if b > error.smallest] + [error.smallest]
    for budget in budgets:
        run = covector.compile(gradient, *args, memory_budget=int(budget))
        yield point_of(f"{budget / MIB:.1f} MiB", run, budget / MIB)


def point_of(name: str, run: Any, budget: float | None) -> Point:
    report = run.report()
    predicted, dots = report.predicted / MIB, report.compiled_contractions
    return Point("covector", name, report.actual / MIB, dots, run, budget, predicted)


def peak_of(run: Any) -> float:
    return float(run.memory_analysis().temp_size_in_bytes) / MIB


def count_dots(run: Any) -> int:
    return compiled_contractions(run)


def measure(program: Program, rounds: int) -> list[Point]:
    points = list(baselines(program))
    points += ours(program, list(points))
    args = program.params, program.x
    want = points[0].run(*args)
    for point in points:
        for a, b in zip(jax.tree.leaves(point.run(*args)), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(a, b, rtol=5e-3, atol=5e-4 * max(float(abs(b).max()), 1e-6))
    times: list[list[float]] = [[] for _ in points]
    for _ in range(rounds):
        for point, kept in zip(points, times, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(point.run(*args))
            kept.append(time.perf_counter() - start)
    for point, kept in zip(points, times, strict=True):
        point.seconds = statistics.median(kept)
    return points


def show(name: str, points: list[Point]) -> None:
    print(f"\n{name}\n{'':42}{'peak':>10}{'predicted':>11}{'dots':>6}{'time':>11}{'/ jax':>7}")
    for p in sorted(points, key=lambda p: (p.side, -p.peak)):
        predicted = f"{p.predicted:.1f}" if p.predicted is not None else ""
        print(
            f"  {p.side:10}{p.name:30}{p.peak:7.1f} MiB{predicted:>9}{p.contractions:>6}"
            f"{p.seconds * 1e3:8.1f} ms{p.seconds / points[0].seconds:7.2f}",
            flush=True,
        )
    worse = [p.name for p in points if p.side == "jax" and not is_matched(p, points)]
    print(f"  points of jax that no plan matches: {', '.join(worse) or 'none'}")


def is_matched(p: Point, points: list[Point]) -> bool:
    """Whether a plan needs no more memory (1 %) and no more contractions."""
    ours = [q for q in points if q.side == "covector"]
    return any(q.peak <= 1.01 * p.peak and q.contractions <= p.contractions for q in ours)


def plot(results: dict[str, list[Point]], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(4, len(results))
    rows = -(-len(results) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(4 * columns, 3.4 * rows), squeeze=False)
    for axis, (name, points) in zip(axes.flat, results.items(), strict=False):
        for side, mark in (("jax", "o"), ("covector", "s-")):
            some = sorted((p for p in points if p.side == side), key=lambda p: p.peak)
            axis.plot([p.peak for p in some], [p.seconds * 1e3 for p in some], mark, label=side)
        axis.set(title=name, xlabel="peak of temporaries (MiB)", ylabel="time (ms)")
        axis.set_ylim(bottom=0)
        axis.set_xlim(left=0)
    axes.flat[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="programs whose names contain this")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plot", help="where to draw peak against time")
    parser.add_argument("--json", help="where to write the numbers")
    options = parser.parse_args()
    warnings.simplefilter("always", covector.MemoryBudgetWarning)
    results: dict[str, list[Point]] = {}
    print(f"jax {jax.__version__}, {jax.default_backend()}")
    for make in programs():
        program = make()
        if options.only in program.name:
            results[program.name] = measure(program, options.rounds)
            show(program.name, results[program.name])
    if options.json:
        plain = {
            name: [{k: v for k, v in vars(p).items() if k != "run"} for p in points]
            for name, points in results.items()
        }
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(plain, file, indent=1)
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
