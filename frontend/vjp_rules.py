"""The rules of custom_vjp functions, as recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..ir.graph import Graph, Literal, Thunk
from ..ir.ops.call import Flags
from ..passes import asking
from .flat_functions import (
    flat_name,
    reset_stores,
)
from .jax_compat_rules import (
    backward_cotangents,
    n_errors_before,
)
from .known import KnownValues, Later, Place
from .no_numbers import emptied, places_of_float0
from .ref_rules import (
    check_writes,
    contents_of,
    held_after,
    take_contents,
    with_contents,
)
from .rule_batches import with_batch_axes
from .rule_traces import (
    Called,
    absent,
    as_called_now,
    is_absent,
    known_of,
    trace_rule,
    with_numbers,
)
from .trace import Recording


class VjpRules:
    """The two rules of a custom_vjp function. The forward rule tells how its residuals nest.

    What the backward rule closes over of a recording, `backward_aliases`, comes to it as its first
    residuals.
    """

    def __init__(
        self,
        fwd: Any,
        bwd: Any,
        out_trees: Callable[[], Any],
        call: Called,
        backward_aliases: Sequence[Any] = (),
    ) -> None:
        self.fwd, self.bwd, self.out_trees, self.call = fwd, bwd, out_trees, call
        self.kinds, self.carried = call.kinds, call.carried
        self.n_own = len(call.types)
        self.types = [*call.types, *(call.types[i] for i in call.carried)]
        self.backward_aliases = list(backward_aliases)
        self._n_outputs = self._n_more = 0
        self._empty: list[int] = []  # residuals that are arrays of float0
        self._held: dict[int, int] = {}  # by position, residuals that are mutable arrays: which
        self._thunk: Thunk | None = None
        self._last: tuple[Flags, Recording] | None = None

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
        """The forward rule, recorded once: the backward rule that follows is for this recording."""
        if self._last is None or self._last[0] != nonzero:
            self._last = nonzero, self._record_forward(nonzero)
        return self._last[1]

    def _record_forward(self, nonzero: Flags) -> Recording:
        call = self.call
        flagged = nonzero[len(call.consts) : len(call.consts) + self.n_own]

        def flat_forward(*taken: Any) -> list[Any]:
            values, seconds = taken[: self.n_own], taken[self.n_own :]
            reset_stores(self.fwd)
            given = with_numbers(values, call.numbers)
            pairs = [x for pair in zip(given, flagged, strict=True) for x in pair]
            results = list(self.fwd.call_wrapped(*pairs))
            _, _, forwarded = self.out_trees()
            n_own = sum(i is None for i in forwarded)
            own = iter(results[:n_own])
            outputs = with_batch_axes(self.fwd, results[n_own:], n_own)
            call.returned.note(outputs)
            if call.primal is not None and call.primal.n_more([*outputs, *self.kinds]):
                self._n_more = call.primal.n_more([*outputs, *self.kinds])
                outputs = call.primal(values)[: self._n_more] + outputs
            outputs = [*outputs, *take_contents(values, self.kinds), *seconds]
            self._n_outputs = len(outputs)
            inputs = given[n_errors_before(self.fwd) :]
            residuals = [next(own) if i is None else inputs[i] for i in forwarded]
            self._empty = places_of_float0(residuals)
            self._held, residuals = contents_of(residuals, values)
            return [*outputs, *self.backward_aliases, *residuals]

        name, known = flat_name(self.fwd), known_of(call.values, len(self.carried))
        made = trace_rule(
            flat_forward, self.types, name, call.consts, known, self.kinds or None, call.moving,
            call.shared(),
        )  # fmt: skip
        if self.kinds and call.primal is not None:
            graph = made.graph
            left = graph.outputs[: self._n_outputs - len(self.carried)]
            check_writes(name, call.primal.graph, graph, left, self.kinds, len(call.consts))
        return made

    def backward(self, nonzero: Flags, ct_nonzero: Flags) -> tuple[Graph, Flags]:
        """(residuals, cotangents) -> cotangents of the inputs."""
        recording = self._forward(nonzero)
        forward = recording.graph
        n_kept = self._n_outputs + len(self.backward_aliases)
        outputs, residuals = forward.outputs[: self._n_outputs], forward.outputs[n_kept:]
        in_nonzero: list[bool] = []
        n_kinds, n_carried = len(self.kinds), len(self.carried)

        def flat_backward(*values: Any) -> list[Any]:
            given = iter(values[len(residuals) :])
            n_own = len(outputs) - n_kinds - n_carried
            cts = [
                next(given) if f else absent(y.type, self.call.symbolic_zeros)
                for f, y in zip(ct_nonzero[:n_own], outputs, strict=False)
            ]
            others = [next(given) if f else None for f in ct_nonzero[n_own:]]
            arrays = self._held_before(values, others[n_kinds:])
            known = emptied(
                [_known_residual(y, x) for y, x in zip(residuals, values, strict=False)],
                self._empty,
            )
            results = backward_cotangents(self.bwd, (*known, *cts[self._n_more :]))
            results = with_contents(results, list(self.kinds), others[:n_kinds])
            results += held_after(arrays, others[n_kinds:])
            flagged = nonzero[len(nonzero) - len(results) :]
            keep = [f and not is_absent(ct) for f, ct in zip(flagged, results, strict=True)]
            in_nonzero[:] = [False] * (len(nonzero) - len(results)) + keep
            return [ct for ct, kept in zip(results, keep, strict=True) if kept]

        ct_types = [y.type for y, f in zip(outputs, ct_nonzero, strict=True) if f]
        types = [*(x.type for x in residuals), *ct_types]
        values = self._operand_values(recording, len(ct_types))
        known = None if values is None else KnownValues(values, asking.asked.get() is not None)
        kinds = {i: self.kinds[j] for i, j in self._held.items()} or None
        made = trace_rule(
            flat_backward, types, flat_name(self.bwd), self.backward_aliases, known, kinds,
            shared=self.call.shared(),
        )  # fmt: skip
        return made.graph, tuple(in_nonzero)

    def _held_before(self, values: Sequence[Any], seconds: Sequence[Any]) -> list[Any]:
        """Let mutable arrays among residuals hold what they do in the backward pass, where that is
        given; for each second value its array, or None."""
        found: list[Any] = []
        for i, ct in zip(self.carried, seconds, strict=True):
            kind = self.kinds[i]
            held = [values[k] for k, j in self._held.items() if self.kinds[j] is kind]
            found.append(held[0] if held and ct is not None else None)
            if found[-1] is not None:
                found[-1].cell.atom = ct.atom
        return found

    def _operand_values(self, recording: Recording, n_cts: int) -> list[Any] | None:
        """What is known of residuals and cotangents: from where the rule is asked for, and of the
        residuals from the forward rule."""
        found: list[Any] | None = None
        if self.call.values is not None and recording.trace is not None:
            n_kept = self._n_outputs + len(self.backward_aliases)
            residuals = recording.graph.outputs[n_kept:]
            found = [*(Later(recording.trace, x) for x in residuals), *[None] * n_cts]
        asked = asking.asked.get()
        if asked is None or asked.rule is not self._thunk:
            return found
        at_hand: Any = asking.values.get()
        place = Place(asked.builder, at_hand)
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
