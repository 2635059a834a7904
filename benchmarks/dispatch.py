"""Time of one call, ours against jax.jit's, on the same program: they share a C++ path, so the
ratio should be 1.

    python benchmarks/dispatch.py [--rounds 200]

Rounds of the two are interleaved and the ratio is taken within each round, so that a slow spell of
the machine touches both; what is printed are medians over the rounds. Exits with 1 when a ratio is
off by more than 5 %.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from covector.lowering.dispatch import Plan, make_dispatcher
from covector.lowering.execute import compile_module
from covector.lowering.jax_compat import parse_module

CALLS = 200  # per round and side: a millisecond or so, well above the clock's resolution
TOLERANCE = 0.05


def add_all(*xs: Any) -> Any:
    total = xs[0] + xs[0]
    for x in xs[1:]:
        total = total + x
    return total


def add_all_text(n: int) -> str:
    """`add_all` of n float32[8] as StableHLO."""
    inputs = ", ".join(f"%x{i}: tensor<8xf32>" for i in range(n))
    lines = ["%y0 = stablehlo.add %x0, %x0 : tensor<8xf32>"]
    lines += [f"%y{i} = stablehlo.add %y{i - 1}, %x{i} : tensor<8xf32>" for i in range(1, n)]
    body = "\n    ".join([*lines, f"return %y{n - 1} : tensor<8xf32>"])
    main = f"func.func public @main({inputs}) -> tensor<8xf32> {{\n    {body}\n  }}"
    return f"module @add_all {{\n  {main}\n}}"


def ours(n: int) -> Callable[..., Any]:
    type_ = jax.ShapeDtypeStruct((8,), "float32")
    executable = compile_module(
        parse_module(add_all_text(n)), name="add_all", in_types=[type_] * n, out_types=[type_]
    )
    return make_dispatcher(add_all, lambda call: Plan(executable, jax.tree.structure(0)))


def seconds(run: Callable[..., Any], args: tuple[Any, ...]) -> float:
    start = time.perf_counter()
    for _ in range(CALLS):
        out = run(*args)
    elapsed = time.perf_counter() - start
    out.block_until_ready()
    return elapsed / CALLS


def compare(n: int, rounds: int) -> tuple[float, float, float]:
    """Median time of ours and of jax.jit's, and the median ratio of neighbours."""
    args = tuple(jnp.full(8, float(i)) for i in range(n))
    mine, theirs = ours(n), jax.jit(add_all)
    seconds(mine, args), seconds(theirs, args)
    times = []
    for i in range(rounds):
        first, second = (mine, theirs) if i % 2 == 0 else (theirs, mine)
        pair = seconds(first, args), seconds(second, args)
        times.append(pair if i % 2 == 0 else pair[::-1])
    a, b = zip(*times, strict=True)
    return statistics.median(a), statistics.median(b), statistics.median(x / y for x, y in times)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    print(
        f"jax {jax.__version__} on {jax.default_backend()}, {CALLS} calls a round, {rounds} rounds"
    )
    print("arguments   covector    jax.jit   ratio")
    worst = 0.0
    for n in (1, 10, 100):
        mine, theirs, ratio = compare(n, rounds)
        worst = max(worst, abs(ratio - 1))
        print(f"{n:9d} {mine * 1e6:8.2f} us {theirs * 1e6:7.2f} us  {ratio:.3f}")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
