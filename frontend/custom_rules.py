"""Functions with derivative rules of their own: jax.custom_jvp and jax.custom_vjp, as recorded.

The function is traced at once; its rules stay Python, as thunks, until a derivative asks for them
(the protocol of the thunks is stated in ir/ops/call.py). They reach us in two ways: as JAX's flat
functions while we record, or in an equation that JAX has traced (custom_equations).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from ..ir.errors import ClosedOverError
from ..ir.graph import Graph, Literal, Thunk
from ..ir.ops.call import Flags, custom_jvp_call, custom_vjp_call
from ..ir.primitive import Primitive
from ..ir.types import TensorType
from ..passes import asking
from .avals import to_aval
from .captures import closure_tracers
from .cells import is_ref
from .checked_rules import Primal
from .compiler_attributes import under_these_attributes
from .flat_functions import (
    flat_name,
    function_key,
    is_hashable,
    reset_stores,
    restore,
    stored_values,
)
from .jax_compat import axis_sizes, evaluate_function, evaluates_now, extended_axes
from .jax_compat_rules import (
    CotangentZero,
    SymbolicZero,
    backward_cotangents,
    instantiate_zero,
    n_errors_before,
    trace_context,
    tracing_settings,
    under_settings,
)
from .known import KnownValues, Later, Place
from .leaks import lend
from .ref_rules import (
    Kinds,
    check_closed_over,
    check_writes,
    contents_of,
    kinds_of,
    leave_contents,
    no_refs_in_jvp,
    take_contents,
    with_contents,
)
from .rule_batches import with_batch_axes
from .trace import GraphTrace, Recording, trace_flat


def record_custom_jvp(
    trace: GraphTrace, fun: Any, jvp: Any, tracers: Sequence[Any], symbolic_zeros: bool
) -> list[Any]:
    """Record a call of a jax.custom_jvp function; its outputs as tracers."""

    def make_rules(
        types: list[TensorType],
        consts: Sequence[Any],
        values: Sequence[Later] | None,
        primal: Primal,
        _: Kinds,
    ) -> dict[str, Thunk]:
        return {"jvp": jvp_thunk(jvp, types, symbolic_zeros, consts, values, primal)}

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

    def make_rules(
        types: list[TensorType],
        consts: Sequence[Any],
        values: Sequence[Later] | None,
        primal: Primal,
        kinds: Kinds,
    ) -> dict[str, Thunk]:
        rules = VjpRules(fwd, bwd, out_trees, types, symbolic_zeros, consts, values, primal, kinds)
        return rules.thunks()

    return _record(trace, custom_vjp_call, (fun, fwd, bwd), tracers, symbolic_zeros, make_rules)


def _record(
    trace: GraphTrace,
    primitive: Primitive,
    functions: tuple[Any, ...],
    tracers: Sequence[Any],
    symbolic_zeros: bool,
    make_rules: Callable[..., dict[str, Thunk]],
) -> list[Any]:
    """Trace the first of `functions`, and record its call together with its rules, the others.

    Rules are traced later, when the tracers that they close over are dead: what they may read is
    found in their closures now, and becomes operands. A function that closes over nothing is traced
    once in a recording, so that all its calls share one graph and one set of rules; unless Python
    may branch on values in it, which differ from call to call.
    """
    fun = functions[0]
    if evaluates_now(tracers):
        return list(evaluate_function(fun, tracers))
    refs = {i: x for i, x in enumerate(tracers) if is_ref(x)}
    if refs and primitive is custom_jvp_call:
        raise no_refs_in_jvp(flat_name(fun))
    atoms = [trace.atom(x) for x in tracers]
    types = [x.type for x in atoms]
    key = (*function_key(*functions), tuple(types), symbolic_zeros, trace_context())
    values = [Later(trace, atom) for atom in atoms] if trace.known is not None else None
    is_shared = (
        not refs and is_hashable(key) and (values is None or all(map(_is_library, functions)))
    )
    before = trace.shared.get(key) if is_shared else None
    if before is not None:
        params, stored = before
        restore(fun, stored)
        return trace.emit(primitive, *atoms, **params)
    closed_over = closure_tracers(*functions[1:])

    def flat_function(*values: Any) -> list[Any]:
        outputs = with_batch_axes(fun, fun.call_wrapped(*values))
        return [*outputs, *take_contents(values, refs)]

    made = trace_flat(
        flat_function, types, name=flat_name(fun), aliases=closed_over, outer=trace,
        known=_known(values), refs=refs or None,
    )  # fmt: skip
    check_closed_over(flat_name(fun), made.written)
    consts = (*made.captured, *closed_over)
    lend(consts)
    params = {
        "graph": made.graph,
        **make_rules(
            types, consts, None if is_shared else values, Primal(made.graph, consts), kinds_of(refs)
        ),
        "num_consts": len(consts),
        "symbolic_zeros": symbolic_zeros,
    }
    if not consts and is_shared:
        trace.shared[key] = params, stored_values(fun)
    outputs = trace.emit(primitive, *map(trace.atom, consts), *atoms, **params)
    return leave_contents(trace, made.graph, refs, len(atoms), outputs)


def _known(values: Sequence[Any] | None, n_more: int = 0) -> KnownValues | None:
    """The values of a nested recording's inputs, of which the last `n_more` have none."""
    return None if values is None else KnownValues([*values, *[None] * n_more])


def _is_library(flat_function: Any) -> bool:
    """Whether a function is JAX's own: those do not branch on values."""
    return str(getattr(flat_function.f, "__module__", "")).startswith("jax.")


def _trace_rule(
    flat_rule: Callable[..., Sequence[Any]],
    types: Sequence[TensorType],
    name: str,
    aliases: Sequence[Any],
    known: KnownValues | None,
    kinds: Kinds | None = None,
) -> Recording:
    """Record a rule, which may read `aliases`; `kinds` are those of inputs that are mutable arrays.

    Raises ClosedOverError if it reads a value of another recording: a function that JAX has traced
    does not tell which of its operands that is.
    """
    made = trace_flat(flat_rule, types, name=name, aliases=aliases, known=known, refs=kinds)
    check_closed_over(name, made.written)
    if made.captured:
        types_read = ", ".join(str(v.type) for v in made.graph.inputs[: len(made.captured)])
        raise ClosedOverError(
            f"the rule {name} closes over a value ({types_read}) that is computed around the "
            "function",
            hint="pass the value to the function as an argument; it is known to the rule then",
        )
    return made


# -- forward rules -------------------------------------------------------------------------------


def jvp_thunk(
    jvp: Any,
    types: Sequence[TensorType],
    symbolic_zeros: bool,
    aliases: Sequence[Any] = (),
    values: Sequence[Later] | None = None,
    primal: Primal | None = None,
) -> Thunk:
    """The rule of a custom_jvp function of inputs of these types, after what it closes over.

    `values` are the inputs' values, if Python may branch on them. `primal` is the function.
    """
    n_consts, n = len(aliases), len(types)

    def make(nonzero: Flags) -> tuple[Graph, Flags]:
        flagged = nonzero[n_consts:]
        out_nonzero: list[bool] = []

        def flat_rule(*values: Any) -> list[Any]:
            given = iter(values[n:])
            tangents = [
                next(given) if f else absent(t, symbolic_zeros)
                for f, t in zip(flagged, types, strict=True)
            ]
            reset_stores(jvp)
            outputs = jvp.call_wrapped(*values[:n], *tangents)
            outputs = with_batch_axes(jvp, outputs, repeats=2)
            primals, dys = outputs[: len(outputs) // 2], outputs[len(outputs) // 2 :]
            if primal is not None and primal.n_more(primals):
                dys = [None] * primal.n_more(primals) + dys
                primals = primal(values[:n])
            out_nonzero[:] = [not is_absent(dy) for dy in dys]
            return primals + [
                dy for dy, is_nonzero in zip(dys, out_nonzero, strict=True) if is_nonzero
            ]

        tangent_types = [t for t, f in zip(types, flagged, strict=True) if f]
        known = _known(values, len(tangent_types))
        made = _trace_rule(flat_rule, [*types, *tangent_types], flat_name(jvp), aliases, known)
        return made.graph, tuple(out_nonzero)

    return Thunk(flat_name(jvp), as_called_now(make))


def as_called_now(make: Callable[..., Any]) -> Callable[..., Any]:
    """A rule that is traced later, with the axis names, settings and attributes of operations that
    are in force now."""
    make, sizes, settings = under_these_attributes(make), axis_sizes(), tracing_settings()

    def make_later(*signature: Flags) -> Any:
        with under_settings(settings), extended_axes(sizes):
            return make(*signature)

    return make_later


def absent(type: TensorType, symbolic: bool) -> Any:
    """What a rule gets for a tangent that there is none of."""
    aval = to_aval(type).to_tangent_aval()
    return SymbolicZero(aval) if symbolic else instantiate_zero(aval)


def is_absent(tangent: Any) -> bool:
    """Whether a rule returned a symbolic zero, or the tangent of an integer."""
    if tangent is None or isinstance(tangent, SymbolicZero | CotangentZero):
        return True
    return bool(getattr(tangent, "dtype", None) == jax.dtypes.float0)


# -- reverse rules -------------------------------------------------------------------------------


class VjpRules:
    """The two rules of a custom_vjp function. The forward rule tells how its residuals nest.

    What the backward rule closes over of a recording comes to it as its first residuals.
    """

    def __init__(
        self,
        fwd: Any,
        bwd: Any,
        out_trees: Callable[[], Any],
        types: Sequence[TensorType],
        symbolic_zeros: bool,
        aliases: Sequence[Any] = (),
        values: Sequence[Later] | None = None,
        primal: Primal | None = None,
        kinds: Kinds | None = None,
    ) -> None:
        self.kinds = kinds or {}
        self.fwd, self.bwd, self.out_trees = fwd, bwd, out_trees
        self.types, self.symbolic_zeros, self.aliases = list(types), symbolic_zeros, list(aliases)
        self.backward_aliases = closure_tracers(bwd) if aliases else []
        self.values, self.primal = values, primal
        self._n_outputs = self._n_more = 0
        self._held: dict[int, int] = {}  # by position, residuals that are mutable arrays: which
        self._thunk: Thunk | None = None

    def thunks(self) -> dict[str, Thunk]:
        """Both, as parameters of an equation."""
        self._thunk = Thunk(flat_name(self.bwd), as_called_now(self.backward))
        return {
            "fwd": Thunk(flat_name(self.fwd), as_called_now(self.forward)),
            "bwd": self._thunk,
        }

    def forward(self, nonzero: Flags) -> Graph:
        """inputs -> (outputs, residuals)."""
        return self._forward(nonzero).graph

    def _forward(self, nonzero: Flags) -> Recording:
        flagged = nonzero[len(self.aliases) :]

        def flat_forward(*values: Any) -> list[Any]:
            reset_stores(self.fwd)
            pairs = [x for pair in zip(values, flagged, strict=True) for x in pair]
            results = list(self.fwd.call_wrapped(*pairs))
            _, _, forwarded = self.out_trees()
            n_own = sum(i is None for i in forwarded)
            own = iter(results[:n_own])
            outputs = with_batch_axes(self.fwd, results[n_own:], n_own)
            if self.primal is not None and self.primal.n_more([*outputs, *self.kinds]):
                self._n_more = self.primal.n_more([*outputs, *self.kinds])
                outputs = self.primal(values)[: self._n_more] + outputs
            outputs = [*outputs, *take_contents(values, self.kinds)]
            self._n_outputs = len(outputs)
            inputs = values[n_errors_before(self.fwd) :]
            residuals = [next(own) if i is None else inputs[i] for i in forwarded]
            self._held, residuals = contents_of(residuals, values)
            return [*outputs, *self.backward_aliases, *residuals]

        name, known = flat_name(self.fwd), _known(self.values)
        made = _trace_rule(flat_forward, self.types, name, self.aliases, known, self.kinds or None)
        if self.kinds and self.primal is not None:
            graph, left = made.graph, made.graph.outputs[: self._n_outputs]
            check_writes(name, self.primal.graph, graph, left, self.kinds, len(self.aliases))
        return made

    def backward(self, nonzero: Flags, ct_nonzero: Flags) -> tuple[Graph, Flags]:
        """(residuals, cotangents) -> cotangents of the inputs."""
        recording = self._forward(nonzero)
        forward = recording.graph
        n_kept = self._n_outputs + len(self.backward_aliases)
        outputs, residuals = forward.outputs[: self._n_outputs], forward.outputs[n_kept:]
        in_nonzero: list[bool] = []

        def flat_backward(*values: Any) -> list[Any]:
            given = iter(values[len(residuals) :])
            n_own = len(outputs) - len(self.kinds)
            cts = [
                next(given) if f else absent(y.type, self.symbolic_zeros)
                for f, y in zip(ct_nonzero[:n_own], outputs, strict=False)
            ]
            of_contents = [next(given) if f else None for f in ct_nonzero[n_own:]]
            known = [_known_residual(y, x) for y, x in zip(residuals, values, strict=False)]
            results = backward_cotangents(self.bwd, (*known, *cts[self._n_more :]))
            results = with_contents(results, list(self.kinds), of_contents)
            flagged = nonzero[len(nonzero) - len(results) :]
            keep = [f and not is_absent(ct) for f, ct in zip(flagged, results, strict=True)]
            in_nonzero[:] = [False] * (len(nonzero) - len(results)) + keep
            return [ct for ct, kept in zip(results, keep, strict=True) if kept]

        ct_types = [y.type for y, f in zip(outputs, ct_nonzero, strict=True) if f]
        types = [*(x.type for x in residuals), *ct_types]
        values = self._operand_values(recording, len(ct_types))
        known = None if values is None else KnownValues(values, asking.asked.get() is not None)
        kinds = {i: self.kinds[j] for i, j in self._held.items()} or None
        made = _trace_rule(
            flat_backward, types, flat_name(self.bwd), self.backward_aliases, known, kinds
        )
        return made.graph, tuple(in_nonzero)

    def _operand_values(self, recording: Recording, n_cts: int) -> list[Any] | None:
        """What is known of residuals and cotangents: from where the rule is asked for, and of the
        residuals from the forward rule."""
        found: list[Any] | None = None
        if self.values is not None and recording.trace is not None:
            n_kept = self._n_outputs + len(self.backward_aliases)
            residuals = recording.graph.outputs[n_kept:]
            found = [*(Later(recording.trace, x) for x in residuals), *[None] * n_cts]
        asked = asking.asked.get()
        if asked is None or asked.rule is not self._thunk:
            return found
        place = Place(asked.builder, asking.values.get())
        operands = asked.operands[len(self.backward_aliases) :]
        others = found or [None] * len(operands)
        return [Later(place, x, other) for x, other in zip(operands, others, strict=True)]


def _known_residual(output: Any, value: Any) -> Any:
    """A residual as the backward rule sees it: flags that the forward rule knew are known still, so
    that Python may branch on them there."""
    if not isinstance(output, Literal):
        return value
    is_python = output.type.weak or output.type.dtype == bool
    return output.value.item() if is_python else output.value[()]
