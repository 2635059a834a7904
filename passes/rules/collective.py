"""How collectives transform.

In a batch whose axis they name (None, see `passes/axis_names`) they become operations along the
batch axis; over other axes they stay, with their positions behind the batch axis. Transposed, what
is summed is sent to all again, and the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...ir.builder import Builder, Operand
from ...ir.errors import PassError
from ...ir.graph import Equation
from ...ir.ops import collective as c
from ...ir.ops import reduction
from ...ir.primitive import Primitive
from ...ir.types import INT32, TensorType, dtype_category
from .. import tables
from ..tables import Operands, materialise_batch, unary_transpose
from .rows import fold_axis, move_axis, split_axis, take_rows

Batched = tuple[Operands, Sequence[bool]]

# -- derivatives ---------------------------------------------------------------------------------


@tables.jvp.rule(c.pmax, c.pmin)
def jvp_extremum(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """The mean of the tangents of those that are the extremum."""
    (x,), (y,) = eqn.inputs, eqn.outputs
    is_extremum = b.convert(b.eq(x, y), y.type.dtype)
    count = b.psum(is_extremum, **eqn.params)
    total = b.psum(b.mul(tangents[0], is_extremum), **eqn.params)
    return [b.div(total, count)]


@unary_transpose(c.psum)
def transpose_psum(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    """Each gets the sum of what all readers of the sum send back."""
    return b.psum(ct, **eqn.params)


@unary_transpose(c.ppermute)
def transpose_ppermute(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    perm = tuple((target, source) for source, target in eqn.params["perm"])
    return b.ppermute(ct, axis_name=eqn.params["axis_name"], perm=perm)


@unary_transpose(c.pbroadcast)
def transpose_pbroadcast(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    """The sum, for the source alone."""
    axes = c.axes_of(eqn.params)
    if len(axes) > 1:
        raise PassError("pbroadcast over several axes has no transpose", eqn, stage="transpose")
    total = b.psum(ct, axes=axes)
    index = b.axis_index(axis_name=axes[0])
    is_source = b.eq(index, b.literal(eqn.params["source"], TensorType((), INT32)))
    return b.select_n(is_source, b.full(ct.type, 0), total)


@unary_transpose(c.all_gather)
def transpose_all_gather(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    params = dict(eqn.params)
    axis = params.pop("all_gather_dimension")
    return b.reduce_scatter(ct, scatter_dimension=axis, **params)


@unary_transpose(c.reduce_scatter)
def transpose_reduce_scatter(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    params = dict(eqn.params)
    axis = params.pop("scatter_dimension")
    return b.all_gather(ct, all_gather_dimension=axis, **params)


@unary_transpose(c.all_to_all)
def transpose_all_to_all(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    p = eqn.params
    swapped = {"split_axis": p["concat_axis"], "concat_axis": p["split_axis"]}
    return b.all_to_all(ct, **{**p, **swapped})


# -- batch ---------------------------------------------------------------------------------------


def other_axes(eqn: Equation) -> tuple[str, ...]:
    """The named axes apart from that of the batch. Raises PassError for groups of its members."""
    axes = c.axes_of(eqn.params)
    if eqn.params.get("axis_index_groups") is not None and None in axes:
        raise PassError(
            f"{eqn.primitive.name} with axis_index_groups has no batch", eqn, stage="batch"
        )
    return tuple(axis for axis in axes if axis is not None)


def alone(eqn: Equation) -> None:
    """Raise PassError if the batch axis is one of several: only one is resolved at once."""
    if other_axes(eqn):
        axes = ", ".join(str(axis or "that of the batch") for axis in c.axes_of(eqn.params))
        raise PassError(
            f"{eqn.primitive.name} over several axes together ({axes}) has no batch",
            eqn,
            stage="batch",
            hint="apply it to one axis after the other",
        )


def shifted(eqn: Equation, *names: str) -> dict[str, Any]:
    """Parameters with these positions moved behind a batch axis."""
    return {**eqn.params, **{name: eqn.params[name] + 1 for name in names}}


def _reduce(
    b: Builder,
    eqn: Equation,
    inputs: Operands,
    batched: Sequence[bool],
    along: Primitive,
    of_equals: Callable[[Operand], Operand],
) -> Batched:
    """Along the batch axis by `along`, or `of_equals` of what is the same for all; then over the
    other axes."""
    (x,), (is_batched,) = inputs, batched
    if None not in c.axes_of(eqn.params):
        return b.emit(eqn.primitive, x, **eqn.params), batched
    if (
        not is_batched and eqn.params.get("axis_index_groups") is not None
    ):  # all are equal, groups too
        return [strong(b, of_equals(x))], [False]
    rest = other_axes(eqn)
    y = b.emit(along, x, axes=(0,))[0] if is_batched else of_equals(x)
    if rest:
        (y,) = b.emit(eqn.primitive, y, **{**eqn.params, "axes": rest})
    return [strong(b, y)], [False]


def strong(b: Builder, x: Operand) -> Operand:
    return b.convert(x, x.type.dtype) if x.type.weak else x


@tables.batch.rule(c.psum)
def batch_psum(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    groups = eqn.params.get("axis_index_groups")  # psum_invariant has none
    n = size if groups is None else len(groups[0])
    return _reduce(b, eqn, inputs, batched, reduction.reduce_sum, lambda x: times(b, x, n))


def times(b: Builder, x: Operand, n: int) -> Operand:
    """The sum of n equal values."""
    if dtype_category(x.type.dtype) == "bool":
        return x
    return b.mul(x, b.literal(n, x.type))


@tables.batch.rule(c.pmax)
def batch_pmax(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    return _reduce(b, eqn, inputs, batched, reduction.reduce_max, lambda x: x)


@tables.batch.rule(c.pmin)
def batch_pmin(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    return _reduce(b, eqn, inputs, batched, reduction.reduce_min, lambda x: x)


@tables.batch.rule(c.ppermute)
def batch_ppermute(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    """Rows in another order; zeros for those to whom nobody sends."""
    (x,), (is_batched,), p = inputs, batched, eqn.params
    if None not in c.axes_of(p):
        return b.emit(eqn.primitive, x, **p), batched
    alone(eqn)
    senders = {target % size: source % size for source, target in p["perm"]}
    if len(senders) != len(p["perm"]) or len(set(senders.values())) != len(senders):
        raise PassError(
            f"ppermute sends from and to each member at most once; got perm={p['perm']}",
            eqn,
            stage="batch",
        )
    if not is_batched and len(senders) == size:
        return [x], [False]
    rows = materialise_batch(b, x, is_batched, size)
    return [take_rows(b, rows, [senders.get(i) for i in range(size)])], [True]


@tables.batch.rule(c.pbroadcast)
def batch_pbroadcast(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    (x,), (is_batched,) = inputs, batched
    if None not in c.axes_of(eqn.params):
        return b.emit(eqn.primitive, x, **eqn.params), batched
    alone(eqn)
    if not is_batched:
        return [x], [False]
    row = take_rows(b, x, [eqn.params["source"]])
    return [b.reshape(row, new_sizes=x.type.shape[1:])], [False]


@tables.batch.rule(c.all_gather)
def batch_all_gather(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    """The batch axis moves to where the gathered are to be."""
    (x,), (is_batched,), p = inputs, batched, eqn.params
    if None not in c.axes_of(p):
        params = shifted(eqn, "all_gather_dimension") if is_batched else p
        return b.emit(eqn.primitive, x, **params), batched
    alone(eqn)
    axis = p["all_gather_dimension"]
    y = move_axis(b, materialise_batch(b, x, is_batched, size), 0, axis)
    return [strong(b, fold_axis(b, y, axis) if p["tiled"] else y)], [False]


@tables.batch.rule(c.reduce_scatter)
def batch_reduce_scatter(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    """The sum, of which each gets its part."""
    (x,), (is_batched,), p = inputs, batched, eqn.params
    if None not in c.axes_of(p):
        params = shifted(eqn, "scatter_dimension") if is_batched else p
        return b.emit(eqn.primitive, x, **params), batched
    alone(eqn)
    total = b.reduce_sum(x, axes=(0,)) if is_batched else times(b, x, size)
    axis = p["scatter_dimension"]
    parts = split_axis(b, total, axis, size) if p["tiled"] else total
    return [strong(b, move_axis(b, parts, axis, 0))], [True]


@tables.batch.rule(c.all_to_all)
def batch_all_to_all(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    """The axis that is split becomes the batch axis, which goes to where the parts are joined.

    With more axes, one after the other: the parts for the major ones first, since these are sent as
    they lie; what arrives is joined in the same order.
    """
    (x,), (is_batched,), p = inputs, batched, eqn.params
    axes = c.axes_of(p)
    if None not in axes:
        params = shifted(eqn, "split_axis", "concat_axis") if is_batched else p
        return b.emit(eqn.primitive, x, **params), batched
    x = materialise_batch(b, x, is_batched, size)
    place = axes.index(None)
    if len(axes) == 1:
        return [strong(b, _exchange(b, x, p["split_axis"], p["concat_axis"], size))], [True]
    return [strong(b, _exchange_several(b, eqn, x, axes[:place], axes[place + 1 :], size))], [True]


def _exchange(b: Builder, x: Operand, split: int, joined: int, size: int) -> Operand:
    """x: [senders, ..., split: receivers * n, ...] -> [receivers, ..., joined: senders * m, ...]"""
    parts = split_axis(b, x, split + 1, size)  # [senders, ..., receivers, n, ...]
    rows = move_axis(b, parts, split + 1, 0)  # [receivers, senders, ...]
    return fold_axis(b, move_axis(b, rows, 1, joined + 1), joined + 1)


def _exchange_several(
    b: Builder, eqn: Equation, x: Operand, major: Sequence[Any], minor: Sequence[Any], size: int
) -> Operand:
    """The chunks of the axes [major, batch, minor] are kept apart until all have arrived."""
    p = eqn.params
    split, joined, groups = p["split_axis"] + 1, p["concat_axis"], p["axis_index_groups"]
    total = p["axis_size"] // size
    n_major, n_minor = (total, 1) if not minor else (1, total)
    if major and minor:
        raise PassError(
            "all_to_all over three axes together has no batch", eqn, stage="batch",
            hint="apply it to one axis after the other",
        )  # fmt: skip
    # x: [b, ..., (major batch minor n), ...]; make [major, batch, minor] axes of their own.
    shape = x.type.shape
    length = shape[split] // (n_major * size * n_minor)
    chunks = (*shape[:split], n_major, size, n_minor, length, *shape[split + 1 :])
    y = b.reshape(x, new_sizes=chunks)
    y = move_axis(b, y, split + 1, 0)  # [receivers b', senders b, ..., major, minor, n, ...]
    common = {"axis_index_groups": groups, "tiled": True, "axis_size": total}
    where = split + 1 if major else split + 2  # of the axis of the others' chunks
    axis_name = tuple(major or minor)
    y = b.all_to_all(y, axis_name=axis_name, split_axis=where, concat_axis=where, **common)
    y = b.reshape(y, new_sizes=_without_ones(y.type.shape, split + 2 if major else split + 1))
    # [b', b, ..., others, n, ...]: the others' axis goes beside b, in the order of the axes.
    y = move_axis(b, y, split + 1, 1 if major else 2)
    y = fold_axis(b, y, 1)
    return fold_axis(b, move_axis(b, y, 1, joined + 1), joined + 1)


def _without_ones(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])


@tables.batch.rule(c.axis_index)
def batch_axis_index(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    if None not in c.axes_of(eqn.params):
        return b.emit(eqn.primitive, **eqn.params), [False]
    return [b.iota(dtype=INT32, shape=(size,), dimension=0)], [True]
