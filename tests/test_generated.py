"""Random programs over all primitives, under transformations and pairs of them, against JAX."""

from __future__ import annotations

import pytest
from generated import programs
from generated_laws import check
from generated_steps import STEPS
from hypothesis import HealthCheck, Phase, given, settings


# Slow: two minutes on two cores, and what it finds is at times XLA's own mistake, to be looked at.
@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_generated_programs(step: str) -> None:
    """The smallest program of this step, and one that is drawn."""

    @given(programs(step, max_steps=2))
    @settings(
        max_examples=2,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    def run(program: object) -> None:
        check(program)

    run()
