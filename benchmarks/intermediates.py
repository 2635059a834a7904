"""What derivatives of a function's inside cost: `derivative` between two layers, and `monitor`.

    python benchmarks/intermediates.py [--rounds 30] [--blocks 12]

On the transformer of `examples/layers.py`. The vjp of a middle block by the block before it, found
by name in the whole model, beside that part written out by hand, and the gradient of the whole;
then `monitor`, which gives statistics of every block's output and of its cotangent, beside the
gradient. All are compiled and timed in turn, in processor time, which other work on the machine
hardly changes: a ratio is the median over rounds of the ratios within a round. Operations are XLA's
count of floating-point ones in the compiled program.
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

import covector

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import layers


def contestants(blocks: int) -> dict[str, tuple[Callable[..., Any], str]]:
    """Functions of (x, params, u), each with what it is compared with."""
    middle = blocks // 2
    outer, inner = (f"transformer_block[{i}].result" for i in (middle + 1, middle))

    def between(x: Any, params: Any, u: Any) -> Any:
        return covector.derivative(layers.loss, of=outer, wrt=inner)(x, params).vjp(u)

    def by_hand(x: Any, params: Any, u: Any) -> Any:
        for p in params[:middle]:
            x = layers.transformer_block(x, p)
        return covector.vjp(lambda z: layers.transformer_block(z, params[middle]), x)[1](u)

    def gradient(x: Any, params: Any, u: Any) -> Any:
        return covector.value_and_grad(layers.loss, 1)(x, params)

    def activations(x: Any, params: Any, u: Any) -> Any:
        return covector.value_and_grad(layers.loss, 0)(x, params)

    def monitored(x: Any, params: Any, u: Any) -> Any:
        stats = ("norm", "nans")
        return covector.monitor(layers.loss, stats, "transformer_block*.result")(x, params)

    return {
        "vjp of the middle block by hand": (by_hand, "vjp of the middle block by hand"),
        "derivative between two blocks": (between, "vjp of the middle block by hand"),
        "gradient by the input": (activations, "gradient by the input"),
        "monitor of all blocks": (monitored, "gradient by the input"),
        "gradient by the parameters": (gradient, "gradient by the input"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--blocks", type=int, default=12)
    options = parser.parse_args()
    x, params = layers.draw(layers.LENGTH, layers.WIDTH), layers.parameters(options.blocks)
    args = jax.device_put((x, params, layers.draw(layers.LENGTH, layers.WIDTH)))
    runs, operations = {}, {}
    chosen = contestants(options.blocks)
    for name, (f, _) in chosen.items():
        operations[name] = jax.jit(f).lower(*args).compile().cost_analysis()["flops"]
        runs[name] = covector.jit(f)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(options.rounds + 1):
        for name in runs if i % 2 else reversed(runs):
            start = time.process_time()
            jax.block_until_ready(runs[name](*args))
            if i:
                times[name].append(time.process_time() - start)
    for name, (_, base) in chosen.items():
        ratio = statistics.median(a / b for a, b in zip(times[name], times[base], strict=True))
        print(
            f"{name:34}{min(times[name]) * 1e3:8.2f} ms   x {ratio:.2f}"
            f"   {operations[name] / 1e6:8.1f} M operations   x "
            f"{operations[name] / operations[base]:.2f}"
        )


if __name__ == "__main__":
    main()
