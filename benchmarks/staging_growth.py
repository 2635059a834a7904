"""How staging grows with depth and with the order of differentiation, ours beside JAX's.

    python benchmarks/staging_growth.py [--out build/growth]
    python benchmarks/staging_growth.py --memory [--blocks 48]

Depth: the gradient of the GPT of examples/gpt.py with 1 to 96 unrolled blocks, from Python function
to StableHLO. Order: the derivative of a network of one input and output, taken 1 to 4 times, by
reverse mode each time. Processor time of the thread, rounds interleaved, medians; written as JSON
and plotted as PNG, with the growth: how many times more from each depth or order to the next.

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

LIBRARIES = {"covector": covector, "jax": jax}
DEPTHS = (1, 3, 6, 12, 24, 48, 96)
ORDERS = (1, 2, 3, 4)
Staged = Callable[[Any], Any]
"""library -> a program staged by it, new each time."""


def at_depth(blocks: int) -> Staged:
    """The gradient of the GPT with that many blocks, to StableHLO."""
    args = arguments(blocks)

    def stage(library: Any) -> Any:
        return library.jit(library.grad(lambda *xs: gpt.loss(*xs))).lower(*args)

    return stage


def at_order(order: int) -> Staged:
    """The derivative of that order of a network of four layers, to StableHLO."""
    rng = np.random.default_rng(0)
    shapes = ((1, 16), (16, 16), (16, 16), (16, 1))
    ws = [jnp.asarray(rng.normal(size=s) / s[0] ** 0.5, jnp.float32) for s in shapes]

    def network(x: Any) -> Any:
        h = x[None]
        for w in ws:
            h = jnp.tanh(h @ w)
        return h[0]

    def stage(library: Any) -> Any:
        fun = lambda x: network(x)  # noqa: E731
        for _ in range(order):
            fun = library.grad(fun)
        return library.jit(fun).lower(jnp.float32(0.3))

    return stage


def seconds(staged: Staged, rounds: int) -> dict[str, float]:
    """The median of each library; a round before the first is not counted."""
    found: dict[str, list[float]] = {name: [] for name in LIBRARIES}
    for i in range(-1, rounds):
        for name in LIBRARIES if i % 2 else reversed(LIBRARIES):
            gc.collect()
            start = time.thread_time()
            staged(LIBRARIES[name])
            if i >= 0:
                found[name].append(time.thread_time() - start)
    return {name: statistics.median(times) for name, times in found.items()}


def table(title: str, sizes: tuple[int, ...], make: Callable[[int], Staged], rounds: int) -> Any:
    """Seconds and growth at each size, printed and returned."""
    print(f"{title:10}{'covector':>12}{'jax':>12}{'ratio':>8}{'growth':>10}{'of jax':>8}")
    rows: list[dict[str, Any]] = []
    for size in sizes:
        found = seconds(make(size), rounds)
        row: dict[str, Any] = {"size": size, **found}
        cells = f"{size:<10}" + "".join(f"{found[name] * 1e3:9.1f} ms" for name in LIBRARIES)
        cells += f"{found['covector'] / found['jax']:8.2f}"
        if rows:
            growth = [found[name] / rows[-1][name] for name in LIBRARIES]
            cells += f"{growth[0]:10.2f}{growth[1]:8.2f}"
        print(cells, flush=True)
        rows.append(row)
    return rows


def plot(results: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(results), figsize=(5 * len(results), 4), squeeze=False)
    for ax, (title, rows) in zip(axes[0], results.items(), strict=True):
        for name in LIBRARIES:
            ax.plot([r["size"] for r in rows], [r[name] for r in rows], marker="o", label=name)
        ax.set(xlabel=title, ylabel="seconds of staging", yscale="log")
        ax.set_xscale("log", base=2)
        ax.set_xticks([r["size"] for r in rows], [str(r["size"]) for r in rows])
        ax.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
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
    print(f"peak memory of staging the hvp of {blocks} blocks: covector {ours:.0f} MiB, ", end="")
    print(f"jax {theirs:.0f} MiB, ratio {ours / theirs:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=96, help="the largest number of blocks")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("build/growth"))
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--memory-of", choices=LIBRARIES)
    parser.add_argument("--blocks", type=int, default=48)
    options = parser.parse_args()
    if options.memory_of:
        print(stage_hvp(options.memory_of, options.blocks))
    elif options.memory:
        memory(options.blocks)
    else:
        depths = tuple(n for n in DEPTHS if n <= options.largest)
        results = {
            "blocks": table("blocks", depths, at_depth, options.rounds),
            "order": table("order", ORDERS, at_order, options.rounds),
        }
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "growth.json").write_text(json.dumps(results, indent=1))
        plot(results, options.out / "growth.png")


if __name__ == "__main__":
    main()
