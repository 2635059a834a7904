"""How a program raises when it has found something wrong: by a call to Python.

It is a primitive of its own in JAX, which tells what to do where there is no Python to call: in a
program that `jax.export` saves.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad, batching, mlir

from ..ir.builder import Builder
from ..ir.errors import UsageError
from ..ir.ops.effect import pure_callback
from ..ir.types import BOOL
from .importer import Params, records
from .jax_compat import Primitive as JaxPrimitive
from .jax_compat import is_for_export
from .opaque import bound

raising_p = JaxPrimitive("covector_raising")
raising_p.multiple_results = True


def ask(report: Any, ok: Any, *facts: Any) -> Any:
    """`report(ok, *facts)`, which raises or returns ok, when the program runs. Its claim is what
    is wrong."""
    (answer,) = raising_p.bind(jnp.asarray(ok), *facts, report=report)
    return answer


def refuse_export(ctx: Any, claim: str) -> None:
    """Raise a UsageError if what is being lowered is to be saved."""
    if is_for_export(ctx):
        raise UsageError(
            f"a program for jax.export cannot raise: {claim}",
            hint="pass throw=False: results are NaN then, and solve_ode returns a status, too",
        )


def _call(ok: Any, *facts: Any, report: Any, result_avals: Any = None) -> list[Any]:
    """`result_avals` stands with all callbacks in our programs; here it is the type of ok."""
    answer = jax.ShapeDtypeStruct(np.shape(ok), np.dtype(bool))
    return [jax.pure_callback(report, answer, ok, *facts, vmap_method="broadcast_all")]


def _lower(ctx: Any, *operands: Any, report: Any, **params: Any) -> Any:
    refuse_export(ctx, report.claim)
    return mlir.lower_fun(_call, multiple_results=True)(ctx, *operands, report=report)


def _batch(operands: Any, axes: Any, report: Any, **params: Any) -> tuple[Any, list[int]]:
    """All examples at once."""
    (size,) = {x.shape[a] for x, a in zip(operands, axes, strict=True) if a is not None}
    rows = [
        jnp.broadcast_to(x, (size, *x.shape)) if a is None else jnp.moveaxis(x, a, 0)
        for x, a in zip(operands, axes, strict=True)
    ]
    return raising_p.bind(*rows, report=report), [0]


def _push(primals: Any, tangents: Any, **params: Any) -> tuple[Any, list[Any]]:
    """Whether something is wrong has no derivative."""
    (answer,) = raising_p.bind(*primals, **params)
    return [answer], [ad.Zero(jax.typeof(answer).to_tangent_aval())]


raising_p.def_impl(_call)
raising_p.def_abstract_eval(lambda ok, *facts, **params: [ok])
mlir.register_lowering(raising_p, _lower)
batching.primitive_batchers[raising_p] = _batch
ad.primitive_jvps[raising_p] = _push


@records("covector_raising")
def _record(b: Builder, inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
    held = bound("raising", raising_p, params)
    shape = inputs[0].type.shape
    return b.emit(
        pure_callback, *inputs, callback=held, out_types=((shape, BOOL),),
        vmap_method="broadcast_all",
    )  # fmt: skip
