"""How callbacks transform: as JAX has them. What is only looked on has no derivative, and those who
compute something have none that anybody knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from ...ir.builder import Builder, Zero
from ...ir.errors import MissingRule, PassError
from ...ir.graph import Equation, Graph, Value
from ...ir.ops import effect as e
from ...ir.ops.control import scan
from .. import tables
from ..tables import Operands, materialise_batch
from .scan_split import Halves

# -- derivatives ---------------------------------------------------------------------------------


@tables.jvp.rule(e.pure_callback, e.io_callback)
def jvp_callback(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    _refuse(eqn, "jvp")


@tables.transpose.rule(e.pure_callback, e.io_callback)
def transpose_callback(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    _refuse(eqn, "transpose")


def _refuse(eqn: Equation, stage: str) -> NoReturn:
    raise PassError(
        f"{eqn.primitive.name} calls Python, whose derivative is not known",
        eqn,
        stage=stage,
        hint="give the function that calls it a custom_jvp or custom_vjp rule, or keep the "
        "derivative away from its arguments with stop_gradient",
    )


@tables.split.rule(e.debug_callback, e.debug_print)
def split_debug(eqn: Equation, unknown: Sequence[bool]) -> Halves:
    """It waits until all that it shows is known."""
    return [], [eqn], ()


@tables.transpose.rule(e.debug_callback, e.debug_print)
def transpose_debug(b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]) -> Operands:
    """Tangents that are looked at do not exist in the transposed program: nothing is shown."""
    return [Zero(x.type) for x in eqn.inputs]


# -- batch ---------------------------------------------------------------------------------------


@tables.batch.rule(e.debug_callback, e.debug_print)
def batch_debug(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """A call for each example, in their order."""
    for i in range(size):
        rows = [_row(b, x, i) if is_b else x for x, is_b in zip(inputs, batched, strict=True)]
        b.emit(eqn.primitive, *rows, **eqn.params)
    return (), ()


def _row(b: Builder, x: Any, i: int) -> Any:
    shape: tuple[int, ...] = x.type.shape
    start = (i, *(0 for _ in shape[1:]))
    row = b.slice(x, start_indices=start, limit_indices=(i + 1, *shape[1:]), strides=None)
    return b.squeeze(row, dimensions=(0,))


@tables.batch.rule(e.io_callback)
def batch_io(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    return one_by_one(b, eqn, inputs, batched, size)


@tables.batch.rule(e.pure_callback)
def batch_pure(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """By `vmap_method`:

    sequential, sequential_unrolled   one call an example
    expand_dims                       one call; what is the same for all has a first axis of 1
    broadcast_all                     one call; what is the same for all is repeated
    legacy_vectorized                 one call; what is the same for all is as it was
    """
    method = eqn.params["vmap_method"]
    if method in ("sequential", "sequential_unrolled"):
        return one_by_one(b, eqn, inputs, batched, size, method == "sequential_unrolled")
    if method not in ("expand_dims", "broadcast_all", "legacy_vectorized"):
        raise MissingRule(
            f"pure_callback with vmap_method={method!r} has no batch",
            eqn,
            stage="batch",
            hint="give pure_callback a vmap_method: sequential, expand_dims or broadcast_all",
        )
    if method != "legacy_vectorized":
        n = size if method == "broadcast_all" else 1
        inputs = [materialise_batch(b, x, is_b, n) for x, is_b in zip(inputs, batched, strict=True)]
    out_types = tuple(((size, *shape), dtype) for shape, dtype in eqn.params["out_types"])
    outputs = b.emit(eqn.primitive, *inputs, **{**eqn.params, "out_types": out_types})
    return outputs, (True,) * len(outputs)


def one_by_one(
    b: Builder,
    eqn: Equation,
    inputs: Operands,
    batched: Sequence[bool],
    size: int,
    unroll: bool = False,
) -> tuple[Operands, Sequence[bool]]:
    """A scan over the examples. Raises PassError for an ordered io_callback."""
    if e.ORDERED_IO in eqn.effects:
        raise PassError(
            "an ordered io_callback has no batch: its calls would be in no order",
            eqn,
            stage="batch",
            hint="use ordered=False, or jax.lax.map in place of vmap",
        )
    values = [Value(x.type.strong) for x in eqn.inputs]
    body = Builder()
    body.replace(eqn)
    outputs = body.emit(eqn.primitive, *values, **eqn.params)
    order = [i for i, is_b in enumerate(batched) if not is_b]
    rows = [i for i, is_b in enumerate(batched) if is_b]
    graph = Graph([values[i] for i in (*order, *rows)], body.equations, outputs, eqn.primitive.name)
    made = b.emit(
        scan,
        *[inputs[i] for i in (*order, *rows)],
        graph=graph,
        num_consts=len(order),
        num_carry=0,
        length=size,
        unroll=size if unroll and size else 1,
    )
    return made, (True,) * len(outputs)
