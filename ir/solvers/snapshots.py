"""Which states of a solve are kept for reverse mode, while nobody knows how long it will go on.

There is room for K states, K a power of 2. A solve of N steps ends up with the states at the starts
of the steps 0, s, 2s, ..., where s is the smallest power of 2 with N <= K s: each time that the
room is full, every second state is given up.

No state is moved for that. Step m s, m < K, is kept in slot_s(m), and stays there when s doubles:

    slot_2s(m) = slot_s(2m)              m < K/2: those that stay
    slot_2s(m) = slot_s(2m - K + 1)      m >= K/2: the new ones, in place of those given up

so slot_2s(m) is slot_s of m with its bits rotated left by one, and slot_1(m) = m.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

from ..builder import Builder
from ..ops.elementwise import and_, or_
from ..types import INT32, TensorType
from .arithmetic import filled

FEW: Final = 32
ELEMENTS: Final = 1 << 16
"""What is kept without being asked: every state of solves that have room for so many elements, else
as many states as that, or few."""


@dataclass(frozen=True)
class Snapshots:
    """Where the states of a solve are kept.

    room: the most steps that it may take. kept: for how many states there is room, `room` or a
    power of 2. lanes: the axes in front of step numbers.
    """

    room: int
    kept: int
    lanes: tuple[int, ...]

    @staticmethod
    def of(
        room: int, asked: int | None, states: Sequence[TensorType], lanes: tuple[int, ...]
    ) -> Snapshots:
        elements = sum(prod(t.shape[len(lanes) :]) for t in states)
        wanted = max(FEW, ELEMENTS // max(elements, 1)) if asked is None else asked
        kept = room if wanted >= room else 1 << (wanted.bit_length() - 1)
        return Snapshots(room, kept, lanes)

    @property
    def are_all(self) -> bool:
        """Whether every state is kept."""
        return self.kept == self.room

    @property
    def rows(self) -> int:
        """How many states there is memory for: one more, for those that are not kept."""
        return self.kept if self.are_all else self.kept + 1

    def row_to_write(self, b: Builder, i: Any, is_running: Any) -> Any:
        """The row for the state at the start of step i, in the lanes that run."""
        if self.are_all:
            return i
        bits = self.stride_bits(b, i)
        is_kept = b.eq(self.first_of_stride(b, i, bits), i)
        nowhere = self.number(b, self.kept)
        row = b.select_n(is_kept, nowhere, self.row_of(b, i, bits))
        return b.select_n(is_running, nowhere, row)

    def number(self, b: Builder, value: int) -> Any:
        return filled(b, self.lanes, INT32, value)

    def stride_bits(self, b: Builder, i: Any) -> Any:
        """log2 of the stride while step i is the last one."""
        full = b.shift_right_logical(i, self.number(b, self.kept.bit_length() - 1))
        return b.sub(self.number(b, 32), b.clz(full))

    def first_of_stride(self, b: Builder, i: Any, bits: Any) -> Any:
        """The last step up to i whose state is kept."""
        return b.shift_left(b.shift_right_logical(i, bits), bits)

    def row_of(self, b: Builder, i: Any, bits: Any) -> Any:
        """The row of step i, one whose state is kept at this stride."""
        width = self.kept.bit_length() - 1
        if not width:
            return self.number(b, 0)
        m = b.shift_right_logical(i, bits)
        turns = b.rem(bits, self.number(b, width))
        high = b.shift_left(m, turns)
        low = b.shift_right_logical(m, b.sub(self.number(b, width), turns))
        return b.emit(and_, b.emit(or_, high, low)[0], self.number(b, self.kept - 1))[0]
