"""Compile graphs of covector and functions of JAX with the same XLA, and compare bit by bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from harness import Case
from harness_laws import assert_close

from covector.frontend.export import eval_graph
from covector.ir.builder import Builder
from covector.ir.graph import Graph, Value
from covector.ir.ops.call import call
from covector.lowering.emit import lower_graph
from covector.lowering.execute import compile_module

Array = np.ndarray[Any, Any]

IN_ANOTHER_ORDER = {
    *("cumsum", "cumprod", "cumlogsumexp", "linear_recurrence"),
    *("conv_general_dilated", "reduce_window_sum", "select_and_scatter_add"),
}
"""What is lowered for CPUs in a way that is faster there than JAX's."""


def run_compiled(graph: Graph, arguments: Sequence[Any]) -> list[Any]:
    """The outputs of a graph on arguments, by its lowering."""
    lowered = lower_graph(graph)
    executable = compile_module(
        lowered.mlir_module,
        name=lowered.name,
        in_types=lowered.in_types,
        out_types=lowered.out_types,
    )
    return executable.call(*[c.array for c in lowered.constants], *arguments)


def together(cases: Sequence[Case]) -> Graph:
    """One program that calls the program of each case."""
    b = Builder()
    inputs: list[Value] = []
    outputs: list[Any] = []
    for case in cases:
        own = [Value(t) for t in case.operands]
        inputs += own
        outputs += b.emit(call, *own, graph=case.graph)
    return b.graph(inputs, outputs, "cases")


def assert_as_jitted(cases: Sequence[Case]) -> None:
    """Each case gives, bit by bit, what `jax.jit` of the same primitives gives; but for operations
    whose terms are added in another order, or in a wider type, on purpose.

    They are compiled together, which is quicker; XLA may then fuse neighbours in other ways than in
    JAX's program, so that a case that differs is compared once more by itself.
    """
    for case in differing(cases):
        for again, got, want in differing([case]).values():
            if again.of in IN_ANOTHER_ORDER:
                assert_close(got, want, again.tol)
                continue
            raise AssertionError(f"{again} differs in the last bits:\n{got}\n{want}")


def differing(cases: Sequence[Case]) -> dict[Case, tuple[Case, Array, Array]]:
    """The cases of which an output differs from jax.jit's, with the two."""
    arguments = [case.sample() for case in cases]
    with jax.enable_x64(True):
        got = run_compiled(together(cases), [x for own in arguments for x in own])
        want = jax.jit(
            lambda arguments: [
                y
                for case, own in zip(cases, arguments, strict=True)
                for y in eval_graph(case.graph, own)
            ]
        )(arguments)
        pairs = list(zip(map(np.asarray, got), map(np.asarray, want), strict=True))
    owners = [case for case in cases for _ in case.graph.outputs]
    return {
        case: (case, x, y)
        for case, (x, y) in zip(owners, pairs, strict=True)
        if (x.dtype, x.shape, _bits(x)) != (y.dtype, y.shape, _bits(y))
    }


def _bits(x: Array) -> bytes:
    """The bytes of an array, in which all NaNs are alike."""
    if x.dtype.kind == "c":
        x = np.stack([x.real, x.imag])
    if x.dtype.kind in "fV":
        is_nan = np.isnan(x.astype(np.float64))
        x = np.where(is_nan, np.asarray(np.nan, x.dtype), x)
    return x.tobytes()
