"""Ordinary differential equations: solves, their tangents, and the transposes of these.

    ode              args | y0 | ts                        -> ys | stats reached | steps
    linear_ode       args | y0 | ts | residuals            -> ys of the last level
    linear_ode_back  args | y0 | ts | residuals | cts      -> cotangents of args | of y0

`graph` is the dynamics, `args | y | t -> dy/dt`. `ts` holds the initial time and the times of the
solution; it may run forwards or backwards.

Levels. The tangents of a solve solve an ODE too, linear in them. A system with L levels of tangents
has 2^L copies of the state, those of one level after those of all levels below, and `args` says how
many arguments each level has. No level depends on a later one, and each is linear in itself.
`linear_ode` is what `ode` says of the last level alone: linear in the operands of that level, which
are its initial tangents and the tangents of the arguments. `linear_ode_back` is its transpose.

Lanes. The states of a batch have the axes `lanes` in front, as has `t`; every lane has steps of its
own. An argument may have them or not.

Residuals, of which `linear_ode` is no function (they are made by the primal solve, for speed):
`adjoint="backsolve"`, the solution at `ts`; `"direct"`, the steps: how many were taken by each of
`ts`, their sizes, and the times and states at the starts of some (`solvers.snapshots`).
"""

from __future__ import annotations

from typing import Any

from ..errors import TypeRuleError
from ..graph import Graph
from ..primitive import REQUIRED, Types, define
from ..solvers.spec import Spec, solution_type
from ..solvers.tableaus import METHODS
from ..types import INT32, TensorType, dtype_category
from .call import check_arguments

ADJOINTS = ("backsolve", "direct")

COMMON = {
    "method": "dopri5",
    "rtol": 1.4e-8,
    "atol": 1.4e-8,
    "dt0": None,
    "hmax": None,
    "mxstep": None,
    "max_steps": None,
    "snapshots": None,
    "adjoint": "backsolve",
    "lanes": (),
    "throw": False,
}
"""Parameters that all three share.

method: a name in `METHODS`. rtol, atol: the error that a step may make, relative to the state and
absolute; None for steps of the fixed size dt0, which otherwise is that of the first step.
hmax: the largest step.
mxstep: the most steps tried between two of `ts`. max_steps: the most steps taken in all.
snapshots: for `direct`, how many states are kept at most; None for what `solvers.snapshots` takes.
throw: whether a solve that fails raises a SolveError; if not, its results are NaN from there on.
"""


def _check_method(params: dict[str, Any]) -> None:
    method, adjoint = params["method"], params["adjoint"]
    if method not in METHODS:
        raise TypeRuleError(f"there is no method {method!r}", hint=f"methods: {', '.join(METHODS)}")
    is_fixed = METHODS[method].error is None or params["rtol"] is None
    if is_fixed and params["dt0"] is None:
        raise TypeRuleError(f"{method} takes steps of a fixed size here: it needs dt0")
    if not is_fixed and params["atol"] is None:
        raise TypeRuleError(f"{method} needs both tolerances, rtol and atol")
    if adjoint not in ADJOINTS:
        raise TypeRuleError(
            f"there is no adjoint {adjoint!r}", hint=f"one of {', '.join(ADJOINTS)}"
        )
    if params["snapshots"] is not None and params["snapshots"] < 1:
        raise TypeRuleError(f"{params['snapshots']} snapshots are too few: one is the least")
    if METHODS[method].gamma and params["jacobian"] is None:
        raise TypeRuleError(f"{method} is implicit: it needs the jacobian of the dynamics")
    if METHODS[method].gamma and adjoint != "direct":
        raise TypeRuleError(f"{method} has the adjoint direct only: backwards, what is stiff grows")


def _check_system(name: str, types: Types, params: dict[str, Any]) -> tuple[Types, TensorType]:
    """The types of the state and of ts, after checks of the operands against the dynamics."""
    graph: Graph = params["graph"]
    lanes, n_args, n_state = params["lanes"], sum(params["args"]), len(graph.outputs)
    _check_method(params)
    if n_state % (1 << (len(params["args"]) - 1)):
        raise TypeRuleError(f"{name}: {n_state} states are not of {len(params['args'])} levels")
    if len(types) <= n_args + n_state:
        raise TypeRuleError(f"{name} of @{graph.name} takes args, state and ts")
    ts = types[n_args + n_state]
    if dtype_category(ts.dtype) != "float" or ts.shape[:-1] != lanes or ts.ndim != len(lanes) + 1:
        raise TypeRuleError(f"{name} takes ts of shape (*{lanes}, n), of floats; got {ts}")
    if ts.shape[-1] < 1:
        raise TypeRuleError(f"{name} takes at least one time: the initial one")
    time = TensorType(lanes, ts.dtype)
    check_arguments(name, graph, (*types[: n_args + n_state], time))
    state = types[n_args : n_args + n_state]
    for i, (y, slope) in enumerate(zip(state, graph.output_types, strict=True)):
        if slope.strong is not y.strong or y.shape[: len(lanes)] != lanes:
            raise TypeRuleError(
                f"{name} has the state {i} of type {y} and its slope of type {slope}"
            )
        if dtype_category(y.dtype) not in ("float", "complex"):
            raise TypeRuleError(f"{name} has the state {i} of type {y}: states are inexact")
    return state, ts


def _infer_ode(types: Types, params: dict[str, Any]) -> Types:
    state, ts = _check_system("ode", types, params)
    lanes, n = params["lanes"], ts.shape[-1]
    if len(types) != sum(params["args"]) + len(state) + 1:
        raise TypeRuleError("ode takes args, state and ts, and no more")
    ys = [solution_type(y.strong, lanes, n) for y in state]
    made = [*ys, TensorType((*lanes, 3), INT32), TensorType(lanes, ts.dtype)]
    return (*made, *steps_types(state, ts, params)) if params["stored"] else tuple(made)


def steps_types(state: Types, ts: TensorType, params: dict[str, Any]) -> Types:
    """What `stored` adds: steps taken by each of ts; sizes of the steps; times and states that are
    kept (after the states, for implicit methods, their slopes)."""
    lanes, spec = params["lanes"], Spec.of(params)
    kept = spec.kept(state)
    ends = TensorType((*lanes, ts.shape[-1]), INT32)
    sizes = TensorType((*lanes, kept.room), ts.dtype)
    times = TensorType((*lanes, kept.rows), ts.dtype)
    rows = spec.rows_stored(state, state)
    return (ends, sizes, times, *(solution_type(y.strong, lanes, kept.rows) for y in rows))


ode = define(
    "ode",
    _infer_ode,
    defaults={"graph": REQUIRED, "jacobian": None, "args": (0,), **COMMON, "stored": False},
    has_regions=True,
    float_params=True,
)
"""The solution at `ts` of dy/dt = f(args, y, t), y(ts[0]) = y0.

stats: i32[lanes,3], status (0, or why it failed: `solvers.spec`), steps taken, steps refused.
reached: the time that each lane came to. After a failure, what is asked of later times is NaN.
jacobian, for implicit methods: args of level 0 | y of level 0 | t -> d x d matrix, d the number of
elements of y.
"""


def residual_types(state: Types, ts: TensorType, params: dict[str, Any]) -> Types:
    """The residuals that belong to a state (of the levels below the last, for `linear_ode`)."""
    if params["adjoint"] == "direct":
        return steps_types(state, ts, params)
    return tuple(solution_type(y.strong, params["lanes"], ts.shape[-1]) for y in state)


def _check_residuals(name: str, got: Types, wanted: Types) -> None:
    if [t.strong for t in got] != list(wanted):
        raise TypeRuleError(f"{name} takes the residuals {wanted} here, got {got}")


def _infer_linear_ode(types: Types, params: dict[str, Any]) -> Types:
    state, ts = _check_system("linear_ode", types, params)
    lower = state[: len(state) // 2]
    given = types[sum(params["args"]) + len(state) + 1 :]
    below = {**params, "args": params["args"][:-1]}
    _check_residuals("linear_ode", given, residual_types(lower, ts, below))
    return tuple(
        solution_type(y.strong, params["lanes"], ts.shape[-1]) for y in state[len(lower) :]
    )


linear_ode = define(
    "linear_ode",
    _infer_linear_ode,
    defaults={"graph": REQUIRED, "jacobian": None, "args": REQUIRED, **COMMON},
    has_regions=True,
    float_params=True,
)
"""The last level of `ode`, linear in its initial tangents and in the tangents of its arguments."""


def _infer_back(types: Types, params: dict[str, Any]) -> Types:
    state, ts = _check_system("linear_ode_back", types, params)
    fixed = sum(params["args"]) + len(state) + 1
    residuals = residual_types(state, ts, params)
    _check_residuals("linear_ode_back", types[fixed : fixed + len(residuals)], residuals)
    wanted = tuple(solution_type(y.strong, params["lanes"], ts.shape[-1]) for y in state)
    _check_residuals("linear_ode_back", types[fixed + len(residuals) :], wanted)
    pull: Graph = params["pull"]
    time = TensorType(params["lanes"], ts.dtype)
    check_arguments("linear_ode_back", pull, (*types[: fixed - 1], time, *state))
    made: Types = pull.output_types
    if [t.strong for t in made[len(made) - len(state) :]] != [t.strong for t in state]:
        raise TypeRuleError(f"linear_ode_back: @{pull.name} returns cotangents of the state last")
    return tuple(t.strong for t in made)


linear_ode_back = define(
    "linear_ode_back",
    _infer_back,
    defaults={
        "graph": REQUIRED,
        "pull": REQUIRED,
        "jacobian": None,
        "args": (0,),
        **COMMON,
    },
    has_regions=True,
    float_params=True,
)
"""The transpose of `linear_ode` one level up: the linear ODE with the negated, transposed dynamics,
run backwards in time, with a jump at each of `ts` by its cotangent.

    d ct/dt = -f_y(t)^T ct,    ct(ts[i]-) = ct(ts[i]+) + cts[i],    ct_args = int f_args(t)^T ct dt

pull: args | y | t | ct -> f_args^T ct (of some of the args, at least), f_y^T ct
"""
