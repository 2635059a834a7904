"""Functions with derivative rules of their own: jax.custom_jvp and jax.custom_vjp, as recorded.

The function is traced at once; its rules stay Python, as thunks, until a derivative asks for them
(the protocol of the thunks is stated in ir/ops/call.py). Called on what is being differentiated,
its rule is traced at once, and the function is not (run_by_rules). They reach us in two ways: as
JAX's flat functions while we record, or in an equation that JAX has traced (custom_equations).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from weakref import ref

from ..ir.graph import Atom, Graph, Thunk
from ..ir.ops.call import Flags, custom_jvp_call, custom_vjp_call
from ..ir.primitive import Primitive
from .captures import closure_tracers
from .carried import arrays_carried, carrying, write_seconds
from .cells import is_ref
from .checked_rules import Primal
from .flat_functions import (
    flat_name,
    function_key,
    is_hashable,
    reset_stores,
    restore,
    stored_values,
)
from .jax_compat import evaluate_function, evaluates_now
from .jax_compat_rules import (
    trace_context,
    tracing_settings,
)
from .known import KnownValues, Later
from .leaks import lend
from .library_functions import (
    RECORDED,
    can_last,
    is_library,
    one_at_a_time,
    without_places,
)
from .no_numbers import emptied, places_of_float0
from .ref_rules import (
    check_closed_over,
    kinds_of,
    leave_contents,
    no_refs_in_jvp,
    take_contents,
)
from .rule_batches import with_batch_axes
from .rule_traces import (
    Called,
    absent,
    as_called_now,
    is_absent,
    known_of,
    let_read,
    numbers_among,
    trace_rule,
    with_numbers,
)
from .run_by_rules import MakeRules, call_by_its_rule
from .surroundings import what_is_read
from .trace import GraphTrace, trace_flat
from .vjp_rules import VjpRules


def record_custom_jvp(
    trace: GraphTrace, fun: Any, jvp: Any, tracers: Sequence[Any], symbolic_zeros: bool
) -> list[Any]:
    """Record a call of a jax.custom_jvp function; its outputs as tracers."""

    def make_rules(call: Called) -> dict[str, Thunk]:
        return {"jvp": jvp_thunk(jvp, call)}

    return _record(trace, custom_jvp_call, (fun, jvp), tracers, symbolic_zeros, make_rules)


def record_custom_vjp(
    trace: GraphTrace,
    fun: Any,
    fwd: Any,
    bwd: Any,
    tracers: Sequence[Any],
    out_trees: Callable[[], Any],
    symbolic_zeros: bool,
) -> list[Any]:
    """Record a call of a jax.custom_vjp function; its outputs as tracers."""

    def make_rules(call: Called) -> dict[str, Thunk]:
        own = closure_tracers(bwd, inside=trace) if call.consts else ()
        return VjpRules(fwd, bwd, out_trees, call, own).thunks()

    return _record(trace, custom_vjp_call, (fun, fwd, bwd), tracers, symbolic_zeros, make_rules)


def _record(
    trace: GraphTrace,
    primitive: Primitive,
    functions: tuple[Any, ...],
    tracers: Sequence[Any],
    symbolic_zeros: bool,
    make_rules: MakeRules,
) -> list[Any]:
    """Trace the first of `functions`, and record its call together with its rules, the others.

    Rules are traced later, when the tracers that they close over are dead: what they may read is
    found in their closures now, and becomes operands. A function that closes over nothing is traced
    once in a recording, so that all its calls share one graph and one set of rules; unless Python
    may branch on values in it, which differ from call to call, it reads what can change from call
    to call, or nothing is jitted and it is seen to run each time.
    """
    fun = functions[0]
    if evaluates_now(tracers):
        return list(evaluate_function(fun, tracers))
    refs = {i: x for i, x in enumerate(tracers) if is_ref(x)}
    if refs and primitive is custom_jvp_call:
        raise no_refs_in_jvp(flat_name(fun))
    atoms = [trace.atom(x) for x in tracers]
    types = [x.type for x in atoms]
    without = {i: tracers[i] for i in places_of_float0(tracers)}
    values = _values_of(trace, atoms)
    by_jax = all(map(is_library, functions))
    is_seen = bool(refs) or (not by_jax and (trace.eager or any(values or ())))
    key = None if is_seen else _key(functions, by_jax, (*types, *without, symbolic_zeros))
    is_shared = key is not None
    lasts = is_shared and by_jax and primitive is custom_jvp_call and can_last(functions)
    kept, key = (RECORDED, (key, tracing_settings())) if lasts else (trace.shared, key)
    before = kept.get(key) if is_shared else None
    if before is not None:
        params, stored, empty = before
        restore(fun, stored)
        return emptied(trace.emit(primitive, *atoms, **params), empty)
    numbers = without | ({} if values is None or is_shared else numbers_among(tracers))
    call = Called(
        types, symbolic_zeros, values=None if is_shared and by_jax else values, numbers=numbers,
        shared=ref(trace.shared), lasts=lasts,
    )  # fmt: skip
    if trace.moving is not None and not by_jax and not refs:
        found = call_by_its_rule(trace, primitive, functions, atoms, call, make_rules, key)
        if found is not None:
            return found
    params, empty, outputs = _record_function(
        trace, primitive, functions, tracers, atoms, call, known_of(values), make_rules
    )
    if is_shared and not params["num_consts"]:
        kept[key] = params, stored_values(fun), empty
    return outputs


def _record_function(
    trace: GraphTrace,
    primitive: Primitive,
    functions: Sequence[Any],
    tracers: Sequence[Any],
    atoms: Sequence[Atom],
    call: Called,
    known: KnownValues | None,
    make_rules: MakeRules,
) -> tuple[dict[str, Any], list[int], list[Any]]:
    """Trace the function, and record its call; the call's parameters, which of its outputs are
    arrays of float0, and these outputs as tracers."""
    fun, empty, maps = functions[0], list[int](), list[Any]()
    refs = {i: x for i, x in enumerate(tracers) if is_ref(x)}
    closed_over = closure_tracers(*functions[1:], inside=trace, maps=maps)

    def flat_function(*values: Any) -> list[Any]:
        outputs = with_batch_axes(fun, fun.call_wrapped(*with_numbers(values, call.numbers)))
        empty[:] = places_of_float0(outputs)
        return [*outputs, *take_contents(values, refs)]

    made = trace_flat(
        flat_function, call.types, name=flat_name(fun), aliases=closed_over, outer=trace,
        known=known, refs=refs or None,
    )  # fmt: skip
    check_closed_over(flat_name(fun), made.written)
    graph = without_places(made.graph) if call.lasts else made.graph
    consts = (*made.captured, *closed_over)
    lend(consts)
    seconds = arrays_carried([trace.operand(x) if is_ref(x) else x for x in tracers])
    how: dict[str, Any] = {"kinds": kinds_of(refs), "carried": tuple(seconds)}
    rules = make_rules(replace(call, consts=consts, primal=Primal(graph, consts), **how))
    let_read(rules.values(), maps)
    params = {
        "graph": carrying(graph, [call.types[i] for i in seconds]),
        **rules,
        "num_consts": len(consts),
        "symbolic_zeros": call.symbolic_zeros,
    }
    if seconds:
        params["carried"] = len(seconds)
    carried = [cell.atom for cell in seconds.values()]
    outputs = trace.emit(primitive, *map(trace.atom, consts), *atoms, *carried, **params)
    if seconds:
        write_seconds(trace.builder, seconds, [x.atom for x in outputs])
        outputs = outputs[: len(outputs) - len(seconds)]
    outputs = leave_contents(trace, graph, refs, len(tracers), outputs)
    return params, empty, emptied(outputs, empty)


def _key(functions: Sequence[Any], is_library: bool, operands: tuple[Any, ...]) -> Any:
    """What makes two calls the same; None if what the functions read may differ from call to call.

    JAX's own functions read nothing that does.
    """
    read = () if is_library else what_is_read([f.f for f in functions])
    if read is None:
        return None
    key = (*function_key(*functions), operands, trace_context(), read)
    return key if is_hashable(key) else None


def _values_of(trace: GraphTrace, atoms: Sequence[Atom]) -> list[Later | None] | None:
    """Where the operands' values can be had, nowhere if all are unknown; None if Python may not
    branch on values here."""
    if trace.known is None:
        return None
    found = [Later(trace, atom) for atom in atoms]
    is_any_known = trace.eager or any([x.value() is not None for x in found])
    return [*found] if is_any_known else [None] * len(found)


# -- forward rules -------------------------------------------------------------------------------


def jvp_thunk(jvp: Any, call: Called) -> Thunk:
    """The rule of a custom_jvp function that is called so."""
    n_consts, n, primal = len(call.consts), len(call.types), call.primal

    def make(nonzero: Flags) -> tuple[Graph, Flags]:
        flagged = nonzero[n_consts:]
        out_nonzero: list[bool] = []

        def flat_rule(*values: Any) -> list[Any]:
            given = iter(values[n:])
            tangents = [
                next(given) if f else absent(t, call.symbolic_zeros)
                for f, t in zip(flagged, call.types, strict=True)
            ]
            reset_stores(jvp)
            outputs = jvp.call_wrapped(*with_numbers(values[:n], call.numbers), *tangents)
            outputs = with_batch_axes(jvp, outputs, repeats=2)
            primals, dys = outputs[: len(outputs) // 2], outputs[len(outputs) // 2 :]
            call.returned.note(primals)
            if primal is not None and primal.n_more(primals):
                dys = [None] * primal.n_more(primals) + dys
                primals = primal(values[:n])
            out_nonzero[:] = [not is_absent(dy) for dy in dys]
            return primals + [
                dy for dy, is_nonzero in zip(dys, out_nonzero, strict=True) if is_nonzero
            ]

        tangent_types = [t for t, f in zip(call.types, flagged, strict=True) if f]
        made = trace_rule(
            flat_rule, [*call.types, *tangent_types], flat_name(jvp), call.consts,
            known_of(call.values, len(tangent_types)), moving=call.moving, shared=call.shared(),
        )  # fmt: skip
        graph = without_places(made.graph) if call.lasts else made.graph
        return graph, tuple(out_nonzero)

    rule = as_called_now(make)
    return Thunk(flat_name(jvp), one_at_a_time(rule) if call.lasts else rule)
