"""Numeric primitives whose parameters JAX spells otherwise, or that some of its versions lack."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from jax import lax

from ..ir.builder import Builder
from ..ir.graph import Equation
from ..ir.ops.shape import reshape
from ..ir.ops.sort import approx_top_k
from .export import closed_jaxpr, eval_graph
from .export_rules import binds, jax_operation
from .export_rules import converts as exports
from .importer import Params, converter, graph_of, plain, records
from .importer import converts as imports
from .jax_primitives import jax_primitives

Arrays = Sequence[Any]
"""The arrays that an equation reads or makes."""


@imports("reduce")
def _import_reduce(params: Params) -> dict[str, Any]:
    return {"dimensions": tuple(params["dimensions"]), "graph": graph_of(params["jaxpr"])}


@binds("reduce")
def _bind_reduce(eqn: Equation, arrays: Arrays) -> Arrays:
    graph = eqn.params["graph"]
    outputs: Arrays = jax_primitives()["reduce"].bind(
        *arrays,
        computation=lambda *xs: eval_graph(graph, xs),
        jaxpr=closed_jaxpr(graph),
        dimensions=eqn.params["dimensions"],
    )
    return outputs


@binds("conj")
def _bind_conj(eqn: Equation, arrays: Arrays) -> Arrays:
    return [jax_primitives()["conj"].bind(*arrays, input_dtype=eqn.inputs[0].type.dtype)]


@records("approx_top_k")
def _record_approx_top_k(b: Builder, inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
    axis = params["reduction_dimension"] % len(inputs[0].type.shape)
    rest = {name: plain(value) for name, value in params.items()}
    return b.emit(approx_top_k, *inputs, **{**rest, "reduction_dimension": axis})


_reshape_params = converter("reshape", "reshape")


@records("reshape")
def _record_reshape(b: Builder, inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
    """JAX's may read the elements in another order of axes, `dimensions`."""
    order = params["dimensions"]
    x = inputs[0] if order is None else b.transpose(inputs[0], permutation=tuple(order))
    return b.emit(reshape, x, **_reshape_params({**params, "dimensions": None}))


# -- accuracy ------------------------------------------------------------------------------------


def _with_accuracy(params: dict[str, Any]) -> dict[str, Any]:
    wanted = params["accuracy"]
    if isinstance(wanted, tuple):
        return {"accuracy": lax.Tolerance(*wanted)}
    return {"accuracy": None if wanted is None else lax.AccuracyMode[wanted]}


exports(
    *("exp", "exp2", "log", "log1p", "expm1", "tanh", "logistic", "sin", "cos", "tan"),
    *("sqrt", "rsqrt", "cbrt", "log2"),
)(_with_accuracy)


# -- what some versions lack ---------------------------------------------------------------------


def _polynomial(x: Any, *coefficients: Any, unroll: int | None) -> Any:
    total = coefficients[-1]
    for c in coefficients[-2::-1]:
        total = total * x + c
    return total


def _random_gamma_grad(a: Any, x: Any) -> Any:
    return lax.random_gamma_grad(a, x)


_SUBSTITUTES: dict[str, Callable[..., Any]] = {
    "log2": lambda x, accuracy: lax.log(x) * (1 / math.log(2)),
    "one_minus_square": lambda x: (1 + x) * (1 - x),
    "polynomial": _polynomial,
    "random_gamma_grad": _random_gamma_grad,
}


def _bind_or_substitute(eqn: Equation, arrays: Arrays) -> Arrays:
    theirs, params = jax_operation(eqn)
    if theirs is not None:
        return [theirs.bind(*arrays, **params)]
    return [_SUBSTITUTES[eqn.primitive.name](*arrays, **eqn.params)]


binds(*_SUBSTITUTES)(_bind_or_substitute)
