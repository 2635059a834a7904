"""Partial evaluation of while: a loop of what is known, and one that computes it again.

    known      known carry                -> known carry
    unknown    known carry, unknown carry -> unknown carry

How often the loop runs is not known before it does, so the first loop has nowhere to keep what the
second one needs of each iteration: that one computes it again. A loop that counts to a bound that
the program states is a scan, and splits as one.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.errors import PassError
from ...ir.graph import Equation, Graph, memoised
from ...ir.ops.control import split_sizes, while_, while_sizes
from .. import tables
from ..effects import ONLY_LOOKS, without_effects
from ..partial_eval import Split, split_graph
from ..regions import Flags, arranged, equation, grow_until_stable, reject
from .counted import as_scan
from .scan_split import Halves, split_scan
from .while_ import prune_while


@tables.split.rule(while_)
def split_while(eqn: Equation, unknown: Sequence[bool]) -> Halves:
    """Two loops, or one that waits until its condition is known. Effects happen once."""
    condition, body = eqn.params["cond_graph"], eqn.params["body_graph"]
    cond_consts, consts, carry = split_sizes(unknown, while_sizes(eqn))
    carry = grow_until_stable(
        carry, lambda active: split_graph(body, (*consts, *active)).unknown_out
    )
    if any(split_graph(condition, (*cond_consts, *carry)).unknown_out):
        if not eqn.effects <= ONLY_LOOKS:
            raise PassError(
                "while has effects, and how often it runs depends on unknown values",
                eqn,
                stage="partial_eval",
            )
        return [], [eqn], (True,) * len(carry)
    counted = as_scan(eqn)
    if counted is not None:
        return split_scan(counted, [*unknown[len(cond_consts) :]])
    if not any(carry) and not any(consts):
        return [eqn], [], carry
    if all(carry) and not eqn.effects:
        return [], [eqn], carry
    return _two_loops(eqn, (*consts, *carry))


def _two_loops(eqn: Equation, unknown: Flags) -> Halves:
    """`unknown`: consts and carries of the body."""
    n_cond, n_body = while_sizes(eqn)
    consts, carry = unknown[:n_body], unknown[n_body:]
    condition = split_graph(eqn.params["cond_graph"], (*(False,) * n_cond, *carry))
    body = split_graph(eqn.params["body_graph"], unknown, carry)
    first: list[Equation] = []
    if not all(carry) or eqn.effects:
        n_known = len(carry) - sum(carry)
        params = {
            "cond_graph": _with_first_outputs(condition.known, 1),
            "body_graph": _with_first_outputs(body.known, n_known),
            "cond_nconsts": n_cond,
            "body_nconsts": n_body - sum(consts),
        }
        inputs = reject(eqn.inputs, (*(False,) * n_cond, *unknown))
        known = equation(while_, inputs, reject(eqn.outputs, carry), params, eqn)
        first = [prune_while(known, (True,) * n_known)]
    if not any(carry):
        return first, [], carry
    again = {
        **eqn.params,
        "cond_graph": _with_effects_of_unknown(eqn.params["cond_graph"], condition),
        "body_graph": _with_effects_of_unknown(eqn.params["body_graph"], body),
    }
    outputs = [v if u else None for v, u in zip(eqn.outputs, carry, strict=True)]
    return first, [equation(while_, eqn.inputs, outputs, again, eqn)], carry


def _with_first_outputs(graph: Graph, n: int) -> Graph:
    return arranged(graph, graph.inputs, graph.outputs[:n])


def _with_effects_of_unknown(graph: Graph, split: Split) -> Graph:
    """The whole graph, without the effects that happened in its known half."""
    if not graph.effects:
        return graph

    def make() -> Graph:
        rest = [eqn for eqn in split.unknown.equations if eqn not in set(split.known.equations)]
        needed = [*graph.outputs, *(x for eqn in rest for x in eqn.inputs)]
        equations = [*without_effects(split.known.equations, needed), *rest]
        return Graph(graph.inputs, equations, graph.outputs, graph.name)

    made: Graph = memoised(graph, ("effects of unknown", split), make)
    return made
