"""Gradients within a memory budget, ours beside JAX's checkpointing: peak against time.

    python benchmarks/memory.py [--only GPT] [--large] [--rounds 5] [--json memory.json] [--plot memory.png]
    python benchmarks/memory.py --show docs/memory.json      # the tables of what was saved

Peak is `temp_size_in_bytes` of the compiled gradient, times are of interleaved runs. JAX's points:
no checkpoint; `jax.checkpoint` around every k blocks, for every k (the best one-level grouping is
among them, and every block, and every root of n), of loops for every power of two; the policies that
save dots; of loops also equinox's checkpointed loop. They are compiled with the repair that JAX's own
compile lacks on CPU up to jaxlib 0.11.0 (`xla_disable_hlo_passes=cse_barrier_expander`); without it
most of them save nothing. Ours: budgets from JAX's peak down to the smallest feasible. Gradients are
compared before anything is timed. `--large`: also a GPT of 24 blocks, not scanned, whose programs XLA
compiles slowly (with 48 blocks it takes minutes and gigabytes for each).
"""  # noqa: E501

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from memory_loops import Looped, attention, lstm, neural_ode, scanned_gpt
from memory_programs import Program, dropout, mlp, random_dag, resnet, transformer, unet
from memory_results import Point, Results, load, plot, save, show

import covector
from covector.frontend.budget import compiled_contractions
from covector.lowering.barriers import barrier_options

MIB = 2**20
SHARES = (0.75, 0.5, 0.35, 0.25, 0.18, 0.12)
FEW_SHARES = (0.5, 0.25)
SLOW = 5.0
"""Seconds to compile, from which on only a few shares are asked for."""
NEAR = 1.03
"""Peaks of JAX that are so near to each other get one budget."""

Made = Program | Looped
Runs = list[tuple[Point, Callable[..., Any]]]


def programs(large: bool) -> list[Callable[[], Made]]:
    found: list[Callable[[], Made]] = [
        lambda: mlp("MLP, tanh", jnp.tanh),
        lambda: mlp("MLP, gelu", jax.nn.gelu),
        dropout,
        lambda: transformer(12),
        resnet,
        unet,
        lambda: random_dag(0),
        lambda: random_dag(1),
        lstm,
        attention,
        scanned_gpt,
        neural_ode,
    ]
    return [*found, lambda: transformer(24, width=48, batch=4)] if large else found


def baselines(program: Made) -> Iterator[tuple[Point, Any]]:
    options = barrier_options(jax.default_backend(), {})
    for name, loss in program.ways():
        run = jax.jit(jax.grad(loss)).lower(program.params, program.x).compile(options)
        peak = float(run.memory_analysis().temp_size_in_bytes) / MIB
        yield Point("jax", name, peak, compiled_contractions(run)), run


def ours(program: Made, theirs: list[Point]) -> Iterator[tuple[Point, Any]]:
    """No budget, then JAX's peaks and shares of its largest, the smallest feasible last."""
    gradient, args = covector.grad(program.loss()), (program.params, program.x)
    start = time.perf_counter()
    yield point_of("no budget", covector.compile(gradient, *args), None)
    quick = time.perf_counter() - start < SLOW
    try:
        covector.compile(gradient, *args, memory_budget=1)
    except covector.BudgetError as error:
        wanted = budgets_of(theirs, program.is_loop, SHARES if quick else FEW_SHARES)
        budgets = [b for b in wanted if b > error.smallest] + [error.smallest]
    for budget in budgets:
        run = covector.compile(gradient, *args, memory_budget=budget)
        yield point_of(f"{budget / MIB:.1f} MiB", run, budget / MIB)


def budgets_of(theirs: list[Point], is_loop: bool, shares: Sequence[float]) -> list[int]:
    """In bytes, downwards. Where contractions tell what a point costs, only JAX's best count."""
    largest = theirs[0].peak
    best = [p for p in theirs if is_loop or not any(is_better(q, p) for q in theirs)]
    peaks = sorted(p.peak for p in best)
    apart = [b for a, b in zip([0.0, *peaks], peaks, strict=False) if b > NEAR * a]
    wanted = {share * largest for share in shares} | set(apart)
    return sorted({int(b * MIB) for b in wanted if b < 0.97 * largest}, reverse=True)


def is_better(q: Point, p: Point) -> bool:
    """Whether a point needs less memory, and no more contractions, or the other way about."""
    ours, theirs = (q.peak, q.contractions), (p.peak, p.contractions)
    return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))


def point_of(name: str, run: Any, budget: float | None) -> tuple[Point, Any]:
    report = run.report()
    predicted, dots = report.predicted / MIB, report.compiled_contractions
    return Point("covector", name, report.actual / MIB, dots, budget, predicted), run


def measure(program: Made, rounds: int) -> list[Point]:
    args = program.params, program.x
    runs: Runs = []
    want: Any = None
    for make in (lambda: baselines(program), lambda: ours(program, [p for p, _ in runs])):
        for point, run in make():
            got = jax.tree.leaves(run(*args))
            want = got if want is None else want
            compare(got, want)
            runs.append((point, run))
            print(f"{program.name}: {point.side}, {point.name}", file=sys.stderr, flush=True)
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for (_, run), kept in zip(runs, times, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(run(*args))
            kept.append(time.perf_counter() - start)
    for (point, _), kept in zip(runs, times, strict=True):
        point.seconds, point.fastest = statistics.median(kept), min(kept)
    return [point for point, _ in runs]


def compare(got: list[Any], want: list[Any]) -> None:
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=5e-3, atol=5e-4 * max(float(abs(b).max()), 1e-6))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="programs whose names contain this")
    parser.add_argument("--large", action="store_true", help="also a GPT of 24 blocks, unrolled")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plot", type=Path, help="where to draw peak against time")
    parser.add_argument("--json", type=Path, help="where to write the numbers, beside those there")
    parser.add_argument("--show", type=Path, help="print the tables of saved numbers")
    parser.add_argument("--points", action="store_true", help="each point, not only the summary")
    options = parser.parse_args()
    results = load(options.show) if options.show else run_all(options)
    show(results, points=options.points or not options.show)
    if options.plot:
        plot(results, options.plot)


def run_all(options: argparse.Namespace) -> Results:
    warnings.simplefilter("always", covector.MemoryBudgetWarning)
    known = options.json and options.json.exists()
    results = load(options.json) if known else Results({}, {}, [])
    for make in programs(options.large):
        program = make()
        if options.only not in program.name:
            continue
        results.add(program.name, program.is_loop, measure(program, options.rounds))
        if options.json:
            save(results, options.json)
    return results


if __name__ == "__main__":
    main()
