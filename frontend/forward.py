"""`jvp`, with JAX's signature and conventions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from ..ir.errors import ArgumentError
from ..ir.types import has_tangent
from ..lowering.jax_compat import boundary
from ..passes import watched
from ..passes.forward_rules import with_forward_rules
from .arguments import check_callable
from .error_types import as_jax_errors
from .execute import execute
from .ref_args import check_no_tangents, read_refs, tangents_of_refs, write_refs
from .staging import function_name, split_outputs, stage, types_of
from .symbolic_sizes import or_by_jax
from .tangents import tangent_leaves, zero_tangent


@boundary
@or_by_jax(jax.jvp, only_ours=("custom_vjp",))
def jvp(
    fun: Callable[..., Any],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    has_aux: bool = False,
    *,
    custom_vjp: str = "error",
) -> Any:
    """(fun(*primals), derivative of fun at primals along tangents), as `jax.jvp`.

    With `has_aux`, a third item is fun's auxiliary output. Functions with a custom_vjp rule have no
    forward rule: they are an error as in JAX, or, with `custom_vjp="transpose"`, differentiated by
    the transpose of their backward rule, which must be linear in its cotangents.

    Raises ArgumentError (a TypeError) where tangents do not match the primals in structure or
    dtype, UsageError (a ValueError) where they differ in shape.
    """
    check_callable(fun, "jvp")
    if custom_vjp not in ("error", "transpose"):
        raise ArgumentError(f'custom_vjp is "error" or "transpose", got {custom_vjp!r}')
    for what, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, (tuple, list)):
            raise ArgumentError(
                "primal and tangent arguments to jvp must be tuples or lists, one item for each "
                f"argument of the function; the {what} are of type {type(given).__name__}"
            )
    leaves, in_tree = jax.tree.flatten((tuple(primals), {}))
    types = types_of(fun, leaves, in_tree)
    dxs, active = tangent_leaves(primals, tangents, types, "jvp")
    staged = stage(
        fun, leaves, in_tree, types=types, has_aux=has_aux, known=leaves,
        as_given=[not has_tangent(t) for t in types], takes_refs=True, moves=active,
    )  # fmt: skip
    primal = with_forward_rules(staged.graph) if custom_vjp == "transpose" else staged.graph
    with as_jax_errors():
        graph, nonzero = watched.jvp(primal, staged.active(active))
    live = [dx for dx, a in zip(dxs, active, strict=True) if a]
    n = staged.n_results
    refs = tangents_of_refs(leaves, dxs)
    check_no_tangents(function_name(fun), staged.written, nonzero[n:], refs)
    outputs = staged.settle(execute(graph, (*staged.operands(leaves), *read_refs(live))))
    staged.is_over()
    out, aux = split_outputs(staged, outputs[:n])
    moved = iter(outputs[n:])
    out_tangents = [
        next(moved) if nz else zero_tangent(y.type)
        for nz, y in zip(nonzero, staged.graph.outputs, strict=True)
    ]
    for ref, dx in zip(staged.written, out_tangents[n:], strict=True):
        if id(ref) in refs:
            write_refs([refs[id(ref)]], [dx])
    result = (out, jax.tree.unflatten(staged.out_tree, out_tangents[: staged.n_out]))
    return (*result, aux) if has_aux else result
