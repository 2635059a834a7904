"""Loops that are run backwards from a few of their states: `while_loop`, `checkpoint_loops`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..ir.errors import ArgumentError, UsageError
from ..passes.snapshots import with_snapshots
from .execute import execute
from .solve_checks import checked
from .staging import function_name, stage
from .trace import recording_trace


def checkpoint_loops(
    fun: Callable[..., Any] | None = None,
    *,
    snapshots: int | None = None,
    budget: int | str | None = None,
) -> Any:
    """fun, whose loops keep few states for reverse mode and compute the others again.

    Of each scan, fori_loop and while_loop in fun, `snapshots` states (what the loop carries) are
    kept at a time, or as many as take at most `budget` (bytes, or a size such as "4MiB") for one
    loop; the steps between are
    computed again in the order that takes fewest steps (A. Griewank and A. Walther, Algorithm 799,
    2000): N steps with S snapshots take r N - C(S + r, r - 1) steps beside one in each reversed
    step, with the least r for which C(S + r, S) >= N. Values do not change.

    Loops that say a number themselves keep it. Derivatives by covector heed it; `jax.grad` of the
    function does not.

    Raises UsageError for a number below one, PassError where one state is more than the budget.
    """
    if fun is None:
        return functools.partial(checkpoint_loops, snapshots=snapshots, budget=budget)
    if not callable(fun):
        raise ArgumentError(f"checkpoint_loops takes a function, got {type(fun).__name__}")

    _check_number("snapshots", snapshots)

    @functools.wraps(fun)
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = jax.tree.flatten((args, kwargs))
        staged = stage(fun, leaves, tree)
        graph = with_snapshots(staged.graph, snapshots, budget)
        operands = (*staged.captured, *leaves)
        trace = recording_trace()
        if trace is None:
            outputs = execute(graph, operands)
        else:
            atoms = trace.builder.inline(graph, [trace.atom(x) for x in operands])
            outputs = [trace.tracer(x) for x in atoms]
        return jax.tree.unflatten(staged.out_tree, outputs)

    return checkpointed


def while_loop(
    cond_fun: Callable[[Any], Any],
    body_fun: Callable[[Any], Any],
    init_val: Any,
    *,
    snapshots: int | None = None,
    max_steps: int | None = None,
) -> Any:
    """`val = body_fun(val)` while `cond_fun(val)`, from init_val; as `jax.lax.while_loop`.

    Reverse mode counts the steps, then runs them backwards from `snapshots` states that are kept at
    a time (64, if nobody says; see `checkpoint_loops`). No bound on their number is needed.

    With `max_steps`, a loop that has not ended after so many steps raises SolveError, and all its
    states are kept unless `snapshots` says how many: no step is taken again.

    Raises UsageError for a number below one.
    """
    _check_number("max_steps", max_steps)
    if max_steps is None:
        run = functools.partial(jax.lax.while_loop, cond_fun, body_fun)
        return checkpoint_loops(run, snapshots=snapshots)(init_val) if snapshots else run(init_val)

    def proceed(carry: Any) -> Any:
        n, val = carry
        return jnp.logical_and(n < max_steps, cond_fun(val))

    def bounded(init: Any) -> Any:
        _, val = jax.lax.while_loop(proceed, lambda c: (c[0] + 1, body_fun(c[1])), (0, init))
        claim = f"{function_name(body_fun)}: while_loop has not ended after {max_steps} steps"
        ended = jnp.logical_not(cond_fun(val))
        return checked(val, ended, claim, "raise max_steps, or look at its condition", {})

    return checkpoint_loops(bounded, snapshots=snapshots or max_steps)(init_val)


def _check_number(what: str, number: Any) -> None:
    """Raise UsageError unless it is None or a positive integer that Python knows."""
    if number is None:
        return
    if not isinstance(number, int) or isinstance(number, bool):
        raise UsageError(
            f"{what} is a number that is known when the program is made, not {number!r}",
            hint="under a transformation, make it a static argument",
        )
    if number < 1:
        raise UsageError(f"{what} is one at least, not {number}")
