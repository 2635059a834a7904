"""Callbacks between JAX and covector: what they call is held by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir.builder import Builder
from ..ir.errors import UsageError
from ..ir.graph import Equation, Opaque
from ..ir.ops import effect as e
from ..lowering.rules.effect import jax_params
from .avals import to_dtype
from .export_rules import binds
from .importer import Params, records
from .jax_primitives import jax_primitives
from .opaque import bound, callable_name

Atoms = tuple[Any, ...]


@records("debug_callback")
def _record_debug_callback(b: Builder, inputs: Atoms, params: Params) -> Atoms:
    return b.emit(
        e.debug_callback,
        *inputs,
        callback=_callback("debug_callback", params),
        ordered=is_ordered(params),
        partitioned=bool(params["partitioned"]),
    )


@records("debug_print")
def _record_debug_print(b: Builder, inputs: Atoms, params: Params) -> Atoms:
    held = bound("print", jax_primitives()["debug_print"], params)
    return b.emit(
        e.debug_print,
        *inputs,
        fmt=params["fmt"],
        callback=held,
        ordered=bool(params["ordered"]),
        partitioned=bool(params["partitioned"]),
    )


@records("pure_callback")
def _record_pure_callback(b: Builder, inputs: Atoms, params: Params) -> Atoms:
    return b.emit(
        e.pure_callback,
        *inputs,
        callback=_callback("pure_callback", params),
        out_types=out_types(params),
        vmap_method=params["vmap_method"],
    )


@records("io_callback")
def _record_io_callback(b: Builder, inputs: Atoms, params: Params) -> Atoms:
    return b.emit(
        e.io_callback,
        *inputs,
        callback=_callback("io_callback", params),
        out_types=out_types(params),
        ordered=bool(params["ordered"]),
    )


def is_ordered(params: Params) -> bool:
    return str(params["effect"]).startswith("Ordered")


def out_types(params: Params) -> tuple[tuple[Any, Any], ...]:
    return tuple((tuple(t.shape), to_dtype(t.dtype)) for t in params["result_avals"])


def _callback(name: str, params: Params) -> Opaque:
    if params.get("sharding") is not None:
        raise UsageError(f"{name} with sharding={params['sharding']} is not supported")
    return bound(callable_name(params["callback"]), jax_primitives()[name], params)


@binds("debug_callback", "debug_print", "pure_callback", "io_callback")
def _bind(eqn: Equation, arrays: Sequence[Any]) -> Sequence[Any]:
    primitive, params = jax_params(eqn)
    outputs: Sequence[Any] = primitive.bind(*arrays, **params)
    return outputs
