"""Programs as modules: from Python functions and jaxprs, and back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax

from ..ir.errors import ArgumentError, UsageError
from ..ir.module import Module
from ..lowering.call_spec import CallSpec
from .execute import execute
from .export import closed_jaxpr, eval_graph
from .importer import from_jaxpr
from .staging import function_name, stage_call
from .trees import skeleton, tree_from

__all__ = ["as_function", "from_jaxpr", "make_ir", "run", "to_jaxpr"]


def make_ir(
    f: Callable[..., Any],
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Sequence[str] | None = None,
) -> Callable[..., Module]:
    """A function of f's arguments that returns f's program for arguments of their types.

    Arguments may be arrays, scalars, or stand-ins with a shape and a dtype (jax.ShapeDtypeStruct).
    Where some are mutable arrays (jax.Ref), the program takes what these hold, and returns a pair:
    f's result, and a tuple of what the arrays hold in the end that f writes to.
    """
    spec = CallSpec.resolve(f, static_argnums, static_argnames)
    name = function_name(f)

    @functools.wraps(f, assigned=("__module__", "__doc__"), updated=())
    def trace(*args: Any, **kwargs: Any) -> Module:
        call = spec.split(args, kwargs)
        staged = stage_call(f, call, takes_refs=True)
        if staged.has_refs:
            raise UsageError(
                f"{name} closes over mutable arrays, which a module cannot hold",
                hint="pass them as arguments",
            )
        if staged.captured:
            raise UsageError(
                f"{name} reads values of an enclosing trace, which a module cannot hold",
                hint="pass them as arguments",
            )
        out_tree = staged.out_tree
        if staged.written:
            contents = jax.tree.structure((0,) * len(staged.written))
            out_tree = jax.tree_util.treedef_tuple((out_tree, contents))
        trees = {"in_tree": skeleton(call.tree), "out_tree": skeleton(out_tree)}
        graph = staged.graph
        return Module({graph.name: graph}, name=graph.name, **trees)

    return trace


def to_jaxpr(module: Module) -> Any:
    """The entry as a closed jaxpr of flat arguments."""
    return closed_jaxpr(module.main)


def as_function(module: Module) -> Callable[..., Any]:
    """The entry as a Python function, of arguments nested as they were traced.

    It binds JAX primitives one by one, so it works under jax.jit, jax.grad, jax.vmap, ...
    """
    return _wrap(module, eval_graph)


def run(module: Module, *args: Any, **kwargs: Any) -> Any:
    """Compile the entry and run it."""
    return _wrap(module, execute)(*args, **kwargs)


def _wrap(
    module: Module, evaluate: Callable[[Any, Sequence[Any]], list[Any]]
) -> Callable[..., Any]:
    graph = module.main
    in_tree = tree_from(module.in_tree) if module.in_tree is not None else None
    out_tree = tree_from(module.out_tree) if module.out_tree is not None else None

    def call(*args: Any, **kwargs: Any) -> Any:
        leaves = list(args)
        if in_tree is not None:
            leaves, tree = jax.tree.flatten((args, kwargs))
            if tree != in_tree:
                raise ArgumentError(
                    f"@{graph.name} takes arguments nested as {in_tree}; got {tree}"
                )
        outputs = evaluate(graph, leaves)
        return outputs if out_tree is None else jax.tree.unflatten(out_tree, outputs)

    call.__name__ = call.__qualname__ = graph.name
    return call
