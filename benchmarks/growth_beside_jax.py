"""How staging, compiling and running grow with depth and with the order of differentiation.

    python benchmarks/growth_beside_jax.py [--largest 96] [--compiled 24] [--out build/growth]
    python benchmarks/growth_beside_jax.py --show docs/growth.json
    python benchmarks/growth_beside_jax.py --memory [--blocks 48]

Depth: the gradient of the GPT of examples/gpt.py with 1 to 96 unrolled blocks; up to `--compiled`
of them XLA compiles it too, and it is run. Order: the derivative of a network of one input and
output, taken 1 to 4 times, by reverse mode each time. JAX and covector take turns in each round;
medians. Staging is Python to StableHLO in processor time of its thread, compiling processor time
of all threads, a run wall time. Writes growth.json and growth.png.

Memory: the peak resident memory of staging the Hessian-vector product, each library in a process
of its own, less what the process has before it starts to stage.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import covector

sys.path.insert(0, str(Path(__file__).resolve().parent / "suite"))
from programs.gpt import arguments, gpt, hvp
from results import environment, rounded, save, where

LIBRARIES = {"covector": covector, "jax": jax}
DEPTHS = (1, 3, 6, 12, 24, 48, 96)
ORDERS = (1, 2, 3, 4)
STAGES = ("stage", "compile", "run")
RUN_SECONDS = 0.2
"""How long a program is run again and again."""

Staged = tuple[Callable[[Any], Any], tuple[Any, ...]]
"""library -> a function that it derived and wrapped in its `jit`, new each time; its arguments."""

Rows = list[dict[str, Any]]


def at_depth(blocks: int) -> Staged:
    """The gradient of the GPT with that many blocks."""
    return lambda library: library.jit(library.grad(lambda *xs: gpt.loss(*xs))), arguments(blocks)


def at_order(order: int) -> Staged:
    """The derivative of that order of a network of four layers."""
    rng = np.random.default_rng(0)
    shapes = ((1, 16), (16, 16), (16, 16), (16, 1))
    ws = [jnp.asarray(rng.normal(size=s) / s[0] ** 0.5, jnp.float32) for s in shapes]

    def network(x: Any) -> Any:
        h = x[None]
        for w in ws:
            h = jnp.tanh(h @ w)
        return h[0]

    def derived(library: Any) -> Any:
        fun = lambda x: network(x)
        for _ in range(order):
            fun = library.grad(fun)
        return library.jit(fun)

    return derived, (jnp.float32(0.3),)


def measure(staged: Staged, rounds: int, compiles: bool) -> dict[str, dict[str, float]]:
    """Median seconds by stage and library; a round before the first is not counted.

    Compiled in one round only, after which the results are compared.
    """
    make, args = staged
    found: dict[str, dict[str, list[float]]] = {}
    compiled: dict[str, Any] = {}
    for i in range(-1, rounds):
        for name in LIBRARIES if i % 2 else reversed(LIBRARIES):
            gc.collect()
            start = time.thread_time()
            lowered = make(LIBRARIES[name]).lower(*args)
            if i >= 0:
                found.setdefault("stage", {}).setdefault(name, []).append(
                    time.thread_time() - start
                )
            if compiles and i == 0:
                start = time.process_time()
                compiled[name] = lowered.compile()
                found.setdefault("compile", {})[name] = [time.process_time() - start]
    if compiles:
        ours, theirs = (compiled[name](*args) for name in LIBRARIES)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), ours, theirs
        )
        found["run"] = run(compiled, args)
    return {
        stage: {name: rounded(statistics.median(times)) for name, times in by_library.items()}
        for stage, by_library in found.items()
    }


def run(compiled: dict[str, Any], args: tuple[Any, ...]) -> dict[str, list[float]]:
    """Seconds of each run, the libraries in turns."""
    times: dict[str, list[float]] = {name: [] for name in LIBRARIES}
    end = time.perf_counter() + RUN_SECONDS * len(LIBRARIES)
    while time.perf_counter() < end or len(times["jax"]) < 3:
        for name in LIBRARIES:
            start = time.perf_counter()
            jax.block_until_ready(compiled[name](*args))
            times[name].append(time.perf_counter() - start)
    return times


# -- tables and plots ------------------------------------------------------------------------------


def show(results: dict[str, Any]) -> None:
    print(where(results["environment"]))
    for title in ("blocks", "order"):
        for stage in STAGES:
            rows = [row for row in results[title] if stage in row]
            print(f"\n{title:8}{stage + ' ms':>12}{'jax':>10}{'ratio':>8}{'growth':>9}{'jax':>8}")
            for before, row in zip([None, *rows], rows, strict=False):
                print(line(row, before, stage))


def line(row: dict[str, Any], before: dict[str, Any] | None, stage: str) -> str:
    """One size: milliseconds, their ratio, and how many times more than at the size before."""
    ours, theirs = (row[stage][name] for name in LIBRARIES)
    text = f"{row['size']:<8}{ours * 1e3:12.4g}{theirs * 1e3:10.4g}{ours / theirs:8.2f}"
    if before is not None:
        growth = [row[stage][name] / before[stage][name] for name in LIBRARIES]
        text += f"{growth[0]:9.2f}{growth[1]:8.2f}"
    return text


def plot(results: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(STAGES), figsize=(12, 7), squeeze=False)
    for row, title in zip(axes, ("blocks", "order"), strict=True):
        for ax, stage in zip(row, STAGES, strict=True):
            rows = [r for r in results[title] if stage in r]
            sizes = [r["size"] for r in rows]
            for name in LIBRARIES:
                ax.plot(sizes, [r[stage][name] for r in rows], marker="o", label=name)
            ax.set(xlabel=title, ylabel="seconds", title=stage, yscale="log")
            ax.set_xscale("log", base=2)
            ax.set_xticks(sizes, list(map(str, sizes)))
            ax.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


# -- memory ----------------------------------------------------------------------------------------


def peak() -> float:
    """The most resident memory that this process had so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def stage_hvp(name: str, blocks: int) -> float:
    """MiB that staging the hvp adds to the peak of this process."""
    library, args = LIBRARIES[name], arguments(blocks)
    small = arguments(1)
    library.jit(hvp(library, gpt.loss)).lower(*small)  # what a library loads at its first use
    before = peak()
    library.jit(hvp(library, gpt.loss)).lower(*args)
    return peak() - before


def memory(blocks: int) -> None:
    found = {}
    for name in LIBRARIES:
        command = [sys.executable, __file__, "--memory-of", name, "--blocks", str(blocks)]
        found[name] = float(subprocess.run(command, check=True, capture_output=True).stdout)
    ours, theirs = found["covector"], found["jax"]
    print(where(environment()))
    print(f"peak memory of staging the hvp of {blocks} blocks: covector {ours:.0f} MiB, ", end="")
    print(f"jax {theirs:.0f} MiB, ratio {ours / theirs:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=96, help="the largest number of blocks")
    parser.add_argument("--compiled", type=int, default=24, help="the largest that XLA compiles")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("build/growth"))
    parser.add_argument("--show", type=Path, help="only show these results")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--memory-of", choices=LIBRARIES)
    parser.add_argument("--blocks", type=int, default=48)
    options = parser.parse_args()
    if options.show:
        show(json.loads(options.show.read_text()))
    elif options.memory_of:
        print(stage_hvp(options.memory_of, options.blocks))
    elif options.memory:
        memory(options.blocks)
    else:
        results: dict[str, Any] = {"environment": environment(), "blocks": [], "order": []}
        for title, sizes, make in (("blocks", DEPTHS, at_depth), ("order", ORDERS, at_order)):
            for size in sizes:
                if title == "blocks" and size > options.largest:
                    continue
                compiles = title == "order" or size <= options.compiled
                measured = measure(make(size), options.rounds, compiles)
                results[title].append({"size": size, **measured})
                print(title, size, measured, file=sys.stderr)
        save(options.out / "growth.json", results)
        plot(results, options.out / "growth.png")
        show(results)


if __name__ == "__main__":
    main()
