"""Random programs over all primitives, under transformations and pairs of them, against JAX."""

from __future__ import annotations

import pytest
from generated import Program, programs
from generated_laws import check
from generated_steps import STEPS
from hypothesis import HealthCheck, Phase, given, settings


@pytest.mark.parametrize("step", STEPS)
def test_generated_programs(step: str) -> None:
    """A program with this step. benchmarks/fuzz.py draws more of them."""
    drawn: list[Program] = []

    @given(programs(step, max_steps=2))
    @settings(
        max_examples=2,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    def run(program: Program) -> None:
        drawn.append(program)
        if len(drawn) > 1:  # hypothesis begins with the simplest, which shows least
            check(program, pairs=2)

    run()
