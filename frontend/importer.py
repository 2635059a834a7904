"""Jaxprs as graphs, and the table of what each JAX primitive becomes.

What JAX has already traced (regions, jitted functions, closed jaxprs) is read in here; what is
traced now asks the same table. The entries of the table are in import_rules.
"""

from __future__ import annotations

import enum
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final

import jax
import numpy as np

from ..ir.builder import Builder
from ..ir.errors import CovectorError, MissingRule, UsageError
from ..ir.graph import Graph, Thunk, Value, memoised
from ..ir.module import Module
from ..ir.primitive import PRIMITIVES, forget_on_change
from ..ir.types import ExtendedDtype
from .avals import to_dtype
from .captures import constant_atom
from .carried import entered, note_carried, with_second_inputs
from .cells import Cell, cell_of, check_no_cells, enter_input, has_ref_effects, is_ref
from .compiler_attributes import has_context, record_in_context
from .hidden_rules import has_hidden_rules, jaxprs_of
from .jax_compat import (
    ClosedJaxpr,
    JaxprLiteral,
    equation_context,
    is_default_sharding,
    is_extended,
    lowered,
    no_metadata,
)
from .jax_primitives import BORROWERS, is_of_jax
from .labels import plain_name
from .locations import Naming, place_of, site_of_traceback
from .refused import kernel_refusal, refusal

Params = Mapping[str, Any]
Record = Callable[[Builder, tuple[Any, ...], Params], tuple[Any, ...]]
"""(builder, atoms, JAX's params) -> atoms: append what an operation of JAX's becomes."""
Convert = Callable[[Params], dict[str, Any]]

CONVERT: Final[dict[str, Convert]] = {}
"""By JAX's name: parameters that need more than their values made plain."""

SPECIAL: Final[dict[str, Record]] = {}
"""By JAX's name: operations that become something else than one equation of the same kind."""

WITH_CELLS: Final[dict[str, Record]] = {}
"""By JAX's name: what an operation with regions becomes that is given mutable arrays (as cells)."""

RENAMED: Final[dict[str, str]] = {
    "remat2": "checkpoint",
    "scaled_matmul_wrapper": "scaled_matmul",  # which says how to part it among devices
}

# -- values made plain -----------------------------------------------------------------------------

_PLAIN: Final = frozenset({int, bool, str, float, type(None), Graph, Thunk, ExtendedDtype})


def plain(value: Any) -> Any:
    """A parameter's value as plain data: enums by name, jaxprs as graphs, lists as tuples."""
    kind = value.__class__
    if kind in _PLAIN:
        return value
    if kind is tuple or kind is list:
        return tuple([v if v.__class__ is int else plain(v) for v in value])
    if isinstance(value, enum.Enum):  # the default algorithm is what there is without one
        return None if value is jax.lax.DotAlgorithmPreset.DEFAULT else value.name
    if isinstance(value, np.dtype):
        return value
    if isinstance(value, jax.lax.Tolerance):
        return value.atol, value.rtol, value.ulps
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, ClosedJaxpr):
        return graph_of(value)
    if hasattr(value, "dtype") and is_extended(value):
        return to_dtype(value)
    if isinstance(value, tuple):  # named tuples
        return tuple([plain(v) for v in value])
    if isinstance(value, type) and issubclass(value, np.generic):
        return np.dtype(value)
    try:
        return to_dtype(value)
    except TypeError:
        raise UsageError(f"the parameter value {value!r} cannot be kept as plain data") from None


def _is_on_device(value: Any) -> bool:
    """Whether a parameter asks for the memory that every value is in anyway."""
    return isinstance(value, jax.memory.Space) and value == jax.memory.Space.Device


def converter(name: str, jax_name: str) -> Convert:
    """Parameters of ours, in declared order, from JAX's."""
    special = CONVERT.get(jax_name)
    if special is not None:
        return special
    defaults = tuple(PRIMITIVES[name].defaults.items())
    dropped: tuple[str, ...] | None = None  # an operation of JAX's always has the same parameters

    def convert(params: Params) -> dict[str, Any]:
        nonlocal dropped
        if dropped is None:
            dropped = tuple(key for key in params if key not in PRIMITIVES[name].defaults)
        for key in dropped:
            value = params[key]
            if value is not None and not is_default_sharding(value) and not _is_on_device(value):
                raise UsageError(f"{jax_name} with {key}={value!r} is not supported")
        converted = {}
        for key, default in defaults:
            value = params.get(key, default)
            converted[key] = value if value.__class__ in _PLAIN else plain(value)
        return converted

    return convert


# -- the table -------------------------------------------------------------------------------------

_RULES: Final[dict[Any, Record]] = {}


def rule_for(primitive: Any) -> Record:
    """How to record a JAX primitive. Raises MissingRule for one that covector does not have."""
    found = _RULES.get(primitive)
    if found is None:
        found = _RULES[primitive] = _make_rule(primitive)
    return found


def _make_rule(primitive: Any) -> Record:
    from .foreign import record_foreign  # which traces rules, with this file

    jax_name = primitive.name
    if not is_of_jax(primitive):
        return record_foreign(primitive)
    if jax_name in WITH_CELLS:
        return _for_cells(_plain_rule(jax_name, primitive), WITH_CELLS[jax_name])
    return _plain_rule(jax_name, primitive)


def _plain_rule(jax_name: str, primitive: Any) -> Record:
    from .foreign import record_foreign

    if jax_name in SPECIAL:
        return SPECIAL[jax_name]
    reason = refusal(jax_name)
    name = RENAMED.get(jax_name, jax_name.replace("-", "_"))
    ours = PRIMITIVES.get(name)
    if ours is None and reason is None:
        reason = kernel_refusal(jax_name)
    if reason is not None:
        raise MissingRule(f"the JAX primitive {jax_name} is not supported: {reason}")
    if ours is None:
        return record_foreign(primitive, CONVERT.get(jax_name))
    convert = converter(name, jax_name)

    def record(b: Builder, inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
        if not params:
            return b.emit(ours, *inputs)
        return b.emit(ours, *inputs, **convert(params))

    return record


def _for_cells(plain_rule: Record, with_cells: Record) -> Record:
    """How to record an operation with regions, of which some may be given mutable arrays."""

    def record(b: Builder, inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
        for x in inputs:
            if x.__class__ is Cell:
                return with_cells(b, inputs, params)
        return plain_rule(b, inputs, params)

    return record


def converts(*names: str) -> Callable[[Convert], Convert]:
    """`@converts("gather")`: enter (JAX's params) -> our params."""

    def enter(convert: Convert) -> Convert:
        for name in names:
            CONVERT[name] = convert
        return convert

    return enter


def records(*names: str) -> Callable[[Record], Record]:
    """`@records("jit")`: enter what an operation becomes that is not one equation of its kind."""

    def enter(record: Record) -> Record:
        for name in names:
            SPECIAL[name] = record
        return record

    return enter


def records_with_cells(*names: str) -> Callable[[Record], Record]:
    """`@records_with_cells("scan")`: enter what an operation on mutable arrays becomes."""

    def enter(record: Record) -> Record:
        for name in names:
            WITH_CELLS[name] = record
        return record

    return enter


# -- jaxprs ----------------------------------------------------------------------------------------

_GRAPHS: Final[dict[tuple[int, bool, bool], tuple[Any, Graph]]] = {}
"""By id of a jaxpr, whether mutable arrays are carried, and whether rules are lent what they close
over: a weak reference to it, which removes the entry, and its graph."""

forget_on_change(_GRAPHS.clear)  # passes keep with a graph what rules made of it


def from_jaxpr(closed_jaxpr: Any, name: str | None = None) -> Module:
    """The program of a closed jaxpr, such as `jax.make_jaxpr(f)(x)` returns."""
    graph = graph_of(closed_jaxpr)
    if memoised(graph, "outer refs", tuple):
        raise UsageError(
            f"{graph.name} closes over mutable arrays, which a program cannot hold",
            hint="pass them as arguments: the program takes what they hold, and returns what it "
            "leaves there after its results",
        )
    return Module({name or graph.name: graph}, name=name or graph.name)


def graph_of(closed_jaxpr: Any, carries: bool = False, lends: bool = False) -> Graph:
    """The graph of a closed jaxpr: one object for as long as the jaxpr lives.

    With `carries`, it also takes and returns second values of mutable arrays, where needed
    (carried). With `lends`, it takes recorded values that rules in it close over (lent).
    """
    if closed_jaxpr.__class__ is Graph:
        return closed_jaxpr
    found = _GRAPHS.get((id(closed_jaxpr), carries, lends))
    if found is not None:
        return found[1]
    return _remember(closed_jaxpr, _import(closed_jaxpr, carries, lends), carries, lends)


def graph_of_open(jaxpr: Any, carries: bool = False, lends: bool = False) -> Graph:
    """The graph of a jaxpr without the values of its constants, which become leading inputs."""
    if jaxpr.__class__ is Graph:
        return jaxpr
    found = _GRAPHS.get((id(jaxpr), carries, lends))
    if found is not None:
        return found[1]
    return _remember(jaxpr, _import_body(jaxpr, (), carries, lends), carries, lends)


def graph_of_either(jaxpr: Any, carries: bool = False, lends: bool = False) -> Graph:
    """The graph of a jaxpr, closed or with constants as its first inputs."""
    read = graph_of if isinstance(jaxpr, ClosedJaxpr) else graph_of_open
    return read(jaxpr, carries, lends)


BODIES = ("jaxpr", "call_jaxpr", "fwd_jaxpr")
"""What versions of JAX call the body of a call."""


def body_graph(params: Params, carries: bool = False) -> Graph:
    """The graph of the body of a call, whatever its parameter is called."""
    (jaxpr,) = (value for name, value in params.items() if name in BODIES)
    return graph_of_either(jaxpr, carries)


def _remember(jaxpr: Any, graph: Graph, carries: bool, lends: bool) -> Graph:
    """Note the graph of a jaxpr; it is the same one with and without lending if nothing is lent."""
    if lends and not memoised(graph, "lent", tuple):
        plain_key = id(jaxpr), carries, False
        graph = _GRAPHS[plain_key][1] if plain_key in _GRAPHS else _note(jaxpr, plain_key, graph)
    return _note(jaxpr, (id(jaxpr), carries, lends), graph)


def _note(jaxpr: Any, key: tuple[int, bool, bool], graph: Graph) -> Graph:
    _GRAPHS[key] = (weakref.ref(jaxpr, lambda _: _GRAPHS.pop(key, None)), graph)
    return graph


def _import(closed_jaxpr: Any, carries: bool, lends: bool) -> Graph:
    is_kept = has_hidden_rules(closed_jaxpr.eqns)
    given = closed_jaxpr if is_kept else lowered(closed_jaxpr)
    return _import_body(given.jaxpr, given.consts, carries, lends)


@no_metadata()  # its equations say themselves what is to be told of them
def _import_body(jaxpr: Any, consts: Any, carries: bool, lends: bool) -> Graph:
    """The graph of a jaxpr. Mutable arrays that are not its own are values here: those among its
    constants are its first inputs (see `outer_refs`), and after its outputs come what they hold in
    the end, then what those among its inputs do. Their second values follow each of them, as an
    input and as an output. Before all comes what rules are lent (lent).
    """
    carry = entered if carries else None
    lent: dict[int, tuple[Any, Value]] | None = {} if lends else None
    b = Builder()
    env: dict[Any, Any] = {}
    outer: dict[int, tuple[Any, Cell]] = {}
    inputs = []
    debug = jaxpr.debug_info
    names = debug.arg_names if debug is not None else None
    if not names or len(names) != len(jaxpr.invars):
        names = (None,) * len(jaxpr.invars)
    if len(consts) != len(jaxpr.constvars):
        inputs += [enter_input(env, var, carry=carry) for var in jaxpr.constvars]
    else:
        for var, array in zip(jaxpr.constvars, consts, strict=True):
            env[var] = cell_of(outer, array, carry) if is_ref(array) else constant_atom(b, array)
    for var, name in zip(jaxpr.invars, names, strict=True):
        inputs.append(enter_input(env, var, plain_name(name), carry))
    taken = [env[v] for v in (*jaxpr.constvars, *jaxpr.invars)]
    naming: Naming | None = None
    for eqn in jaxpr.eqns:
        naming = _import_equation(b, eqn, env, naming, outer, lent, carry)
    if naming is not None:
        naming.apply()
    outputs = [_read(b, x, env) for x in jaxpr.outvars]
    check_no_cells(outputs)
    own = [x for x in taken if isinstance(x, Cell) and x.initial in inputs]
    cells = [*(cell for _, cell in outer.values()), *own]
    first: list[Any] = [cell.initial for _, cell in outer.values()]
    taken, held = with_second_inputs([*first, *inputs], cells)
    name = plain_name(debug.func_name if debug else None) or "f"
    borrowed = list(lent.values()) if lent else []
    taken = [*(value for _, value in borrowed), *taken]
    graph = Graph(taken, b.equations, [*outputs, *(cell.atom for cell in held)], name)
    memoised(graph, "lent", lambda: tuple([x for x, _ in borrowed]))
    note_carried(graph, held)
    if outer:
        memoised(graph, "outer refs", lambda: tuple([ref for ref, _ in outer.values()]))
    return graph


def outer_refs(name: str, params: Params) -> list[Any]:
    """The mutable arrays that live outside of all, which regions of an operation read or write:
    what these hold comes to it before its operands."""
    found = {}
    for jaxpr in jaxprs_of(name, params):
        if jaxpr.effects and has_ref_effects(jaxpr):
            graph = graph_of_either(jaxpr)
            found.update({id(x): x for x in memoised(graph, "outer refs", tuple)})
    return list(found.values())


def _import_equation(
    b: Builder,
    eqn: Any,
    env: dict[Any, Any],
    naming: Naming | None,
    outer: dict[int, tuple[Any, Cell]],
    lent: dict[int, tuple[Any, Value]] | None,
    carry: Callable[[Cell], Cell] | None,
) -> Naming | None:
    """Append one equation; what is known of the expression that it is part of."""
    site = site_of_traceback(eqn.source_info.traceback)
    b.location = place_of(site, eqn.source_info.name_stack)
    inputs = tuple([_read(b, x, env) for x in eqn.invars])
    if eqn.effects:
        refs = outer_refs(eqn.primitive.name, eqn.params)
        inputs = (*[cell_of(outer, ref, carry) for ref in refs], *inputs)
    rule, params = rule_for(eqn.primitive), eqn.params
    try:
        if lent is not None and eqn.primitive.name in BORROWERS:
            from .lent import lend_inputs  # which reads jaxprs, with this file

            inputs, params = lend_inputs(lent, eqn, inputs)
        if has_context(eqn):
            with equation_context(eqn):
                outputs = record_in_context(b, rule, inputs, params)
        else:
            outputs = rule(b, inputs, params)
    except CovectorError as error:
        if error.location is None:
            error.location = b.location
        raise
    env.update(zip(eqn.outvars, outputs, strict=True))
    made = tuple([x for x in outputs if not isinstance(x, Cell)])
    if naming is not None and naming.site is site:
        naming.operations.append(made)
        return naming
    if naming is not None:
        naming.apply()
    return Naming(site, None, [made]) if site is not None and site.names else None


def _read(b: Builder, x: Any, env: dict[Any, Any]) -> Any:
    return constant_atom(b, x.val, x.aval) if isinstance(x, JaxprLiteral) else env[x]
