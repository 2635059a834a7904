"""The text of real programs and of their derivatives reads back."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from programs import PROGRAMS, Program
from text_samples import check_text

from covector import make_ir, run_passes
from covector.ir.errors import MissingRule


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)
def test_programs_read_back(program: Program) -> None:
    check_text(make_ir(program.function)(*program.arguments).verify())


@pytest.mark.parametrize("program", [p for p in PROGRAMS if p.differentiable], ids=lambda p: p.name)
def test_derivatives_read_back(program: Program) -> None:
    module = make_ir(program.function)(*program.arguments)
    wrt = program.differentiable[0]
    try:
        split = run_passes(module, f"linearize{{wrt={wrt}}}")
    except MissingRule:
        pytest.skip("it has no derivative")
    check_text(split.verify())


def test_captured_keys_read_back() -> None:
    key = jax.random.key(3)
    module = make_ir(lambda: jax.random.bits(key, (2,)))()
    again = check_text(module.verify())
    np.testing.assert_array_equal(again.interpret()[0], module.interpret()[0])
