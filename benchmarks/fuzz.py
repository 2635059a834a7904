"""Random programs for as long as one likes, each against JAX under pairs of transformations.

    python benchmarks/fuzz.py [--seconds 600] [--seed 0] [--steps 12] [--xla]

The first program that fails is made smaller and printed in text form, with its inputs and what is
wrong. The generator and the laws are those of tests/test_generated.py.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from generated import Program, programs
from generated_checks import check
from generated_steps import STEPS
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings

ROUND = 10
"""Programs of a seed: all have one step of the table, each seed another, and others drawn."""


class Found(Exception):
    """A program that fails; hypothesis raises that of the smallest one."""

    def __init__(self, program: Program, error: BaseException) -> None:
        super().__init__(type(error).__name__)
        self.program, self.error = program, error


def run(start: int, seconds: float, steps: int, xla: bool) -> Found | None:
    """Programs from seeds `start`, `start` + 1, ... until time is up or one fails."""
    deadline, tried, is_found = time.monotonic() + seconds, 0, False
    used: Counter[str] = Counter()
    for number in range(start, sys.maxsize):
        step = list(STEPS)[number * 37 % len(STEPS)]

        def attempt(program: Program) -> None:
            nonlocal tried, is_found
            if (
                time.monotonic() > deadline and not is_found
            ):  # what fails is made smaller in any case
                return
            tried += 1
            graphs = program.module.all_graphs()
            used.update({eqn.primitive.name for g in graphs for eqn in g.equations})
            try:
                check(program, xla=xla)
            except Exception as error:
                is_found = True
                raise Found(program, error) from error

        try:
            seed(number)(_settings()(given(programs(step, max_steps=steps))(attempt)))()
        except Found as found:
            print(f"seed {number}, after {tried} programs:\n")
            return found
        print(f"seed {number}: {tried} programs, {len(used)} primitives, none fails", flush=True)
        if time.monotonic() > deadline:
            return None
    return None


def _settings() -> settings:
    return settings(
        max_examples=ROUND,
        deadline=None,
        database=None,
        derandomize=False,
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=12, help="of a program, at most")
    parser.add_argument("--xla", action="store_true", help="compile what the transformations make")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    found = run(args.seed, args.seconds, args.steps, args.xla)
    if found is not None:
        print(found.program)
        print(f"\n{type(found.error).__name__}: {found.error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
