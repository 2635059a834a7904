"""The table of steps: for each primitive, how to choose operands and params from the values made.

Each step takes a `Drawing`, emits its equations and keeps the outputs that are well determined.
Those of elementwise primitives, and of regions and linear algebra, are in files of their own.
"""

from __future__ import annotations

from typing import Any

import generated_axis as axis_steps
import generated_library as library
import generated_regions as regions
from generated import C64, DTYPES, F32, I32, U32, Drawing, kind
from generated_elementwise import STEPS, step

from covector.ir.types import TensorType

# -- shape -----------------------------------------------------------------------------------------


@step("broadcast_in_dim")
def broadcast_in_dim(d: Drawing) -> None:
    x = d.value()
    new, old = d.shape(d.int(0, 1), 0), x.type.shape
    rank = len(old) + len(new)
    axes = tuple(sorted(d.order(rank)[: len(old)]))
    rest = iter(new)
    shape = [next(rest) if i not in axes else old[axes.index(i)] for i in range(rank)]
    shape = [3 if n == 1 and d.bool() else n for n in shape]
    d.keep(d.emit("broadcast_in_dim", x, shape=tuple(shape), broadcast_dimensions=axes))


@step("reshape")
def reshape(d: Drawing) -> None:
    x = d.value(rank=1)
    shape = x.type.shape
    options = [(x.type.size,), shape[::-1], (1, *shape), (*shape[:-1], 1, shape[-1])]
    d.keep(d.emit("reshape", x, new_sizes=d.among(options)))


@step("transpose")
def transpose(d: Drawing) -> None:
    x = d.value(rank=2)
    d.keep(d.emit("transpose", x, permutation=d.order(len(x.type.shape))))


@step("squeeze")
def squeeze(d: Drawing) -> None:
    x = d.value()
    x = d.emit("reshape", x, new_sizes=(*x.type.shape[:1], 1, *x.type.shape[1:]))
    d.keep(d.emit("squeeze", x, dimensions=(min(1, len(x.type.shape) - 1),)))


@step("concatenate")
def concatenate(d: Drawing) -> None:
    x = d.value(rank=1)
    axis = d.axis(x)
    shape = (*x.type.shape[:axis], d.int(0, 2), *x.type.shape[axis + 1 :])
    parts = [x, d.of_type(shape, x.type.dtype), d.like(x)][: d.int(1, 3)]
    d.keep(d.emit("concatenate", *parts, dimension=axis))


@step("pad")
def pad(d: Drawing) -> None:
    x = d.value(rank=1)
    config = tuple((d.int(-min(n, 1), 1), d.int(0, 1), d.int(0, 1)) for n in x.type.shape)
    d.keep(d.emit("pad", x, d.of_type((), x.type.dtype), padding_config=config))


@step("rev")
def rev(d: Drawing) -> None:
    x = d.value(rank=1)
    d.keep(d.emit("rev", x, dimensions=d.axes(x)))


@step("iota")
def iota(d: Drawing) -> None:
    shape = d.shape(d.int(1, 2))
    axis = d.int(0, len(shape) - 1)
    d.keep(d.emit("iota", dtype=d.among([F32, I32]), shape=shape, dimension=axis))


@step("split")
def split(d: Drawing) -> None:
    x = d.value(rank=1)
    axis = d.axis(x)
    n = x.type.shape[axis]
    first = d.int(0, n)
    d.keep(*regions.emit_all(d, "split", x, sizes=(first, n - first), axis=axis))


@step("tile")
def tile(d: Drawing) -> None:
    x = d.value(rank=1)
    d.keep(d.emit("tile", x, reps=tuple(d.int(1, 2) for _ in x.type.shape)))


@step("stack")
def stack(d: Drawing) -> None:
    x = d.value()
    axis = d.int(0, len(x.type.shape))
    d.keep(d.emit("stack", x, *(d.like(x) for _ in range(d.int(0, 2))), axis=axis))


@step("unstack")
def unstack(d: Drawing) -> None:
    x = d.value(rank=1)
    d.keep(*regions.emit_all(d, "unstack", x, axis=d.axis(x)))


@step("optimization_barrier")
def barrier(d: Drawing) -> None:
    d.keep(*d.emit("optimization_barrier", d.value(), d.value()))


# -- reductions, cumulative, sort ------------------------------------------------------------------

REDUCE = {
    "reduce_sum": "fci", "reduce_prod": "fci", "reduce_max": "fi", "reduce_min": "fi",
    "reduce_and": "b", "reduce_or": "b", "reduce_xor": "i",
}  # fmt: skip


@step(*REDUCE)
def reduction(d: Drawing, name: str) -> None:
    x = d.value(REDUCE[name], rank=1)
    axes = d.axes(x)
    if name in ("reduce_max", "reduce_min") and not x.type.size:
        return
    d.keep(d.emit(name, x, axes=axes))


@step("argmax", "argmin")
def position(d: Drawing, name: str) -> None:
    x = d.value("fi", rank=1)
    axis = d.axis(x)
    if x.type.shape[axis]:
        d.keep(d.emit(name, x, axes=(axis,), index_dtype=I32))


@step("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
def cumulative(d: Drawing, name: str) -> None:
    kinds = {"cumsum": "fci", "cumprod": "fci", "cumlogsumexp": "f"}.get(name, "fi")
    x = d.value(kinds, rank=1)
    d.keep(d.emit(name, x, axis=d.axis(x), reverse=d.bool()))


@step("linear_recurrence")
def recurrence(d: Drawing) -> None:
    t = d.value("fci", rank=1)
    a = d.of_type(t.type.shape, t.type.dtype)
    d.keep(d.emit("linear_recurrence", a, t, axis=d.axis(t), reverse=d.bool()))


@step("sort")
def sort(d: Drawing) -> None:
    x = d.value("fi", rank=1)
    others = [d.of_type(x.type.shape, DTYPES[d.among("fi")]) for _ in range(d.int(0, 1))]
    keys = d.int(1, 1 + len(others))
    d.keep(
        *regions.emit_all(d, "sort", x, *others, dimension=d.axis(x), is_stable=True, num_keys=keys)
    )


@step("top_k")
def top_k(d: Drawing) -> None:
    x = d.value("f", rank=1)
    axis = d.axis(x)
    d.keep(*d.emit("top_k", x, k=d.int(min(1, x.type.shape[axis]), x.type.shape[axis]), axis=axis))


# -- contractions and windows ----------------------------------------------------------------------


@step("dot_general")
def dot_general(d: Drawing) -> None:
    x = d.value("fci")
    x_axes = d.order(len(x.type.shape))
    batch = x_axes[: d.int(0, min(1, len(x_axes)))]
    contracting = x_axes[len(batch) :][: d.int(0, 2)]
    shared = [x.type.shape[i] for i in (*batch, *contracting)]
    shape = [*shared, *d.shape(d.int(0, 1))]
    order = d.order(len(shape))
    y = d.of_type([shape[i] for i in order], x.type.dtype)
    at = [order.index(i) for i in range(len(shared))]
    y_batch, y_contracting = tuple(at[: len(batch)]), tuple(at[len(batch) :])
    numbers = ((tuple(contracting), y_contracting), (tuple(batch), y_batch))
    d.keep(d.emit("dot_general", x, y, dimension_numbers=numbers))


@step("conv_general_dilated")
def convolution(d: Drawing) -> None:
    groups, batch_groups = d.among([(1, 1), (2, 1), (1, 2)])
    channels, outs = groups * d.int(1, 2), groups * batch_groups * d.int(1, 2)
    x = d.of_type((batch_groups * d.int(1, 2), channels, d.int(3, 4)), d.among([F32, F32, C64]))
    w = d.of_type((outs, channels // groups, d.int(1, 2)), x.type.dtype)
    d.keep(d.emit(
        "conv_general_dilated", x, w, lhs_spec=(0, 1, 2), rhs_spec=(0, 1, 2), out_spec=(0, 1, 2),
        window_strides=(d.int(1, 2),), padding=((d.int(0, 1), d.int(-1, 1)),),
        lhs_dilation=(d.int(1, 2),), rhs_dilation=(d.int(1, 2),), feature_group_count=groups,
        batch_group_count=batch_groups,
    ))  # fmt: skip


@step("reduce_window_sum", "reduce_window_max", "reduce_window_min")
def reduce_window(d: Drawing, name: str) -> None:
    x = d.of_type((d.int(2, 4), *d.shape(d.int(0, 1), 1)), F32)
    rank = len(x.type.shape)
    d.keep(d.emit(
        name, x, window_dimensions=(2, *(1,) * (rank - 1)),
        window_strides=(d.int(1, 2), *(1,) * (rank - 1)),
        padding=((d.int(0, 1), d.int(0, 1)), *((0, 0),) * (rank - 1)),
        base_dilation=(d.int(1, 2) if name.endswith("sum") else 1, *(1,) * (rank - 1)),
        window_dilation=(1,) * rank,
    ))  # fmt: skip


@step("fft")
def fft(d: Drawing) -> None:
    which, n = d.among(["FFT", "IFFT", "RFFT", "IRFFT"]), d.int(1, 4)
    lead = d.shape(d.int(0, 1))
    last = n // 2 + 1 if which == "IRFFT" else n
    x = d.of_type((*lead, last), F32 if which == "RFFT" else C64)
    d.keep(d.emit("fft", x, fft_type=which, fft_lengths=(n,)))


# -- indexing --------------------------------------------------------------------------------------


@step("slice")
def slice_(d: Drawing) -> None:
    x = d.value(rank=1)
    starts = tuple(d.int(0, n) for n in x.type.shape)
    limits = tuple(d.int(lo, n) for lo, n in zip(starts, x.type.shape, strict=True))
    strides = d.among([None, tuple(d.int(1, 2) for _ in starts)])
    d.keep(d.emit("slice", x, start_indices=starts, limit_indices=limits, strides=strides))


def indices(d: Drawing, shape: tuple[int, ...]) -> Any:
    """Positions that are in bounds, or not: -2, ..., 3."""
    x = d.of_type(shape, I32)
    return d.emit("sub", d.emit("and", x, 3), d.among([0, 0, 2]))


@step("dynamic_slice")
def dynamic_slice(d: Drawing) -> None:
    x = d.value(rank=1)
    starts = [indices(d, ()) for _ in x.type.shape]
    sizes = tuple(d.int(0, n) for n in x.type.shape)
    d.keep(d.emit("dynamic_slice", x, *starts, slice_sizes=sizes))


@step("dynamic_update_slice")
def dynamic_update_slice(d: Drawing) -> None:
    x = d.value(rank=1)
    starts = [indices(d, ()) for _ in x.type.shape]
    # XLA's CPU backend updates in place, and an update that is computed from x then reads what it
    # has overwritten (jax.jit differs from JAX run op by op): this one is computed from nothing.
    update = d.b.full(TensorType(tuple(d.int(0, n) for n in x.type.shape), x.type.dtype), 1)
    d.keep(d.emit("dynamic_update_slice", x, update, *starts))


MODES = ["FILL_OR_DROP", "CLIP"]


@step("gather")
def gather(d: Drawing) -> None:
    """Rows of x along one axis, or windows of it."""
    x = d.value(rank=1)
    axis, at = d.axis(x), d.shape(d.int(0, 1))
    shape = x.type.shape
    drop = d.bool() and shape[axis] > 0
    sizes = tuple((1 if drop else d.int(0, n)) if i == axis else n for i, n in enumerate(shape))
    rank = len(shape) - drop
    offset = tuple(sorted(d.order(rank + len(at))[:rank]))
    d.keep(d.emit(
        "gather", x, indices(d, (*at, 1)), offset_dims=offset,
        collapsed_slice_dims=(axis,) if drop else (), start_index_map=(axis,), slice_sizes=sizes,
        mode=d.among(MODES), fill_value=d.among([None, 0]) if kind(x) != "b" else None,
    ))  # fmt: skip


@step("scatter_add", "scatter", "scatter_sub", "scatter_mul", "scatter_min", "scatter_max")
def scatter(d: Drawing, name: str) -> None:
    kinds = {"scatter_min": "fi", "scatter_max": "fi", "scatter": "fcib"}.get(name, "fci")
    x = d.value(kinds, rank=1)
    axis, shape = d.axis(x), x.type.shape
    # Of windows that overlap any may be the last. JAX 0.10 derives extrema rightly only where
    # windows are apart and inside.
    unique = name not in ("scatter_add", "scatter_sub")
    mode = d.among(["FILL_OR_DROP"] if name in ("scatter_min", "scatter_max") else MODES)
    at = () if unique else d.shape(d.int(0, 1))
    drop = d.bool() and shape[axis] > 0
    window = tuple(d.int(0, n) if i == axis else n for i, n in enumerate(shape))
    window = tuple(n for i, n in enumerate(window) if i != axis or not drop)
    where = tuple(sorted(d.order(len(window) + len(at))[: len(window)]))
    inner, outer = iter(window), iter(at)
    full = [next(inner) if i in where else next(outer) for i in range(len(window) + len(at))]
    d.keep(d.emit(
        name, x, indices(d, (*at, 1)), d.of_type(full, x.type.dtype), update_window_dims=where,
        inserted_window_dims=(axis,) if drop else (), scatter_dims_to_operand_dims=(axis,),
        mode=mode, unique_indices=unique,
    ))  # fmt: skip


# -- random ----------------------------------------------------------------------------------------


@step("random_bits")
def random_bits(d: Drawing) -> None:
    key = d.emit("random_seed", d.of_type((), I32), impl="fry")
    if d.bool():
        key = d.emit(
            "random_fold_in",
            key,
            d.emit("convert_element_type", d.of_type((), I32), new_dtype=U32, weak_type=False),
        )
    made = d.emit("random_bits", key, bit_width=32, shape=d.shape())
    d.keep(d.emit("shift_right_logical", made, 28))


LEAVES = list(STEPS)
"""What is drawn where regions are nested deeply enough."""
STEPS.update(regions.STEPS)
STEPS.update(axis_steps.STEPS)
STEPS.update(library.STEPS)
