"""Functions with rules of their own, called on values that are being differentiated.

JAX runs the rule there and not the function, whose results the rule returns too. A recording keeps
both; so that Python runs no more of the user's code than in JAX, the function is then what its rule
does, as far as it makes the function's own results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..ir.errors import ClosedOverError
from ..ir.graph import Atom, Graph, Thunk
from ..ir.ops.call import Flags, custom_jvp_call, inexact_flags
from ..ir.primitive import Primitive
from ..passes.dce import dce_graph
from .captures import closure_tracers
from .flat_functions import flat_name, reset_stores, restore, stored_values
from .moving import moving_operands
from .no_numbers import emptied
from .rule_traces import Called
from .trace import GraphTrace

MakeRules = Callable[[Called], dict[str, Thunk]]


def call_by_its_rule(
    trace: GraphTrace,
    primitive: Primitive,
    functions: Sequence[Any],
    atoms: Sequence[Atom],
    call: Called,
    make_rules: MakeRules,
    key: Any = None,
) -> list[Any] | None:
    """Record the call from its rule; its outputs as tracers. None where the function has to run: it
    is called on nothing that moves, closes over something, or its rule makes results from tangents.

    Calls of one `key` on operands that move alike share their rules, which are traced once.
    """
    moving = trace.moving
    level = None if moving is None else moving.level_of(trace, atoms)
    if moving is None or level is None or closure_tracers(*functions, inside=trace):
        return None
    levels = [tuple([moving.moves(trace, x, i) for x in atoms]) for i in range(level, moving.depth)]
    flags, ran = levels[0], functions[1]
    if key is not None:
        key = (key, *levels)
        before = trace.shared.get(key)
        if before is not None:
            params, still, stored, empty = before
            restore(ran, stored)
            outputs = trace.emit(primitive, *atoms, **params)
            moving.note_still([outputs[i].atom for i in still], level)
            return emptied(outputs, empty)
    rules = make_rules(replace(call, moving=moving_operands(trace, atoms, level)))
    try:
        found = _primal_half(rules, primitive, flags, call)
    except ClosedOverError:  # which the derivative raises again, where the rule is needed
        found = None
    if found is None:
        for function in functions:
            reset_stores(function)
        return None
    graph, out_moves = found
    params = {
        "graph": graph.renamed(flat_name(functions[0])),
        **rules,
        "num_consts": 0,
        "symbolic_zeros": call.symbolic_zeros,
    }
    still, empty = [i for i, m in enumerate(out_moves) if not m], call.returned.empty
    if key is not None:
        trace.shared[key] = params, still, stored_values(ran), list(empty)
    outputs = trace.emit(primitive, *atoms, **params)
    moving.note_still([outputs[i].atom for i in still], level)
    return emptied(outputs, empty)


def _primal_half(
    rules: dict[str, Thunk], primitive: Primitive, flags: Flags, call: Called
) -> tuple[Graph, Sequence[bool]] | None:
    """What a rule does for the function's own results, asked as derivative passes will ask it; and
    which of these have tangents."""
    out_moves: Flags | None = None
    if primitive is custom_jvp_call:
        asked = flags if call.symbolic_zeros else inexact_flags(call.types)
        made, out_moves = rules["jvp"](asked)
    else:
        made = rules["fwd"](flags)
    n = call.returned.n_outputs
    pruned, needed = dce_graph(made, [i < n for i in range(len(made.outputs))])
    if any(needed[len(call.types) :]):
        return None
    primal = Graph(made.inputs[: len(call.types)], pruned.equations, pruned.outputs, made.name)
    return primal, out_moves or inexact_flags(primal.output_types)
