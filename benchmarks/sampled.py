"""Samples of every primitive for as long as one likes, each checked for all laws of its family.

    python benchmarks/sampled.py [--seconds 600] [--seed 1] [--seeds 2] [--only sin,gather]

A seed draws, of each primitive, shapes of each rank from 0 to 5, with elements and empty, and
operands of each dtype that it takes. Values and first and second derivatives are compared with
JAX's; derivatives with finite differences; vmap over each operand and over all, along each axis
into others, its derivatives and those of it, with loops. The laws are those of
tests/test_sampled.py, which checks seed 0. What fails is printed, and the rest is checked.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from sampled import SAMPLED, by_dtype, by_rank
from sampled_laws import (
    batches_are_loops,
    derivatives_are_lawful,
    derivatives_as_jax,
    derivatives_have_types,
    values_as_jax,
)
from test_sampled import MODULES, differentiable

Check = tuple[str, Callable[[], Any]]
"""What is checked, for a report, and the check."""
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["test_sampled"])  # imports are paid once


def checks(name: str, seed: int) -> Iterator[Check]:
    """All checks of a primitive's samples."""
    ranks, dtypes = list(by_rank(name, seed)), list(by_dtype(name, seed))
    yield f"values of {name}", lambda: values_as_jax([*ranks, *dtypes])
    for case in (case for case in (*ranks, *dtypes) if case.operands and case.batch):
        yield f"batches of {case}", lambda case=case: batches_are_loops(case)
    doubles = differentiable(name, seed)
    yield f"derivatives of {name} as JAX's", lambda: derivatives_as_jax(doubles)
    for case in doubles:
        yield f"derivatives of {case}", lambda case=case: derivatives_are_lawful(case)
    for case in (case for case in dtypes if case.is_differentiable):
        yield f"types of derivatives of {case}", lambda case=case: derivatives_have_types(case)


def check_all(name: str, seed: int, deadline: float, counts: Any) -> None:
    """Check a primitive's samples, and print what fails; `counts` are of checks and failures."""
    warnings.simplefilter("ignore")
    for what, check in checks(name, seed):
        if time.monotonic() > deadline:
            return
        counts[0] += 1
        try:
            check()
        except Exception as error:
            counts[1] += 1
            print(f"seed {seed}, {what}:\n{report(error)}\n", flush=True)


def run(names: list[str], start: int, seconds: float, seeds: int) -> int:
    """Check seeds from `start` on until time is up; how many checks fail.

    Each primitive has a process of its own: what XLA dies of stops no other's checks.
    """
    deadline = time.monotonic() + seconds
    tried = failed = 0
    for seed in range(start, start + seeds):
        for name in names:
            counts = PROCESSES.Array("i", 2)
            process = PROCESSES.Process(target=check_all, args=(name, seed, deadline, counts))
            process.start()
            process.join()
            tried, failed = tried + counts[0], failed + counts[1]
            if process.exitcode:
                failed += 1
                print(f"seed {seed}, {name}: the process ends with {process.exitcode}", flush=True)
            if time.monotonic() > deadline:
                print(f"{tried} checks up to {name} of seed {seed}, {failed} fail")
                return failed
        print(f"seed {seed}: {tried} checks, {failed} fail", flush=True)
    return failed


def report(error: Exception) -> str:
    notes = getattr(error, "__notes__", [])
    return "\n  ".join([f"  {type(error).__name__}: {error}", *notes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=sys.maxsize, help="how many")
    parser.add_argument("--only", default="", help="primitives, with commas between them")
    args = parser.parse_args()
    assert MODULES
    names = args.only.split(",") if args.only else list(SAMPLED)
    sys.exit(run(names, args.seed, args.seconds, args.seeds) > 0)


if __name__ == "__main__":
    main()
