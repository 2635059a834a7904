"""custom_lin of JAX: what its jvp and linearize leave of a custom_vjp function in a linear program.

It is met where JAX differentiates inside of a recorded function: in `jax.lax.custom_root`, whose
rule linearizes the function whose root is found, and in a function made by `jax.linearize`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ..ir.builder import Builder
from ..ir.graph import Graph, Thunk
from ..ir.ops.call import Flags, custom_vjp_linear
from ..ir.types import TensorType, has_tangent
from .flat_functions import flat_name
from .importer import Params, records
from .jax_compat_rules import backward_cotangents
from .rule_traces import absent, as_called_now, is_absent
from .trace import trace_flat


@records("custom_lin")
def _record_custom_lin(b: Builder, inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
    """residuals | tangents of the nonzero inputs -> tangents of all outputs."""
    bwd, n, symbolic_zeros = params["bwd"], params["num_res"], bool(params["symbolic_zeros"])
    types = [_tangent_type(y) for y in params["out_avals"]]
    rule = _backward(bwd, [x.type for x in inputs[:n]], types, symbolic_zeros)
    dys = iter(
        b.emit(
            custom_vjp_linear,
            *inputs,
            name=flat_name(bwd),
            bwd=Thunk(flat_name(bwd), as_called_now(rule)),
            num_residuals=n,
            nonzero=tuple(not is_zero for is_zero in params["in_zeros"]),
            out_types=tuple((t.shape, t.dtype) for t in types),
            symbolic_zeros=symbolic_zeros,
        )
    )
    return tuple(next(dys) if has_tangent(t) else b.full(t, False) for t in types)


def _tangent_type(aval: Any) -> TensorType:
    """The type of a tangent; float0, the dtype of no numbers, as booleans, which have none."""
    dtype = np.dtype(bool) if aval.dtype == jax.dtypes.float0 else np.dtype(aval.dtype)
    return TensorType(tuple(aval.shape), dtype)


def _backward(
    bwd: Any, residuals: Sequence[TensorType], outputs: Sequence[TensorType], symbolic_zeros: bool
) -> Callable[[Flags, Flags], tuple[Graph, Flags]]:
    """The thunk of a flat backward rule (its protocol is stated in ir/ops/call.py)."""

    def backward(nonzero: Flags, ct_nonzero: Flags) -> tuple[Graph, Flags]:
        in_nonzero: list[bool] = []

        def flat_backward(*values: Any) -> list[Any]:
            given = iter(values[len(residuals) :])
            cts = [
                next(given) if f else absent(t, symbolic_zeros)
                for f, t in zip(ct_nonzero, outputs, strict=True)
            ]
            results = backward_cotangents(bwd, (*values[: len(residuals)], *cts))
            in_nonzero[:] = [
                f and not is_absent(ct) for f, ct in zip(nonzero, results, strict=True)
            ]
            return [ct for ct, kept in zip(results, in_nonzero, strict=True) if kept]

        ct_types = [t for t, f in zip(outputs, ct_nonzero, strict=True) if f]
        made = trace_flat(flat_backward, [*residuals, *ct_types], name=flat_name(bwd))
        return made.graph, tuple(in_nonzero)

    return backward
