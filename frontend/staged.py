"""A traced call: its program, and what it is to be called with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..ir.graph import Atom, Graph
from ..lowering.jax_compat_calls import is_trace_clean
from .aux_outputs import AuxTree
from .carried import Carried
from .cells import is_ref
from .known import KnownValues
from .ref_args import RefUse, is_ref_like, place_among, read_refs, write_refs
from .trace import GraphTrace


@dataclass(frozen=True)
class Staged:
    """A traced call.

    graph: takes what was captured from enclosing traces, then the leaves of the arguments; returns
      the leaves of the output, then those of the auxiliary output.
    captured: the values of those captured inputs.
    out_tree, aux_tree: how the outputs nest (aux_tree is None without auxiliary output).
    known: the values that Python may branch on, also in rules that are traced later.
    written: the mutable arrays, among captured values and leaves, that the function writes; what
      they hold then are the last outputs of the graph.
    """

    graph: Graph
    captured: tuple[Any, ...]
    out_tree: Any
    aux_tree: AuxTree | None
    known: KnownValues | None = None
    written: tuple[Any, ...] = ()

    @property
    def n_captured(self) -> int:
        return len(self.captured)

    @property
    def n_aux(self) -> int:
        return self.aux_tree.n_flat if self.aux_tree is not None else 0

    @property
    def n_out(self) -> int:
        return len(self.graph.outputs) - self.n_aux - len(self.written)

    @property
    def n_results(self) -> int:
        """The outputs that are returned: all but what mutable arrays hold."""
        return len(self.graph.outputs) - len(self.written)

    @property
    def has_refs(self) -> bool:
        """Whether it closes over mutable arrays that live outside of it."""
        return any(map(is_ref, self.captured))

    def operands(self, leaves: Sequence[Any], trace: GraphTrace | None = None) -> tuple[Any, ...]:
        """What the graph is to be called with; of mutable arrays, what they hold now. With a trace
        that carries them, their second values are those there."""
        seconds = trace.seconds(self.captured) if trace is not None else self.captured
        return read_refs((*seconds, *leaves))

    def ref_use(self, caller: str, leaves: Sequence[Any], names: Sequence[str]) -> RefUse | None:
        """What is to be done around each call, where there are mutable arrays."""
        if not self.captured and not any(map(is_ref_like, leaves)):
            return None
        operands, n = (*self.captured, *leaves), self.n_captured
        written = tuple([place_among(ref, operands, n) for ref in self.written])
        return RefUse(caller, self.captured, written, self.out_tree, tuple(names))

    def settle(self, outputs: Sequence[Any], trace: GraphTrace | None = None) -> list[Any]:
        """Write what the graph left in mutable arrays; its other outputs. (Those of a derivative
        may follow.)"""
        n, n_written = self.n_results, len(self.written)
        if trace is not None:
            trace.leave_seconds(self.written, outputs[n : n + n_written])
        write_refs(self.written, outputs[n : n + n_written])
        return [*outputs[:n], *outputs[n + n_written :]]

    def is_over(self) -> None:
        """Let go of the arguments' values: the call is answered, and no other needs them."""
        if self.known is not None and is_trace_clean():
            self.known.forget()

    def active(self, flags: Sequence[bool]) -> tuple[bool, ...]:
        """Flags for all inputs of the graph from flags for the argument leaves."""
        return (*(isinstance(x, Carried) for x in self.captured), *flags)

    @property
    def carried(self) -> list[Any]:
        """The mutable arrays that backward rules may write to: the first active inputs are their
        second values."""
        return [x.ref for x in self.captured if isinstance(x, Carried)]

    def in_backward(self, leaves: Sequence[Any]) -> list[tuple[int, Atom]]:
        """For each of these the output that is its second value, and what it holds when the
        backward pass begins."""
        n = self.n_results
        ends = dict(zip(map(id, self.written), self.graph.outputs[n:], strict=True))
        starts = dict(zip(map(id, (*self.captured, *leaves)), self.graph.inputs, strict=True))
        place = {id(x.ref): n + i for i, x in enumerate(self.written) if isinstance(x, Carried)}
        return [
            (place[id(ref)], ends[id(ref)] if id(ref) in ends else starts[id(ref)])
            for ref in self.carried
            if id(ref) in place
        ]
