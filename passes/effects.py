"""Programs whose effects happen no more often than they should.

A program that is run a second time for its values must not repeat its effects (`without_effects`);
one that runs for a whole batch, of which some examples are elsewhere, has effects only for those
that are there (`guarded`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from ..ir.builder import Builder
from ..ir.errors import PassError
from ..ir.graph import Atom, Equation, Graph, Literal, Thunk, Value, memoised
from ..ir.ops.control import cond, scan, split_sizes, while_, while_sizes
from ..ir.ops.effect import DEBUG, ORDERED_DEBUG
from ..ir.primitive import RuleTable, primitive_named
from ..ir.types import BOOL, TensorType
from .families import load_region_rules
from .regions import equation, with_regions

ONLY_LOOKS: Final = frozenset({DEBUG, ORDERED_DEBUG})
"""Effects that nothing in the program depends on."""


# -- a second time, for values only ----------------------------------------------------------------


def without_effects(equations: Sequence[Equation], needed: Iterable[Any]) -> list[Equation]:
    """Those that the needed values depend on, without effects.

    Raises PassError where such a value comes of an effect.
    """
    live = set(needed)
    kept = []
    for eqn in reversed(equations):
        if live.isdisjoint(eqn.outputs):
            continue
        quiet = _quiet(eqn) if eqn.effects else eqn
        live.update(quiet.inputs)
        kept.append(quiet)
    kept.reverse()
    return kept


def _quiet(eqn: Equation) -> Equation:
    if eqn.primitive.has_regions:
        eqn = with_regions(eqn, quiet_graph)
    if eqn.effects:
        raise PassError(
            f"{eqn.primitive.name} has an effect, and its result would have to be computed again",
            eqn,
            stage="partial_eval",
            hint="move the effect out of the loop, or keep what its steps compute: give it a fixed "
            "number of iterations, and no snapshots",
        )
    return eqn


def quiet_graph(graph: Graph) -> Graph:
    """The graph for its values only. Raises PassError where one of them comes of an effect."""

    def make() -> Graph:
        return graph.with_equations(without_effects(graph.equations, graph.outputs))

    made: Graph = memoised(graph, "without effects", make) if graph.effects else graph
    return made


# -- only for those that are there -----------------------------------------------------------------

WAITING: Final = frozenset({"jvp", "fwd", "bwd", "transpose"})
"""Parameters that may hold a derivative rule that is still Python."""


def may_act(graph: Graph) -> bool:
    """Whether there are effects, or rules that may have some when a derivative asks for them."""
    found: bool = memoised(graph, "may act", lambda: any(map(_may_act, graph.equations)))
    return found


def _may_act(eqn: Equation) -> bool:
    if not eqn.primitive.has_regions:
        return bool(eqn.effects)
    if any([name in WAITING and isinstance(rule, Thunk) for name, rule in eqn.params.items()]):
        return True
    return any(map(may_act, eqn.regions()))


def guarded(graph: Graph) -> Graph:
    """here: bool[] | inputs -> outputs: effects happen only if `here`, those of rules among them.

    Raises PassError for effects in regions that have no guard.
    """
    made: Graph = memoised(graph, "guarded", lambda: _guarded(graph))
    return made


def _guarded(graph: Graph) -> Graph:
    b = Builder()
    here = Value(TensorType((), BOOL), "here")
    for eqn in graph.equations:
        b.location = eqn.location
        b.append(_guard(b, eqn, here) if _may_act(eqn) else eqn)
    return b.graph((here, *graph.inputs), graph.outputs, graph.name)


def is_guard(eqn: Equation) -> bool:
    """Whether a cond does nothing but choose whether one effect happens."""
    branches: tuple[Graph, ...] = eqn.params["branches"]
    if len(branches) != 2 or len(branches[1].equations) != 1:
        return False
    constants_only = all(isinstance(x, Literal) for e in branches[0].equations for x in e.inputs)
    return constants_only and not branches[1].equations[0].primitive.has_regions


def _guard(b: Builder, eqn: Equation, here: Value) -> Equation:
    if not eqn.primitive.has_regions:
        branches = (_nothing(eqn), _only(eqn))
        return equation(cond, (here, *eqn.inputs), eqn.outputs, {"branches": branches}, eqn)
    rule = guard.get(eqn.primitive)
    if rule is None and not eqn.effects:
        return eqn
    if rule is None:
        raise PassError(
            f"{eqn.primitive.name} has effects, which are to happen for some examples only",
            eqn,
            stage="batch",
            hint="move the effect out of the function, or make the condition the same for all "
            "examples",
        )
    return rule(b, eqn, here)


def _nothing(eqn: Equation) -> Graph:
    """The operands of an equation in, zeros for its outputs out."""
    b = Builder()
    zeros = [b.full(v.type, 0) for v in eqn.outputs]
    return b.graph([Value(x.type) for x in eqn.inputs], zeros, "nothing")


def _only(eqn: Equation) -> Graph:
    inputs = tuple([Value(x.type) for x in eqn.inputs])
    outputs = tuple([Value(v.type) for v in eqn.outputs])
    alone = eqn.replace(inputs=inputs, outputs=outputs)
    return Graph(inputs, (alone,), outputs, eqn.primitive.name)


Guard = Callable[[Builder, Equation, Value], Equation]

guard: Final[RuleTable[Guard]] = RuleTable("guard", load=load_region_rules)
"""An equation with the same outputs whose effects happen only if a bool[] says so."""


def call_with(eqn: Equation, here: Value, graph: Graph) -> Equation:
    """The call, of a graph that takes `here` before the operands."""
    changed: dict[str, Any] = {"graph": graph}
    if isinstance(eqn.params.get("prevent_cse"), tuple):
        changed["prevent_cse"] = (False, *eqn.params["prevent_cse"])
    return eqn.replace(inputs=(here, *eqn.inputs), params={**eqn.params, **changed})


@guard.rule(scan)
def guard_scan(b: Builder, eqn: Equation, here: Value) -> Equation:
    return scan_with(eqn, here, guarded(eqn.params["graph"]))


def scan_with(eqn: Equation, here: Value, graph: Graph) -> Equation:
    """The scan, of a graph that takes `here` before its constants."""
    changed = {"graph": graph, "num_consts": eqn.params["num_consts"] + 1}
    return eqn.replace(inputs=(here, *eqn.inputs), params={**eqn.params, **changed})


@guard.rule(while_)
def guard_while(b: Builder, eqn: Equation, here: Value) -> Equation:
    p = eqn.params
    groups: list[tuple[Atom, ...]] = split_sizes(eqn.inputs, while_sizes(eqn))
    inputs: list[Atom] = []
    changed: dict[str, Any] = {}
    names = (("cond_graph", "cond_nconsts"), ("body_graph", "body_nconsts"))
    for (name, count), group in zip(names, groups, strict=False):
        if may_act(p[name]):
            changed |= {name: guarded(p[name]), count: p[count] + 1}
            inputs.append(here)
        inputs.extend(group)
    return eqn.replace(inputs=(*inputs, *groups[-1]), params={**p, **changed})


@guard.rule(cond)
def guard_cond(b: Builder, eqn: Equation, here: Value) -> Equation:
    if is_guard(eqn):
        index = eqn.inputs[0]
        chosen = b.ne(index, b.literal(0, index.type))
        (both,) = b.emit(primitive_named("and"), here, chosen)
        return eqn.replace(inputs=(both, *eqn.inputs[1:]))
    return cond_with(eqn, here, tuple(map(guarded, eqn.params["branches"])))


def cond_with(eqn: Equation, here: Value, branches: tuple[Graph, ...]) -> Equation:
    """The cond, of branches that take `here` before the operands."""
    inputs = (eqn.inputs[0], here, *eqn.inputs[1:])
    return eqn.replace(inputs=inputs, params={"branches": branches})
