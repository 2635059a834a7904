"""JAX's own functions that have derivative rules (`jax.nn.relu`), recorded once in a process.

What they do depends on the types of their operands and JAX's settings alone, so that what one
program has recorded of them serves all others; and with it what passes keep with a rule. Their
equations have no line of their own: they are wherever the function is called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import RLock
from typing import Any, Final

import jax

from ..ir.graph import Graph
from ..ir.primitive import forget_on_change
from .collective_rules import MESH
from .compiler_attributes import attributes_in_force
from .jax_compat_rules import closed_over
from .program_cache import ProgramCache

RECORDED: Final[ProgramCache[Any]] = ProgramCache()
"""What was recorded of them, by what makes two calls the same."""

forget_on_change(RECORDED.clear)

_TRACING: Final = RLock()
"""Held while a rule is traced: JAX's flat functions note what they return in themselves."""


_MADE_BY_DEFJVPS: Final = f"{jax.custom_jvp.defjvps.__qualname__}.<locals>"


def is_library(flat_function: Any) -> bool:
    """Whether a function is JAX's own: those do not branch on values."""
    return _is_of_jax(flat_function.f)


def is_library_rule(flat_rule: Any) -> bool:
    """Whether a rule is that of a function of JAX's own. (Those that `defjvps` makes are all of a
    module of JAX, whosever function they are for.)"""
    function = flat_rule.f
    if getattr(function, "__qualname__", "").startswith(_MADE_BY_DEFJVPS):
        function = getattr(closed_over(function, "self"), "fun", None)
    return _is_of_jax(function)


def _is_of_jax(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).startswith("jax.")


def can_last(functions: Sequence[Any]) -> bool:
    """Whether what is recorded of these serves other programs: none was made for this call, and
    nothing of this program is in force around it."""
    are_lasting = all([_is_lasting(flat.f) for flat in functions])
    return are_lasting and MESH.get() is None and not attributes_in_force()


def _is_lasting(function: Any) -> bool:
    """Whether a module defines it, or `defjvps` made it of what a module defines."""
    name = getattr(function, "__qualname__", "<locals>")
    return "<locals>" not in name.removeprefix(_MADE_BY_DEFJVPS)


def without_places(graph: Graph) -> Graph:
    """A graph whose equations are wherever it is called."""
    return graph.with_equations([eqn.replace(location=None) for eqn in graph.equations])


def one_at_a_time(make: Callable[..., Any]) -> Callable[..., Any]:
    """A rule that several threads may ask for."""

    def make_alone(*signature: Any) -> Any:
        with _TRACING:
            return make(*signature)

    return make_alone
