"""Where a value came from that jax_debug_nans or jax_debug_infs forbids.

A compiled program tells only that one of its results holds such a value. It is then run again one
equation after the other, until one makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..ir.graph import Equation, Graph, Value
from ..lowering.jax_compat import settings
from .export import evaluate
from .export_rules import rule_for
from .stepwise import OPENED, Runner, located, unit

Explain = Callable[[Sequence[Any], FloatingPointError], FloatingPointError]


def explainer(graph: Graph, runner: Callable[[Graph], Runner]) -> Explain:
    """A function of a failed call's arguments and error: the error that names the operation."""

    def explain(arguments: Sequence[Any], error: FloatingPointError) -> FloatingPointError:
        if any(isinstance(x, jax.Array) and x.is_deleted() for x in arguments):
            return error  # donated
        wanted = _forbidden()
        with jax.debug_nans(False), jax.debug_infs(False):
            for v, x in zip(graph.inputs, arguments, strict=True):
                if kind := wanted(x):
                    given = f"invalid value ({kind}) in input {v.name or '_'} of {graph.name}"
                    error = FloatingPointError(given)
            try:
                _run(graph, arguments, wanted, runner)
            except FloatingPointError as found:
                return found
        return error

    return explain


def _forbidden() -> Callable[[Any], str | None]:
    """What names the kind of invalid value in an array, by the settings in force now."""
    tests = {
        "nan": (settings.jax_debug_nans, jnp.isnan),
        "inf": (settings.jax_debug_infs, jnp.isinf),
    }

    def kind(x: Any) -> str | None:
        if not jnp.issubdtype(jax.dtypes.result_type(x), np.inexact):
            return None
        for name, (is_on, test) in tests.items():
            if is_on and bool(jnp.any(test(x))):
                return name
        return None

    return kind


def _run(
    graph: Graph,
    arguments: Sequence[Any],
    wanted: Callable[[Any], str | None],
    runner: Callable[[Graph], Runner],
) -> list[Any]:
    """The outputs of a graph. Raises FloatingPointError at the first equation that makes an invalid
    value of operands without."""

    def bind(eqn: Equation, inputs: Sequence[Any]) -> Sequence[Any]:
        if eqn.primitive in OPENED:
            outputs: Sequence[Any] = _run(eqn.params["graph"], inputs, wanted, runner)
        elif not eqn.primitive.has_regions:
            outputs = rule_for(eqn.primitive)(eqn, inputs)
        else:
            pairs = zip(eqn.inputs, inputs, strict=True)
            given = {x: value for x, value in pairs if isinstance(x, Value)}
            outputs = runner(unit(graph, eqn))(*given.values())
        kind = next(filter(None, map(wanted, outputs)), None)
        if kind is not None and not any(map(wanted, inputs)):
            raise located(f"invalid value ({kind}) encountered in {eqn.primitive.name}", eqn)
        return outputs

    return evaluate(graph, arguments, bind)
