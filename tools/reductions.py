"""Smaller programs from a program: each function yields candidates, the boldest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from ..ir.builder import Builder
from ..ir.errors import CovectorError
from ..ir.graph import Atom, Equation, Graph, Literal, Value, walk_graphs
from ..ir.module import Module
from ..ir.types import ExtendedDtype
from ..passes.inline import inline_graph
from ..passes.regions import with_regions

Candidates = Iterator[Module]


def chunks(n: int) -> Iterator[range]:
    """All, then halves, quarters, ... of n things, from the end; last each by itself."""
    size = n
    while size >= 1:
        for stop in range(n, 0, -size):
            yield range(max(0, stop - size), stop)
        size = size // 2 if size > 1 else 0


def with_graph(module: Module, old: Graph, new: Graph) -> Module:
    """The module with a graph, public or private, replaced wherever it stands."""
    changed: dict[Graph, Graph] = {}
    for graph in module.all_graphs():  # callees first
        if graph is old:
            changed[graph] = new
            continue
        equations = [
            with_regions(e, lambda g: changed.get(g, g)) if e.primitive.has_regions else e
            for e in graph.equations
        ]
        same = all(a is b for a, b in zip(equations, graph.equations, strict=True))
        changed[graph] = graph if same else graph.with_equations(equations)
    return module.replace(graphs={n: changed[g] for n, g in module.graphs.items()})


def with_entry(module: Module, graph: Graph) -> Module:
    """The module with another entry, whose inputs and outputs nest in no way."""
    return module.with_main(graph, in_tree=None, out_tree=None)


# -- the entry's outputs and inputs ----------------------------------------------------------------


def fewer_graphs(module: Module) -> Candidates:
    """Without the public graphs that are not the entry."""
    others = [name for name in module.graphs if name != module.entry]
    for group in chunks(len(others)):
        gone = {others[i] for i in group}
        yield module.replace(graphs={n: g for n, g in module.graphs.items() if n not in gone})


def fewer_outputs(module: Module) -> Candidates:
    """Without some of the entry's outputs, and without what only they needed."""
    graph = module.main
    for group in chunks(len(graph.outputs)):
        kept = [x for i, x in enumerate(graph.outputs) if i not in group]
        if kept:
            yield with_entry(module, without_dead(_with_outputs(graph, kept)))


def earlier_outputs(module: Module) -> Candidates:
    """With the operands of the last equations as outputs, in place of what these make."""
    graph = module.main
    for i in reversed(range(len(graph.equations))):
        eqn = graph.equations[i]
        made = set(eqn.outputs)
        if made.isdisjoint(graph.outputs):
            continue
        operands = [x for x in eqn.inputs if isinstance(x, Value)]
        kept = [x for x in graph.outputs if x not in made]
        outputs = list(dict.fromkeys([*kept, *operands]))
        if outputs:
            yield with_entry(module, without_dead(_with_outputs(graph, outputs)))


def unread(module: Module) -> Candidates:
    """Without equations that nobody reads, and inputs that nobody reads."""
    graph = module.main
    alive = without_dead(graph)
    if len(alive) < len(graph):
        yield with_entry(module, alive)
    read = {x for eqn in alive.equations for x in eqn.inputs} | set(alive.outputs)
    kept = [v for v in alive.inputs if v in read]
    if len(kept) < len(alive.inputs):
        linear = alive.linear_from
        if linear is not None:
            linear = sum(v in read for v in alive.inputs[:linear])
        yield with_entry(module, Graph(kept, alive.equations, alive.outputs, alive.name, linear))


def _with_outputs(graph: Graph, outputs: Sequence[Atom]) -> Graph:
    return Graph(graph.inputs, graph.equations, outputs, graph.name, graph.linear_from)


def without_dead(graph: Graph) -> Graph:
    """The graph without equations that no output needs, effects or not."""
    live: set[Any] = set(graph.outputs)
    kept = []
    for eqn in reversed(graph.equations):
        if not live.isdisjoint(eqn.outputs):
            live.update(eqn.inputs)
            kept.append(eqn)
    return graph.with_equations(reversed(kept))


# -- equations -----------------------------------------------------------------------------------


def cut_equations(module: Module) -> Candidates:
    """Some equations of the entry dropped, what they make taken as inputs."""
    graph = module.main
    if graph.linear_from is not None:
        return
    for group in chunks(len(graph.equations)):
        cut = [graph.equations[i] for i in group]
        kept = [e for i, e in enumerate(graph.equations) if i not in group]
        read = {x for e in kept for x in e.inputs} | set(graph.outputs)
        taken = [v for e in cut for v in e.outputs if v in read]
        if any(isinstance(v.type.dtype, ExtendedDtype) for v in taken):
            continue
        shorter = Graph([*graph.inputs, *taken], kept, graph.outputs, graph.name)
        yield with_entry(module, without_dead(shorter))


def bypassed(module: Module) -> Candidates:
    """In any graph, an equation's output replaced by an earlier value of its type, or ones."""
    for graph in reversed(module.all_graphs()):
        for i in reversed(range(len(graph.equations))):
            for substitute in _substitutes(graph, i):
                yield with_graph(module, graph, _substituted(graph, i, substitute))


NEARBY: Final = 5
"""How many of the values made before an equation are tried in place of what it makes."""


def _substitutes(graph: Graph, position: int) -> Iterator[list[Atom]]:
    """What may stand for all outputs of an equation: operands, inputs, the last values before."""
    eqn = graph.equations[position]
    if len(eqn.outputs) == 1:
        wanted = eqn.outputs[0].type
        before = (v for e in reversed(graph.equations[:position]) for v in e.outputs)
        last = islice((v for v in before if v.type is wanted), NEARBY)
        known = [*eqn.inputs, *graph.inputs, *last]
        yield from ([x] for x in dict.fromkeys(known) if x.type is wanted)
    scalars = [v for v in eqn.outputs if not v.type.shape]
    extended = any(isinstance(v.type.dtype, ExtendedDtype) for v in eqn.outputs)
    if len(scalars) == len(eqn.outputs) and not extended:
        yield [Literal(1, v.type) for v in eqn.outputs]


def _substituted(graph: Graph, position: int, substitutes: Sequence[Atom]) -> Graph:
    made = graph.equations[position].outputs
    env: dict[Any, Any] = dict(zip(made, substitutes, strict=True))
    equations = [
        e.replace(inputs=tuple(env.get(x, x) for x in e.inputs))
        for i, e in enumerate(graph.equations)
        if i != position
    ]
    outputs: list[Any] = [env.get(x, x) for x in graph.outputs]
    return Graph(graph.inputs, equations, outputs, graph.name, graph.linear_from)


def inlined(module: Module) -> Candidates:
    """Calls as the equations of what they call: all, then of one function."""
    callees = {
        g for graph in module.all_graphs() for e in graph.equations
        if e.primitive.name == "call" for g in e.regions()
    }  # fmt: skip
    if callees:
        yield _inlined(module, None)
    if len(callees) > 1:
        for graph in module.all_graphs():
            if graph in callees:
                yield _inlined(module, frozenset({graph}))


def _inlined(module: Module, chosen: frozenset[Graph] | None) -> Module:
    return module.replace(graphs={n: inline_graph(g, chosen) for n, g in module.graphs.items()})


# -- types and the rest ----------------------------------------------------------------------------


def smaller_axes(module: Module) -> Candidates:
    """Every axis of one length made shorter, wherever the number stands."""
    lengths = sorted(
        {n for g in module.all_graphs() for v in g.inputs for n in v.type.shape if n > 1},
        reverse=True,
    )
    for length in lengths:
        for shorter in (1, 2, 3, length // 2):
            if shorter < length:
                try:
                    yield _resized(module, {length: shorter})
                except (CovectorError, ValueError, TypeError, IndexError, KeyError):
                    continue


def _resized(module: Module, lengths: dict[int, int]) -> Module:
    """The module with axes of other lengths, its types inferred anew."""
    graphs: dict[Graph, Graph] = {}

    def resize(value: Any) -> Any:
        if isinstance(value, Graph):
            return graphs[value]
        if isinstance(value, tuple):
            return tuple(resize(item) for item in value)
        return lengths.get(value, value) if type(value) is int else value

    for graph in module.all_graphs():
        inputs = [Value(v.type.with_shape(resize(v.type.shape)), v.name) for v in graph.inputs]
        env: dict[Any, Any] = dict(zip(graph.inputs, inputs, strict=True))
        equations = []
        for eqn in graph.equations:
            operands = tuple(env.get(x, x) for x in eqn.inputs)
            params = {k: resize(p) for k, p in eqn.params.items()}
            types = eqn.primitive.infer(tuple(x.type for x in operands), params)
            listed = types if isinstance(types, tuple) else (types,)
            made = tuple(Value(t, v.name) for t, v in zip(listed, eqn.outputs, strict=True))
            env.update(zip(eqn.outputs, made, strict=True))
            equations.append(Equation(eqn.primitive, operands, made, params, eqn.location))
        outputs = [env.get(x, x) for x in graph.outputs]
        graphs[graph] = Graph(inputs, equations, outputs, graph.name, graph.linear_from)
    return module.replace(graphs={n: graphs[g] for n, g in module.graphs.items()})


def plainer(module: Module) -> Candidates:
    """Without locations, and without the nesting of arguments."""
    if module.in_tree is not None or module.out_tree is not None:
        yield module.replace(in_tree=None, out_tree=None)
    graphs = walk_graphs(*module.graphs.values())
    if any(e.location is not None for g in graphs for e in g.equations):
        yield _without_locations(module)


def _without_locations(module: Module) -> Module:
    changed: dict[Graph, Graph] = {}
    for graph in module.all_graphs():
        equations = [
            with_regions(e, lambda g: changed[g]).replace(location=None) for e in graph.equations
        ]
        changed[graph] = graph.with_equations(equations)
    return module.replace(graphs={n: changed[g] for n, g in module.graphs.items()})


def folded(module: Module) -> Candidates:
    """Scalar inputs of the entry as the literal 1."""
    graph = module.main
    for v in graph.inputs if graph.linear_from is None else ():
        if v.type.shape or isinstance(v.type.dtype, ExtendedDtype):
            continue
        env: dict[Any, Any] = {v: Literal(1, v.type)}
        b = Builder()
        for eqn in graph.equations:
            b.append(eqn.replace(inputs=tuple(env.get(x, x) for x in eqn.inputs)))
        inputs = [x for x in graph.inputs if x is not v]
        outputs = [env.get(x, x) for x in graph.outputs]
        yield with_entry(module, Graph(inputs, b.equations, outputs, graph.name))


STEPS: tuple[Callable[[Module], Candidates], ...] = (
    fewer_graphs,
    fewer_outputs,
    unread,
    cut_equations,
    earlier_outputs,
    inlined,
    bypassed,
    smaller_axes,
    folded,
    plainer,
)
"""The ways to make a program smaller, those that take away most first."""
