"""`grad` and `value_and_grad`, with JAX's signatures and conventions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ..ir.sizes import read_size
from ..ir.types import TensorType, has_tangent
from ..passes.reverse import grad_graph
from .arguments import (
    check_argnums,
    check_callable,
    check_grad_inputs,
    check_reduce_axes,
    check_scalar_output,
)
from .avals import type_of
from .budget import execute_within
from .execute import execute
from .staging import Staged, stage, wraps
from .tangents import float0_zeros


def value_and_grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    reduce_axes: Sequence[Any] = (),
    *,
    memory_budget: int | str | None = None,
) -> Callable[..., Any]:
    """A function of fun's arguments that returns (fun's value, gradient), as `jax.value_and_grad`.

    fun returns a real scalar (complex if `holomorphic`); with `has_aux`, a pair of it and anything,
    and then the value returned is that pair. The gradient has the structure of the argument at
    `argnums`, or is a tuple of such for several. `reduce_axes` must be empty, as in JAX.
    `memory_budget` ("24MiB", or bytes) is the temporary memory that computing both may need: see
    `compile`.

    Raises ArgumentError (a TypeError) for outputs and inputs that have no such gradient.
    """
    check_reduce_axes("value_and_grad", reduce_axes)
    how = (argnums, has_aux, holomorphic, allow_int, memory_budget)
    return _value_and_grad(fun, *how, with_value=True)


def grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    reduce_axes: Sequence[Any] = (),
    *,
    memory_budget: int | str | None = None,
) -> Callable[..., Any]:
    """A function of fun's arguments that returns fun's gradient, as `jax.grad`.

    With `has_aux`, it returns (gradient, auxiliary output). See `value_and_grad`.
    """
    check_reduce_axes("grad", reduce_axes)
    how = (argnums, has_aux, holomorphic, allow_int, memory_budget)
    differentiate = _value_and_grad(fun, *how, with_value=False)

    @wraps(fun, "grad")
    def grad_fun(*args: Any, **kwargs: Any) -> Any:
        value, gradient = differentiate(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return grad_fun


def _value_and_grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int],
    has_aux: bool,
    holomorphic: bool,
    allow_int: bool,
    memory_budget: int | str | None,
    with_value: bool,
) -> Callable[..., Any]:
    check_callable(fun, "value_and_grad" if with_value else "grad")
    budget = None if memory_budget is None else read_size(memory_budget)

    @wraps(fun, "value_and_grad")
    def value_and_grad_fun(*args: Any, **kwargs: Any) -> Any:
        wanted = check_argnums(fun, argnums, len(args))
        leaves, in_tree = jax.tree.flatten((args, kwargs))
        spans = _leaf_spans(args)
        active = [False] * len(leaves)
        for i in wanted:
            for j in spans[i]:
                active[j] = True
        types = [type_of(x) for x in leaves]
        check_grad_inputs(types, active, holomorphic, allow_int)
        staged = stage(fun, leaves, in_tree, types=types, has_aux=has_aux, known=leaves)
        check_scalar_output(fun, staged, holomorphic)
        flags = staged.active([a and has_tangent(t) for a, t in zip(active, types, strict=True)])
        graph = grad_graph(staged.graph, flags, staged.n_aux, with_value)
        operands = (*staged.captured, *leaves)
        outputs = (
            execute(graph, operands) if budget is None else execute_within(graph, operands, budget)
        )
        return _assemble(staged, outputs, args, wanted, spans, types, with_value, argnums)

    return value_and_grad_fun


def _assemble(
    staged: Staged,
    outputs: list[Any],
    args: tuple[Any, ...],
    wanted: Sequence[int],
    spans: Sequence[range],
    types: Sequence[TensorType],
    with_value: bool,
    argnums: int | Sequence[int],
) -> tuple[Any, Any]:
    """Nest the flat outputs of a gradient program: (value or (value, aux), gradients)."""
    n_values = staged.n_aux + with_value
    values, cts = outputs[:n_values], iter(outputs[n_values:])
    value = jax.tree.unflatten(staged.out_tree, values[:1]) if with_value else None
    if staged.aux_tree is not None:
        value = (value, jax.tree.unflatten(staged.aux_tree, values[with_value:]))
    gradients = []
    for i in wanted:
        leaves = [next(cts) if has_tangent(types[j]) else float0_zeros(types[j]) for j in spans[i]]
        gradients.append(jax.tree.unflatten(jax.tree.structure(args[i]), leaves))
    return value, (gradients[0] if isinstance(argnums, (int, np.integer)) else tuple(gradients))


def _leaf_spans(args: Sequence[Any]) -> list[range]:
    """For each argument the positions of its leaves among those of all."""
    spans, start = [], 0
    for arg in args:
        n = len(jax.tree.leaves(arg))
        spans.append(range(start, start + n))
        start += n
    return spans
