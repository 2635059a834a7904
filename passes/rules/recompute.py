"""What checkpoint saves and what it computes again: what a policy makes of a program.

A policy says of an operation whether its results are saved, and in which memory. A loop is looked
into: what it saves of each iteration is stacked, and the loop that computes the rest again reads
the stacks. So is a choice: what the branch that runs saves goes into slots, which branches share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...ir.builder import Builder
from ...ir.graph import Equation, Graph, Value, memoised
from ...ir.ops.control import cond, scan
from ...ir.ops.placement import device_put
from ...ir.types import TensorType
from ..dce import dce_graph, is_same
from ..regions import equation, select
from .policies import Offload, Policy, everything_saveable


@dataclass
class Plan:
    """known: the equations of the first computation. again: those of the second one, which reads
    the saved values."""

    known: list[Equation] = field(default_factory=list)
    again: list[Equation] = field(default_factory=list)
    saved: list[Value] = field(default_factory=list)


def plan_recomputation(
    equations: Sequence[Equation], policy: Policy, twice: set[Equation] | None = None
) -> Plan:
    """Decide for each equation; those in `twice` are computed again in any case.

    Effects happen once: what has effects is saved.
    """
    plan = Plan()
    no_values: Sequence[Value] = ()
    for eqn in equations:
        if twice and eqn in twice:
            known, again, saved = eqn, eqn, no_values
        elif eqn.primitive is scan and policy is not everything_saveable:
            known, again, saved = _loop(eqn, policy)
        elif eqn.effects:
            known, again, saved = eqn, None, eqn.outputs
        elif eqn.primitive is cond and policy is not everything_saveable:
            known, again, saved = _choice(eqn, policy)
        else:
            answer = _is_saved(eqn, policy)
            if isinstance(answer, Offload):
                _offload(plan, eqn, answer)
                continue
            known, again, saved = eqn, None if answer else eqn, eqn.outputs if answer else no_values
        plan.known.append(known)
        plan.saved.extend(saved)
        if again is not None:
            plan.again.append(again)
    return plan


def _is_saved(eqn: Equation, policy: Policy) -> bool | Offload:
    """Policies speak of operations; a while loop or a call is saved only with everything."""
    return policy is everything_saveable or (not eqn.primitive.has_regions and policy(eqn))


def _offload(plan: Plan, eqn: Equation, how: Offload) -> None:
    """Save the outputs of an equation in another memory; the second computation fetches them."""
    plan.known.append(eqn)
    for v in eqn.outputs:
        away = Value(v.type, v.name)
        there = {"source": how.source, "target": how.target}
        back = {"source": how.target, "target": how.source}
        plan.known.append(equation(device_put, (v,), (away,), there, eqn))
        plan.saved.append(away)
        plan.again.append(equation(device_put, (away,), (v,), back, eqn))


def _loop(eqn: Equation, policy: Policy) -> tuple[Equation, Equation, Sequence[Value]]:
    """A scan that stacks what the policy saves of each iteration, and one that reads the stacks."""
    graph: Graph = eqn.params["graph"]
    known, again, saved = memoised(graph, ("recompute", policy), lambda: _bodies(graph, policy))
    if known is graph:
        return eqn, eqn, ()
    length = eqn.params["length"]
    stacks = [Value(v.type.with_shape((length, *v.type.shape)), v.name) for v in saved]
    first = equation(scan, eqn.inputs, (*eqn.outputs, *stacks), {**eqn.params, "graph": known}, eqn)
    second = equation(
        scan, (*eqn.inputs, *stacks), eqn.outputs, {**eqn.params, "graph": again}, eqn
    )
    return first, second, stacks


def _bodies(graph: Graph, policy: Policy) -> tuple[Graph, Graph, list[Value]]:
    halves = _halves(graph, policy)
    if halves is None:
        return graph, graph, []
    plan, again, saved = halves
    known = Graph(graph.inputs, plan.known, (*graph.outputs, *saved), graph.name)
    return known, Graph((*graph.inputs, *saved), again, graph.outputs, graph.name), saved


def _halves(graph: Graph, policy: Policy) -> tuple[Plan, Sequence[Equation], list[Value]] | None:
    """The plan for a region, the equations that compute it again, and the saved values that they
    read; None if everything is computed again."""
    plan = plan_recomputation(graph.equations, policy)
    if not plan.saved and is_same(plan.again, graph.equations):
        return None
    inputs = (*plan.saved, *graph.inputs)
    pruned, used = dce_graph(Graph(inputs, plan.again, graph.outputs, graph.name))
    return plan, pruned.equations, select(plan.saved, used[: len(plan.saved)])


Branches = tuple[Graph, ...]


def _choice(eqn: Equation, policy: Policy) -> tuple[Equation, Equation, Sequence[Value]]:
    """A cond whose slots hold what the policy saves of the branch that runs, and one that reads
    the slots."""
    branches: Branches = eqn.params["branches"]
    key = ("recompute", branches, policy)
    known, again, types = memoised(branches[0], key, lambda: _both_branches(branches, policy))
    if not types:
        return eqn, eqn, ()
    slots = [Value(t) for t in types]
    params = {**eqn.params, "branches": known}
    first = equation(cond, eqn.inputs, (*eqn.outputs, *slots), params, eqn)
    inputs, params = (*eqn.inputs, *slots), {**eqn.params, "branches": again}
    return first, equation(cond, inputs, eqn.outputs, params, eqn), slots


def _both_branches(
    branches: Branches, policy: Policy
) -> tuple[Branches, Branches, list[TensorType]]:
    """The branches of both computations, and the types of the slots between them."""
    found = [_halves(graph, policy) for graph in branches]
    saved = [halves[2] if halves is not None else [] for halves in found]
    slots: list[TensorType] = []
    places = [_places([v.type.strong for v in values], slots) for values in saved]
    known, again = [], []
    for graph, halves, where in zip(branches, found, places, strict=True):
        plan = halves[0] if halves is not None else Plan(list(graph.equations))
        equations = halves[1] if halves is not None else graph.equations
        kept = dict(zip(where, halves[2] if halves is not None else (), strict=True))
        b = Builder()
        for eqn in plan.known:
            b.append(eqn)
        contents = [kept[i] if i in kept else b.full(t, 0) for i, t in enumerate(slots)]
        known.append(b.graph(graph.inputs, (*graph.outputs, *contents), graph.name))
        inputs = (*graph.inputs, *(kept.get(i) or Value(t) for i, t in enumerate(slots)))
        again.append(Graph(inputs, equations, graph.outputs, graph.name))
    return tuple(known), tuple(again), slots


def _places(types: Sequence[TensorType], slots: list[TensorType]) -> list[int]:
    """A slot for each value of a branch; adds the slots that are missing."""
    free = list(range(len(slots)))
    places = []
    for t in types:
        slot = next((i for i in free if slots[i] is t), None)
        if slot is None:
            slot = len(slots)
            slots.append(t)
        else:
            free.remove(slot)
        places.append(slot)
    return places
