"""Which inputs of a module's entry a pass differentiates or batches, and the module it makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir.errors import PassError, did_you_mean
from ..ir.graph import Graph
from ..ir.module import Module
from ..ir.types import has_tangent


def select_inputs(
    module: Module, wrt: Sequence[int | str] | None, pass_name: str
) -> tuple[bool, ...]:
    """A flag for each flat input of the entry: whether `wrt` selects it.

    A number means the argument at that position (with all of its leaves, when the module knows its
    arguments' nesting; else the flat input). A name means the input of that name and those below it
    (`params` selects `params.w` and `params['w']`). None selects every input that has tangents.

    Raises PassError for a position or name that does not exist or cannot be differentiated.
    """
    graph = module.main
    if wrt is None:
        return tuple(has_tangent(t) for t in graph.input_types)
    flags = [False] * len(graph.inputs)
    for item in wrt:
        for i in _positions(module, item, pass_name):
            flags[i] = True
            if not has_tangent(graph.inputs[i].type):
                raise PassError(
                    f"{pass_name} cannot differentiate input {i} "
                    f"({graph.inputs[i].name or 'unnamed'}: {graph.inputs[i].type}) of "
                    f"@{graph.name}: only floats and complex numbers have tangents"
                )
    return tuple(flags)


def _positions(module: Module, item: int | str, pass_name: str) -> Sequence[int]:
    graph = module.main
    if isinstance(item, str):
        return _named(graph, item, pass_name)
    spans = argument_spans(module)
    if not -len(spans) <= item < len(spans):
        raise PassError(
            f"{pass_name}: wrt={item}, but @{graph.name} has {len(spans)} arguments",
        )
    return spans[item]


def _named(graph: Graph, name: str, pass_name: str) -> list[int]:
    names = [v.name or "" for v in graph.inputs]
    found = [i for i, n in enumerate(names) if n == name or n.startswith((f"{name}.", f"{name}["))]
    if not found:
        raise PassError(
            f"{pass_name}: @{graph.name} has no input named {name!r}",
            hint=did_you_mean(name, names) or f"its inputs: {', '.join(filter(None, names))}",
        )
    return found


def argument_spans(module: Module) -> list[range]:
    """For each positional argument the flat inputs that are its leaves.

    Captured values come first among a graph's inputs and belong to no argument.
    """
    n_inputs = len(module.main.inputs)
    if module.in_tree is None:
        return [range(i, i + 1) for i in range(n_inputs)]
    args, kwargs = module.in_tree
    counts = [count_leaves(arg) for arg in args]
    start = n_inputs - sum(counts) - count_leaves(kwargs)
    spans = []
    for n in counts:
        spans.append(range(start, start + n))
        start += n
    return spans


def count_leaves(skeleton: Any) -> int:
    """The number of leaves ("*") of a plain-data tree."""
    if isinstance(skeleton, str):
        return 1
    if isinstance(skeleton, dict):
        return sum(map(count_leaves, skeleton.values()))
    return sum(map(count_leaves, skeleton)) if isinstance(skeleton, (tuple, list)) else 0


def derived_module(module: Module, entry: Graph, *others: Graph) -> Module:
    """The module of graphs derived from the entry; the other public graphs stay."""
    kept = {name: g for name, g in module.graphs.items() if name != module.entry}
    graphs = {g.name: g for g in (entry, *others)}
    return module.replace(graphs=graphs | kept, entry=entry.name, in_tree=None, out_tree=None)
