"""A module or a graph -> a verified StableHLO module.

The entry becomes `@main`; every graph that is called, or that stands in several places, becomes one
private function however many uses it has; the bodies of loops and branches are written in place.
Callees come first and nothing here recurses, so that a program may nest as deeply as it likes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from jaxlib.mlir import ir

from ..ir.errors import CovectorError
from ..ir.graph import Constant, Equation, Graph
from ..ir.module import Module
from ..ir.reproducer import explain, keep
from ..ir.types import ExtendedDtype, TensorType
from . import jax_compat, rules, tables
from .context import Context, create

SMALL: Final = 16
"""Captured arrays of at most so many elements are written into the program."""

DEEP: Final = 16
"""Regions nested deeper than this become functions: MLIR and XLA recurse over regions."""


@dataclass(frozen=True)
class Lowering:
    """A program as StableHLO. `constants` are to be passed before the entry's own inputs."""

    name: str
    mlir_module: ir.Module
    constants: tuple[Constant, ...]
    in_types: tuple[TensorType, ...]
    out_types: tuple[TensorType, ...]
    platforms: tuple[str, ...]

    def as_text(self, locations: bool = False) -> str:
        """The StableHLO text."""
        return str(self.mlir_module.operation.get_asm(enable_debug_info=locations))


def lower_module(module: Module, platforms: Sequence[str] = ("cpu",)) -> Lowering:
    """Lower the entry and what it calls. Raises CovectorError naming the equation that fails.

    Needs no device of the platforms, which are some of cpu, cuda, rocm and tpu.
    """
    return lower_graph(module.main, platforms, module.name)


def lower_graph(
    graph: Graph, platforms: Sequence[str] = ("cpu",), name: str | None = None
) -> Lowering:
    """Lower a graph and what it calls. An error names a file from which it can be repeated."""
    name = graph.name if name is None else name
    try:
        return _lower(graph, tuple(platforms), name)
    except Exception as error:
        shown = explain("lowering", error)
        keep(shown, Module({graph.name: graph}, name=name), lower=",".join(platforms))
        if shown is error:
            raise
        raise shown from error


def _lower(graph: Graph, platforms: tuple[str, ...], name: str) -> Lowering:
    made, constants = _emit(graph, platforms, name, careful=False)
    try:
        made.operation.verify()
    except ir.MLIRError as error:
        _emit(graph, platforms, name, careful=True)  # raises at the equation at fault
        raise CovectorError(f"MLIR refuses the lowering: {error}", stage="lowering") from None
    inputs = tuple(c.type for c in constants) + graph.input_types
    return Lowering(name, made, constants, inputs, graph.output_types, platforms)


def _emit(
    main: Graph, platforms: tuple[str, ...], name: str, careful: bool
) -> tuple[ir.Module, tuple[Constant, ...]]:
    context = jax_compat.make_ir_context()
    with context, ir.Location.unknown():
        module = ir.Module.create()
        i32 = ir.IntegerType.get_signless(32)
        attributes = module.operation.attributes
        attributes["sym_name"] = ir.StringAttr.get(name)
        attributes["mhlo.num_partitions"] = ir.IntegerAttr.get(i32, 1)
        attributes["mhlo.num_replicas"] = ir.IntegerAttr.get(i32, 1)
        ctx = Context(module, platforms, rules.LOWERINGS)
        ctx.careful = careful
        plan = Plan.of(main)
        for graph in plan.functions:
            symbol = "main" if graph is main else ctx.symbols.fresh(graph.name)
            ctx.functions[graph] = (symbol, plan.constants[graph])
            _emit_function(ctx, graph, symbol, public=graph is main)
    return module, plan.constants[main]


def _emit_function(ctx: Context, graph: Graph, symbol: str, public: bool) -> None:
    """One `func.func`: the constants that it or a callee of it needs, then its inputs."""
    constants = ctx.functions[graph][1]
    inputs = [ctx.types[t] for t in (*[c.type for c in constants], *graph.input_types)]
    outputs = [ctx.types[t] for t in graph.output_types]
    attributes = {
        "sym_name": ctx.attributes.text(symbol),
        "function_type": ir.TypeAttr.get(ir.FunctionType.get(inputs, outputs)),
        "sym_visibility": ctx.attributes.text("public" if public else "private"),
    }
    with ir.InsertionPoint(ctx.module.body):
        function = create("func.func", [], [], attributes, regions=1)
    named = ctx.locations.named
    names = [c.name for c in constants] + [v.name or "_" for v in graph.inputs]
    places = [named(None, None, name) for name in names]
    block = function.regions[0].blocks.append(*inputs, arg_locs=places)
    arguments = list(block.arguments)
    ctx.constants = dict(zip(constants, arguments, strict=False))
    ctx.scalars = {}
    with ir.InsertionPoint(block):
        results = ctx.write(graph, arguments[len(constants) :])
        create("func.return", [], results, loc=ctx.locations.unknown)


@dataclass(frozen=True)
class Plan:
    """What is emitted: which graphs as functions, callees first, each with its constants."""

    functions: list[Graph]
    constants: dict[Graph, tuple[Constant, ...]]

    @staticmethod
    def of(main: Graph) -> Plan:
        order = _callees_first(main)
        uses: Counter[Graph] = Counter()
        is_function = {main}
        for graph in order:
            for eqn, region in _regions(graph):
                uses[region] += 1
                if eqn.primitive in tables.called or uses[region] > 1:
                    is_function.add(region)
        _cut_deep_nests(order, is_function)
        constants: dict[Graph, tuple[Constant, ...]] = {}
        for graph in order:
            needed = dict.fromkeys(_own_constants(graph))
            for _, region in _regions(graph):
                needed.update(dict.fromkeys(constants[region]))
            constants[graph] = tuple(needed)
        return Plan([g for g in order if g in is_function], constants)


def _cut_deep_nests(order: Sequence[Graph], is_function: set[Graph]) -> None:
    """Make functions of bodies that would stand too many regions deep."""
    depth: dict[Graph, int] = {}
    for graph in order:
        inside = [depth[g] for _, g in _regions(graph) if g not in is_function]
        depth[graph] = 1 + max(inside, default=0)
        if depth[graph] > DEEP:
            is_function.add(graph)


def _regions(graph: Graph) -> Iterator[tuple[Equation, Graph]]:
    """The graphs that lowering emits for the equations of a graph."""
    for eqn in graph.equations:
        if eqn.primitive.has_regions:
            for region in tables.callees.find(eqn)(eqn):
                yield eqn, region


def _callees_first(main: Graph) -> list[Graph]:
    order: list[Graph] = []
    done = {main}
    stack = [(main, _regions(main))]
    while stack:
        graph, rest = stack[-1]
        found = next(rest, None)
        if found is None:
            stack.pop()
            order.append(graph)
        elif found[1] not in done:
            done.add(found[1])
            stack.append((found[1], _regions(found[1])))
    return order


def _own_constants(graph: Graph) -> Iterator[Constant]:
    for eqn in graph.equations:
        for value in eqn.params.values():
            if value.__class__ is Constant and not is_written_out(value):
                yield value


def is_written_out(constant: Constant) -> bool:
    """Whether a captured array is small, and at hand, so that the program can hold its elements."""
    if isinstance(constant.type.dtype, ExtendedDtype) or constant.type.size > SMALL:
        return False
    return bool(getattr(constant.array, "is_fully_addressable", True))


__all__ = ["Lowering", "lower_graph", "lower_module"]
