"""JAX primitives whose parameters are not plain data, or that are called otherwise here.

All others become the primitive of the same name with the same parameters (see importer).
"""

from __future__ import annotations

from typing import Any

import jax

from ..ir.builder import Builder
from ..ir.errors import UsageError
from ..ir.graph import Graph, Literal, Value
from ..ir.ops.call import call
from ..ir.ops.control import cond, while_
from ..ir.ops.elementwise import select_n
from ..ir.ops.reduction import reduce_or
from ..ir.types import INT32, scalar_type
from .generators import tag_of
from .importer import (
    Params,
    body_graph,
    converts,
    graph_of,
    graph_of_either,
    graph_of_open,
    plain,
    records,
)
from .jax_compat import has_layouts, is_inlined, jit_shardings, scan_sizes, threefry_partitionable
from .placement_rules import check_place
from .policies import policy_from_jax

# -- calls -----------------------------------------------------------------------------------------


@records("jit")
def _record_jit(b: Builder, inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
    """A jitted function: a call, or its body where it asks to be inlined."""
    for sharding in jit_shardings(params):
        check_place(f"jit of {params['name']}", sharding, anywhere=True)
    if has_layouts(params):
        raise UsageError(
            f"jit of {params['name']} with layouts is not supported inside of a traced function",
            hint="use with_layout_constraint on the values",
        )
    graph = graph_of(params["jaxpr"])
    if is_inlined(params):
        return tuple(b.inline(graph, inputs))
    return b.emit(call, *inputs, graph=graph)


@records("closed_call", "core_call", "call")
def _record_call(b: Builder, inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
    return b.emit(call, *inputs, graph=graph_of_either(params["call_jaxpr"]))


@records("eval_jaxpr")
def _record_evaluation(b: Builder, inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
    """The body of a call that only says more than its body: how to save it."""
    return tuple(b.inline(body_graph(params), inputs))


# -- control flow ----------------------------------------------------------------------------------


@converts("scan")
def _scan(params: Params) -> dict[str, Any]:
    num_consts, num_carry = scan_sizes(params)
    return {
        "graph": graph_of(params["jaxpr"]),
        "num_consts": num_consts,
        "num_carry": num_carry,
        "length": params["length"],
        "reverse": params["reverse"],
        "unroll": params["unroll"],
    }


@records("while")
def _record_while(b: Builder, inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
    """A loop; jax.vmap may have made of it one whose condition is an array."""
    graphs = graph_of(params["cond_jaxpr"]), graph_of(params["body_jaxpr"])
    return emit_while(b, inputs, *graphs, params["cond_nconsts"], params["body_nconsts"])


def emit_while(
    b: Builder, inputs: tuple[Any, ...], cond_graph: Graph, body_graph: Graph, n_cond: int,
    n_body: int,
) -> tuple[Any, ...]:  # fmt: skip
    """A loop with so many consts of its condition and its body."""
    if cond_graph.outputs[0].type.shape:
        cond_graph, body_graph = _until_all_are_done(cond_graph, body_graph, n_cond, n_body)
        inputs, n_body = inputs[:n_cond] + inputs, n_cond + n_body
    sizes = {"cond_nconsts": n_cond, "body_nconsts": n_body}
    return b.emit(while_, *inputs, cond_graph=cond_graph, body_graph=body_graph, **sizes)


def _until_all_are_done(cond: Graph, body: Graph, n_cond: int, n_body: int) -> tuple[Graph, Graph]:
    """The loop of a batch: it goes on while an example does; the others keep their values.

    # body'    cond_consts | body_consts | carry -> carry
    """
    b = Builder()
    values = [Value(t) for t in cond.input_types]
    (unfinished,) = b.inline(cond, values)
    axes = tuple(range(len(unfinished.type.shape)))
    proceeds = b.graph(values, b.emit(reduce_or, unfinished, axes=axes), cond.name)
    b = Builder()
    consts = [Value(t) for t in (*cond.input_types[:n_cond], *body.input_types[:n_body])]
    carry = [Value(t) for t in body.input_types[n_body:]]
    (unfinished,) = b.inline(cond, [*consts[:n_cond], *carry])
    moved = b.inline(body, [*consts[n_cond:], *carry])
    kept = [
        b.emit(select_n, b.broadcast(unfinished, x.type.shape, axes), x, y)[0]
        for x, y in zip(carry, moved, strict=True)
    ]
    return proceeds, b.graph([*consts, *carry], kept, body.name)


@converts("custom_linear_solve")
def _custom_linear_solve(params: Params) -> dict[str, Any]:
    graphs = {
        name: None if jaxpr is None else graph_of(jaxpr)
        for name, jaxpr in params["jaxprs"]._asdict().items()
    }
    return {**graphs, "const_lengths": tuple(params["const_lengths"])}


@converts("remat2")
def _checkpoint(params: Params) -> dict[str, Any]:
    return {
        "graph": graph_of_open(params["jaxpr"]),
        "prevent_cse": params["prevent_cse"],
        "differentiated": params["differentiated"],
        "policy": policy_from_jax(params["policy"]),
    }


# -- dimension numbers -----------------------------------------------------------------------------


@converts("gather", "scatter-add", "scatter-sub", "scatter-mul", "scatter-min", "scatter-max")
def with_dimension_numbers(params: Params) -> dict[str, Any]:
    """The object's fields become parameters; the name of a scatter tells how it combines."""
    converted = {k: plain(v) for k, v in params["dimension_numbers"]._asdict().items()}
    for name, value in params.items():
        if name not in ("dimension_numbers", "update_jaxpr", "update_consts"):
            converted[name] = plain(value)
    return converted


@converts("conv_general_dilated")
def _conv(params: Params) -> dict[str, Any]:
    converted = {k: plain(v) for k, v in params["dimension_numbers"]._asdict().items()}
    for name, value in params.items():
        if name not in ("dimension_numbers", "out_sharding"):
            converted[name] = plain(value)
    return converted


# -- random numbers --------------------------------------------------------------------------------


@converts("random_seed", "random_wrap")
def _with_generator(params: Params) -> dict[str, Any]:
    return {"impl": tag_of(params["impl"])}


@converts("random_split", "random_bits", "random_gamma")
def _with_numbering(params: Params) -> dict[str, Any]:
    """JAX keeps one of its options beside the equation; here it is a parameter."""
    converted = {name: plain(value) for name, value in params.items()}
    return {**converted, "partitionable": threefry_partitionable()}


# -- choices by platform ---------------------------------------------------------------------------


@records("platform_index")
def _platform_index(b: Builder, inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
    """Which of several lists of platforms holds the default one: decided now, for this process."""
    backend = jax.default_backend()
    names = {backend, "cuda" if backend == "gpu" else backend}
    for i, platforms in enumerate(params["platforms"]):
        if platforms is None or names & set(platforms):
            return (Literal(i, scalar_type(INT32)),)
    raise UsageError(f"none of the implementations {params['platforms']} is for {backend}")


@records("cond")
def _record_cond(b: Builder, inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
    """A choice; one that is already made (by platform) becomes the branch."""
    branches = tuple(graph_of(branch) for branch in params["branches"])
    index, *operands = inputs
    if isinstance(index, Literal):
        chosen = min(max(int(index.value), 0), len(branches) - 1)
        return tuple(b.inline(branches[chosen], operands))
    return b.emit(cond, *inputs, branches=branches)
