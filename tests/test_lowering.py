"""Lowering to StableHLO: what runs agrees with jax.jit to the last bit; what is written is sound."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from compiled import assert_as_jitted, run_compiled
from harness import Case, f32

from covector.ir.builder import Builder
from covector.ir.errors import CovectorError, MissingRule
from covector.ir.graph import Constant, Equation, Graph, Literal, Location, Value
from covector.ir.ops import call as calls
from covector.ir.ops import control, elementwise
from covector.ir.primitive import PRIMITIVES, define
from covector.ir.types import FLOAT32, INT32, TensorType, dtype_category
from covector.lowering import emit
from covector.lowering.emit import lower_graph
from covector.lowering.rules import LOWERINGS

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")

# -- every primitive -----------------------------------------------------------------------------

ROUNDS = {"asin", "abs"}
"""Written with other operations than in some version of JAX: equal up to rounding."""


def rule_cases() -> Iterator[tuple[str, list[Case]]]:
    """The cases by which the rules are tested: (file, cases)."""
    for path in sorted((Path(__file__).parent / "rules").glob("test_*.py")):
        values = vars(importlib.import_module(f"rules.{path.stem}")).values()
        lists = [v for v in values if isinstance(v, list) and v and isinstance(v[0], Case)]
        cases = {id(case): case for cases in lists for case in cases if case.jax}
        yield path.stem.removeprefix("test_"), list(cases.values())


def chunks(size: int = 32) -> Iterator[Any]:
    """Cases in groups that are compiled together; those in more dtypes are slow."""
    for family, cases in rule_cases():
        groups = {False: cases, True: [v for c in cases for v in c.variants() if v is not c]}
        for is_slow, members in groups.items():
            marks = [pytest.mark.slow] if is_slow else []
            for i in range(0, len(members), size):
                name = f"{family}{'-dtypes' if is_slow else ''}-{i}"
                yield pytest.param(members[i : i + size], marks=marks, id=name)


@pytest.mark.parametrize("cases", list(chunks()))
def test_computes_as_jit(cases: list[Case]) -> None:
    known = [c for c in cases if isinstance(c.of, Graph) or c.of not in ROUNDS]
    assert_as_jitted(known)
    assert_as_jitted([c for c in cases if c not in known], exact=False)
