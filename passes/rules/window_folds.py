"""Sliding windows written out: one step for each element of a window, on all windows at once.

The elements at one place of all windows are a strided slice of the padded operand, so a fold over
the places of a window is a plain program, which every transformation knows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from ...ir.builder import Builder, Operand
from ...ir.errors import PassError
from ...ir.graph import Equation, Graph, Value, memoised
from ...ir.ops.window import Axes
from ...ir.types import INT32, TensorType, dtype_category
from ..batch import batch_graph
from .shape import unpad

Params = dict[str, Any]


def padding_config(params: Params) -> tuple[tuple[int, int, int], ...]:
    """The `pad` that spreads out an operand and pads it."""
    gaps = zip(params["padding"], params["base_dilation"], strict=True)
    return tuple((low, high, d - 1) for (low, high), d in gaps)


def places(params: Params, out: Axes) -> Iterator[Params]:
    """For each place in a window, the slice of the padded operand that holds it for all windows."""
    strides = params["window_strides"]
    for place in itertools.product(*map(range, params["window_dimensions"])):
        begins = zip(place, params["window_dilation"], out, strict=True)
        start = tuple(i * d if m else 0 for i, d, m in begins)  # no window may reach so far
        ends = zip(start, strides, out, strict=True)
        limit = tuple(first + (m - 1) * s + 1 if m else first for first, s, m in ends)
        yield {"start_indices": start, "limit_indices": limit, "strides": strides}


def unrolled(eqn: Equation) -> Graph:
    """A reduce_window as a graph of slices and the combiner."""
    made: Graph = memoised(eqn.params["graph"], _signature(eqn), lambda: _unroll(eqn))
    return made


def _signature(eqn: Equation) -> Any:
    params = tuple(v for v in eqn.params.values() if not isinstance(v, Graph))
    return ("reduce_window unrolled", tuple(x.type for x in eqn.inputs), params)


def _unroll(eqn: Equation) -> Graph:
    b, p, n = Builder(), eqn.params, len(eqn.outputs)
    inputs = [Value(x.type) for x in eqn.inputs]
    out = eqn.outputs[0].type
    combiner, _ = batch_graph(p["graph"], (True,) * (2 * n), out.size, (True,) * n)
    config = padding_config(p)
    padded = [
        b.pad(x, init, padding_config=config)
        for x, init in zip(inputs[:n], inputs[n:], strict=True)
    ]
    held = [b.broadcast(init, (out.size,), ()) for init in inputs[n:]]
    for place in places(p, out.shape):
        taken = [b.reshape(b.slice(x, **place), new_sizes=(out.size,)) for x in padded]
        held = b.inline(combiner, (*held, *taken))
    return b.graph(inputs, [b.reshape(x, new_sizes=out.shape) for x in held], "windows")


# -- selection -----------------------------------------------------------------------------------


def worst_key(b: Builder, select: str, keys: Operand) -> Operand:
    """The key that loses to all others."""
    if dtype_category(keys.type.dtype) != "float":
        raise PassError(f"select_and_gather_add selects among floats, not {keys.type}")
    return b.literal(float("-inf") if select == "ge" else float("inf"), keys.type)


def scatter_unrolled(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    """The transpose of a select_and_gather_add of any dilation.

    First the number of the place that each window selects, then for each place the cotangents of
    the windows that select it, put back where the place is.
    """
    keys, p, out = eqn.inputs[1], eqn.params, ct.type.shape
    config, numbers = padding_config(p), TensorType(out, INT32)
    worst = worst_key(b, p["select_prim"], keys)
    padded = b.pad(keys, worst, padding_config=config)
    held, selected = b.broadcast(worst, out, ()), b.full(numbers, -1)
    slices = list(places(p, out))
    for i, place in enumerate(slices):
        key = b.slice(padded, **place)
        kept = getattr(b, p["select_prim"])(held, key)
        held = b.select_n(kept, key, held)
        selected = b.select_n(kept, b.full(numbers, i), selected)
    zeros, terms = b.full(ct.type, 0), []
    for i, place in enumerate(slices):
        sent = b.select_n(b.eq(selected, b.full(numbers, i)), zeros, ct)
        back = tuple(
            (first, n - limit, stride - 1)
            for first, limit, stride, n in zip(*place.values(), padded.type.shape, strict=True)
        )
        terms.append(b.pad(sent, b.literal(0, ct.type), padding_config=back))
    total = b.sum_of(terms, TensorType(padded.type.shape, ct.type.dtype))
    return unpad(b, total, keys.type.shape, config)
