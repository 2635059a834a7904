"""Loops whose states are not stored: they are found again from a few that were kept.

    replay   n | consts | snapshots | tangent | xs -> tangent | ys
             step: consts | state | x -> state
             push: consts | state | tangent | x -> tangent | y
    rewind   n | consts | snapshots | adjoint | xs -> adjoint | ys
             step: consts | state | x -> state
             pull: consts | state | adjoint | x -> adjoint | y

`step` is a loop that ran: state[i + 1] = step(state[i], xs[i]) for i = 0, ..., n - 1. Beside it a
replay goes the same way, a rewind from the last step to the first; both read the state that each
step started from:

    tangent, ys[i] = push(state[i], tangent, xs[i])      for i = 0, ..., n - 1
    adjoint, ys[i] = pull(state[i], adjoint, xs[i])      for i = n - 1, ..., 0

The transpose of one is the other. `snapshots` holds states in the order of their `positions`, the
first that of step 0. What is computed does not depend on the others: with them, or with those kept
on the way, fewer steps are taken again (`ir.revolve`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from ..errors import TypeRuleError
from ..graph import Equation, Graph
from ..primitive import REQUIRED, Primitive, Types, define
from ..types import TensorType, dtype_category
from .call import check_arguments
from .control import check_carry, split_sizes


def _infer_replay(types: Types, params: dict[str, Any]) -> tuple[TensorType, ...]:
    return _infer("replay", types, params, params["push"])


def _infer_rewind(types: Types, params: dict[str, Any]) -> tuple[TensorType, ...]:
    return _infer("rewind", types, params, params["pull"])


def _infer(name: str, types: Types, params: dict[str, Any], along: Graph) -> tuple[TensorType, ...]:
    step, length, positions = params["step"], params["length"], params["positions"]
    _check_snapshots(name, positions, params["snapshots"], length)
    if length is None:
        _check_count(name, types)
    _, consts, kept, carry, xs = split_sizes(types, _sizes(params))
    if length is None and xs:
        raise TypeRuleError(f"{name} of a number of steps that is an operand takes no xs")
    state = tuple(_row(name, t, len(positions), "snapshots") for t in kept)
    slices = tuple(_row(name, t, length, "xs") for t in xs)
    check_arguments(f"the step of {name}", step, (*consts, *state, *slices))
    check_arguments(name, along, (*consts, *state, *carry, *slices))
    if len(step.outputs) != len(state):
        raise TypeRuleError(
            f"{name} has {len(state)} states, its step returns {len(step.outputs)} values"
        )
    outputs: Types = along.output_types
    if len(outputs) < len(carry) or (length is None and len(outputs) > len(carry)):
        raise TypeRuleError(
            f"{name} has {len(carry)} carries, @{along.name} returns {len(outputs)} values"
        )
    first = len(consts)
    check_carry(name, step, step.input_types[first:][: len(state)], step.output_types)
    first += len(state)
    check_carry(name, along, along.input_types[first:][: len(carry)], outputs[: len(carry)])
    stacked = tuple(t.with_shape((length, *t.shape)) for t in outputs[len(carry) :])
    return (*outputs[: len(carry)], *stacked)


def _check_snapshots(name: str, positions: Any, snapshots: int, length: int | None) -> None:
    ascending = all(a < b for a, b in pairwise(positions))
    if not positions or positions[0] != 0 or not ascending:
        raise TypeRuleError(f"{name} keeps the state of step 0, then later ones; not {positions}")
    if len(positions) > snapshots:
        raise TypeRuleError(f"{name} has {len(positions)} snapshots and room for {snapshots}")
    if length is not None and positions[-1] >= max(length, 1):
        raise TypeRuleError(f"{name} of {length} steps has a snapshot at step {positions[-1]}")


def _check_count(name: str, types: Types) -> None:
    if not types or types[0].shape or dtype_category(types[0].dtype) != "int":
        raise TypeRuleError(f"{name} without a length takes the number of steps first, an i32[]")


def _row(name: str, type: TensorType, n: int, what: str) -> TensorType:
    if not type.shape or type.shape[0] != n:
        raise TypeRuleError(f"{name} takes {what} with a first axis of length {n}, not {type}")
    return type.with_shape(type.shape[1:])


def _sizes(params: dict[str, Any]) -> tuple[int, int, int, int]:
    first = 0 if params["length"] is not None else 1
    return first, params["num_consts"], params["num_state"], params["num_carry"]


def rewind_groups(eqn: Equation, items: Sequence[Any]) -> list[tuple[Any, ...]]:
    """What belongs to the operands as (n or nothing, consts, snapshots, carry, xs)."""
    return split_sizes(items, _sizes(eqn.params))


_COMMON: Final[dict[str, Any]] = {
    "num_consts": 0,
    "num_state": 0,
    "num_carry": 0,
    "length": None,
    "snapshots": REQUIRED,
    "positions": (0,),
    "reverse": False,
}

replay = define(
    "replay",
    _infer_replay,
    defaults={"step": REQUIRED, "push": REQUIRED, **_COMMON},
    has_regions=True,
)
"""Along the loop that `step` describes.

length: how many steps; None if that is the first operand. snapshots: how many states are kept at a
time. reverse: step i of the loop reads and writes row length - 1 - i of xs and ys.
"""

rewind = define(
    "rewind",
    _infer_rewind,
    defaults={"step": REQUIRED, "pull": REQUIRED, **_COMMON},
    has_regions=True,
)
"""The loop that `step` describes, backwards. Its params are those of `replay`."""

ALONG: Final[dict[Primitive, str]] = {replay: "push", rewind: "pull"}
"""The region that runs beside the loop."""


def along(eqn: Equation) -> Graph:
    graph: Graph = eqn.params[ALONG[eqn.primitive]]
    return graph
