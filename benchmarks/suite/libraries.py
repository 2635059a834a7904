"""The libraries that are compared, each behind the names of JAX's transformations.

A peer that is not installed is left out. One that cannot express a program (equinox has no `jvp` of
its own that nests with its filters, Enzyme differentiates no derivatives) sits that program out.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import jax
from programs.program import Program, gradient

import covector


@dataclass(frozen=True)
class Library:
    """How a library derives, traces, lowers and compiles.

    derive: (program) -> the function to be staged, a new object each time.
    trace: function -> (args -> its program); None where it has no program to show.
    jit: function -> compiled when called, with `.lower(*args)`.
    takes: whether it can express a program; may_abort: whether that may end the process (`probe`).
    """

    name: str
    derive: Callable[[Program], Callable[..., Any]]
    trace: Callable[[Callable[..., Any]], Callable[..., Any]] | None
    jit: Callable[[Callable[..., Any]], Any]
    takes: Callable[[Program], bool] = lambda program: True
    may_abort: bool = False


def fresh(fun: Callable[..., Any]) -> Callable[..., Any]:
    """The same function as a new object, so that no cache knows it."""

    def program(*args: Any) -> Any:
        return fun(*args)

    return program


def is_plain_gradient(program: Program) -> bool:
    return program.derive is gradient


def libraries(names: tuple[str, ...] = ()) -> list[Library]:
    """Those of the names that are installed, JAX and covector always; all by default.

    The names are those of peers, and of goals of covector's `optimize`.
    """
    found = [
        Library("jax", lambda p: p.derive(jax, fresh(p.fun)), jax.make_jaxpr, jax.jit),
        Library("covector", _derive, covector.make_ir, covector.jit),
    ]
    peers = {"balanced": _optimizing, "compile-time": _optimizing}
    peers |= {"equinox": _equinox, "enzyme_ad": _enzyme}
    for name, make in peers.items():
        is_there = make is _optimizing or importlib.util.find_spec(name)
        if is_there and (not names or name in names):
            found.append(make(name))
    return found


def _derive(program: Program) -> Callable[..., Any]:
    return program.derive(covector, fresh(program.fun))


def _optimizing(goal: str) -> Library:
    """covector with `optimize`, for programs that repeat blocks."""
    jit = functools.partial(covector.jit, optimize=goal)
    return Library(f"covector, {goal}", _derive, None, jit, lambda program: program.repeats)


def _equinox(name: str) -> Library:
    import equinox as eqx

    library = SimpleNamespace(grad=eqx.filter_grad)
    return Library(
        name,
        lambda p: p.derive(library, fresh(p.fun)),
        jax.make_jaxpr,
        eqx.filter_jit,
        is_plain_gradient,
    )


def _enzyme(name: str) -> Library:
    from enzyme_ad.jax import enzyme_jax_ir

    def derive(program: Program) -> Callable[..., Any]:
        fun = enzyme_jax_ir()(lambda *args: program.fun(*args).reshape(1))
        return jax.grad(lambda *args: fun(*args)[0])

    return Library(name, derive, None, jax.jit, is_plain_gradient, may_abort=True)
