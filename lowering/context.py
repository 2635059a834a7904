"""What a lowering rule works with: it makes operations, constants, broadcasts and regions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from jaxlib.mlir import ir

from ..ir.errors import CovectorError
from ..ir.graph import Atom, Constant, Equation, Graph, Literal, Location, Value
from ..ir.ops.shard_map import Mesh
from ..ir.primitive import Primitive, RuleTable
from ..ir.types import Dtype, TensorType
from . import borrow
from .careful import check
from .frontend_attributes import annotate
from .host import TOKEN_TYPE, Host, effects_of_graphs
from .mlir_types import Symbols, joined_scope, tail

if TYPE_CHECKING:
    from .tables import Lower
    from .workshop import Workshop

MlirValue = Any
"""An SSA value of the module being made."""

Body = Callable[[Sequence[MlirValue]], Sequence[MlirValue]]
"""Fills a region: its arguments in, what it returns out."""

OUTLINED = '{inlineable = "false"}'
KERNEL = '{inlineable = "false", xla_cpu_small_call = "true"}'
"""Attributes of calls: of a function that stays one, and of one that is one kernel on CPUs."""

create: Any = ir.Operation.create

_NO_BORDERS: Final[frozenset[Value]] = frozenset()


class Context:
    """One lowering: the module being made, and everything that is made once for it.

    Operations go to MLIR's current insertion point and carry `location`. `scalars` holds the
    constants made so far in the current block: each block has its own, so that none is read from
    outside the region that it is in. `mesh` is that of the shard_map around what is being lowered,
    `manual` the axes of it that are manual there (several sets of a function that is called in
    several places); `channels` counts those in use; `together` is the program whose foreign
    operations are still to be lowered, all at once; `attributed` are the frontend attributes that
    operations get, and `scope` names what they are part of.
    """

    def __init__(
        self,
        module: ir.Module,
        platforms: tuple[str, ...],
        rules: RuleTable[Lower],
        called: Set[Primitive],
        workshop: Workshop,
    ) -> None:
        self.module = module
        self.platforms = platforms
        self.rules = rules
        self.called = called
        self.types = workshop.types
        self.attributes = workshop.attributes
        self.locations = workshop.locations
        self.location: ir.Location = self.locations.unknown
        self.symbols = Symbols(("main",))
        self.equation: Equation | None = None
        self.careful = False
        self.scalars: dict[Any, MlirValue] = {}
        self.constants: dict[Constant, MlirValue] = {}
        self.functions: dict[Graph, tuple[str, tuple[Constant, ...]]] = {}
        self.expansions: dict[Any, Graph] = {}
        self.host = Host()
        self.borrowed: dict[Any, str] = {}
        self.together: Graph | None = None
        self.has_barriers = self.has_borders = False
        self.borders: Mapping[Graph, Set[Value]] = {}
        self.keeps_order = False
        self.kernels: Set[Graph] = frozenset()
        self.mesh: Mesh = ()
        self.manual: Set[frozenset[str]] = frozenset({frozenset()})
        self.channels = 0
        self.scope = ""
        self.attributed: tuple[tuple[str, str], ...] = ()

    # -- operations ------------------------------------------------------------------------------

    def barrier(
        self, types: Sequence[TensorType], operands: Sequence[MlirValue]
    ) -> list[MlirValue]:
        """The operands, across which XLA merges, moves and simplifies nothing."""
        self.has_barriers = True
        return self.ops("stablehlo.optimization_barrier", types, operands)

    def border(self, type: TensorType, operands: Sequence[MlirValue]) -> list[MlirValue]:
        """The operand, which no operation that reads it computes anew (see `borders`)."""
        self.has_borders = True
        return self.ops("stablehlo.optimization_barrier", [type], operands)

    def op(
        self, name: str, type: TensorType, *operands: MlirValue, **attributes: ir.Attribute
    ) -> MlirValue:
        """The result of a new operation that has one."""
        return create(
            name, [self.types[type]], operands, attributes or None, loc=self.location
        ).result

    def ops(
        self,
        name: str,
        types: Sequence[TensorType],
        operands: Sequence[MlirValue],
        /,
        regions: Sequence[tuple[Sequence[TensorType], Body]] = (),
        **attributes: ir.Attribute,
    ) -> list[MlirValue]:
        """The results of a new operation, which may have regions: (argument types, body) each."""
        made = create(
            name,
            [self.types[t] for t in types],
            operands,
            attributes or None,
            regions=len(regions),
            loc=self.location,
        )
        for region, (arguments, body) in zip(made.regions, regions, strict=True):
            self._fill(region, arguments, body)
        return list(made.results)

    def _fill(self, region: Any, arguments: Sequence[TensorType], body: Body) -> None:
        types = [self.types[t] for t in arguments]
        block = region.blocks.append(*types, arg_locs=[self.location] * len(types))
        scalars, location, attributed = self.scalars, self.location, self.attributed
        self.scalars, self.attributed = {}, ()  # a region's operations say themselves what they get
        with ir.InsertionPoint(block):
            results = body(list(block.arguments))
            self.location = location
            create("stablehlo.return", [], list(results), loc=location)
        self.scalars, self.attributed = scalars, attributed

    # -- constants -------------------------------------------------------------------------------

    def scalar(self, literal: Literal) -> MlirValue:
        """A scalar constant."""
        found = self.scalars.get(literal)
        if found is None:
            value = self.attributes.scalar(literal)
            found = self.op("stablehlo.constant", literal.type, value=value)
            self.scalars[literal] = found
        return found

    def full(self, value: Any, type: TensorType) -> MlirValue:
        """An array of one value."""
        literal = value if value.__class__ is Literal else self.literal(value, type.dtype)
        if not type.shape:
            return self.scalar(literal)
        key = (literal, type.shape)
        found = self.scalars.get(key)
        if found is None:
            found = self.scalars[key] = self.broadcast(self.scalar(literal), type, ())
        return found

    def literal(self, value: Any, dtype: Dtype) -> Literal:
        return Literal(value, TensorType((), dtype))

    def array(self, array: np.ndarray[Any, Any]) -> MlirValue:
        """A small array, written out."""
        type = TensorType(array.shape, array.dtype)
        return self.op("stablehlo.constant", type, value=self.attributes.dense(array))

    # -- shapes ----------------------------------------------------------------------------------

    def broadcast(self, x: MlirValue, type: TensorType, axes: Sequence[int]) -> MlirValue:
        """x in a larger shape; axis i of x becomes axis `axes[i]` of the result."""
        if type.dtype.kind == "E":
            rank = len(type.shape)
            axes = (*axes, *range(rank, rank + len(tail(type))))
        dims = self.attributes.integers(axes)
        return self.op("stablehlo.broadcast_in_dim", type, x, broadcast_dimensions=dims)

    def spread(
        self, inputs: Sequence[Atom], operands: Sequence[MlirValue], shape: tuple[int, ...]
    ) -> Sequence[MlirValue]:
        """Operands of an elementwise operation, each in the shape of its result."""
        for x in inputs:
            if x.type.shape != shape:
                break
        else:
            return operands
        return [
            value if x.type.shape == shape else self._spread(x, value, shape)
            for x, value in zip(inputs, operands, strict=True)
        ]

    def _spread(self, x: Atom, value: MlirValue, shape: tuple[int, ...]) -> MlirValue:
        type = TensorType(shape, x.type.dtype)
        if x.__class__ is Literal:
            return self.full(x, type)
        return self.broadcast(value, type, range(len(x.type.shape)))

    def reshape(self, x: MlirValue, type: TensorType) -> MlirValue:
        return self.op("stablehlo.reshape", type, x)

    # -- attributes ------------------------------------------------------------------------------

    def accuracy(self, wanted: Any) -> dict[str, ir.Attribute]:
        """The attribute for None, `HIGHEST`, or (absolute, relative, units in the last place)."""
        if wanted is None:
            return {}
        mode, bounds = (wanted, (0.0, 0.0, 0)) if isinstance(wanted, str) else ("TOLERANCE", wanted)
        atol, rtol, ulps = bounds
        text = (
            f"#stablehlo.result_accuracy<atol = {float(atol):e}, rtol = {float(rtol):e}, "
            f"ulps = {int(ulps)}, mode = #stablehlo.result_accuracy_mode<{mode}>>"
        )
        return {"result_accuracy": self.attributes.parse(text)}

    # -- graphs ----------------------------------------------------------------------------------

    def inline(self, graph: Graph, operands: Sequence[MlirValue]) -> list[MlirValue]:
        """The outputs of a graph on operands: written here, or called if it is a function."""
        if graph in self.functions:
            return self.call(graph, operands)
        location, equation = self.location, self.equation
        results = self.write(graph, operands)
        self.location, self.equation = location, equation
        return results

    def write(
        self, graph: Graph, operands: Sequence[MlirValue], is_expansion: bool = False
    ) -> list[MlirValue]:
        """Emit a graph's equations here, applied to operands; its outputs.

        Those of an expansion carry the place of the equation that is expanded. Calls of what is no
        function are entered without recursion.
        """
        frames: list[Any] = []
        env, rest = dict(zip(graph.inputs, operands, strict=True)), iter(graph.equations)
        place = self.equation.location if self.equation is not None else None
        scalar, functions, outer = self.scalar, self.functions, self.scope
        borders = self.borders.get(graph, _NO_BORDERS)
        scope = outer
        while True:
            for eqn in rest:
                if not is_expansion:
                    self._enter(eqn, place, scope)
                operands = [env[x] if x.__class__ is Value else scalar(x) for x in eqn.inputs]  # type: ignore[arg-type]
                if eqn.primitive in self.called and eqn.params["graph"] not in functions:
                    frames.append((graph, env, rest, place, scope, eqn.outputs))
                    graph, place = eqn.params["graph"], eqn.location or place
                    scope, borders = self.scope, self.borders.get(graph, _NO_BORDERS)
                    env = dict(zip(graph.inputs, operands, strict=True))
                    rest = iter(graph.equations)
                    break
                results = self._apply(eqn, operands)
                if len(results) == 1:
                    env[eqn.outputs[0]] = results[0]
                else:
                    env.update(zip(eqn.outputs, results, strict=True))
                if borders:
                    self._end_fusions(env, eqn.outputs, borders)
            else:
                results = [env[x] if x.__class__ is Value else scalar(x) for x in graph.outputs]  # type: ignore[arg-type]
                if not frames:
                    self.scope = outer
                    return results
                graph, env, rest, place, scope, outputs = frames.pop()
                env.update(zip(outputs, results, strict=True))
                borders = self.borders.get(graph, _NO_BORDERS)
                if borders:
                    self._end_fusions(env, outputs, borders)

    def _end_fusions(self, env: Any, outputs: Sequence[Value], borders: Set[Value]) -> None:
        """Put a border behind those of some results that are to have one."""
        for value in outputs:
            if value in borders:
                (env[value],) = self.border(value.type, [env[value]])

    def _enter(self, eqn: Equation, place: Location | None, scope: str) -> None:
        """Note which equation the coming operations are of; `place` is where it has none itself,
        `scope` that of the operation whose region it is in."""
        outputs, place = eqn.outputs, eqn.location or place
        value = outputs[0].name if outputs else None
        if place is not None and place.scope:
            scope = joined_scope(scope, place.scope)
        self.scope = scope
        self.location = self.locations.named(place, value, eqn.primitive.name, scope)
        self.equation = eqn

    def _apply(self, eqn: Equation, operands: Sequence[MlirValue]) -> Sequence[MlirValue]:
        rule = self.rules.rules.get(eqn.primitive) or self.rules.find(eqn)
        try:
            results = rule(self, eqn, operands)
            if self.attributed:
                annotate(self, results, self.attributed)
            if self.careful:
                check(self, eqn, results)
        except CovectorError:
            raise
        except Exception as error:
            claim = f"lowering failed: {type(error).__name__}: {error}"
            raise CovectorError(claim, self.equation, stage="lowering") from error
        return results

    def call(
        self,
        graph: Graph,
        operands: Sequence[MlirValue],
        outlined: bool = False,
        kernel: bool = False,
    ) -> list[MlirValue]:
        """Call the function that a graph has become; `outlined`, XLA does not inline it; `kernel`,
        its CPU backend makes one kernel of it."""
        name, constants = self.functions[graph]
        effects = effects_of_graphs((graph,))
        types = [self.types[t] for t in (*(TOKEN_TYPE for _ in effects), *graph.output_types)]
        captured = [self.constants[c] for c in constants]
        given = [*self.host.give(effects), *captured, *operands]
        if kernel and graph in self.kernels:
            return self.call_symbol(name, types, [self.tuple(given)], KERNEL)
        results = self.call_symbol(name, types, given, OUTLINED if outlined else "")
        return self.host.take(effects, results)

    def tuple(self, values: Sequence[MlirValue]) -> MlirValue:
        """One value made of several."""
        type = ir.TupleType.get_tuple([x.type for x in values])
        return create("stablehlo.tuple", [type], list(values), None, loc=self.location).result

    def of_tuple(self, value: MlirValue) -> list[MlirValue]:
        """The values that a tuple is made of."""
        types = ir.TupleType(value.type)
        i32 = ir.IntegerType.get_signless(32)
        parts = []
        for i in range(types.num_types):
            index = {"index": ir.IntegerAttr.get(i32, i)}
            type = types.get_type(i)
            made = create(
                "stablehlo.get_tuple_element", [type], [value], index, loc=self.locations.unknown
            )
            parts.append(made.result)
        return parts

    def call_symbol(
        self, name: str, types: Sequence[Any], operands: Sequence[Any], frontend: str = ""
    ) -> list[MlirValue]:
        attributes: dict[str, ir.Attribute] = {"callee": ir.FlatSymbolRefAttr.get(name)}
        if frontend:
            attributes["mhlo.frontend_attributes"] = self.attributes.parse(frontend)
        made = create("func.call", list(types), operands, attributes, loc=self.location)
        return list(made.results)

    # -- what differs between platforms ----------------------------------------------------------

    def is_on(self, *platforms: str) -> bool:
        """Whether the module is for one of these platforms; `gpu` stands for cuda and rocm."""
        wanted = {p for name in platforms for p in (("cuda", "rocm") if name == "gpu" else (name,))}
        on = [p in wanted for p in self.platforms]
        if any(on) and not all(on):
            raise CovectorError(
                f"the lowering differs between the platforms {', '.join(self.platforms)}",
                self.equation,
                stage="lowering",
                hint="lower for one platform at a time",
            )
        return on[0]

    def borrow(
        self,
        primitive: Any,
        inputs: Sequence[TensorType],
        outputs: Sequence[TensorType],
        operands: Sequence[MlirValue],
        **params: Any,
    ) -> list[MlirValue]:
        """JAX's own lowering of a primitive (or of its name), as a private function called here.

        The parameters are JAX's.
        """
        self.is_on(self.platforms[0])
        types = tuple([t.strong for t in inputs])
        key = (primitive, types, repr(params))
        name = self.borrowed.get(key)
        if name is None:
            source = borrow.lower_primitive_with_jax(primitive, types, params, self.platforms)
            name = self.merge(source, {"main": str(primitive)})["main"]
            self.borrowed[key] = name
        return self.call_symbol(name, [self.types[t] for t in outputs], operands)

    def merge(self, source: bytes, wanted: Mapping[str, str]) -> dict[str, str]:
        """Take over the functions of a module of JAX's, those with a wanted name under that if
        nothing has it; the names that they got."""
        fresh = {name: self.symbols.fresh(new) for name, new in wanted.items()}
        made = borrow.merge_functions(self.module, source, fresh)
        names: Any = [op.attributes["sym_name"] for op in self.module.body.operations]
        self.symbols.taken.update(taken.value for taken in names)
        return made
