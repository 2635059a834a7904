"""Recording: a Python function runs once on tracers, and what it does is written down as a graph.

`GraphTrace` is a trace of JAX's own protocol, so every `jax.numpy` function, JAX transformation and
library that runs inside the function is recorded as it is, equation by equation, in a `Builder`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..ir.errors import ArgumentError, UsageError
from ..ir.graph import Graph, Value
from ..ir.types import TensorType
from .cells import is_ref
from .flat_functions import Shared
from .graph_trace import GraphTrace, GraphTracer, RefTracer, type_of_tracer
from .jax_compat import canonicalize, current_trace, set_current_trace
from .leaks import check_leaks

if TYPE_CHECKING:
    from .known import KnownValues
    from .moving import Moving

__all__ = ["GraphTrace", "GraphTracer", "Recording", "recording_trace", "trace_flat"]


@dataclass(frozen=True)
class Recording:
    """What a function did.

    `graph` takes the captured tracers, then the inputs; `captured` are tracers of enclosing traces
    that the function read, to be passed by whoever calls the graph. `trace` recorded it.
    `written` are the mutable arrays that it was given or closes over and wrote to: what they hold
    in the end are the graph's last outputs.
    """

    graph: Graph
    captured: tuple[Any, ...] = ()
    trace: GraphTrace | None = None
    written: tuple[Any, ...] = ()


def trace_flat(
    flat_fun: Callable[..., Sequence[Any]],
    in_types: Sequence[TensorType],
    *,
    name: str = "f",
    input_names: Sequence[str | None] | None = None,
    aliases: Sequence[Any] = (),
    outer: GraphTrace | None = None,
    shared: Shared | None = None,
    known: KnownValues | None = None,
    still: Sequence[bool] = (),
    refs: Mapping[int, Any] | None = None,
    caller: str = "a transformation",
    carries: bool = False,
    moving: Moving | None = None,
) -> Recording:
    """Record a function of flat arrays that returns a flat sequence.

    `aliases` are tracers that the function may read although their trace is over: each becomes an
    input, before those of `in_types`. `outer` is the trace for which a part is traced here, or
    `shared` what is traced once in that one. `known` has the concrete values of the inputs, if
    Python may branch on values. `still` marks inputs by which nobody can differentiate. `refs` are,
    by position, inputs that are mutable arrays: of these, `in_types` has the types of what they
    hold. Where it is None, UsageError is raised if the function writes to one that lives outside of
    it. `caller` is what it is traced for, in errors. `carries` says that backward rules may write
    to mutable arrays (carried). `moving` says what is being differentiated.
    """
    trace = GraphTrace(name, outer)
    if shared is not None:
        trace.shared = shared
    trace.carries = carries
    names = input_names or (None,) * len(in_types)
    for tracer in aliases:
        value = Value(type_of_tracer(tracer), getattr(getattr(tracer, "atom", None), "name", None))
        trace.aliases[id(tracer)] = value
        trace.inputs.append(value)
    values = [Value(t, n) for t, n in zip(in_types, names, strict=True)]
    trace.inputs += values
    trace.still = {v for v, is_still in zip(values, still, strict=False) if is_still}
    if known is not None:
        known.bind(values, trace.captured)
        trace.known = known
        trace.eager = known.eager
    if moving is not None:
        moving.bind(values)
        trace.moving = moving
    with set_current_trace(trace), room_for_calls():
        tracers = [GraphTracer(trace, v) for v in values]
        for i, ref in (refs or {}).items():
            tracers[i] = trace.take_ref(values[i], ref)
        outputs = flat_fun(*tracers)
        del tracers
        graph = trace.finish([_checked(x, i, name, caller) for i, x in enumerate(outputs)])
    del outputs
    written = tuple(trace.written())
    if written and refs is None:
        raise UsageError(
            f"{name} writes to a mutable array that lives outside of it, which is not supported "
            "here",
            hint="pass what the array holds as an argument, and return what it is to hold",
        )
    check_leaks(trace)
    return Recording(graph, tuple(x for x, _ in trace.captured.values()), trace, written)


FRAMES: Final = 3000
"""Python frames that a recording may use: JAX takes about nine for each call in a call."""


class room_for_calls:
    """`with room_for_calls():` lets Python recurse as deep as two hundred jitted functions nested
    in each other need."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = sys.getrecursionlimit()
        if self._before < FRAMES:
            sys.setrecursionlimit(FRAMES)

    def __exit__(self, *_: object) -> None:
        if self._before < FRAMES:
            restore_limit(self._before)


def restore_limit(limit: int) -> None:
    """Set the limit again, unless something meanwhile needed a larger one, or still needs it."""
    if sys.getrecursionlimit() == FRAMES:
        with contextlib.suppress(RecursionError):  # already deeper than that: a callback's frames
            sys.setrecursionlimit(limit)


def _origin(ref: Any) -> str:
    """Where a mutable array comes from that is returned."""
    return ref.cell.origin if isinstance(ref, RefTracer) else "was closed over"


def _checked(x: Any, position: int, name: str, caller: str) -> Any:
    """An output as an operand. Raises ArgumentError for what is no array."""
    if is_ref(x):
        raise UsageError(
            f"{name} traced for {caller} returned a mutable array reference of type "
            f"{x.aval.str_short()}, but mutable array references cannot be returned\n\n"
            f"  the returned mutable array {_origin(x)}",
            hint="return what it holds: ref[...], or jax.freeze(ref)",
        )
    try:
        return canonicalize(x)
    except TypeError:
        raise ArgumentError(
            f"output {position} of {name} is {x!r}, a {type(x).__name__}: traced functions return "
            "arrays and scalars, nested in pytrees"
        ) from None


def recording_trace() -> GraphTrace | None:
    """The trace of ours that is recording now, if it is the innermost one."""
    trace = current_trace()
    return trace if isinstance(trace, GraphTrace) else None
