"""Microseconds an equation of each pass as programs grow to a million equations: flat means linear.

    python benchmarks/growth.py [--largest 1000000]

Two shapes: a chain, in which each equation reads the one before, and a fan, in which all read the
input and a sum collects them. Nothing may recurse, and no time may grow faster than the program.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from covector.ir.builder import Builder
from covector.ir.graph import Graph, Value
from covector.ir.memory import collector_paused
from covector.ir.module import Module
from covector.ir.parser import parse
from covector.ir.types import TensorType
from covector.passes import Pipeline

STAGES = ("parse", "verify", "linearize", "transpose", "cse", "dce")


def chain(n: int) -> Graph:
    """x -> sin, * x, + x, sin, ...: n equations, each reading the one before."""
    b, x = Builder(), Value(TensorType((3,), np.float32), "x")
    y: Any = x
    for i in range(n):
        y = b.sin(y) if i % 3 == 0 else b.mul(y, x) if i % 3 == 1 else b.add(y, x)
    return b.graph([x], [y], "chain")


def fan(n: int) -> Graph:
    """n / 2 products of the input, added up."""
    b, x = Builder(), Value(TensorType((3,), np.float32), "x")
    total: Any = x
    for i in range(n // 2):
        total = b.add(total, b.mul(x, float(i + 2)))
    return b.graph([x], [total], "fan")


def measure(graph: Graph) -> dict[str, float]:
    """Seconds of each stage; what a stage makes is what the next one takes."""
    text = str(Module({graph.name: graph}))
    with collector_paused():
        parsing, module = timed(lambda: parse(text, verify=False))
        times = {"parse": parsing, "verify": timed(module.verify)[0]}
        for name in STAGES[2:]:
            pipeline = Pipeline.of(name, verify_each=False)
            times[name], module = timed(lambda p=pipeline, m=module: p.run(m))
    gc.collect()
    return times


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=1_000_000)
    options = parser.parse_args()
    sizes = [n for n in (1_000, 10_000, 100_000, 1_000_000) if n <= options.largest]
    print(f"{'us per equation':18}" + "".join(f"{stage:>11}" for stage in STAGES))
    for make in (chain, fan):
        for n in sizes:
            times = measure(make(n))
            cells = "".join(f"{times[stage] / n * 1e6:11.1f}" for stage in STAGES)
            print(f"{make.__name__:8}{n:>10,}{cells}", flush=True)


if __name__ == "__main__":
    main()
