"""Loops run backwards: memory against time, ours beside JAX's and equinox's, in one process.

    python benchmarks/loops.py [--steps 512] [--width 256] [--rounds 5] [--plot loops.png]

A neural ODE by Euler's method: x <- x + dt tanh(x W) V. Its gradient by W, V and the start is taken

- with all residuals kept: `jax.lax.scan` under jax, and under covector;
- with a state kept every sqrt(steps) and blocks computed again (`jax.checkpoint` of an inner scan);
- from S snapshots: `covector.checkpoint_loops(snapshots=S)` of the scan, the same loop as a
  `while_loop` whose length nobody knows before, and equinox's checkpointed `while_loop`.

Temporary bytes are XLA's own figures. Before anything is timed the gradients are compared. The
advances are the steps that are taken beside one in each reversed step, counted for covector's
schedule (`covector.ir.revolve`, an optimum; the tests count them as they happen).
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import covector
from covector.ir.revolve import advances

Loss = Callable[..., Any]


@dataclass
class Row:
    """One way to take the gradient, and what it needs."""

    name: str
    snapshots: int | None
    run: Callable[..., Any]
    bytes: int
    seconds: list[float]


def step(p: Any, x: Any) -> Any:
    return x + 0.01 * jnp.tanh(x @ p["w"]) @ p["v"]


def scanned(steps: int, p: Any, x: Any) -> Any:
    y, _ = lax.scan(lambda x, _: (step(p, x), None), x, length=steps)
    return (y * y).mean()


def in_blocks(steps: int, p: Any, x: Any) -> Any:
    """Two levels: the states between blocks are kept, a block is computed again."""
    inner = math.isqrt(steps)

    @jax.checkpoint
    def block(x: Any) -> Any:
        return lax.scan(lambda x, _: (step(p, x), None), x, length=inner)[0]

    y, _ = lax.scan(lambda x, _: (block(x), None), x, length=steps // inner)
    y, _ = lax.scan(lambda x, _: (step(p, x), None), y, length=steps % inner)
    return (y * y).mean()


def until(steps: int, while_loop: Any, p: Any, x: Any) -> Any:
    """The loop as a while: the number of steps is a value."""
    _, y = while_loop(lambda c: c[0] < steps, lambda c: (c[0] + 1, step(p, c[1])), (0, x))
    return (y * y).mean()


def equinox_loop(snapshots: int, cond: Any, body: Any, init: Any) -> Any:
    return eqxi.while_loop(cond, body, init, kind="checkpointed", checkpoints=snapshots)


def candidates(steps: int, snapshots: list[int]) -> list[tuple[str, int | None, Any, Loss]]:
    """(name, snapshots, who takes the gradient, loss)"""
    bounded = partial(until, steps)
    found: list[tuple[str, int | None, Any, Loss]] = [
        ("jax, all kept", None, jax, partial(scanned, steps)),
        ("jax, blocks of sqrt(n)", None, jax, partial(in_blocks, steps)),
        ("covector, all kept", None, covector, partial(scanned, steps)),
    ]
    for s in snapshots:
        checkpointed = covector.checkpoint_loops(snapshots=s)
        found += [
            ("covector, scan", s, covector, checkpointed(partial(scanned, steps))),
            ("covector, while", s, covector, checkpointed(partial(bounded, lax.while_loop))),
            ("equinox, while", s, jax, partial(bounded, partial(equinox_loop, s))),
        ]
    return found


def compiled(who: Any, loss: Loss, args: tuple[Any, ...]) -> Any:
    return who.jit(who.grad(loss, (0, 1))).lower(*args).compile()


def measure(args: tuple[Any, ...], steps: int, snapshots: list[int], rounds: int) -> list[Row]:
    rows = []
    want: Any = None
    for name, s, who, loss in candidates(steps, snapshots):
        run = compiled(who, loss, args)
        got = jax.tree.leaves(run(*args))
        want = got if want is None else want
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        rows.append(Row(name, s, run, run.memory_analysis().temp_size_in_bytes, []))
    for _ in range(rounds):
        for row in rows:
            start = time.perf_counter()
            jax.block_until_ready(row.run(*args))
            row.seconds.append(time.perf_counter() - start)
    return rows


def show(rows: list[Row], steps: int) -> None:
    base = statistics.median(rows[0].seconds)
    print(f"{'':26}{'snapshots':>10}{'advances':>10}{'temp MiB':>10}{'ms':>9}{'to JAX':>8}")
    for row in rows:
        seconds = statistics.median(row.seconds)
        ours = row.snapshots and row.name.startswith("covector")
        taken = str(advances(steps, row.snapshots)) if ours and row.snapshots else "-"
        kept = str(row.snapshots or "-")
        numbers = f"{row.bytes / 2**20:10.2f}{seconds * 1e3:9.1f}{seconds / base:8.2f}"
        print(f"{row.name:26}{kept:>10}{taken:>10}{numbers}")


def plot(rows: list[Row], steps: int, path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5))
    for name in dict.fromkeys(row.name for row in rows):
        own = [row for row in rows if row.name == name]
        points = [(row.bytes / 2**20, statistics.median(row.seconds) * 1e3) for row in own]
        axes.plot(*zip(*points, strict=True), "o-", label=name, markersize=5)
        for row, (x, y) in zip(own, points, strict=True):
            if row.snapshots:
                axes.annotate(str(row.snapshots), (x, y), textcoords="offset points", xytext=(4, 4))
    axes.set(xscale="log", xlabel="temporary memory (MiB)", ylabel="time of a gradient (ms)")
    axes.set_title(f"Neural ODE, {steps} steps; the numbers are snapshots")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    print(f"wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=512)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--snapshots", type=int, nargs="+", default=[4, 8, 16, 32, 64])
    parser.add_argument("--plot")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    p = {
        k: jnp.asarray(rng.normal(size=(options.width,) * 2) / options.width**0.5, jnp.float32)
        for k in ("w", "v")
    }
    x = jnp.asarray(rng.normal(size=(options.batch, options.width)), jnp.float32)
    rows = measure((p, x), options.steps, options.snapshots, options.rounds)
    print(f"jax {jax.__version__}, {options.steps} steps, state {x.nbytes / 2**20:.3f} MiB")
    show(rows, options.steps)
    if options.plot:
        plot(rows, options.steps, options.plot)


if __name__ == "__main__":
    main()
