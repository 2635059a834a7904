"""Vectorise: the program for one example becomes the program for a batch.

The batch axis is always the first axis of a batched value; what does not depend on the batch stays
as it is. Law: batch(f)(xs)[i] = f(xs[i]).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir.builder import Builder
from ..ir.graph import Equation, Graph, Value, memoised
from .tables import batch as rules
from .tables import materialise_batch


def batch_graph(
    graph: Graph, batched: Sequence[bool], size: int, force: Sequence[bool] | None = None
) -> tuple[Graph, tuple[bool, ...]]:
    """Batch a graph whose inputs have a leading batch axis where `batched` says so.

    `force` marks outputs that get a batch axis even if they do not depend on the batch. Second
    result: which outputs have one.
    """
    forced = tuple(force) if force is not None else (False,) * len(graph.outputs)
    key = ("batch", tuple(batched), size, forced)
    made: tuple[Graph, tuple[bool, ...]] = memoised(
        graph, key, lambda: _batch(graph, tuple(batched), size, forced)
    )
    return made


def _batch(
    graph: Graph, batched: tuple[bool, ...], size: int, forced: tuple[bool, ...]
) -> tuple[Graph, tuple[bool, ...]]:
    b = Builder()
    env: dict[Any, Any] = {}  # old value -> batched value; absent: not batched, and the same value
    inputs = []
    for v, is_batched in zip(graph.inputs, batched, strict=True):
        if is_batched:
            env[v] = Value(v.type.with_shape((size, *v.type.shape)), v.name)
        inputs.append(env.get(v, v))
    for eqn in graph.equations:
        batch_equation(b, eqn, env, size)
    outputs = []
    for v, force in zip(graph.outputs, forced, strict=True):
        outputs.append(materialise_batch(b, v, False, size) if force and v not in env
                       else env.get(v, v))
    is_out_batched = tuple(v in env or f for v, f in zip(graph.outputs, forced, strict=True))
    return b.graph(inputs, outputs, f"{graph.name}.batch"), is_out_batched


def batch_equation(b: Builder, eqn: Equation, env: dict[Any, Any], size: int) -> None:
    """Append the batched form of one equation, or the equation itself if nothing it reads is."""
    if env.keys().isdisjoint(eqn.inputs):
        b.append(eqn)
        return
    b.location = eqn.location
    inputs = [env.get(x, x) for x in eqn.inputs]
    flags = [x in env for x in eqn.inputs]
    outputs, out_batched = rules.find(eqn)(b, eqn, inputs, flags, size)
    for old, new, is_batched in zip(eqn.outputs, outputs, out_batched, strict=True):
        if new.__class__ is Value and new.name is None:
            new.name = old.name
        # A rule may give an output without batch axis: it is then a new value of the old type.
        env[old] = new if is_batched else materialise_batch(b, new, False, size)
