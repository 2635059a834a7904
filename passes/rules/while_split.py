"""Partial evaluation of while, and its transpose.

    known      known carry                 -> known carry, n
    unknown    n, known carry at the start
               | unknown carry             -> unknown carry

How often the loop runs is not known before it does, so the first loop has nowhere to keep what the
second one needs of each iteration. It counts them; the second is a `replay`, which goes through the
known carries again, and whose transpose finds them again backwards from a few that it keeps. A loop
that counts to a bound that the program states is a scan, and splits as one.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.builder import Builder
from ...ir.errors import PassError
from ...ir.graph import Equation, Graph, Value, memoised
from ...ir.ops.control import SNAPSHOTS, split_sizes, while_, while_sizes
from ...ir.ops.rewind import replay
from ...ir.rewinding import INDEX, as_row
from .. import tables
from ..dce import live_equations
from ..effects import ONLY_LOOKS
from ..partial_eval import Split, split_graph
from ..regions import (
    Flags,
    arranged,
    equation,
    grow_until_stable,
    reject,
    select,
    spread,
    with_more_inputs,
)
from ..tables import Operands
from ..transpose import transpose_into
from .counted import as_scan
from .rewind import prune_rewind, push_of, step_of
from .scan import transpose_scan
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
    carry = unknown[n_body:]
    body = eqn.params["body_graph"]
    split = split_graph(body, unknown, carry)
    known = _counting(eqn, unknown, split)
    if not any(carry):
        return [known], [], carry
    consts, starts = split_sizes(eqn.inputs[n_cond:], (n_body,))
    b = Builder()
    b.replace(eqn)
    kept = [as_row(b, x) for x in reject(starts, carry)]
    operands = (known.outputs[-1], *consts, *kept, *select(starts, carry))
    params = {
        "step": step_of(body, n_body, len(carry), split),
        "push": push_of(body, n_body, len(carry), split),
        "num_consts": n_body,
        "num_state": len(kept),
        "num_carry": sum(carry),
        "snapshots": eqn.params["snapshots"] or SNAPSHOTS,
    }
    again = equation(replay, operands, select(eqn.outputs, carry), params, eqn)
    again = prune_rewind(again, (True,) * sum(carry))
    return [known], [*live_equations(b.equations, set(again.inputs)), again], carry


def _counting(eqn: Equation, unknown: Flags, split: Split) -> Equation:
    """The loop over what is known; its last output is how often it ran."""
    n_cond, n_body = while_sizes(eqn)
    condition: Graph = eqn.params["cond_graph"]
    consts, carry = unknown[:n_body], unknown[n_body:]
    n_known = len(carry) - sum(carry)
    key = ("known, counting", n_body, carry)

    def make() -> Graph:
        b = Builder()
        for e in split.known.equations:
            b.append(e)
        n = Value(INDEX, "n")
        outputs = (*split.known.outputs[:n_known], b.add(n, 1))
        return b.graph((*split.known.inputs, n), outputs, split.known.name)

    test = split_graph(condition, (*(False,) * n_cond, *carry)).known
    params = {
        **eqn.params,
        "cond_graph": with_more_inputs(_with_outputs(test, 1), (INDEX,)),
        "body_graph": memoised(split.known, key, make),
        "body_nconsts": n_body - sum(consts),
    }
    inputs = (*reject(eqn.inputs, (*(False,) * n_cond, *unknown)), Builder().literal(0, INDEX))
    outputs = (*reject(eqn.outputs, carry), Value(INDEX, "n"))
    known = equation(while_, inputs, outputs, params, eqn)
    return prune_while(known, (True,) * (n_known + 1))


def _with_outputs(graph: Graph, n: int) -> Graph:
    return arranged(graph, graph.inputs, graph.outputs[:n])


# -- transpose -----------------------------------------------------------------------------------


@tables.transpose.rule(while_)
def transpose_while(b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]) -> Operands:
    """What is not linear runs first; the rest is a scan or a replay, and is transposed as such."""
    n_cond = eqn.params["cond_nconsts"]
    counted = as_scan(eqn)
    if counted is not None and not any(linear[:n_cond]):
        found = transpose_scan(b, counted, cts, linear[n_cond:])
        return [*spread((), (False,) * n_cond, eqn.inputs[:n_cond]), *found]
    first, second, unknown_out = split_while(eqn, linear)
    if eqn in second:
        raise PassError(
            "how often while runs depends on the values in which it is to be transposed, or on "
            "nothing that changes",
            eqn,
            stage="transpose",
            hint=tables.NOT_LINEAR,
        )
    for known in first:
        b.append(known)
    rest = Graph(select(eqn.inputs, linear), second, select(eqn.outputs, unknown_out))  # type: ignore[arg-type]
    found = transpose_into(b, rest, [True] * len(rest.inputs), select(cts, unknown_out))
    return spread(found, linear, eqn.inputs)
