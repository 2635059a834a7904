"""Samples of primitives: shapes of rank 0 to 5, some of them empty, dtypes and parameters.

    @sampler("cumsum cumprod", ranks=(1, 5))
    def cumulative(s: Sample) -> Case:
        return s.case([s.type()], {"axis": s.axis(), "reverse": s.flag()})

A sampler makes a case of the harness from a `Sample`, which has drawn a shape and holds a dtype.
What is drawn depends on nothing but the primitive, the rank, and whether the shape is empty.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from harness import Case, among

from covector.ir.errors import TypeRuleError
from covector.ir.types import (
    DTYPE_BY_NAME,
    TensorType,
    dtype_category,
    dtype_from_name,
)

DTYPES = tuple(DTYPE_BY_NAME)
RANKS = range(6)
Sampler = Callable[["Sample"], "Case | None"]


@dataclass(frozen=True)
class Sampled:
    """How a primitive is sampled, in which dtype shapes are, and its least and greatest rank."""

    make: Sampler
    dtype: str
    ranks: tuple[int, int]


SAMPLED: dict[str, Sampled] = {}


def sampler(
    names: str, dtype: str = "f32", ranks: tuple[int, int] = (0, 5)
) -> Callable[[Sampler], Sampler]:
    """Enter a sampler for some primitives."""

    def enter(make: Sampler) -> Sampler:
        for name in names.split():
            SAMPLED[name] = Sampled(make, dtype, ranks)
        return make

    return enter


@dataclass
class Sample:
    """A primitive, a rank and a dtype, from which a sampler makes a case."""

    name: str
    rank: int
    dtype: str
    is_empty: bool = False
    seed: int = 0
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        key = [zlib.crc32(self.name.encode()), self.rank, self.is_empty, self.seed]
        self.rng = np.random.default_rng(key)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Lengths of 1 to 3; one is 0 if the sample is to be empty."""
        lengths = [self.int(1, 3) for _ in range(self.rank)]
        if self.is_empty:
            lengths[self.int(0, self.rank - 1)] = 0
        return tuple(lengths)

    def type(self, shape: Sequence[int] | None = None, dtype: str | None = None) -> TensorType:
        shape = self.shape if shape is None else tuple(shape)
        return TensorType(shape, dtype_from_name(dtype or self.dtype))

    @property
    def category(self) -> str:
        return dtype_category(dtype_from_name(self.dtype))

    @property
    def is_discrete(self) -> bool:
        return self.category in ("bool", "int", "uint")

    # -- choices -------------------------------------------------------------------------------

    def int(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def flag(self) -> bool:
        return bool(self.rng.integers(2))

    def among(self, options: Sequence[Any]) -> Any:
        return options[self.int(0, len(options) - 1)]

    def axis(self) -> int:
        return self.int(0, self.rank - 1)

    def axes(self) -> tuple[int, ...]:
        """Some axes, in order."""
        return tuple(i for i in range(self.rank) if self.flag())

    def order(self, n: int | None = None) -> tuple[int, ...]:
        return tuple(int(i) for i in self.rng.permutation(self.rank if n is None else n))

    def each(self, low: int, high: int) -> tuple[int, ...]:
        """A number for each axis."""
        return tuple(self.int(low, high) for _ in range(self.rank))

    # -- cases ---------------------------------------------------------------------------------

    def case(
        self,
        operands: Sequence[TensorType],
        params: dict[str, Any] | None = None,
        domain: Any = (-2.0, 2.0),
        **fields: Any,
    ) -> Case:
        """The case, with tolerances that fit the dtype."""
        if self.dtype == "f8_e8m0fnu":  # the powers of two
            domain = among(0.5, 1.0, 2.0)
        return Case(self.name, list(operands), params or {}, domain=domain, **fields)


def sample(
    name: str, rank: int, dtype: str | None = None, is_empty: bool = False, seed: int = 0
) -> Case | None:
    """A case, or None where the primitive has none of this rank, or does not take the dtype."""
    how = SAMPLED[name]
    low, high = how.ranks
    if not low <= rank <= high or (is_empty and not rank):
        return None
    try:
        made = how.make(Sample(name, rank, dtype or how.dtype, is_empty, seed))
        if made is not None:
            made.graph  # noqa: B018  what the type rule refuses shows when the graph is made
    except TypeRuleError:
        return None
    return made


def by_rank(name: str, seed: int = 0) -> Iterator[Case]:
    """Cases of each rank, of shapes with elements and without."""
    for rank in RANKS:
        for is_empty in (False, True):
            made = sample(name, rank, None, is_empty, seed)
            if made is not None:
                yield made


def by_dtype(name: str, seed: int = 0) -> Iterator[Case]:
    """Cases of each dtype that the primitive takes, of one rank."""
    low, high = SAMPLED[name].ranks
    for i, dtype in enumerate(DTYPES):
        rank = max(low, min(high, 1 + (i + seed) % 2))
        made = sample(name, rank, dtype, seed=seed)
        if made is not None:
            yield made


def untyped(name: str, dtype: str) -> Case | None:
    """One equation with operands of a dtype, whether or not the type rule takes it."""
    low, high = SAMPLED[name].ranks
    try:
        made = SAMPLED[name].make(Sample(name, max(low, min(high, 2)), dtype))
    except TypeRuleError:  # of a program, which has more equations than one
        return None
    return made if made is not None and isinstance(made.of, str) else None


def takes(name: str, dtype: str) -> bool:
    """Whether the primitive takes operands of this dtype."""
    low, high = SAMPLED[name].ranks
    return sample(name, max(low, min(high, 2)), dtype) is not None
