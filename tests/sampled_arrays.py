"""Samples of products, convolutions, windows, slices, gathers, scatters and transforms."""

from __future__ import annotations

from typing import Any

import numpy as np
from harness import Case, TensorType, program
from sampled import Sample, sampler
from sampled_elementwise import NUMBERS

# -- products --------------------------------------------------------------------------------------


@sampler("dot_general")
def dot_general(s: Sample) -> Case:
    """Any axes contracted, any that are left in common; the other operand has them anywhere."""
    order = s.order()
    n_batch = s.int(0, min(2, s.rank))
    batch = order[:n_batch]
    contracting = order[n_batch : s.int(n_batch, min(s.rank, n_batch + 2))]
    shared = [s.shape[i] for i in (*batch, *contracting)]
    free = [s.int(1, 3) for _ in range(s.int(0, min(2, 5 - len(shared))))]
    shape, places = [*shared, *free], s.order(len(shared) + len(free))
    at = [places.index(i) for i in range(len(shared))]
    numbers = ((contracting, tuple(at[n_batch:])), (batch, tuple(at[:n_batch])))
    other = s.type([shape[i] for i in places])
    return s.case([s.type(), other], {"dimension_numbers": numbers}, small(s), tol=40)


def small(s: Sample) -> Any:
    return (0, 1) if s.is_discrete else NUMBERS


@sampler("ragged_dot_general", ranks=(2, 2))
def ragged_dot(s: Sample) -> Case:
    rows, inner = s.shape
    numbers = (((1,), (1,)), ((), ()))
    params = {"dimension_numbers": numbers, "lhs_ragged_dimensions": (0,),
              "rhs_group_dimensions": (0,)}  # fmt: skip
    operands = [s.type((rows, inner)), s.type((2, inner, s.int(1, 3))), s.type((2,), "i32")]
    return s.case(operands, params, [small(s), small(s), (0, 1)], tol=40)


@sampler("conv_general_dilated", ranks=(2, 5))
def convolution(s: Sample) -> Case:
    """Any order of axes, strides, dilations, groups."""
    n = s.rank - 2
    groups, batch_groups = s.among([(1, 1), (2, 1), (1, 2)])
    inputs, outputs = s.int(1, 2), groups * batch_groups * s.int(1, 2)
    space = [s.int(2, 4) for _ in range(n)]
    kernel = [s.int(1, 2) for _ in range(n)]
    sizes = [batch_groups * s.int(1, 2), groups * inputs, *space]
    if s.is_empty:
        sizes[s.among([0, *range(2, s.rank)])] = 0
    lhs, rhs, out = s.order(), s.order(), s.order()
    params = {
        "lhs_spec": lhs, "rhs_spec": rhs, "out_spec": out,
        "window_strides": each(s, n, 1, 2),
        "padding": tuple((s.int(0, 2), s.int(-1, 2)) for _ in range(n)),
        "lhs_dilation": each(s, n, 1, 2), "rhs_dilation": each(s, n, 1, 2),
        "feature_group_count": groups, "batch_group_count": batch_groups,
    }  # fmt: skip
    operands = [
        s.type(placed(spec, shape))
        for spec, shape in ((lhs, sizes), (rhs, [outputs, inputs, *kernel]))
    ]
    return s.case(operands, params, small(s), tol=40)


def each(s: Sample, n: int, low: int, high: int) -> tuple[int, ...]:
    return tuple(s.int(low, high) for _ in range(n))


def placed(spec: tuple[int, ...], sizes: list[int]) -> list[int]:
    """The shape whose axis spec[i] has sizes[i]."""
    shape = [0] * len(spec)
    for axis, n in zip(spec, sizes, strict=True):
        shape[axis] = n
    return shape


# -- windows ---------------------------------------------------------------------------------------


def window(s: Sample) -> dict[str, Any]:
    """Windows that are in the operand at least in part."""
    spread, sizes = s.each(1, 2), s.each(1, 2)
    return {
        "window_dimensions": sizes,
        "window_strides": s.each(1, 2),
        "padding": tuple((s.int(0, n - 1), s.int(0, n - 1)) for n in sizes),
        "base_dilation": (1,) * s.rank,
        "window_dilation": spread if s.name in ("reduce_window_sum", "reduce_window") else
        (1,) * s.rank,
    }  # fmt: skip


@sampler("reduce_window_sum reduce_window_max reduce_window_min")
def reduce_window(s: Sample) -> Case:
    fields: dict[str, Any] = {"tol": 40, "differences": not s.is_empty}
    if not s.rank and s.name != "reduce_window_sum":
        fields["jax_derivative"] = False  # XLA for CPUs dies of it
    return s.case([s.type()], window(s), small(s), **fields)


@sampler("reduce_window", dtype="f64", ranks=(0, 4))
def general_window(s: Sample) -> Case | None:
    if s.category not in ("float", "int", "uint"):
        return None
    x = s.type(())
    params = {"graph": program(lambda b, x, y: [b.mul(x, y)], x, x, name="combine"), **window(s)}
    return s.case([s.type(), x], params, [small(s), np.array(1)], wrt=(0,), jax_derivative=False,
                  tol=40)  # fmt: skip


@sampler("select_and_gather_add", ranks=(0, 4))
def select_and_gather(s: Sample) -> Case:
    """Without axes, XLA for CPUs dies of JAX's derivative: differences check it. JAX starts from
    an infinite key, which as a bool is True."""
    params = {"select_prim": s.among(["ge", "le"]), **window(s)}
    return s.case([s.type()] * 2, params, wrt=(0,), jax=s.dtype != "bool",
                  jax_derivative=s.rank > 0)  # fmt: skip


@sampler("select_and_scatter_add", ranks=(0, 4))
def select_and_scatter(s: Sample) -> Case:
    params = window(s)
    del params["base_dilation"], params["window_dilation"]
    counts = [
        max(0, (n + sum(pad) - size) // stride + 1)
        for n, pad, size, stride in zip(
            s.shape, params["padding"], params["window_dimensions"], params["window_strides"],
            strict=True,
        )
    ]  # fmt: skip
    params["select_prim"] = s.among(["ge", "le"])
    in_jax = s.rank > 0  # without axes, XLA for CPUs dies of JAX's
    return s.case([s.type(counts), s.type()], params, wrt=(0,), jax=in_jax)


# -- slices, gathers, scatters ---------------------------------------------------------------------


@sampler("slice")
def slice_(s: Sample) -> Case:
    starts = tuple(s.int(0, n) for n in s.shape)
    limits = tuple(s.int(low, n) for low, n in zip(starts, s.shape, strict=True))
    params = {"start_indices": starts, "limit_indices": limits, "strides": s.each(1, 2)}
    return s.case([s.type()], params)


INDICES = ("i32", "u8", "i64", "i8", "u32")


@sampler("dynamic_slice")
def dynamic_slice(s: Sample) -> Case:
    index = s.type((), s.among(INDICES))
    sizes = tuple(s.int(0, n) for n in s.shape)
    domain = [NUMBERS, *[(-2, 4)] * s.rank]
    return s.case([s.type(), *[index] * s.rank], {"slice_sizes": sizes}, domain)


@sampler("dynamic_update_slice")
def dynamic_update_slice(s: Sample) -> Case:
    index = s.type((), s.among(INDICES))
    update = s.type([s.int(0, n) for n in s.shape])
    return s.case([s.type(), update, *[index] * s.rank], {}, [NUMBERS] * 2 + [(-2, 4)] * s.rank)


MODES = ("FILL_OR_DROP", "CLIP")


@sampler("gather")
def gather(s: Sample) -> Case:
    """Windows at random places of some axes, of which some are dropped, and some batched."""
    order = s.order()
    n_batch = s.int(0, min(1, s.rank))
    batching, mapped = order[:n_batch], order[n_batch : s.int(n_batch, s.rank)]
    dropped = tuple(sorted(i for i in mapped if s.shape[i] and s.flag()))
    sizes = [min(n, s.int(1, 2)) if i in mapped else n for i, n in enumerate(s.shape)]
    for i in (*dropped, *batching):
        sizes[i] = min(1, s.shape[i])
    if any(not s.shape[i] for i in batching):
        batching, sizes = (), [*s.shape]
        mapped, dropped = (), ()
    lead = [s.shape[i] for i in batching] + [s.int(0, 3) for _ in range(s.int(0, 1))]
    window_rank = s.rank - len(dropped) - len(batching)
    offset = tuple(sorted(s.order(window_rank + len(lead))[:window_rank]))
    params = {
        "offset_dims": offset, "collapsed_slice_dims": dropped, "start_index_map": mapped,
        "operand_batching_dims": batching,
        "start_indices_batching_dims": tuple(range(len(batching))),
        "slice_sizes": tuple(sizes), "mode": s.among(MODES),
    }  # fmt: skip
    params["fill_value"] = 1 if params["mode"] == "FILL_OR_DROP" else None
    indices = s.type((*lead, len(mapped)), s.among(INDICES))
    return s.case([s.type(), indices], params, [NUMBERS, (-2, 4)])


def distinct(rng: np.random.Generator, type: TensorType) -> Any:
    """Each place at most once: of windows that overlap, any may win."""
    return rng.permutation(4)[: type.size].reshape(type.shape)


@sampler("scatter scatter_add scatter_sub scatter_mul scatter_min scatter_max", ranks=(1, 5))
def scatter(s: Sample) -> Case:
    """Rows along one axis, that axis anywhere in the updates."""
    axis = s.axis()
    once = s.name not in ("scatter_add", "scatter_sub")
    count = s.int(0, min(3, s.shape[axis]))
    rest = [n for i, n in enumerate(s.shape) if i != axis]
    place = s.int(0, len(rest))
    where = tuple(i for i in range(s.rank) if i != place)
    params = {
        "update_window_dims": where, "inserted_window_dims": (axis,),
        "scatter_dims_to_operand_dims": (axis,), "mode": s.among(MODES) if not once else MODES[0],
        "unique_indices": once,
    }  # fmt: skip
    updates = s.type([*rest[:place], count, *rest[place:]])
    domain = [small(s), distinct if once else (-1, 3), small(s)]
    index = s.type((count, 1), s.among(INDICES))
    return s.case([s.type(), index, updates], params, domain, tol=4)


# -- transforms ------------------------------------------------------------------------------------


@sampler("fft", dtype="c64", ranks=(1, 5))
def fft(s: Sample) -> Case | None:
    n = s.int(1, min(3, s.rank))
    kinds = ["RFFT"] if s.category == "float" else ["FFT", "IFFT", "IRFFT"]
    kind = s.among(kinds)
    shape, lengths = [*s.shape], [*s.shape[-n:]]
    if kind == "IRFFT":
        lengths[-1] = 2 * shape[-1] - 1
    if any(length < 1 for length in lengths):
        return None
    return s.case([s.type(shape)], {"fft_type": kind, "fft_lengths": tuple(lengths)}, tol=40)
