"""Times of each stage, the libraries interleaved round by round in one process."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from libraries import Library, fresh
from probe import why_not
from programs.program import Program

Times = dict[str, dict[str, list[float]]]
"""Seconds, by stage and library, one a round: those of a round belong together."""

RUN_SECONDS = 0.05
"""How long a timed run lasts at least: the program is repeated until then."""

TRACE_SECONDS, MOST_PAIRS = 0.1, 50
"""How long traces without and with derivatives are repeated in a round, and how often at most."""

COMPILE_SECONDS, MOST_COMPILES = 1.0, 12
"""How long compiles of all libraries are repeated at least, and how often at most."""

Clock = Callable[[], float]

STAGING: Clock = time.thread_time
"""Staging runs in one thread: what its processor time leaves out is other load on the machine."""

COMPILING: Clock = time.process_time
"""XLA compiles in several threads, whose processor times add up."""

RUNNING: Clock = time.perf_counter


def timed(run: Callable[[], Any], clock: Clock) -> tuple[float, Any]:
    """Seconds of a call and its result, earlier garbage collected before."""
    gc.collect()
    start = clock()
    result = run()
    return clock() - start, result


def disagreement(library: Library, result: Any, expected: Any, rtol: float) -> str | None:
    """Why results do not agree, if they do not."""
    ours, theirs = jax.tree.leaves(result), jax.tree.leaves(expected)
    if len(ours) != len(theirs):
        return f"{len(ours)} results in place of {len(theirs)}"
    scale = max((float(np.abs(x).max()) for x in theirs if x.size), default=0.0)
    for a, b in zip(ours, theirs, strict=True):
        if a.shape != b.shape or not np.allclose(a, b, rtol=rtol, atol=rtol * max(scale, 1e-6)):
            worst = float(np.abs(np.asarray(a) - np.asarray(b)).max()) if a.shape == b.shape else 0
            return f"{library.name} differs from jax by {worst:.3g}, scale {scale:.3g}"
    return None


def agreeing(
    program: Program, chosen: list[Library], quick: bool
) -> tuple[list[Library], dict[str, Any], dict[str, str]]:
    """The libraries whose results agree with JAX's, their compiled functions, and why others don't.

    Raises AssertionError where covector is one that does not.
    """
    kept: list[Library] = []
    runs: dict[str, Any] = {}
    dropped: dict[str, str] = {}
    expected = None
    for library in (x for x in chosen if x.takes(program)):
        why = why_not(program, library, quick)
        if why is not None:
            dropped[library.name] = why
            continue
        try:
            runs[library.name] = library.jit(library.derive(program))
            result = runs[library.name](*program.args)
        except Exception as error:
            if library.name in ("jax", "covector"):
                raise
            dropped[library.name] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            continue
        expected = result if library.name == "jax" else expected
        why = disagreement(library, result, expected, program.rtol)
        if why is None:
            kept.append(library)
        else:
            assert library.name != "covector", f"{program.name}: {why}"
            dropped[library.name] = why
    return kept, runs, dropped


def stage_times(program: Program, chosen: list[Library], rounds: int) -> Times:
    """Tracing, tracing with derivatives, staging to StableHLO."""
    times: Times = {}
    for i in range(-1, rounds):  # what is done once in a process is not counted
        for library in chosen if i % 2 else reversed(chosen):
            measured = _one_round(program, library)
            for stage, seconds in measured.items() if i >= 0 else ():
                times.setdefault(stage, {}).setdefault(library.name, []).append(seconds)
    return times


def _one_round(program: Program, library: Library) -> dict[str, float]:
    found: dict[str, float] = {}
    if library.trace is not None:
        found["trace"], found["autodiff"] = _tracing(program, library)
    found["stage"], _ = timed(lambda: lowered(program, library), STAGING)
    return found


def lowered(program: Program, library: Library) -> Any:
    return library.jit(library.derive(program)).lower(*program.args)


def compile_times(program: Program, chosen: list[Library], rounds: int) -> Times:
    """XLA's compile, in so many rounds; in more where it is short."""
    found: dict[str, list[float]] = {library.name: [] for library in chosen}
    kept = []  # JAX's caches release what is gone in the next compile, whosever that is
    i, spent = 0, 0.0
    while i < rounds or (spent < COMPILE_SECONDS and i < MOST_COMPILES):
        for library in chosen if i % 2 else reversed(chosen):
            program_lowered = lowered(program, library)
            seconds, compiled = timed(program_lowered.compile, COMPILING)
            found[library.name].append(seconds)
            spent += seconds
            if seconds < COMPILE_SECONDS:
                kept.append((program_lowered, compiled))
        i += 1
    return {"compile": found}


def _tracing(program: Program, library: Library) -> tuple[float, float]:
    """Seconds of a trace of the function, and how many differentiating adds: those of a trace of
    the derivative, less those of a trace for each time that it calls the function.

    The medians of as many pairs as fit in TRACE_SECONDS, one at least.
    """
    assert library.trace is not None
    args, plain, more = program.args, [], []
    calls = _calls(program, library)
    gc.collect()
    started = STAGING()
    while not plain or (STAGING() - started < TRACE_SECONDS and len(plain) < MOST_PAIRS):
        start = STAGING()
        library.trace(fresh(program.fun))(*args)
        middle = STAGING()
        library.trace(library.derive(program))(*args)
        plain.append(middle - start)
        more.append(STAGING() - middle - calls * plain[-1])
    return statistics.median(plain), statistics.median(more)


def _calls(program: Program, library: Library) -> int:
    """How often the function is called, in Python, while its derivative is traced."""
    count = 0

    def counted(*args: Any) -> Any:
        nonlocal count
        count += 1
        return program.fun(*args)

    assert library.trace is not None
    library.trace(library.derive(replace(program, fun=counted)))(*program.args)
    return count


def run_times(program: Program, runs: dict[str, Any], rounds: int) -> Times:
    """Seconds of a run of what was compiled."""
    args = program.args
    names = list(runs)
    first, _ = timed(lambda: jax.block_until_ready(runs["jax"](*args)), RUNNING)
    repeat = max(1, min(10_000, int(RUN_SECONDS / max(first, 1e-6))))
    found: dict[str, list[float]] = {name: [] for name in names}
    for i in range(rounds):
        for name in names if i % 2 else reversed(names):
            start = RUNNING()
            for _ in range(repeat):
                out = runs[name](*args)
            jax.block_until_ready(out)
            found[name].append((RUNNING() - start) / repeat)
    return {"run": found}
