"""The states at the starts of steps, last step first, computed again from those that were kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from ..builder import Builder
from ..loops import while_loop
from ..ops.elementwise import and_
from ..types import TensorType
from .arithmetic import any_of, both, choose
from .packing import packed
from .snapshots import Snapshots
from .windows import row_at, with_row

SEGMENT: Final = 64
"""For how many states that are computed again there is memory."""

Step = Callable[[Builder, Any, Any, list[Any]], list[Any]]
"""(b, t, h, what is kept of a state) -> the same after the step from t to t + h."""


class Held(NamedTuple):
    """The states at the starts of the steps from `first` on, that of step i in row i mod S; the
    last row is for what is not held."""

    first: Any
    t: Any
    rows: list[Any]


class Replay:
    """The steps of a solve, of which some states are kept.

    Steps are asked for from the last to the first. One that is not held is reached from the last
    state kept before it; the states of up to S steps before are held then. So each step is taken
    once more at most as long as N <= K S; beyond, N / (2 K S) times on the average.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        kept: Sequence[Any],
        sizes: Any,
        count: Any,
        step: Step,
    ) -> None:
        """kept: times and states, of shape [lanes, K + 1, ...]; sizes: of all steps; count: how
        many there are."""
        self.snapshots, self.sizes, self.count, self.step = snapshots, sizes, count, step
        self.t, *self.rows = kept
        self.length = 1 << (min(snapshots.kept, SEGMENT).bit_length() - 1)

    def nothing(self, b: Builder) -> Any:
        """What is held before the first question."""
        if self.snapshots.are_all:
            return ()
        axis, first = len(self.snapshots.lanes), self.snapshots.number(b, self.snapshots.room)

        def room(x: Any) -> Any:
            shape = list(x.type.shape)
            shape[axis] = self.length + 1
            return b.full(TensorType(tuple(shape), x.type.dtype), 0)

        return Held(first, room(self.t), [room(x) for x in self.rows])

    def at(self, b: Builder, i: Any, is_on: Any, held: Any) -> tuple[Any, list[Any], Any]:
        """Time and state at the start of step i, in the lanes that are on; what is held then."""
        if self.snapshots.are_all:
            return row_at(b, self.t, i), [row_at(b, x, i) for x in self.rows], held
        held = self.refilled(b, i, both(b, is_on, b.lt(i, held.first)), held)
        row = self.row(b, i)
        return row_at(b, held.t, row), [row_at(b, x, row) for x in held.rows], held

    def row(self, b: Builder, i: Any) -> Any:
        return b.emit(and_, i, self.snapshots.number(b, self.length - 1))[0]

    def refilled(self, b: Builder, i: Any, is_missing: Any, held: Held) -> Held:
        """With the states of step i and those before it, in the lanes where it is missing."""
        snapshots = self.snapshots
        one = snapshots.number(b, 1)
        bits = snapshots.stride_bits(b, b.sub(self.count, one))
        start = snapshots.first_of_stride(b, i, bits)
        slot = snapshots.row_of(b, start, bits)
        t, rows = row_at(b, self.t, slot), [row_at(b, x, slot) for x in self.rows]
        k = b.select_n(is_missing, i, start)
        oldest = b.max(start, b.sub(i, snapshots.number(b, self.length - 1)))
        held = held._replace(first=b.select_n(is_missing, held.first, oldest))
        held = self.holding(b, held, k, t, rows, is_missing)
        flat, unpack = packed((k, t, rows, held))

        def proceed(b: Builder, *carry: Any) -> Any:
            return any_of(b, b.lt(unpack(carry)[0], i))

        def advance(b: Builder, *carry: Any) -> list[Any]:
            k, t, rows, held = unpack(carry)
            is_behind = b.lt(k, i)
            h = row_at(b, self.sizes, k)
            rows = choose(b, is_behind, rows, self.step(b, t, h, rows))
            t = b.select_n(is_behind, t, b.add(t, h))
            k = b.select_n(is_behind, k, b.add(k, one))
            held = self.holding(b, held, k, t, rows, is_behind)
            return packed((k, t, rows, held))[0]

        found: Held = unpack(while_loop(b, proceed, advance, flat, "replay"))[3]
        return found

    def holding(
        self, b: Builder, held: Held, i: Any, t: Any, rows: Sequence[Any], flag: Any
    ) -> Held:
        """With the state of step i, in the lanes that are flagged."""
        row = b.select_n(flag, self.snapshots.number(b, self.length), self.row(b, i))
        new = [with_row(b, x, row, y) for x, y in zip(held.rows, rows, strict=True)]
        return Held(held.first, with_row(b, held.t, row, t), new)
