"""What each primitive means, in NumPy: the oracle that needs neither JAX nor XLA.

A meaning is `(*arrays, **params) -> array or tuple of arrays`; the loop casts results to the types
that the equation states.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import InterpretError
from ..graph import Equation, Graph, Literal
from ..primitive import Primitive, RuleTable
from ..types import ExtendedDtype
from .keys import as_keys

Meaning = Callable[..., Any]
meanings: RuleTable[Meaning] = RuleTable("meaning")


def means(*primitives: Primitive) -> Callable[[Meaning], Meaning]:
    """`@means(p)`: enter `(*arrays, **params)` as the meaning of p."""
    return meanings.rule(*primitives)


def evaluate(graph: Graph, inputs: Sequence[Any]) -> list[Any]:
    """The outputs of a graph on arrays. Raises InterpretError naming the equation that failed."""
    if len(inputs) != len(graph.inputs):
        raise InterpretError(f"@{graph.name} takes {len(graph.inputs)} inputs, got {len(inputs)}")
    env: dict[Any, Any] = {}
    for value, x in zip(graph.inputs, inputs, strict=True):
        env[value] = as_typed(x, value.type)
        if np.shape(env[value]) != value.type.shape:
            raise InterpretError(
                f"input {value.name or '_'} of @{graph.name} has type {value.type}, "
                f"got an array of shape {np.shape(x)}"
            )
    with np.errstate(all="ignore"):
        for eqn in graph.equations:
            results = apply(
                eqn, [x.value if x.__class__ is Literal else env[x] for x in eqn.inputs]
            )
            env.update(zip(eqn.outputs, results, strict=True))
    return [x.value if isinstance(x, Literal) else env[x] for x in graph.outputs]


def apply(eqn: Equation, arrays: Sequence[Any]) -> list[Any]:
    """The outputs of one equation on arrays."""
    try:
        results = meanings.find(eqn)(*arrays, **eqn.params)
    except (TypeError, ValueError, IndexError, FloatingPointError) as error:
        if isinstance(error, InterpretError):
            if error.equation is None:
                raise InterpretError(error.claim, eqn, hint=error.hint) from None
            raise
        raise InterpretError(f"{eqn.primitive.name} failed: {error}", eqn) from error
    several = results if isinstance(results, (tuple, list)) else (results,)
    return [as_typed(r, v.type) for r, v in zip(several, eqn.outputs, strict=True)]


def as_typed(x: Any, type: Any) -> Any:
    """x as an array of the type's dtype; keys as `keys` represents them."""
    if isinstance(type.dtype, ExtendedDtype):
        return as_keys(x, type)
    return np.asarray(x).astype(type.dtype, copy=False)


# Importing the families enters their meanings.
from . import (  # noqa: E402
    annotation,  # noqa: F401
    call,  # noqa: F401
    collective,  # noqa: F401
    contraction,  # noqa: F401
    control,  # noqa: F401
    cumulative,  # noqa: F401
    effect,  # noqa: F401
    elementwise,  # noqa: F401
    elementwise_bits,  # noqa: F401
    fft,  # noqa: F401
    foreign,  # noqa: F401
    indexing,  # noqa: F401
    linalg,  # noqa: F401
    linalg_spectral,  # noqa: F401
    ode,  # noqa: F401
    placement,  # noqa: F401
    random,  # noqa: F401
    reduction,  # noqa: F401
    rewind,  # noqa: F401
    scaled,  # noqa: F401
    shape,  # noqa: F401
    sort,  # noqa: F401
    special,  # noqa: F401
    window,  # noqa: F401
)
