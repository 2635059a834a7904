"""Calls back into Python while the program runs.

The Python function is held by an `Opaque`, called with one array for each operand.

    debug_callback, debug_print    for looking on: no outputs, kept in their half of a derivative
    pure_callback                  may be dropped, repeated or merged with an equal call
    io_callback                    happens as often as it stands in the program; `ordered` ones in
                                   the order of the program
"""

from __future__ import annotations

from typing import Any, Final

from ..graph import Equation
from ..primitive import REQUIRED, Types, define
from ..types import TensorType

DEBUG: Final = "debug"
ORDERED_DEBUG: Final = "ordered_debug"
IO: Final = "io"
ORDERED_IO: Final = "ordered_io"

ORDERED: Final = (ORDERED_DEBUG, ORDERED_IO)
"""The effects that happen in the order of the program, in the order of their tokens."""


def _no_outputs(types: Types, params: dict[str, Any]) -> tuple[TensorType, ...]:
    return ()


def stated_types(types: Types, params: dict[str, Any]) -> tuple[TensorType, ...]:
    """The types that the parameter `out_types` states: (shape, dtype) of each output."""
    return tuple(TensorType(shape, dtype) for shape, dtype in params["out_types"])


def _debug_effects(eqn: Equation) -> frozenset[str]:
    return frozenset({ORDERED_DEBUG if eqn.params["ordered"] else DEBUG})


def _io_effects(eqn: Equation) -> frozenset[str]:
    return frozenset({ORDERED_IO if eqn.params["ordered"] else IO})


debug_callback = define(
    "debug_callback",
    _no_outputs,
    defaults={"callback": REQUIRED, "ordered": False, "partitioned": False},
    not_differentiable="it has no outputs",
    effects=_debug_effects,
    family="effect",
)
"""`jax.debug.callback`. partitioned: called with what each device has, rather than with wholes."""

debug_print = define(
    "debug_print",
    _no_outputs,
    defaults={"fmt": "", "callback": REQUIRED, "ordered": False, "partitioned": False},
    not_differentiable="it has no outputs",
    effects=_debug_effects,
    family="effect",
)
"""`jax.debug.print`: a debug_callback that formats its operands by `fmt` and prints them."""

pure_callback = define(
    "pure_callback",
    stated_types,
    defaults={"callback": REQUIRED, "out_types": REQUIRED, "vmap_method": None},
    family="effect",
)
"""`jax.pure_callback`. vmap_method: how a batch of calls is made (see `passes/rules/effect.py`)."""

io_callback = define(
    "io_callback",
    stated_types,
    defaults={"callback": REQUIRED, "out_types": REQUIRED, "ordered": False},
    effects=_io_effects,
    family="effect",
)
"""`jax.experimental.io_callback`."""
