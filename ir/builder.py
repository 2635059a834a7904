"""The only way to make equations.

`Builder.emit` infers types, folds what is exact and free to fold, and reuses an equal earlier
equation, so that passes write naive code and get clean programs. It is on every pass's
per-equation path: what it does for each equation is a few dictionary look-ups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from .errors import CovectorError, TypeRuleError
from .graph import Atom, Equation, Graph, Literal, Location, Origin, Value, equation_key
from .primitive import Primitive
from .types import Dtype, TensorType


class Zero:
    """A symbolic zero: an absent tangent or cotangent of this type, never materialised unread."""

    __slots__ = ("type",)

    def __init__(self, type: TensorType) -> None:
        self.type = type

    def __repr__(self) -> str:
        return f"Zero({self.type})"


_TYPE = attrgetter("type")

Operand = Any
"""What rules may pass to the builder: an Atom, a Zero, or a Python or NumPy scalar."""


class Builder:
    """Collects equations.

    `location` and `origin` are given to each new equation: a pass sets them by `derive` or
    `replace` for each equation that it transforms. `uniforms` are the arrays made here whose
    elements are all one literal.
    """

    __slots__ = ("_is_behind", "_made", "_seen", "equations", "location", "origin", "uniforms")

    def __init__(self) -> None:
        self.equations: list[Equation] = []
        self.location: Location | None = None
        self.origin: Origin | None = None
        self._seen: dict[Any, tuple[Value, ...]] = {}
        self._made: dict[Value, Equation] = {}
        self._is_behind = False  # whether nothing is known yet of the equations
        self.uniforms: dict[Atom, Literal] = {}

    def derive(self, step: str, eqn: Equation) -> None:
        """What is emitted next is derived from this equation, by a pass that takes such a step."""
        self.location = eqn.location
        self.origin = Origin(step, eqn)

    def replace(self, eqn: Equation) -> None:
        """What is emitted next takes the place of this equation."""
        self.location = eqn.location
        self.origin = eqn.origin

    # -- making equations ------------------------------------------------------------------------

    def emit(self, primitive: Primitive, *inputs: Operand, **params: Any) -> tuple[Any, ...]:
        """The outputs of `primitive[params] inputs`, always a tuple.

        Raises TypeRuleError naming the primitive, its operands and the user's line.
        """
        if tuple(params) != primitive.param_names:
            params = self.complete(primitive, inputs, params)
        return self.emit_complete(primitive, inputs, params)

    def again(self, eqn: Equation, *inputs: Operand) -> tuple[Any, ...]:
        """The outputs of an equation's primitive, with its parameters, on other operands."""
        return self.emit_complete(eqn.primitive, inputs, eqn.params)

    def emit_complete(
        self, primitive: Primitive, inputs: tuple[Operand, ...], params: dict[str, Any]
    ) -> tuple[Any, ...]:
        """`emit` for parameters that are complete, in declared order."""
        for x in inputs:
            if x.__class__ is not Value and x.__class__ is not Literal:
                return self._emit_general(primitive, inputs, params)
        return self.emit_atoms(primitive, inputs, params)

    def emit_atoms(
        self,
        primitive: Primitive,
        inputs: tuple[Atom, ...],
        params: dict[str, Any],
        types: tuple[TensorType, ...] | None = None,
    ) -> tuple[Any, ...]:
        """`emit` for complete parameters and operands that are atoms. `types` are those of the
        outputs, if the caller knows them."""
        if self._is_behind:
            self._catch_up()
        if primitive.fold is not None:
            folded = primitive.fold(self, inputs, params)
            if folded is not None:
                return folded
        key = equation_key(primitive, inputs, params)
        found = self._seen.get(key)
        if found is not None:
            return found
        if types is None:
            types = self._types(primitive, inputs, params)
        outputs = (Value(types[0]),) if len(types) == 1 else tuple([Value(t) for t in types])
        eqn = Equation(primitive, inputs, outputs, params, self.location, self.origin)
        self._register(eqn, key)
        return outputs

    def _types(
        self, primitive: Primitive, inputs: tuple[Atom, ...], params: dict[str, Any]
    ) -> tuple[TensorType, ...]:
        try:
            types = primitive.output_types(tuple(map(_TYPE, inputs)), params)
        except TypeRuleError as error:
            raise self._locate(error, primitive, inputs, params) from None
        return types if isinstance(types, tuple) else (types,)

    def append(self, eqn: Equation) -> None:
        """Take over an equation as it is, outputs included, for later ones to fold and reuse."""
        if self._is_behind:
            self._catch_up()
        self._register(eqn, equation_key(eqn.primitive, eqn.inputs, eqn.params))

    def retract(self, count: int) -> list[Equation]:
        """Take back, and forget, the equations made after the first `count` of them."""
        taken = self.equations[count:]
        del self.equations[count:]
        for eqn in taken:
            key = equation_key(eqn.primitive, eqn.inputs, eqn.params)
            if self._seen.get(key) is eqn.outputs:
                del self._seen[key]
            for value in eqn.outputs:
                self._made.pop(value, None)
                self.uniforms.pop(value, None)
        return taken

    def _register(self, eqn: Equation, key: Any) -> None:
        self.equations.append(eqn)
        outputs, primitive, inputs = eqn.outputs, eqn.primitive, eqn.inputs
        if len(outputs) == 1:
            self._made[outputs[0]] = eqn
        else:
            self._made.update(dict.fromkeys(outputs, eqn))
        if primitive.may_have_effects and eqn.is_unique:
            return
        self._seen.setdefault(key, outputs)
        if len(inputs) == 1 and inputs[0].__class__ is Literal:
            self._note_uniform(eqn, inputs[0])

    def _note_uniform(self, eqn: Equation, element: Literal) -> None:
        if eqn.primitive.name == "broadcast_in_dim":
            self.uniforms[eqn.outputs[0]] = element

    def define(self, outputs: tuple[Value, ...], like: Equation, **fields: Any) -> None:
        """Append `like` with other fields, making given values: joint rules redefine primals so."""
        self.append(like.replace(outputs=outputs, **fields))

    def definition(self, x: Any) -> Equation | None:
        """The equation that makes x here, or None for graph inputs, captures and literals."""
        if self._is_behind:
            self._catch_up()
        return self._made.get(x) if x.__class__ is Value else None

    def graph(self, inputs: Iterable[Value], outputs: Iterable[Operand], name: str = "f") -> Graph:
        """Close the program. Zeros among the outputs are materialised."""
        outs = [self.instantiate(x) for x in outputs]
        return Graph(inputs, self.equations, outs, name)

    # -- operands that are not atoms -------------------------------------------------------------

    def _emit_general(
        self, primitive: Primitive, inputs: tuple[Operand, ...], params: dict[str, Any]
    ) -> tuple[Any, ...]:
        """Emit with symbolic zeros and Python scalars among the operands."""
        zeros = [i for i, x in enumerate(inputs) if x.__class__ is Zero]
        if zeros and primitive.linear_in:
            short = self._emit_zeros(primitive, inputs, params, zeros)
            if short is not None:
                return short
        typed = [x.type for x in inputs if hasattr(x, "type")]
        atoms = tuple([self._atom(x, typed) for x in inputs])
        return self.emit_atoms(primitive, atoms, params)

    def _emit_zeros(
        self,
        primitive: Primitive,
        inputs: tuple[Operand, ...],
        params: dict[str, Any],
        zeros: list[int],
    ) -> tuple[Any, ...] | None:
        linear = primitive.linear_in
        if primitive.jointly_linear:
            is_zero = all([i in zeros for i in linear])
        else:
            is_zero = any([i in linear for i in zeros])
        if not is_zero and (len(zeros) != 1 or primitive.name not in ("add", "add_any", "sub")):
            return None
        found = primitive.output_types(tuple([x.type for x in inputs]), params)
        types: Any = (found,) if found.__class__ is TensorType else found
        if is_zero:
            return tuple([Zero(t) for t in types])
        other = inputs[1 - zeros[0]]
        if primitive.name == "sub" and zeros[0] == 0:
            other = self.neg(other)
        shape, own = types[0].shape, other.type.shape
        return (other if own == shape else self.broadcast(other, shape, range(len(own))),)

    def _atom(self, x: Operand, typed: Sequence[TensorType]) -> Atom:
        if x.__class__ is Value or x.__class__ is Literal:
            return x
        if x.__class__ is Zero:
            return self.instantiate(x)
        if not typed:
            raise TypeRuleError(f"no operand says which type the scalar {x!r} should have")
        weak = all([t.weak and not t.shape for t in typed])  # as JAX's rules have their constants
        return Literal(x, TensorType((), typed[0].dtype, weak))

    def instantiate(self, x: Operand) -> Atom:
        """An atom for an operand: a symbolic zero becomes an array of zeros."""
        return self.full(x.type, 0) if isinstance(x, Zero) else x

    # -- shorthands ------------------------------------------------------------------------------

    if TYPE_CHECKING:

        def __getattr__(self, primitive: str) -> Callable[..., Any]:
            """`b.sin(x)`: emit the primitive of that name; its output, or outputs if several."""

    def literal(self, value: Any, type: TensorType) -> Literal:
        return Literal(value, TensorType((), type.dtype, type.weak))

    def full(self, type: TensorType, value: Any) -> Atom:
        """An array of one value."""
        scalar = self.literal(value, type)
        if not type.shape:
            return scalar
        array: Atom = self.broadcast(scalar, type.shape, ())
        return array

    def broadcast(self, x: Operand, shape: tuple[int, ...], axes: Sequence[int]) -> Any:
        """x in a larger shape; axis i of x becomes axis `axes[i]` of the result."""
        return self.broadcast_in_dim(x, shape=tuple(shape), broadcast_dimensions=tuple(axes))

    def expand(self, x: Operand, shape: tuple[int, ...], reduced: Sequence[int]) -> Any:
        """Undo a reduction over the axes `reduced` of `shape` by repeating x along them."""
        kept = tuple(i for i in range(len(shape)) if i not in set(reduced))
        return self.broadcast(x, shape, kept)

    def convert(self, x: Operand, dtype: Dtype, weak: bool = False) -> Any:
        return self.convert_element_type(x, new_dtype=dtype, weak_type=weak)

    def sum_of(self, terms: Iterable[Operand], type: TensorType) -> Operand:
        """The sum of terms of one type, a Zero if there are none."""
        total: Operand = None
        for term in terms:
            if term.__class__ is not Zero:
                total = term if total is None else self.add_any(total, term)
        return Zero(type) if total is None else total

    def inline(self, graph: Graph, arguments: Sequence[Operand]) -> list[Any]:
        """Emit a copy of the graph's equations, applied to arguments; its outputs."""
        are_atoms = all([x.__class__ is Value or x.__class__ is Literal for x in arguments])
        if are_atoms and len(graph.equations) == 1:  # as most of what JAX jits and inlines is
            eqn = graph.equations[0]
            if eqn.inputs == graph.inputs and eqn.outputs == graph.outputs:
                return list(self._emit_like(eqn, tuple(arguments)))
        env: dict[Any, Any] = dict(zip(graph.inputs, arguments, strict=True))
        outer, origin = self.location, self.origin
        for eqn in graph.equations:
            self.location = eqn.location or outer
            self.origin = eqn.origin or origin
            inputs = tuple([env.get(x, x) for x in eqn.inputs])
            if are_atoms:  # then all that follows are, and the parameters are complete
                outputs = self.emit_atoms(eqn.primitive, inputs, eqn.params)
            else:
                outputs = self.emit(eqn.primitive, *inputs, **eqn.params)
            _enter(env, eqn.outputs, outputs)
        self.location, self.origin = outer, origin
        return [env.get(x, x) for x in graph.outputs]

    def _emit_like(self, eqn: Equation, inputs: tuple[Atom, ...]) -> tuple[Any, ...]:
        """An equation on other atoms, at its place if it has one."""
        outer, origin = self.location, self.origin
        self.location = eqn.location or outer
        self.origin = eqn.origin or origin
        outputs = self.emit_atoms(eqn.primitive, inputs, eqn.params)
        self.location, self.origin = outer, origin
        for old, new in zip(eqn.outputs, outputs, strict=True):
            if new.__class__ is Value and new.name is None:
                new.name = old.name
        return outputs

    def adopt(self, graph: Graph, arguments: Sequence[Atom]) -> list[Any]:
        """`inline` that takes over the graph's own values, and equations as far as it can. A copy
        where some of the values are made here already, or the arguments have other types.

        Only for graphs none of whose values is an input of the graph that is being built.
        """
        if self._is_behind:
            self._catch_up()
        if not self._can_adopt(graph, arguments):
            return self.inline(graph, arguments)
        if not self.equations and _are_distinct_values(arguments):
            return self._adopt_all(graph, arguments)
        env: dict[Any, Any] = dict(zip(graph.inputs, arguments, strict=True))
        replaced, seen, outer = env.keys(), self._seen, self.location
        for eqn in graph.equations:
            outputs: Any = None
            inputs, primitive = eqn.inputs, eqn.primitive
            if not replaced.isdisjoint(inputs):
                inputs = tuple([env.get(x, x) for x in inputs])
                if primitive.fold is not None:
                    outputs = primitive.fold(self, inputs, eqn.params)
            if outputs is None:
                key = equation_key(primitive, inputs, eqn.params)
                outputs = seen.get(key)
                if outputs is None:
                    if inputs is not eqn.inputs or eqn.location is None:
                        place = eqn.location or outer
                        eqn = Equation(
                            primitive, inputs, eqn.outputs, eqn.params, place, eqn.origin
                        )
                    self._register(eqn, key)
                    continue
            _enter(env, eqn.outputs, outputs)
        return [env.get(x, x) for x in graph.outputs]

    def _adopt_all(self, graph: Graph, arguments: Sequence[Atom]) -> list[Any]:
        """`adopt` where nothing was made here yet that its equations could fold with or be equal
        to. They often are all that there will be: what is known of them waits for the next."""
        env: dict[Any, Any] = dict(zip(graph.inputs, arguments, strict=True))
        replaced, outer, equations = env.keys(), self.location, self.equations
        for eqn in graph.equations:
            inputs = eqn.inputs
            if not replaced.isdisjoint(inputs):
                inputs = tuple([env.get(x, x) for x in inputs])
            elif eqn.location is not None:
                equations.append(eqn)
                continue
            place = eqn.location or outer
            made = Equation(eqn.primitive, inputs, eqn.outputs, eqn.params, place, eqn.origin)
            equations.append(made)
        self._is_behind = True
        return [env.get(x, x) for x in graph.outputs]

    def _catch_up(self) -> None:
        """Register the equations that were taken over all at once."""
        self._is_behind = False
        equations = [*self.equations]
        self.equations.clear()
        for eqn in equations:
            self.append(eqn)

    def _can_adopt(self, graph: Graph, arguments: Sequence[Atom]) -> bool:
        for x, v in zip(arguments, graph.inputs, strict=True):
            if x.type is not v.type:
                return False
        made = self._made.keys()
        return all([made.isdisjoint(eqn.outputs) for eqn in graph.equations])

    # -- errors ----------------------------------------------------------------------------------

    def complete(
        self, primitive: Primitive, inputs: tuple[Operand, ...], params: dict[str, Any]
    ) -> dict[str, Any]:
        """`primitive.complete`, whose error names operands and place."""
        try:
            return primitive.complete(params)
        except TypeRuleError as error:
            raise self._locate(error, primitive, inputs, {}) from None

    def _locate(
        self,
        error: CovectorError,
        primitive: Primitive,
        inputs: tuple[Operand, ...],
        params: dict[str, Any],
    ) -> CovectorError:
        eqn = Equation(primitive, inputs, (), params, self.location)
        return type(error)(error.claim, eqn, hint=error.hint)


def _are_distinct_values(atoms: Sequence[Atom]) -> bool:
    return all([x.__class__ is Value for x in atoms]) and len({*map(id, atoms)}) == len(atoms)


def _enter(env: dict[Any, Any], old: Sequence[Value], new: Sequence[Any]) -> None:
    """Let new atoms stand for old values, and have their names if they have none."""
    for value, atom in zip(old, new, strict=True):
        env[value] = atom
        if atom.__class__ is Value and atom.name is None:
            atom.name = value.name
