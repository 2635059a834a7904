"""Check one step of a pipeline on numbers, by the law of its pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir.interpret import evaluate
from ..ir.module import Module
from ..passes.base import Pass
from .laws import LAWS, Finding, Trial
from .widen import wide_array, widened


def check_step(
    step: Pass, before: Module, after: Module, arrays: Sequence[Any], seed: int = 0
) -> list[Finding] | None:
    """What the pass's law says of its result, by the NumPy meaning; None for a law of its own.

    The programs run in double precision where they can, so that tolerances are tight.
    """
    law = LAWS.get(step.law)
    if law is None:
        return None
    random = np.random.default_rng(seed)
    wide_before, wide_after = widened(before), widened(after)
    if wide_before is None or wide_after is None:
        return law(Trial(step, before, after, arrays, evaluate, random, exact=1e-4, close=3e-2))
    wide = [wide_array(x) for x in arrays]
    return law(Trial(step, wide_before, wide_after, wide, evaluate, random))
