"""`odeint` and `solve_ode`: solutions of ordinary differential equations, differentiable both ways.

A solve is one equation of the program, so every transformation knows what it is: its jvp solves the
linear equation of the tangents forwards, its vjp the transposed equation backwards.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..ir.builder import Builder
from ..ir.errors import ArgumentError
from ..ir.graph import Graph, Value
from ..ir.ops.ode import ode
from ..ir.solvers.failure import failure
from ..ir.solvers.tableaus import METHODS
from ..ir.types import TensorType, dtype_category, dtype_name
from ..passes.jacobian import jacobian_graph
from .avals import to_aval, type_of
from .execute import execute, is_tracing
from .ode_arguments import (
    TINY,
    as_state,
    check_array,
    count,
    first_step,
    known_name,
    limited,
    number,
    optional,
    saved_times,
    times_of,
    tolerance,
)
from .staging import function_name
from .trace import recording_trace, trace_flat

MAX_STEPS = 4096
"""The most steps that the adjoint "direct" has room for, unless told otherwise."""


def odeint(
    func: Callable[..., Any],
    y0: Any,
    t: Any,
    *args: Any,
    rtol: float = 1.4e-8,
    atol: float = 1.4e-8,
    mxstep: float = np.inf,
    hmax: float = np.inf,
    adjoint: str = "direct",
    max_steps: int | None = None,
    snapshots: int | None = None,
    throw: bool = True,
) -> Any:
    """The solution of dy/dt = func(y, t, *args), y(t[0]) = y0, at the times t.

    As `jax.experimental.ode.odeint`: adaptive steps of the method of Dormand and Prince, and a
    quartic between them. y0 and args are pytrees of arrays; func may close over anything.

    Args:
      t: times, increasing or decreasing, of shape [n]; the first is that of y0.
      rtol, atol: the error that each step may make, relative and absolute.
      mxstep: the most steps tried between two of the times.
      hmax: the largest step.
      adjoint: how it is differentiated, "direct" or "backsolve"; see `solve_ode`.
      max_steps: the most steps in all. Reverse mode by "direct" has room for 16384 if not given.
      snapshots: how many states "direct" keeps; see `solve_ode`.
      throw: whether a solve that fails raises SolveError; if not, it is NaN from there on. What
        raises calls back to Python, which programs for `jax.export` cannot.

    Returns y at all times: y0's structure, with a new first axis of length n.

    Derivatives exist in both modes, to any order, with respect to y0, t, args and what func closes
    over. A solve fails when it takes too many steps, when the dynamics are not finite, and when the
    steps become too small for the precision of t.
    """
    times = times_of(t)
    with jax.default_matmul_precision("highest"):
        system = _System.trace(func, y0, times, args)
    options = {
        "rtol": number("rtol", rtol),
        "atol": number("atol", atol),
        "hmax": optional("hmax", hmax, TINY),
        "mxstep": count("mxstep", mxstep),
        "throw": throw,
    }
    return system.solve(times, limited(adjoint, max_steps, snapshots), **options)[0]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Solution:
    """What `solve_ode` returns: y at the times ts, and how the solve went.

    ts: [n]; ys: y0's structure with a first axis of length n. status: 0, or 1 (more steps than
    max_steps), 2 (a slope or state is not finite), 3 (the step became too small), 4 (the equations
    of an implicit step were not solved), 5 (the times turn around, or are not finite). steps,
    rejected: how many steps were taken and refused. reached: the time up to which there is a
    solution.
    """

    ts: Any
    ys: Any
    status: Any
    steps: Any
    rejected: Any
    reached: Any


def solve_ode(
    func: Callable[..., Any],
    y0: Any,
    *args: Any,
    t0: Any,
    t1: Any,
    dt0: float | None = None,
    saveat: Any = None,
    method: str = "dopri5",
    rtol: float | None = 1e-6,
    atol: float | None = 1e-6,
    hmax: float | None = None,
    max_steps: int | None = MAX_STEPS,
    adjoint: str = "direct",
    snapshots: int | None = None,
    throw: bool = True,
) -> Solution:
    """Solve dy/dt = func(y, t, *args) from y(t0) = y0 to t1.

    Args:
      t0, t1: scalars; t1 may be the smaller one.
      dt0: the fixed step of methods without an error estimate ("euler", "midpoint", "heun",
        "rk4") and of the others with rtol=None; else the first step, chosen if None.
      saveat: the times of the solution, of shape [n], between t0 and t1; t1 alone if None.
      method: adaptive "bosh3", "dopri5", "tsit5"; for stiff systems "kvaerno3", "kvaerno5", which
        solve their equations by Newton's method with the dense Jacobian of func.
      rtol, atol: the error that each step may make, relative and absolute.
      max_steps: the most steps.
      adjoint: "direct" or "backsolve".

        "direct" differentiates the discrete solution: tangents take the steps that the primal
        takes, and reverse mode goes back through these, each computed again from the state at its
        start. <vjp(c), v> = <c, jvp(v)> to rounding. Memory: `snapshots` states, and a number for
        each of `max_steps`. The sizes of the steps are constants for it, chosen by the error of
        the primal alone.

        "backsolve" solves the continuous equations of the tangents (with the primal, under one
        error control) and, in reverse, the transposed ones backwards, starting anew from the
        solution at each of the times. Memory: the solution. Accurate to the tolerances; where
        the system contracts strongly, its backward solve is unstable: not for stiff systems.

      snapshots: how many states "direct" keeps, with memory for 64 more. Between them, steps are
        taken again: all once if there are up to 64 * snapshots steps. None: all states if these
        have 65536 elements together at most, else as many as have that, but 32 at least.
      throw: whether a solve that fails raises SolveError; if not, `status` says so, and the results
        are NaN from there on. What raises calls back to Python, which programs for `jax.export`
        cannot.
    """
    times, picked = saved_times(t0, t1, saveat)
    system = _System.trace(func, y0, times, args)
    options = {
        "method": known_name("method", method, METHODS),
        "rtol": tolerance("rtol", rtol),
        "atol": tolerance("atol", atol),
        "hmax": optional("hmax", hmax, TINY),
        "dt0": first_step(dt0),
        "throw": throw,
    }
    limits = limited(adjoint, max_steps, snapshots)
    ys, stats, reached = system.solve(times, limits, **options)
    ys = jax.tree.map(lambda y: y[picked], ys)
    return Solution(times[picked], ys, stats[0], stats[1], stats[2], reached)


# -- the system -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _System:
    """Dynamics traced for a state: `graph` takes operands | y | t."""

    graph: Graph
    operands: tuple[Any, ...]
    state: tuple[Any, ...]
    tree: Any

    @staticmethod
    def trace(func: Callable[..., Any], y0: Any, times: Any, args: tuple[Any, ...]) -> _System:
        state, tree = jax.tree.flatten(y0)
        flat_args, args_tree = jax.tree.flatten(args)
        for x in flat_args:
            check_array("arguments", x)
        state = [as_state(x) for x in state]
        types = [type_of(x).strong for x in (*flat_args, *state)]
        time = TensorType((), type_of(times).dtype)
        n_args = len(flat_args)

        def flat(*values: Any) -> list[Any]:
            y = jax.tree.unflatten(tree, values[n_args:-1])
            out = func(y, values[-1], *jax.tree.unflatten(args_tree, values[:n_args]))
            return _slopes(func, out, tree, state)

        names = _names_of_arguments(func, args)
        names += ["y"] if len(state) == 1 else [f"y{i}" for i in range(len(state))]
        made = trace_flat(
            flat,
            [*types, time],
            name=function_name(func),
            input_names=[*names, "t"],
            outer=recording_trace(),
        )
        operands = (*made.captured, *flat_args)
        return _System(made.graph, operands, tuple(state), tree)

    def solve(self, times: Any, limits: dict[str, Any], **options: Any) -> tuple[Any, Any, Any]:
        """The solution at the times, its statistics, the time reached."""
        b = Builder()
        operands = (*self.operands, *self.state, times)
        inputs = [Value(type_of(x)) for x in operands]
        params = {**limits, **options, "graph": self.graph, "args": (len(self.operands),)}
        method = METHODS[params.get("method", "dopri5")]
        if method.gamma:
            params["jacobian"] = jacobian_graph(self.graph, len(self.operands))
        throw = params["throw"]
        if not is_tracing(operands):  # then there is no need to call back
            params["throw"] = False
        outputs = b.emit(ode, *inputs, **params)
        graph = b.graph(inputs, outputs, f"solve_{self.graph.name}")
        *ys, stats, reached = execute(graph, operands)
        if throw and not is_tracing(operands):
            arrays = np.asarray(stats), np.asarray(reached)
            steps = (params.get("mxstep"), params["max_steps"])
            error = failure("ode", self.graph.name, steps, *arrays)
            if error is not None:
                raise error
        return jax.tree.unflatten(self.tree, ys), stats, reached


def _names_of_arguments(func: Callable[..., Any], args: tuple[Any, ...]) -> list[str]:
    """What func calls its arguments after y and t, one name for each leaf."""
    try:
        known = list(inspect.signature(func).parameters.values())[2:]
    except (TypeError, ValueError):
        known = []
    names: list[str] = []
    for i, arg in enumerate(args):
        is_named = i < len(known) and known[i].kind is not inspect.Parameter.VAR_POSITIONAL
        name = known[i].name if is_named else f"arg{i}"
        count = len(jax.tree.leaves(arg))
        names += [name] if count == 1 else [f"{name}[{k}]" for k in range(count)]
    return names


def _slopes(func: Callable[..., Any], out: Any, tree: Any, state: Sequence[Any]) -> list[Any]:
    """The leaves of what func returned, as slopes of the state. Raises ArgumentError."""
    leaves, out_tree = jax.tree.flatten(out)
    name = function_name(func)
    if out_tree != tree:
        raise ArgumentError(
            f"{name} returns a tree {out_tree}, but the state y0 is {tree}",
            hint="the dynamics return dy/dt in the structure of y",
        )
    slopes = []
    for dy, y in zip(leaves, state, strict=True):
        x, want = jnp.asarray(dy), type_of(y)
        complex_slope = jnp.issubdtype(x.dtype, jnp.complexfloating)
        if x.shape != want.shape or (complex_slope and dtype_category(want.dtype) != "complex"):
            raise ArgumentError(
                f"{name} returns a slope of shape {x.shape} and dtype {x.dtype} for a state of "
                f"shape {want.shape} and dtype {dtype_name(want.dtype)}"
            )
        slopes.append(x.astype(to_aval(want).dtype))
    return slopes


__all__ = ["Solution", "odeint", "solve_ode"]
