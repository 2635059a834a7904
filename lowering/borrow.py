"""Take JAX's own lowering of one primitive and graft it into a module of ours.

For what XLA has only as library calls (LAPACK, cuSOLVER) or as long expansions (threefry): JAX's
lowering is traced alone, kept as bytecode, and merged as private functions, so that no line of it
is written twice.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
from jaxlib.mlir import ir

from . import workshop
from .jax_compat import (
    HostParts,
    TypeLike,
    base_shape_dtype,
    host_parts,
    module_bytes,
    module_of,
    parse_module,
    private_primitives,
    run_mlir_passes,
    shape_struct,
    to_aval,
)  # fmt: skip


@contextlib.contextmanager
def wide_types(avals: Sequence[Any]) -> Iterator[None]:
    """64-bit types switched on where a signature has them: a typed program means what it says."""
    with jax.enable_x64(True) if is_wide(avals) else contextlib.nullcontext():
        yield


def is_wide(avals: Sequence[Any]) -> bool:
    """Whether a signature has 64-bit types."""
    return any(
        dtype.itemsize // (2 if dtype.kind == "c" else 1) == 8
        for _, dtype in map(base_shape_dtype, avals)
        if dtype.kind in "iufc"
    )


def find_primitive(name: str) -> Any:
    """JAX's own primitive of this name."""
    if name in private_primitives():
        return private_primitives()[name]
    raise KeyError(f"JAX has no primitive named {name}")


def lower_primitive_with_jax(
    primitive: Any,
    in_types: Sequence[TypeLike],
    params: Mapping[str, Any],
    platforms: Sequence[str],
) -> bytes:
    """MLIR bytecode of a module whose `@main` is JAX's lowering of one primitive; needs none of the
    platforms.

    Locations are stripped: they would point here, and the caller knows the user's line. For more
    than one platform, `@main` has a leading `tensor<i32>` argument: the index of the platform in
    `platforms`.
    """
    if isinstance(primitive, str):
        taken = _parameters(primitive)
        params = {k: v for k, v in params.items() if taken is None or k in taken}
        primitive = find_primitive(primitive)
    key = (primitive, tuple(map(to_aval, in_types)), tuple(platforms))
    try:
        return _lower_cached(*key, tuple((k, type(v), v) for k, v in sorted(params.items())))
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        return _lower(*key, dict(params))


@functools.cache
def _parameters(name: str) -> frozenset[str] | None:
    """Of a primitive that got parameters late, those that this version of JAX has, learnt from an
    equation that it traces itself. (Ours then have the values of what it does without them.)"""
    x = jax.ShapeDtypeStruct((2, 2), "float32")
    if name == "eig":
        traced = jax.make_jaxpr(jax.lax.linalg.eig)(x)
    elif name == "ragged_dot_general":
        groups = jax.ShapeDtypeStruct((1,), "int32")
        traced = jax.make_jaxpr(lambda x, g: jax.lax.ragged_dot(x, x[None], g))(x, groups)
    else:
        return None
    (eqn,) = [eqn for eqn in traced.eqns if eqn.primitive.name == name]
    return frozenset(eqn.params)


@functools.lru_cache(maxsize=1024)
def _lower_cached(
    primitive: Any, avals: tuple[Any, ...], platforms: tuple[str, ...], params: Any
) -> bytes:
    return _lower(primitive, avals, platforms, {name: value for name, _, value in params})


def _lower(
    primitive: Any, avals: tuple[Any, ...], platforms: tuple[str, ...], params: dict[str, Any]
) -> bytes:
    return lower_with_host_parts(primitive, avals, params, platforms)[0]


def lower_with_host_parts(
    primitive: Any,
    in_types: Sequence[TypeLike],
    params: Mapping[str, Any],
    platforms: Sequence[str],
) -> tuple[bytes, HostParts]:
    """As `lower_primitive_with_jax`, with what the module needs of this process.

    With ordered effects, `@main` takes a token for each first, and returns them first.
    """
    avals = tuple(map(to_aval, in_types))
    with wide_types(avals):
        return _lowered(_binding(primitive, params), avals, platforms)


Bound = tuple[Any, Sequence[TypeLike], Mapping[str, Any]]
"""A primitive, the types of its operands, and its parameters."""


def lower_together(
    operations: Sequence[Bound], platforms: Sequence[str]
) -> tuple[bytes, HostParts, list[str]]:
    """One module for several primitives of one width (`is_wide`), whose lowerings share what they
    have in common; and the functions in it that are theirs."""
    avals = [tuple(map(to_aval, types)) for _, types, _ in operations]
    names, functions = [f"operation_{i}" for i in range(len(operations))], []
    for name, (primitive, _, params) in zip(names, operations, strict=True):
        bind = _binding(primitive, params)
        bind.__name__ = name
        functions.append(jax.jit(bind, keep_unused=True))

    def run(*operands: Any) -> list[Any]:
        given = iter(operands)
        return [
            function(*itertools.islice(given, len(own)))
            for function, own in zip(functions, avals, strict=True)
        ]

    flat = [aval for own in avals for aval in own]
    with wide_types(flat):
        return *_lowered(run, flat, platforms), names


def _binding(primitive: Any, params: Mapping[str, Any]) -> Callable[..., Any]:
    return lambda *operands: primitive.bind(*operands, **params)


def _lowered(
    fun: Callable[..., Any], avals: Sequence[Any], platforms: Sequence[str]
) -> tuple[bytes, HostParts]:
    traced = jax.jit(fun, keep_unused=True).trace(*map(shape_struct, avals))
    lowered = traced.lower(lowering_platforms=tuple(platforms))
    raw = module_bytes(module_of(lowered))  # the module itself belongs to JAX's cache
    with workshop.scratch(len(raw)) as context:
        copy = parse_module(raw, context)
        run_mlir_passes(copy, "strip-debuginfo")
        return module_bytes(copy), host_parts(lowered)


# --- merging


def merge_into(destination: ir.Module, source: ir.Module | bytes | str, wanted_name: str) -> str:
    """Move a module's functions into another as private ones; the name that its `@main` got.

    `source` is not changed. Nothing in `destination` is renamed: what would clash in `source` is.
    """
    return merge_functions(destination, source, {"main": wanted_name})["main"]


def merge_functions(
    destination: ir.Module, source: ir.Module | bytes | str, wanted: Mapping[str, str]
) -> dict[str, str]:
    """As `merge_into`, of any functions: the new names of all. `@main` is left out unless it has a
    wanted name."""
    raw = module_bytes(source) if isinstance(source, ir.Module) else source
    copy = parse_module(raw, destination.context)
    names = _fresh_names(copy, destination, wanted)
    with destination.context, ir.Location.unknown():
        for op in list(copy.body.operations):
            _rename_uses(op, names)
        symbols = ir.SymbolTable(destination.operation)
        for op in list(copy.body.operations):
            name = _symbol(op)
            if name is None or (name == "main" and name not in wanted):
                continue
            ir.SymbolTable.set_symbol_name(op, names[name])
            if op.operation.name == "func.func":
                op.operation.attributes["sym_visibility"] = ir.StringAttr.get("private")
            destination.body.append(op)
            symbols.insert(op)
    return names


def _symbol(op: Any) -> str | None:
    attributes = op.operation.attributes
    return attributes["sym_name"].value if "sym_name" in attributes else None


def _fresh_names(
    source: ir.Module, destination: ir.Module, wanted: Mapping[str, str]
) -> dict[str, str]:
    """Every symbol's new name: its own where free, else with the first free number."""
    taken = {_symbol(op) for op in destination.body.operations}
    own = [name for op in source.body.operations if (name := _symbol(op)) is not None]
    for name in wanted.keys() - {*own}:
        raise TypeError(f"the module to merge has no function @{name}")
    names: dict[str, str] = {}
    for name in own:
        base = candidate = wanted.get(name, name)
        number = 0
        while candidate in taken:
            number += 1
            candidate = f"{base}_{number}"
        taken.add(candidate)
        names[name] = candidate
    return names


def _rename_uses(op: Any, names: Mapping[str, str]) -> None:
    """Rename through unique temporaries: a new name may be the old name of another symbol."""
    changed = {old: new for old, new in names.items() if old != new}
    for i, old in enumerate(changed):
        ir.SymbolTable.replace_all_symbol_uses(old, f"__renamed_{i}", op)
    for i, new in enumerate(changed.values()):
        ir.SymbolTable.replace_all_symbol_uses(f"__renamed_{i}", new, op)
