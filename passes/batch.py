"""Vectorise: the program for one example becomes the program for a batch.

The batch axis is always the first axis of a batched value; what does not depend on the batch stays
as it is. Law: batch(f)(xs)[i] = f(xs[i]).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..ir.builder import Builder
from ..ir.errors import PassError
from ..ir.graph import Equation, Graph, Value, memoised_with_forced
from ..ir.module import Module
from .axis_names import has_marked, is_marked, mark_axis
from .base import Pass
from .batch_kinds import batch_by_kind
from .counting import new_equations
from .tables import BatchRule, materialise_batch
from .tables import batch as rules
from .wrt import derived_module


def batch_graph(
    graph: Graph,
    batched: Sequence[bool],
    size: int,
    force: Sequence[bool] | None = None,
    axis_name: str | None = None,
) -> tuple[Graph, tuple[bool, ...]]:
    """Batch a graph whose inputs have a leading batch axis where `batched` says so.

    `force` marks outputs that get a batch axis even if they do not depend on the batch. Second
    result: which outputs have one. Collectives over `axis_name` are over the batch.
    """
    if axis_name is not None:
        graph = mark_axis(graph, axis_name)

    def batch_forced(forced: tuple[bool, ...]) -> tuple[Graph, tuple[bool, ...]]:
        return _batch(graph, tuple(batched), size, forced or (False,) * len(graph.outputs))

    return memoised_with_forced(graph, ("batch", tuple(batched), size), batch_forced, force or ())


def _batch(
    graph: Graph, batched: tuple[bool, ...], size: int, forced: tuple[bool, ...]
) -> tuple[Graph, tuple[bool, ...]]:
    b = Builder()
    env: dict[Any, Any] = {}  # old value -> new value, where they differ
    active: set[Any] = set()  # old values whose new ones have a batch axis
    inputs = []
    for v, is_batched in zip(graph.inputs, batched, strict=True):
        if is_batched:
            env[v] = Value(v.type.with_shape((size, *v.type.shape)), v.name)
            active.add(v)
        inputs.append(env.get(v, v))
    marked = is_marked(graph)
    for eqn in graph.equations:
        batch_equation(b, eqn, env, active, size, marked and has_marked(eqn))
    out_batched = tuple(v in active or f for v, f in zip(graph.outputs, forced, strict=True))
    outputs = [
        materialise_batch(b, env.get(v, v), v in active, size) if is_batched else env.get(v, v)
        for v, is_batched in zip(graph.outputs, out_batched, strict=True)
    ]
    return b.graph(inputs, outputs, f"{graph.name}.batch"), out_batched


def batch_equation(
    b: Builder,
    eqn: Equation,
    env: dict[Any, Any],
    active: set[Any],
    size: int,
    is_marked: bool = False,
) -> None:
    """Append the batched form of one equation, or the equation itself if nothing it reads is and
    it is not marked as a collective over the batch."""
    b.derive("batch", eqn)
    if env.keys().isdisjoint(eqn.inputs) and not is_marked:
        b.append(eqn)
        return
    inputs = tuple([env.get(x, x) for x in eqn.inputs])
    if active.isdisjoint(eqn.inputs) and not is_marked:
        b.append(eqn.replace(inputs=inputs))
        return
    flags = [x in active for x in eqn.inputs]
    rule: BatchRule = rules.find(eqn) if is_marked else batch_by_kind
    outputs, out_batched = rule(b, eqn, inputs, flags, size)
    for old, new, is_batched in zip(eqn.outputs, outputs, out_batched, strict=True):
        if new.__class__ is Value and new.name is None:
            new.name = old.name
        env[old] = new
        if is_batched:
            active.add(old)


@dataclass(frozen=True)
class Batch(Pass):
    """Replace the entry @f by @f.batch, whose outputs all have a leading batch axis.

    Options: size is the batch size; in_axes says which inputs are batched (0) or not (None), one
    for each flat input, or one for all; axis_name is what collectives over the batch call its axis.
    """

    name: ClassVar[str] = "batch"
    law: ClassVar[str] = "batch(f)(xs)[i] = f(xs[i])"

    size: int = 2
    in_axes: tuple[int | None, ...] = (0,)
    axis_name: str | None = None

    def run(self, module: Module) -> Module:
        graph = module.main
        axes = self.in_axes * len(graph.inputs) if len(self.in_axes) == 1 else self.in_axes
        if len(axes) != len(graph.inputs) or any(axis not in (0, None) for axis in axes):
            raise PassError(
                f"in_axes={self.in_axes} does not fit the {len(graph.inputs)} inputs of "
                f"@{graph.name}: give 0 or None for each, or one for all"
            )
        if self.size < 0:
            raise PassError(f"a batch has a size of at least 0, got {self.size}")
        force = [True] * len(graph.outputs)
        flags = [axis == 0 for axis in axes]
        batched, _ = batch_graph(graph, flags, self.size, force, self.axis_name)
        return derived_module(module, batched)

    def counters(self, before: Module, after: Module) -> dict[str, int]:
        return new_equations(before, after, "batched")
