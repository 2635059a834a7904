"""What is said of a solve that has failed: afterwards, or while the program runs."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np

from ..builder import Builder
from ..errors import SolveError, raise_while_running
from ..graph import Graph, HostFunction, Value
from ..ops.control import cond
from ..ops.effect import pure_callback
from ..types import BOOL, INT32
from .arithmetic import along, any_of, entry
from .spec import BAD_TIMES, NOT_FINITE, NOT_SOLVED, OK, STEP_TOO_SMALL, TOO_MANY_STEPS

SUBJECTS: Final = {
    "ode": "solved up to",
    "linear_ode": "the equation of its tangents was solved up to",
    "linear_ode_back": "the equation of its cotangents was solved back to",
}

CLAIMS: Final = {
    TOO_MANY_STEPS: (
        "more than {limit} were needed",
        "allow more (max_steps, mxstep), loosen rtol and atol, or, if the system is stiff, use "
        'solve_ode with method="kvaerno5"; adjoint="backsolve" needs no room for steps',
    ),
    NOT_FINITE: (
        "a slope or the state was not finite (inf or nan)",
        "look at the dynamics there; hmax keeps steps from leaping over a singularity",
    ),
    STEP_TOO_SMALL: (
        "the step became too small for the precision of t",
        "the solution may have a singularity, or the tolerances be too tight for its dtype",
    ),
    NOT_SOLVED: (
        "the equations of an implicit step were not solved by Newton's method",
        "look at the dynamics there; with steps of a fixed size, take smaller ones",
    ),
    BAD_TIMES: (
        "the times were found to turn around, or not to be finite",
        "times increase, or decrease, throughout, from the first to the last",
    ),
}


def failure(
    subject: str, name: str, limits: tuple[int | None, int | None], stats: Any, reached: Any
) -> SolveError | None:
    """The error for the statistics and times that a solve has come to, of all its lanes.

    subject: the primitive that solved; name: that of the dynamics; limits: mxstep and max_steps.
    """
    rows = np.reshape(stats, (-1, 3))
    failed = np.flatnonzero(rows[:, 0] != OK)
    if not failed.size:
        return None
    lane = int(failed[0])
    status, steps = int(rows[lane, 0]), int(rows[lane, 1])
    mxstep, max_steps = limits
    in_all = steps == max_steps or mxstep is None
    limit = f"{max_steps} steps" if in_all else f"{mxstep} steps between two outputs"
    where = f", example {lane} of the batch" if len(rows) > 1 else ""
    claim, hint = CLAIMS[status]
    done = f"{SUBJECTS[subject]} t = {float(np.ravel(reached)[lane]):.6g} in {steps} steps"
    function = name.partition(".")[0]
    return SolveError(f"{function}{where}: {done}, then {claim.format(limit=limit)}", hint=hint)


@lru_cache(maxsize=256)
def _reporter(subject: str, name: str, limits: tuple[int | None, int | None]) -> HostFunction:
    def report(stats: Any, reached: Any) -> list[Any]:
        error = failure(subject, name, limits, np.asarray(stats), np.asarray(reached))
        if error is not None:
            raise_while_running(error)
        return [np.asarray(True)]

    return HostFunction(f"{subject}_failed", report)


def guarded(
    b: Builder,
    subject: str,
    params: dict[str, Any],
    limits: tuple[int | None, int | None],
    stats: Any,
    reached: Any,
    outputs: list[Any],
) -> list[Any]:
    """The outputs of a solve, which raises a SolveError instead if it has failed in any lane.

    It costs a branch; only a failure calls back to Python.
    """
    if not params["throw"]:
        return outputs
    status = entry(b, stats, len(stats.type.shape) - 1, 0)
    is_bad = any_of(b, b.ne(status, OK))
    reporter = _reporter(subject, params["graph"].name, limits)
    given = [Value(stats.type), Value(reached.type)]
    inner = Builder()
    told = inner.emit(pure_callback, *given, callback=reporter, out_types=(((), BOOL),))
    failed = inner.graph(given, told, "failed")
    solved = Graph([Value(v.type) for v in given], [], [b.literal(True, told[0].type)], "solved")
    (fine,) = b.emit(cond, b.convert(is_bad, INT32), stats, reached, branches=(solved, failed))
    return [b.select_n(along(b, fine, y), b.full(y.type, float("nan")), y) for y in outputs]
