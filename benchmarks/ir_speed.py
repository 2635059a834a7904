"""Microseconds an equation for building, printing, parsing, verifying and hashing programs.

    python benchmarks/ir_speed.py             10,000 equations, beside jaxprs and xDSL if installed
    python benchmarks/ir_speed.py --growth    10,000 to 1,000,000: the cost must stay flat

The first table shows the best of several runs. Programs are a chain (each equation reads the one
before) and a fan (all products read one value, each with a factor of its own, then are summed),
with source locations, parameters and literals as traced programs have them. xDSL gets the chain
in its arith and math dialects, without locations; jaxprs are not parsed by anybody. The growth
table runs each size once, in a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import io
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from covector.ir import ops  # noqa: F401 - defines the primitives
from covector.ir.builder import Builder
from covector.ir.equality import modules_equal, structural_hash
from covector.ir.graph import Graph, Location, Value
from covector.ir.module import Module, module_of
from covector.ir.parser import parse
from covector.ir.printer import print_module
from covector.ir.types import FLOAT32, TensorType
from covector.ir.verifier import verify_module

MATRIX = TensorType((8, 128), FLOAT32)
CYCLE = ("sin", "mul", "exp", "add", "integer_pow", "scale")
Stages = dict[str, float]


def chain(count: int) -> Module:
    """y = f_n(... f_1(x)): names on every third value, a location on each equation."""
    b = Builder()
    x = y = Value(MATRIX, "x")
    for i in range(count):
        b.location = Location("model.py", 10 + i % 400, 5)
        y = step(b, i, y, x)
        if i % 3 == 0:
            y.name = f"h{i}"
    return module_of(b.graph([x], [y], "main"))


def fan(count: int) -> Module:
    """Many values that all read x, then summed."""
    b = Builder()
    x = Value(MATRIX, "x")
    b.location = Location("model.py", 7, 5)
    terms = [b.mul(x, i / count) for i in range(count // 2)]
    total = terms[0]
    for term in terms[1:]:
        total = b.add(total, term)
    return module_of(b.graph([x], [total], "main"))


def step(b: Builder, i: int, y: Any, x: Value) -> Any:
    """The i-th operation of a chain."""
    kind = CYCLE[i % len(CYCLE)]
    if kind == "integer_pow":
        return b.integer_pow(y, y=3)
    if kind == "scale":
        return b.mul(y, 0.5)
    return b.mul(y, x) if kind == "mul" else b.add(y, x) if kind == "add" else getattr(b, kind)(y)


def best_of(runs: int, action: Callable[[], Any]) -> float:
    """Seconds of the fastest run."""
    times = []
    for _ in range(runs):
        gc.collect()
        start = time.perf_counter()
        result = action()
        times.append(time.perf_counter() - start)
        del result
    return min(times)


def fresh(module: Module) -> Module:
    """The same program in new graphs, of which nothing is remembered."""
    return Module(
        {key: Graph(g.inputs, g.equations, g.outputs, g.name) for key, g in module.graphs.items()}
    )


def measure(make: Callable[[int], Module], count: int, runs: int) -> Stages:
    """Microseconds an equation, stage by stage."""
    module = make(count)
    equations = len(module.main)
    text = print_module(module)
    other = parse(text, verify=False)
    assert modules_equal(module, other)
    seconds = {
        "build": best_of(runs, lambda: make(count)),
        "print": best_of(runs, lambda: print_module(module)),
        "parse": best_of(runs, lambda: parse(text, verify=False)),
        "parse, verify": best_of(runs, lambda: parse(text)),
        "verify": best_of(runs, lambda: verify_module(fresh(module))),
        "compare": best_of(runs, lambda: modules_equal(module, other)),
        "hash": best_of(runs, lambda: structural_hash(fresh(module))),
    }
    return {stage: 1e6 * s / equations for stage, s in seconds.items()}


# -- the others --------------------------------------------------------------------------------


def measure_jaxpr(count: int, runs: int) -> Stages:
    """The chain as a jaxpr: traced, printed, checked."""
    import jax
    from jax.extend.core import check_jaxpr

    def function(x: Any) -> Any:
        y = x
        for i in range(count):
            y = (jax.lax.sin, jax.lax.exp)[i % 2](y) if i % 3 else jax.lax.mul(y, x)
        return y

    like = jax.ShapeDtypeStruct((8, 128), "float32")
    closed = jax.make_jaxpr(function)(like)
    seconds = {
        "build": best_of(runs, lambda: jax.make_jaxpr(lambda x: function(x))(like)),
        "print": best_of(runs, lambda: str(closed)),
        "verify": best_of(runs, lambda: check_jaxpr(closed.jaxpr)),
    }
    return {stage: 1e6 * s / len(closed.jaxpr.eqns) for stage, s in seconds.items()}


def measure_xdsl(count: int, runs: int) -> Stages:
    """The chain in xDSL: built, printed, parsed, verified."""
    from xdsl.context import Context
    from xdsl.dialects import arith, builtin, func, math
    from xdsl.parser import Parser
    from xdsl.printer import Printer

    kind = builtin.TensorType(builtin.f32, [8, 128])

    def make() -> Any:
        function = func.FuncOp("main", ((kind,), (kind,)))
        block = function.body.block
        x = y = block.args[0]
        for i in range(count):
            op: Any = math.SinOp(y) if i % 3 else arith.MulfOp(y, x)
            block.add_op(op)
            y = op.results[0]
        block.add_op(func.ReturnOp(y))
        return builtin.ModuleOp([function])

    def text_of(module: Any) -> str:
        stream = io.StringIO()
        Printer(stream=stream).print_op(module)
        return stream.getvalue()

    context = Context()
    for dialect in (arith.Arith, builtin.Builtin, func.Func, math.Math):
        context.load_dialect(dialect)
    module = make()
    text = text_of(module)
    seconds = {
        "build": best_of(runs, make),
        "print": best_of(runs, lambda: text_of(module)),
        "parse": best_of(runs, lambda: Parser(context, text).parse_module()),
        "verify": best_of(runs, module.verify),
    }
    return {stage: 1e6 * s / count for stage, s in seconds.items()}


# -- tables --------------------------------------------------------------------------------------


def report(rows: dict[str, Stages]) -> None:
    """One table: a row a program, a column a stage."""
    columns = list(dict.fromkeys(stage for row in rows.values() for stage in row))
    width = max(map(len, rows)) + 2
    print(" " * width + "".join(f"{c:>15}" for c in columns))
    for name, row in rows.items():
        cells = [f"{row[c]:>15.2f}" if c in row else f"{'-':>15}" for c in columns]
        print(f"{name:<{width}}" + "".join(cells))


def growth_row(program: str, count: int) -> Stages:
    """Each stage once, in this process; the peak of its memory, in bytes an equation."""
    make = PROGRAMS[program]
    row: Stages = {}

    def timed(stage: str, action: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = action()
        row[stage] = 1e6 * (time.perf_counter() - start) / count
        return result

    module = timed("build", lambda: make(count))
    text = timed("print", partial(print_module, module))
    del module  # its memory is not that of the next stages
    parsed = timed("parse", lambda: parse(text, verify=False))
    timed("verify", lambda: verify_module(parsed))
    timed("hash", lambda: structural_hash(parsed))
    row["peak bytes"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / count
    return row


def growth() -> dict[str, Stages]:
    """The rows of all programs and sizes, each measured in a process of its own."""
    rows = {}
    for program in PROGRAMS:
        for count in (10_000, 100_000, 1_000_000):
            command = [sys.executable, __file__, "--row", program, str(count)]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            cells = (line.rsplit(" ", 1) for line in out.splitlines())
            rows[f"{program} {count:,}"] = {stage: float(cell) for stage, cell in cells}
    return rows


PROGRAMS: dict[str, Callable[[int], Module]] = {"chain": chain, "fan": fan}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=10_000, help="equations of the first table")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--growth", action="store_true", help="the growth table as well")
    parser.add_argument("--row", nargs=2, metavar=("PROGRAM", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        program, count = options.row
        for stage, value in growth_row(program, int(count)).items():
            print(stage, value)
        return
    rows = {name: measure(make, options.count, options.runs) for name, make in PROGRAMS.items()}
    if importlib.util.find_spec("jax"):
        rows["jaxpr chain"] = measure_jaxpr(options.count, min(options.runs, 2))
    if importlib.util.find_spec("xdsl"):
        rows["xDSL chain"] = measure_xdsl(options.count, min(options.runs, 2))
    print(f"microseconds an equation, {options.count:,} equations")
    report(rows)
    if options.growth:
        print("\nmicroseconds an equation; peak memory of the process in bytes an equation")
        report(growth())


if __name__ == "__main__":
    main()
