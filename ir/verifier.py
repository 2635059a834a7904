"""The rules of the representation, checked.

A graph is closed: each value it reads is an input or made before, once. Each equation has the
parameters its primitive declares, in order, as plain data, and the output types that the
primitive's type rule gives. Graphs do not call each other in circles. Graphs are immutable, so one
that was found right is not looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np

from .errors import TypeRuleError, VerifyError
from .graph import Constant, Equation, Graph, Literal, Location, Thunk, Value, walk_graphs
from .syntax import TYPE, quote_name
from .types import DTYPE_BY_NAME, ExtendedDtype, TensorType, dtype_name

if TYPE_CHECKING:
    from .module import Module

DEEPEST: Final = 100
"""Levels of nesting in one parameter."""

_TYPE = re.compile(TYPE)
_VERIFIED: Final = "verified"
_SCALARS: Final = frozenset({int, float, complex, bool, str, type(None), TensorType})


def verify_module(module: Module) -> None:
    """Raise VerifyError unless the module obeys every rule."""
    names: list[tuple[str, Any]] = [("module", module.name)]
    names += [("graph", key) for key in module.graphs]
    for what, name in names:
        if not isinstance(name, str) or not name:
            raise VerifyError(f"the name of a {what} is a string, not {name!r}")
    for key, graph in module.graphs.items():
        if graph.name != key:
            raise VerifyError(f"the graph @{graph.name} is entered in the module as @{key}")
    if module.entry not in module.graphs:
        raise VerifyError(f"the entry @{module.entry} is not a graph of the module")
    for which in ("in_tree", "out_tree"):
        problem = _not_plain(getattr(module, which), tree=True)
        if problem:
            raise VerifyError(f"{which} holds {problem}")
    verify_graphs(module.graphs.values())


def verify_graphs(roots: Iterable[Graph]) -> None:
    """Raise VerifyError unless these graphs, and all that they call, obey every rule."""
    for graph in check_acyclic(roots):
        if _VERIFIED not in graph.derived:
            _verify_graph(graph)
            graph.derived[_VERIFIED] = True


def check_acyclic(roots: Iterable[Graph]) -> list[Graph]:
    """Every graph reachable, callees before callers. Raises VerifyError if they call in circles."""
    order = walk_graphs(*roots)
    before: set[Graph] = set()
    for graph in order:
        for eqn in graph.equations:
            if eqn.primitive.has_regions and not before.issuperset(eqn.regions()):
                _fail_cycle(graph)
        before.add(graph)
    return order


def _fail_cycle(start: Graph) -> NoReturn:
    """Find the circle by following, from `start`, the calls that lead back to it."""
    came_from: dict[Graph, Graph] = {}
    queue = [start]
    for graph in queue:
        for eqn in graph.equations:
            for callee in eqn.regions():
                if callee is start:
                    path = [start]
                    while graph is not start:
                        path.append(graph)
                        graph = came_from[graph]
                    names = " -> ".join(f"@{quote_name(g.name)}" for g in [*path, start][::-1])
                    raise VerifyError(f"functions call each other in a circle: {names}")
                if callee not in came_from:
                    came_from[callee] = graph
                    queue.append(callee)
    raise AssertionError("a graph that precedes its callee is on a circle")


# -- one graph -----------------------------------------------------------------------------------


def _verify_graph(graph: Graph) -> None:
    made: set[Any] = set()
    for value in graph.inputs:
        if value.__class__ is not Value or value in made:
            _fail(graph, None, f"the input {value!r} is not a value or is taken twice")
        _check_type(graph, None, value)
        made.add(value)
    linear: Any = graph.linear_from
    if linear is not None and not (isinstance(linear, int) and 0 <= linear <= len(graph.inputs)):
        _fail(graph, None, f"linear from input {linear!r}, but it has {len(graph.inputs)} inputs")
    inferred: dict[Any, Any] = {}
    right: set[int] = set()
    for i, eqn in enumerate(graph.equations):
        for x in eqn.inputs:
            if x not in made and x.__class__ is not Literal:
                _fail(graph, i, f"{_name(graph, x)} is read before it is made, or never made")
        params, primitive = eqn.params, eqn.primitive
        if id(params) not in right:  # equations that were parsed share dictionaries
            _check_params(graph, i, eqn)
            right.add(id(params))
        types = tuple([x.type for x in eqn.inputs])
        key: Any = (primitive, types, id(params)) if params else (primitive, types)
        wanted = inferred.get(key)
        if wanted is None:
            wanted = inferred[key] = _infer(graph, i, eqn, types)
        outputs = eqn.outputs
        if tuple([v.type for v in outputs]) != wanted:
            _fail_types(graph, i, outputs, wanted)
        for value in outputs:
            if value in made or value.__class__ is not Value:
                _fail(graph, i, f"{_name(graph, value)} is made twice")
            made.add(value)
        if eqn.location.__class__ is not Location and eqn.location is not None:
            _fail(graph, i, f"the location is {eqn.location!r}")
    for x in graph.outputs:
        if x not in made and x.__class__ is not Literal:
            _fail(graph, None, f"the result {_name(graph, x)} is never made")


def _infer(
    graph: Graph, index: int, eqn: Equation, types: tuple[TensorType, ...]
) -> tuple[TensorType, ...]:
    """What the type rule says, as a tuple. Rules may fail in any way on what is not theirs."""
    name = eqn.primitive.name
    try:
        result: Any = eqn.primitive.infer(types, eqn.params)
        made = (result,) if result.__class__ is TensorType else tuple(result)
        nameless = [dtype_name(t.dtype) for t in made if not _is_known(t.dtype)]
    except TypeRuleError as error:
        _fail(graph, index, error.claim, error.hint)
    except IndexError:
        _fail(graph, index, f"{name} does not take {len(types)} operands of these types")
    except ValueError as error:
        problem = "" if "unpack" in str(error) else f" with these parameters: {error}"
        _fail(graph, index, f"{name} does not take these {len(types)} operands{problem}")
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        _fail(graph, index, f"{name} does not take these parameters: {problem}")
    if nameless:
        _fail(graph, index, f"{name} makes the dtype {nameless[0]} here, which has no name")
    return made


def _fail_types(
    graph: Graph, index: int, outputs: tuple[Value, ...], wanted: tuple[TensorType, ...]
) -> NoReturn:
    if len(outputs) != len(wanted):
        name = graph.equations[index].primitive.name
        _fail(graph, index, f"{name} makes {len(wanted)} values here, not {len(outputs)}")
    for value, type in zip(outputs, wanted, strict=True):
        if value.type is not type:
            name = graph.equations[index].primitive.name
            stated = f"{_name(graph, value)} is stated to be {value.type}"
            _fail(graph, index, f"{stated}, but {name} makes {type} here")
    raise AssertionError("types are interned")


# -- parameters and types ------------------------------------------------------------------------


def _check_params(graph: Graph, index: int, eqn: Equation) -> None:
    primitive, params = eqn.primitive, eqn.params
    if tuple(params) != primitive.param_names:
        wanted = ", ".join(primitive.param_names) or "none"
        got = ", ".join(map(str, params)) or "none"
        _fail(graph, index, f"{primitive.name} has the parameters {wanted}; here are {got}")
    for name, value in params.items():
        if value.__class__ in _SCALARS:
            continue
        problem = _not_plain(value, eqn=eqn)
        if problem:
            hint = "parameters are numbers, strings, tuples, dtypes, graphs, constants and thunks"
            _fail(graph, index, f"the parameter {name} holds {problem}", hint)


def _not_plain(
    value: Any, depth: int = 0, eqn: Equation | None = None, tree: bool = False
) -> str | None:
    """What keeps a value from being plain data, or None. Trees may hold lists and dictionaries."""
    if value.__class__ in _SCALARS:
        return None
    if depth > DEEPEST:
        return f"data nested more than {DEEPEST} levels deep"
    items: Iterable[Any]
    if value.__class__ is tuple or (tree and value.__class__ is list):
        items = value
    elif tree and value.__class__ is dict:
        items = [x for item in value.items() for x in item]
    else:
        return _not_plain_leaf(value, depth, eqn)
    for item in items:
        problem = _not_plain(item, depth + 1, eqn, tree)
        if problem:
            return problem
    return None


def _not_plain_leaf(value: Any, depth: int, eqn: Equation | None) -> str | None:
    if isinstance(value, (np.dtype, ExtendedDtype)):
        return None if _is_known(value) else f"the dtype {dtype_name(value)}, which has no name"
    if eqn is not None and isinstance(value, Graph):
        if not eqn.primitive.has_regions:
            return f"a graph, but {eqn.primitive.name} has no regions"
        return None if depth <= 1 else "a graph in a tuple of tuples"
    if eqn is not None and isinstance(value, Constant):
        return _misfit(value) if depth == 0 else "a constant in a tuple"
    if eqn is not None and isinstance(value, Thunk):
        return None
    return f"{value.__class__.__module__}.{value.__class__.__qualname__} {value!r:.60}"


def _misfit(constant: Constant) -> str | None:
    """How a captured array differs from its type, without a look at its contents; or None."""
    shape = getattr(constant.array, "shape", constant.type.shape)
    if tuple(shape) == constant.type.shape:
        return None
    return f"${constant.name} of type {constant.type}, whose array has the shape {tuple(shape)}"


@cache
def _is_known(dtype: Any) -> bool:
    """Whether the dtype reads back from its name."""
    name = dtype_name(dtype)
    if not _TYPE.fullmatch(f"{name}[]"):
        return False
    return DTYPE_BY_NAME.get(name) == dtype or isinstance(dtype, ExtendedDtype)


def _check_type(graph: Graph, index: int | None, value: Value) -> None:
    if value.type.__class__ is not TensorType:
        _fail(graph, index, f"{_name(graph, value)} has no type")
    if not _is_known(value.type.dtype):
        name = dtype_name(value.type.dtype)
        _fail(graph, index, f"{_name(graph, value)} has the dtype {name}, which has no name")


# -- errors --------------------------------------------------------------------------------------


def _fail(graph: Graph, index: int | None, claim: str, hint: str | None = None) -> NoReturn:
    """Raise VerifyError about an equation of the graph, or about the graph as a whole."""
    eqn = graph.equations[index] if index is not None else None
    raise VerifyError(
        claim,
        eqn,
        graph=graph,
        index=index,
        excerpt=_excerpt(graph, eqn) if eqn is not None else None,
        stage=f"@{quote_name(graph.name)}",
        hint=hint,
    ) from None


def _name(graph: Graph, x: Any) -> str:
    from .printer import atom_texts

    return atom_texts(graph)[x]


def _excerpt(graph: Graph, eqn: Equation) -> str:
    """The equation as the printer writes it, and its operands with their types."""
    from .printer import atom_texts, equation_line

    names = atom_texts(graph)
    operands = dict.fromkeys(f"{names[x]}: {x.type}" for x in eqn.inputs)
    return f"    {equation_line(eqn, names)}\n  {'   '.join(operands)}"
