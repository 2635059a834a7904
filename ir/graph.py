"""The program: values, literals, equations and graphs.

A `Graph` is closed and immutable. Passes that keep an equation keep its `Value` objects too, so one
value may stand in several graphs (a program and its derivative), but is made once in each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakValueDictionary

import numpy as np

from .memo import memoised as memoised
from .memo import memoised_with_forced as memoised_with_forced
from .memo import remember
from .memo import remembered as remembered
from .thunk import HostFunction as HostFunction
from .thunk import Opaque as Opaque
from .thunk import Thunk as Thunk
from .types import TensorType

if TYPE_CHECKING:
    from .primitive import Primitive


class Location(NamedTuple):
    """Where in the user's source an operation came from. Columns count from 1, as editors do.

    `scope` are the names that jax.named_scope gave to what was recorded then: `decoder/attention`.
    """

    file: str
    line: int
    column: int = 0
    scope: str = ""

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.line}:{self.column}" if self.column else f"{self.file}:{self.line}"
        )


class Value:
    """One SSA value: a type and an optional name hint. Equal only to itself."""

    __slots__ = ("name", "type")

    def __init__(self, type: TensorType, name: str | None = None) -> None:
        self.type = type
        self.name = name

    def __repr__(self) -> str:
        return f"{self.name or '_'}: {self.type}"


class Literal:
    """A scalar written into the program. Those of one type and equal bits are one object."""

    __slots__ = ("__weakref__", "type", "value")
    type: TensorType
    value: np.ndarray[Any, Any]
    name: Final = None

    def __new__(cls, value: Any, type: TensorType) -> Literal:
        array = np.asarray(value, dtype=type.dtype)  # type: ignore[arg-type]
        if array.shape != () or type.shape != ():
            raise ValueError(f"a literal is a scalar, not an array of shape {array.shape}")
        key = (type, array.tobytes())
        found = _literals.get(key)
        if found is None:
            found = object.__new__(cls)
            found.type = type
            array.flags.writeable = False
            found.value = array
            _literals[key] = found
        return found

    def __repr__(self) -> str:
        return f"{self.value}:{self.type}"

    def __reduce__(self) -> tuple[Any, ...]:
        return Literal, (self.value, self.type)


_literals: WeakValueDictionary[tuple[TensorType, bytes], Literal] = WeakValueDictionary()

Atom = Value | Literal


class Constant:
    """A captured array, held by reference: stored once, printed by name, equal only to itself.

    `array` is whatever was captured (a NumPy or JAX array): anything that `numpy.asarray` takes.
    `digest` is filled in by whoever first hashes the contents.
    """

    __slots__ = ("array", "digest", "name", "type")

    def __init__(self, array: Any, type: TensorType, name: str = "const") -> None:
        self.array = array
        self.type = type
        self.name = name
        self.digest: str | None = None

    def __repr__(self) -> str:
        return f"${self.name}"


Params = dict[str, Any]
_NONE: Final[frozenset[str]] = frozenset()


class Origin:
    """What a pass made an equation of: a tangent equation of the primal one ("jvp"), a cotangent
    equation of the linear one ("transpose"), a batched equation of that for one row ("batch")."""

    __slots__ = ("_equation", "step")

    def __init__(self, step: str, equation: Equation) -> None:
        self.step = step
        self._equation = equation

    @property
    def equation(self) -> Equation:
        return self._equation


class LinearOrigin(Origin):
    """That of a cotangent equation: an equation like `linear`, of the linear half of `primal`. It
    is made when it is asked for."""

    __slots__ = ("_primal",)

    def __init__(self, linear: Equation, primal: Equation) -> None:
        self.step = "transpose"
        self._equation = linear
        self._primal = primal

    @property
    def equation(self) -> Equation:
        primal = self._primal
        return self._equation.replace(location=primal.location, origin=Origin("jvp", primal))


class Equation:
    """One operation: `outputs = primitive[params] inputs`. Treat all fields as read-only.

    `origin` is a memory of the process: it is no part of the program, and not in its text.
    """

    __slots__ = (
        "_effects", "_is_unique", "inputs", "location", "origin", "outputs", "params", "primitive",
    )  # fmt: skip
    _effects: frozenset[str]  # these two are set once they were asked for
    _is_unique: bool

    def __init__(
        self,
        primitive: Primitive,
        inputs: tuple[Atom, ...],
        outputs: tuple[Value, ...],
        params: Params,
        location: Location | None = None,
        origin: Origin | None = None,
    ) -> None:
        self.primitive = primitive
        self.inputs = inputs
        self.outputs = outputs
        self.params = params
        self.location = location
        self.origin = origin

    @property
    def output(self) -> Value:
        """The output of an equation that has exactly one."""
        (out,) = self.outputs
        return out

    @property
    def effects(self) -> frozenset[str]:
        """Reasons why the equation must neither be dropped, repeated nor reordered."""
        if not self.primitive.may_have_effects:
            return _NONE
        try:
            return self._effects
        except AttributeError:
            found = self.primitive.effects_of(self)
            if self.primitive.has_regions:
                found = found.union(*[graph.effects for graph in self.running()])
            self._effects = found
            return found

    @property
    def is_unique(self) -> bool:
        """Whether no equal equation may take its place: it has effects or rules of a user's."""
        if not self.primitive.may_have_effects:
            return False
        try:
            return self._is_unique
        except AttributeError:
            self._is_unique = bool(self.effects or self.has_user_rules)
            return self._is_unique

    @property
    def has_user_rules(self) -> bool:
        """Whether rules that a user wrote differentiate it, or part of a graph that it holds."""
        primitive = self.primitive
        return primitive.user_rules or (
            primitive.has_regions and any([graph.has_user_rules for graph in self.regions()])
        )

    def regions(self) -> Iterator[Graph]:
        """The graphs held in the parameters, in order."""
        for value in self.params.values():
            if isinstance(value, Graph):
                yield value
            elif isinstance(value, tuple):
                yield from (item for item in value if isinstance(item, Graph))

    def running(self) -> Iterable[Graph]:
        """The graphs held that run when the equation does: not the rules among them."""
        runs = self.primitive.runs
        return self.regions() if runs is None else runs(self)

    def replace(self, **fields: Any) -> Equation:
        """A copy with some fields changed."""
        return Equation(
            fields.get("primitive", self.primitive),
            fields.get("inputs", self.inputs),
            fields.get("outputs", self.outputs),
            fields.get("params", self.params),
            fields.get("location", self.location),
            fields.get("origin", self.origin),
        )

    def __repr__(self) -> str:
        from .errors import describe_equation

        return describe_equation(self)


def equation_key(primitive: Primitive, inputs: tuple[Atom, ...], params: Params) -> Any:
    """What equations have in common exactly when they compute the same."""
    if primitive.commutative and id(inputs[0]) > id(inputs[1]):
        inputs = inputs[::-1]
    if not params:
        return (primitive, inputs)
    if primitive.float_params:  # 0.0 == -0.0 == False, and nan != nan
        return (primitive, inputs, *params.values(), repr(params))
    return (primitive, inputs, *params.values())


class Graph:
    """A function: inputs, equations in order, outputs. Immutable; equal only to itself.

    `name` is a hint, made unique by the printer. `linear_from` is set on linear functions: inputs
    from that position on are the linear ones, those before it residuals; the text has a `|` there.
    `derived` keeps what passes computed from this graph (its jvp, its lowering, ...) so that a
    graph used many times is transformed once.
    """

    __slots__ = (
        "__weakref__", "_effects", "_has_user_rules", "_nesting", "derived", "equations", "inputs",
        "linear_from", "name", "outputs",
    )  # fmt: skip

    def __init__(
        self,
        inputs: Iterable[Value],
        equations: Iterable[Equation],
        outputs: Iterable[Atom],
        name: str = "f",
        linear_from: int | None = None,
    ) -> None:
        self.inputs = tuple(inputs)
        self.equations = tuple(equations)
        self.outputs = tuple(outputs)
        self.name = name
        self.linear_from = linear_from
        self.derived: dict[Any, Any] = {}
        self._effects: frozenset[str] | None = None
        self._has_user_rules: bool | None = None
        self._nesting: int | None = None

    @property
    def effects(self) -> frozenset[str]:
        if self._effects is None:
            # callees first: no recursion however deep the nest
            for graph in walk_graphs(self, skip=lambda g: g._effects is not None):
                graph._effects = frozenset().union(*(e.effects for e in graph.equations))
        assert self._effects is not None
        return self._effects

    @property
    def has_user_rules(self) -> bool:
        """Whether rules that a user wrote differentiate some of the equations, or of those in the
        graphs that they hold."""
        if self._has_user_rules is None:
            for graph in walk_graphs(self, skip=lambda g: g._has_user_rules is not None):
                graph._has_user_rules = any(e.has_user_rules for e in graph.equations)
        assert self._has_user_rules is not None
        return self._has_user_rules

    @property
    def nesting(self) -> int:
        """How many graphs deep the regions inside are nested; 0 without any."""
        if self._nesting is None and not any([e.primitive.has_regions for e in self.equations]):
            self._nesting = 0
        if self._nesting is None:
            for graph in walk_graphs(self, skip=lambda g: g._nesting is not None):
                graph._nesting = max((g.nesting + 1 for g in _callees(graph)), default=0)
        assert self._nesting is not None
        return self._nesting

    @property
    def input_types(self) -> tuple[TensorType, ...]:
        return tuple(v.type for v in self.inputs)

    @property
    def output_types(self) -> tuple[TensorType, ...]:
        return tuple(v.type for v in self.outputs)

    def with_equations(self, equations: Iterable[Equation]) -> Graph:
        return Graph(self.inputs, equations, self.outputs, self.name, self.linear_from)

    def renamed(self, name: str) -> Graph:
        return Graph(self.inputs, self.equations, self.outputs, name, self.linear_from)

    def __len__(self) -> int:
        return len(self.equations)

    def __repr__(self) -> str:
        signature = ", ".join(map(repr, self.inputs))
        results = ", ".join(str(t) for t in self.output_types)
        return f"@{self.name}({signature}) -> ({results}) with {len(self.equations)} equations"


def walk_graphs(*roots: Graph, skip: Callable[[Graph], bool] | None = None) -> list[Graph]:
    """Every graph reachable from the roots, once each, callees before callers. No recursion.

    Graphs that `skip` holds for are not entered: what is known of them need not be found again.
    """
    order: list[Graph] = []
    done: set[Graph] = set()
    stack: list[tuple[Graph, Iterator[Graph]]] = []
    for root in roots:
        if root in done or (skip is not None and skip(root)):
            continue
        done.add(root)
        stack.append((root, _callees(root)))
        while stack:
            graph, callees = stack[-1]
            callee = next(callees, None)
            if callee is None:
                stack.pop()
                order.append(graph)
            elif callee not in done and (skip is None or not skip(callee)):
                done.add(callee)
                stack.append((callee, _callees(callee)))
    return order


def _callees(graph: Graph) -> Iterator[Graph]:
    for eqn in graph.equations:
        if eqn.primitive.has_regions:
            yield from eqn.regions()


def captures(
    inputs: Sequence[Value], equations: Sequence[Equation], outputs: Sequence[Atom]
) -> tuple[Value, ...]:
    """The values that equations and outputs read but neither take nor make, in reading order."""
    bound: set[Any] = set(inputs)
    found: dict[Value, None] = {}
    for eqn in equations:
        for x in eqn.inputs:
            if x not in bound and x.__class__ is not Literal:
                found[x] = None  # type: ignore[index]
        bound.update(eqn.outputs)
    for x in outputs:
        if x not in bound and not isinstance(x, Literal):
            found.setdefault(x)
    return tuple(found)


def transformed(graph: Graph, key: Any, change: Callable[[Graph], Graph]) -> Graph:
    """A graph changed after all graphs that it holds have been: each once, and without recursion.

    `change` finds what became of a callee by `remembered(callee, key)`.
    """
    for callee in walk_graphs(graph):
        if key not in callee.derived:
            remember(callee, key, change(callee))
    made: Graph = remembered(graph, key)
    return made
