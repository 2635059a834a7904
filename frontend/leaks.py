"""Values of a recording that are still held when it is over: JAX's setting `jax_check_tracer_leaks`
asks for this check."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..lowering.jax_compat import settings
from .error_types import LeakedTracerError
from .jax_compat import leaked_tracer_error
from .tracers import GraphTracer

if TYPE_CHECKING:
    from .graph_trace import GraphTrace


def check_leaks(trace: GraphTrace) -> None:
    """Raise LeakedTracerError, which says what holds them, if values of a recording outlive it.

    Custom rules, which are traced later, may hold what they close over (`trace.lent`).
    """
    if not settings.jax_check_tracer_leaks or not _living(trace):
        return
    gc.collect()
    leaked = _living(trace)
    if leaked:
        what = str(leaked_tracer_error("trace", f"GraphTrace of {trace.name}", leaked))
        raise LeakedTracerError("\n".join(x for x in what.splitlines() if not _asks(x)).strip())


def _asks(line: str) -> bool:
    """Whether a line of JAX's account is for values that somebody asks for: nobody did."""
    return line.startswith("Its value is asked for")


def lend(tracers: Iterable[object]) -> None:
    """Note that rules hold these values of recordings from now on."""
    if settings.jax_check_tracer_leaks:
        for x in tracers:
            if isinstance(x, GraphTracer):
                x._trace.lent.add(id(x))


def _living(trace: GraphTrace) -> list[GraphTracer]:
    found = gc.get_referrers(trace)
    return [x for x in found if x.__class__ is GraphTracer and id(x) not in trace.lent]
