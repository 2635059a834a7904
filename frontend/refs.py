"""Operations on mutable arrays: what each does to the value that is held (see cells)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from ..ir.builder import Builder
from ..ir.errors import UsageError
from ..ir.graph import Atom, Graph
from ..ir.types import TensorType
from .avals import to_aval, to_type
from .cells import Cell
from .importer import Params, records
from .jax_compat_refs import AbstractRef, add_to_ref, read_ref, write_ref
from .jax_compat_rules import trace_context

Operand = Any
"""An atom or a cell."""


@records("new_ref")
def _new(b: Builder, inputs: tuple[Operand, ...], params: Params) -> tuple[Operand, ...]:
    (value,) = inputs
    aval = AbstractRef(to_aval(value.type), params["memory_space"], params["kind"])
    return (Cell(value, aval),)


@records("empty_ref")
def _empty(b: Builder, _inputs: tuple[Operand, ...], params: Params) -> tuple[Operand, ...]:
    """Of what it holds JAX says nothing: zeros."""
    type = to_type(params["ty"])
    return (Cell(b.full(type, 0), AbstractRef(params["ty"], params["memory_space"])),)


@records("freeze")
def _freeze(_: Builder, inputs: tuple[Operand, ...], _params: Params) -> tuple[Operand, ...]:
    return (inputs[0].read(),)


@records("free_ref")
def _free(_: Builder, inputs: tuple[Operand, ...], _params: Params) -> tuple[Operand, ...]:
    inputs[0].read()
    inputs[0].is_free = True
    return ()


@records("get")
def _get(b: Builder, inputs: tuple[Operand, ...], params: Params) -> tuple[Operand, ...]:
    cell, *index = inputs
    return tuple(_access(b, read_ref, (cell.read(), *index), params["tree"]))


@records("swap")
def _swap(b: Builder, inputs: tuple[Operand, ...], params: Params) -> tuple[Operand, ...]:
    cell, *operands = inputs
    _check_fits(cell, operands, params["tree"])
    before, after = _access(b, write_ref, (cell.read(), *operands), params["tree"])
    cell.write(b, after)
    return (before,)


@records("addupdate")
def _add(b: Builder, inputs: tuple[Operand, ...], params: Params) -> tuple[Operand, ...]:
    cell, *operands = inputs
    _check_fits(cell, operands, params["tree"])
    (after,) = _access(b, add_to_ref, (cell.read(), *operands), params["tree"])
    cell.write(b, after)
    return ()


@records("accum_grad_in_ref")
def _as_it_is(_: Builder, inputs: tuple[Operand, ...], _params: Params) -> tuple[Operand, ...]:
    return inputs


@records("broadcast_to")
def _broadcast(b: Builder, inputs: tuple[Operand, ...], params: Params) -> tuple[Operand, ...]:
    """A value as wide as where it is written."""
    (x,) = inputs
    shape = tuple(params["shape"])
    axes = range(len(shape) - len(x.type.shape), len(shape))
    return (b.convert(b.broadcast(x, shape, axes), x.type.dtype),)


Accessor = Callable[..., list[Any]]
"""(what a mutable array holds, operands, the tree of an index) -> results."""


def _access(b: Builder, access: Accessor, operands: Sequence[Atom], tree: Any) -> list[Any]:
    """What an access does, recorded as an operation on the array that is held."""
    graph = _accessor(access, tuple([x.type for x in operands]), tree, trace_context())
    return b.inline(graph, operands)


def _check_fits(cell: Cell, operands: Sequence[Atom], tree: Any) -> None:
    """Raise UsageError unless a value has the shape and dtype of where it is written."""
    value, *index = operands
    types = cell.read().type, *[x.type for x in index]
    place = _accessor(read_ref, types, tree, trace_context()).outputs[0].type
    if (value.type.shape, value.type.dtype) != (place.shape, place.dtype):
        raise UsageError(
            f"a value of type {value.type} is written to a place of type {place} in a mutable "
            f"array of type {cell.type}",
            hint="broadcast or convert it first, with jnp.broadcast_to or astype",
        )


@functools.lru_cache(maxsize=4096)
def _accessor(access: Accessor, types: tuple[TensorType, ...], tree: Any, _context: Any) -> Graph:
    from .trace import trace_flat  # which reads in jaxprs, with this file

    def flat(*operands: Any) -> list[Any]:
        return access(operands, tree)

    graph = trace_flat(flat, types, name="ref").graph
    equations = [eqn.replace(location=None) for eqn in graph.equations]
    return Graph(graph.inputs, equations, graph.outputs, graph.name)
