"""A module or a graph -> a verified StableHLO module.

The entry becomes `@main`; every graph that is called, or that stands in several places, becomes one
private function however many uses it has; the bodies of loops and branches are written in place.
Callees come first and nothing here recurses, so that a program may nest as deeply as it likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxlib.mlir import ir

from ..ir.errors import CovectorError, UsageError
from ..ir.graph import Constant, Graph
from ..ir.memory import collector_paused
from ..ir.module import Module
from ..ir.ops.shard_map import manual_axes_in, meshes_in
from ..ir.places import places_of
from ..ir.reproducer import explain, keep
from ..ir.types import TensorType
from . import jax_compat, tables, workshop
from .borders import borders_of
from .context import Context, create
from .flat_program import states_order
from .host import TOKEN_TYPE, effects_of_graphs
from .plan import Plan


@dataclass(frozen=True)
class Lowering:
    """A program as StableHLO. `constants` are to be passed before the entry's own inputs; `host` is
    what it needs of this process (Python functions that it calls); `has_barriers` says whether
    there are optimization barriers in it, `has_borders` whether there are some that only end fused
    operations (`lowering.borders`), `out_on_host` which outputs are in the host's memory,
    `has_kernels` whether loops in it are marked to be kernels (`lowering.kernels`).
    """

    name: str
    mlir_module: ir.Module
    constants: tuple[Constant, ...]
    in_types: tuple[TensorType, ...]
    out_types: tuple[TensorType, ...]
    platforms: tuple[str, ...]
    host: jax_compat.HostParts = jax_compat.NO_HOST_PARTS
    has_barriers: bool = False
    has_borders: bool = False
    out_on_host: tuple[bool, ...] = ()
    has_kernels: bool = False

    def as_text(self, locations: bool = False, dialect: str = "stablehlo") -> str:
        """The program as text. Raises UsageError for another dialect than stablehlo and hlo."""
        found = self.compiler_ir(dialect)
        if dialect == "hlo":
            return jax_compat.hlo_text(found, locations)
        return str(found.operation.get_asm(enable_debug_info=locations))

    def compiler_ir(self, dialect: str = "stablehlo") -> Any:
        """The program as the compiler's own object, in the dialect stablehlo or hlo."""
        if dialect == "hlo":
            return jax_compat.to_hlo(self.mlir_module)
        if dialect != "stablehlo":
            raise UsageError(
                f"a lowered program is to be had in stablehlo and in hlo, not in {dialect!r}"
            )
        return self.mlir_module

    def cost_analysis(self) -> dict[str, float]:
        """XLA's estimates before it optimises: flops, bytes accessed, ..."""
        return jax_compat.unoptimised_costs(self.mlir_module, self.platforms[0])


def lower_module(module: Module, platforms: Sequence[str] = ("cpu",)) -> Lowering:
    """Lower the entry and what it calls. Raises CovectorError naming the equation that fails.

    Needs no device of the platforms, which are some of cpu, cuda, rocm and tpu.
    """
    return lower_graph(module.main, platforms, module.name)


def lower_graph(
    graph: Graph,
    platforms: Sequence[str] = ("cpu",),
    name: str | None = None,
    kernels: bool = True,
) -> Lowering:
    """Lower a graph and what it calls; without `kernels`, all loops stay loops. An error names a
    file from which it can be repeated."""
    name = graph.name if name is None else name
    try:
        with collector_paused():
            return _lower(graph, tuple(platforms), name, kernels)
    except Exception as error:
        shown = explain("lowering", error)
        keep(shown, Module({graph.name: graph}, name=name), lower=",".join(platforms))
        if shown is error:
            raise
        raise shown from error


def _lower(graph: Graph, platforms: tuple[str, ...], name: str, kernels: bool) -> Lowering:
    made, constants, ctx, place = _emit(graph, platforms, name, careful=False, kernels=kernels)
    try:
        made.operation.verify()
    except ir.MLIRError as error:
        # raises at the equation at fault
        _emit(graph, platforms, name, careful=True, kernels=kernels)
        raise CovectorError(f"MLIR refuses the lowering: {error}", stage="lowering") from None
    inputs = tuple(c.type for c in constants) + graph.input_types
    host = ctx.host.parts()
    outputs, on_host = graph.output_types, places_of(graph).outputs
    lowered = Lowering(
        name, made, constants, inputs, outputs, platforms, host,
        ctx.has_barriers, ctx.has_borders, on_host, has_kernels=bool(ctx.kernels),
    )  # fmt: skip
    workshop.give_back_after(lowered, place)
    return lowered


def _emit(
    main: Graph, platforms: tuple[str, ...], name: str, careful: bool, kernels: bool
) -> tuple[ir.Module, tuple[Constant, ...], Context, workshop.Workshop]:
    place = workshop.take()
    with place.context, ir.Location.unknown():
        module = ir.Module.create()
        i32 = ir.IntegerType.get_signless(32)
        attributes = module.operation.attributes
        attributes["sym_name"] = ir.StringAttr.get(name)
        attributes["mhlo.num_partitions"] = ir.IntegerAttr.get(i32, 1)
        attributes["mhlo.num_replicas"] = ir.IntegerAttr.get(i32, 1)
        ctx = Context(module, platforms, tables.lower, tables.called, place)
        ctx.careful, ctx.together = careful, main
        ctx.keeps_order = any(map(states_order, main.equations))
        plan, meshes = Plan.of(main), meshes_in(main)
        manual = manual_axes_in(main) if meshes else {}
        if platforms == ("cpu",):
            if kernels and not ctx.keeps_order:
                ctx.kernels = plan.kernels
            ctx.borders = borders_of(main)
        for graph in plan.functions:
            symbol = "main" if graph is main else ctx.symbols.fresh(graph.name)
            ctx.functions[graph] = (symbol, plan.constants[graph])
            ctx.mesh = meshes.get(graph, ())
            ctx.manual = manual.get(graph, frozenset({frozenset()}))
            _emit_function(ctx, graph, symbol, public=graph is main)
    return module, plan.constants[main], ctx, place


def _emit_function(ctx: Context, graph: Graph, symbol: str, public: bool) -> None:
    """One `func.func`: tokens of its ordered effects, the constants that it or a callee of it
    needs, then its inputs. A kernel takes them as one tuple: XLA's emitter of kernels looks for
    arrays where they are read, so that it would miss an argument that is not.
    """
    constants, effects = ctx.functions[graph][1], effects_of_graphs((graph,))
    tokens = [TOKEN_TYPE] * len(effects)
    inputs = [ctx.types[t] for t in (*tokens, *[c.type for c in constants], *graph.input_types)]
    as_kernel = graph in ctx.kernels
    if as_kernel:
        inputs = [ir.TupleType.get_tuple(inputs)]
    outputs = [ctx.types[t] for t in (*tokens, *graph.output_types)]
    attributes = {
        "sym_name": ctx.attributes.text(symbol),
        "function_type": ir.TypeAttr.get(ir.FunctionType.get(inputs, outputs)),
        "sym_visibility": ctx.attributes.text("public" if public else "private"),
    }
    with ir.InsertionPoint(ctx.module.body):
        function = create("func.func", [], [], attributes, regions=1)
    named = ctx.locations.named
    names = [*effects] + [c.name for c in constants] + [v.name or "_" for v in graph.inputs]
    places = [ctx.locations.unknown] if as_kernel else [named(None, None, name) for name in names]
    block = function.regions[0].blocks.append(*inputs, arg_locs=places)
    ctx.scalars = {}
    with ir.InsertionPoint(block):
        given = list(block.arguments)
        arguments = ctx.host.take(effects, ctx.of_tuple(given[0]) if as_kernel else given)
        ctx.constants = dict(zip(constants, arguments, strict=False))
        results = ctx.write(graph, arguments[len(constants) :])
        create("func.return", [], [*ctx.host.give(effects), *results], loc=ctx.locations.unknown)
