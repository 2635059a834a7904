"""What a solve is asked for: the parameters of the primitives of `ops/ode.py`, read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ..types import Dtype, TensorType
from .scale import Scale
from .snapshots import Snapshots
from .tableaus import METHODS, Tableau

OK: Final = 0
TOO_MANY_STEPS: Final = 1
NOT_FINITE: Final = 2
STEP_TOO_SMALL: Final = 3
NOT_SOLVED: Final = 4
BAD_TIMES: Final = 5

ROOM: Final = 1 << 14
"""The most steps that reverse mode through the steps has room for, unless told otherwise."""


@dataclass(frozen=True)
class Spec:
    """The parameters that say how to solve.

    args: how many arguments each level of tangents has. A system of L levels of tangents has 2^L
      copies of the state: level 0 is the state itself, level l the tangents of all levels below.
    lanes: the leading axes of every state; each lane has steps of its own.
    """

    tableau: Tableau
    args: tuple[int, ...]
    rtol: float | None
    atol: float | None
    dt0: float | None
    hmax: float | None
    mxstep: int | None
    max_steps: int | None
    snapshots: int | None
    adjoint: str
    lanes: tuple[int, ...]

    @staticmethod
    def of(params: dict[str, Any]) -> Spec:
        names = [f for f in Spec.__dataclass_fields__ if f != "tableau"]
        return Spec(METHODS[params["method"]], **{name: params[name] for name in names})

    @property
    def levels(self) -> int:
        return len(self.args) - 1

    @property
    def n_args(self) -> int:
        return sum(self.args)

    @property
    def is_adaptive(self) -> bool:
        return self.tableau.error is not None and self.rtol is not None

    def scale(self, weights: Sequence[Any], dtype: Dtype) -> Scale:
        """What errors are measured by; steps of a fixed size measure none."""
        return Scale(self.rtol or 0.0, self.atol or 0.0, weights, self.lanes, dtype)

    def level_of(self, i: int, n_state: int) -> int:
        """The level of state leaf i."""
        k = n_state >> self.levels
        return (i // k).bit_length()

    def kept(self, states: Sequence[TensorType]) -> Snapshots:
        """Where the states of a solve that is to be reversed are kept."""
        room = ROOM if self.max_steps is None else self.max_steps
        own = states[: len(states) >> self.levels]  # tangents need not know of those above them
        return Snapshots.of(room, self.snapshots, own, self.lanes)

    def limited(self, is_stored: bool) -> Spec:
        """With the limit on steps that room for them sets."""
        if not is_stored or self.max_steps is not None:
            return self
        return replace(self, max_steps=ROOM)

    def rows_stored(self, states: Sequence[Any], slopes: Sequence[Any]) -> list[Any]:
        """What is kept of a step: the states and, for implicit methods, the slopes that belong to
        them, one copy of the system after the other."""
        if not self.tableau.gamma:
            return list(states)
        k = len(states) >> self.levels
        rows: list[Any] = []
        for start in range(0, len(states), k):
            rows += [*states[start : start + k], *slopes[start : start + k]]
        return rows

    def states_and_slopes(self, rows: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """The states among the rows that were kept, and the slopes (none for explicit methods)."""
        if not self.tableau.gamma:
            return list(rows), []
        k = len(rows) >> (self.levels + 1)
        copies = [rows[i : i + k] for i in range(0, len(rows), k)]
        return [x for c in copies[::2] for x in c], [x for c in copies[1::2] for x in c]


def split_operands(items: Sequence[Any], n_args: int, n_state: int) -> tuple[Any, Any, Any, Any]:
    """args | state | ts | the rest."""
    fixed = n_args + n_state
    return items[:n_args], items[n_args:fixed], items[fixed], items[fixed + 1 :]


def solution_type(state: TensorType, lanes: tuple[int, ...], n: int) -> TensorType:
    """The type of the solution at n times."""
    k = len(lanes)
    return TensorType((*state.shape[:k], n, *state.shape[k:]), state.dtype)
