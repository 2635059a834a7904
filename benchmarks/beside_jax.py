"""Compile and run times of one function of covector's and one of JAX's, and a table of them."""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent / "suite"))
from results import environment, where

COMPILES = 3
LEAST_SECONDS = 0.001
"""How long a timed run lasts at least: shorter ones are repeated."""


@dataclass(frozen=True)
class Times:
    """Medians: processor seconds of XLA's compile, wall seconds of a run."""

    compiling: float
    running: float


def beside_jax(ours: Any, theirs: Any, args: tuple[Any, ...], rounds: int) -> tuple[Times, Times]:
    """Of covector and of JAX, which take turns. The results are compared first."""
    both = (ours, theirs)
    compiled: list[Any] = [None, None]
    compiling: list[list[float]] = [[], []]
    for i in range(COMPILES):
        jax.clear_caches()  # else JAX compiles a program only once
        for k in (0, 1) if i % 2 else (1, 0):
            lowered = both[k].lower(*args)
            start = time.process_time()
            compiled[k] = lowered.compile()
            compiling[k].append(time.process_time() - start)
    for a, b in zip(*[jax.tree.leaves(run(*args)) for run in compiled], strict=True):
        scale = float(np.abs(b).max())
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * scale)
    repeat = max(1, round(LEAST_SECONDS / _seconds(compiled[1], args, 1)))
    running: list[list[float]] = [[], []]
    for i in range(rounds):
        for k in (0, 1) if i % 2 else (1, 0):
            running[k].append(_seconds(compiled[k], args, repeat))
    pairs = zip(compiling, running, strict=True)
    ours, theirs = [Times(*map(statistics.median, pair)) for pair in pairs]
    return ours, theirs


def _seconds(run: Any, args: tuple[Any, ...], repeat: int) -> float:
    """Of one of so many runs."""
    start = time.perf_counter()
    for _ in range(repeat):
        jax.block_until_ready(run(*args))
    return (time.perf_counter() - start) / repeat


def header() -> None:
    print(where(environment()))
    print(f"{'':24}{'compile ms':>11}{'jax':>8}{'ratio':>7}{'run ms':>10}{'jax':>8}{'ratio':>7}")


def show(name: str, times: tuple[Times, Times]) -> None:
    """A row of the table."""
    ours, jax = times
    print(
        f"{name:24}{ours.compiling * 1e3:11.0f}{jax.compiling * 1e3:8.0f}"
        f"{ours.compiling / jax.compiling:7.2f}{ours.running * 1e3:10.2f}{jax.running * 1e3:8.2f}"
        f"{ours.running / jax.running:7.2f}",
        flush=True,
    )
