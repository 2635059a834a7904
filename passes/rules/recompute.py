"""What checkpoint saves and what it computes again: policies, and what they make of a program.

A policy says of an operation whether its results are saved. A loop is looked into: what it saves of
each iteration is stacked, and the loop that computes the rest again reads the stacks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

from ...ir.errors import PassError, did_you_mean
from ...ir.graph import Equation, Graph, Thunk, Value, memoised
from ...ir.ops.call import name
from ...ir.ops.contraction import conv_general_dilated, dot_general
from ...ir.ops.control import scan
from ..dce import dce_graph, is_same
from ..regions import equation, select

Policy = Callable[[Equation], bool]


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
        elif eqn.effects or _is_saved(eqn, policy):
            known, again, saved = eqn, None, eqn.outputs
        else:
            known, again, saved = eqn, eqn, no_values
        plan.known.append(known)
        plan.saved.extend(saved)
        if again is not None:
            plan.again.append(again)
    return plan


def _is_saved(eqn: Equation, policy: Policy) -> bool:
    """Policies speak of operations; a while loop or a branch is saved only with everything."""
    return policy is everything_saveable or (not eqn.primitive.has_regions and policy(eqn))


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
    plan = plan_recomputation(graph.equations, policy)
    if not plan.saved and is_same(plan.again, graph.equations):
        return graph, graph, []
    inputs = (*plan.saved, *graph.inputs)
    pruned, used = dce_graph(Graph(inputs, plan.again, graph.outputs, graph.name))
    saved = select(plan.saved, used[: len(plan.saved)])
    known = Graph(graph.inputs, plan.known, (*graph.outputs, *saved), graph.name)
    again = Graph((*graph.inputs, *saved), pruned.equations, graph.outputs, graph.name)
    return known, again, saved


# -- policies ------------------------------------------------------------------------------------


def find_policy(eqn: Equation) -> Policy:
    """What the equation's `policy` says of an equation inside: whether its outputs are saved."""
    policy = eqn.params["policy"]
    if policy is None:
        return nothing_saveable
    if isinstance(policy, Thunk):
        return policy
    found = named_policy(policy)
    if found is None:
        raise PassError(
            f"there is no checkpoint policy {policy!r}",
            eqn,
            hint=did_you_mean(policy.partition("(")[0], [*POLICIES, *BY_NAME]),
        )
    return found


@cache
def named_policy(text: str) -> Policy | None:
    """The policy of a name, or of a name with the names of values: `save_only_these_names(a,b)`."""
    title, parenthesis, rest = text.partition("(")
    if not parenthesis:
        return POLICIES.get(title)
    names = frozenset(n.strip() for n in rest.removesuffix(")").split(",") if n.strip())
    choose = BY_NAME.get(title)
    if choose is None:
        return None
    return lambda eqn: eqn.primitive is name and choose(eqn.params["name"], names)


def nothing_saveable(eqn: Equation) -> bool:
    return False


def everything_saveable(eqn: Equation) -> bool:
    return True


def dots_saveable(eqn: Equation) -> bool:
    return eqn.primitive in (dot_general, conv_general_dilated)


def dots_with_no_batch_dims_saveable(eqn: Equation) -> bool:
    return eqn.primitive is dot_general and not any(eqn.params["dimension_numbers"][1])


POLICIES: dict[str, Policy] = {
    "nothing_saveable": nothing_saveable,
    "everything_saveable": everything_saveable,
    "dots_saveable": dots_saveable,
    "checkpoint_dots": dots_saveable,
    "dots_with_no_batch_dims_saveable": dots_with_no_batch_dims_saveable,
    "checkpoint_dots_with_no_batch_dims": dots_with_no_batch_dims_saveable,
}

BY_NAME: dict[str, Callable[[str, frozenset[str]], bool]] = {
    "save_only_these_names": lambda given, names: given in names,
    "save_any_names_but_these": lambda given, names: given not in names,
}
