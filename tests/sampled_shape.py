"""Samples of shape operations, reductions, cumulative operations and sorting."""

from __future__ import annotations

import math

import numpy as np
from harness import Case, program
from sampled import Sample, sampler

from covector.ir.primitive import PRIMITIVES

INT32 = np.dtype(np.int32)


@sampler("broadcast_in_dim")
def broadcast_in_dim(s: Sample) -> Case:
    rank = min(5, s.rank + s.int(0, 2))
    axes = tuple(sorted(s.order(rank)[: s.rank]))
    shape = [s.int(1, 3) for _ in range(rank)]
    for axis, n in zip(axes, s.shape, strict=True):
        shape[axis] = n if n != 1 or s.flag() else 2
    return s.case([s.type()], {"shape": tuple(shape), "broadcast_dimensions": axes})


@sampler("reshape")
def reshape(s: Sample) -> Case:
    x = s.shape
    options = [(math.prod(x),), x[::-1], (1, *x), (*x, 1), tuple(n for n in x if n != 1)]
    return s.case([s.type()], {"new_sizes": s.among(options)})


@sampler("transpose")
def transpose(s: Sample) -> Case:
    return s.case([s.type()], {"permutation": s.order()})


@sampler("squeeze")
def squeeze(s: Sample) -> Case:
    ones = tuple(i for i, n in enumerate(s.shape) if n == 1 and s.flag())
    return s.case([s.type()], {"dimensions": ones})


@sampler("concatenate", ranks=(1, 5))
def concatenate(s: Sample) -> Case:
    axis = s.axis()
    shapes = [(*s.shape[:axis], s.int(0, 2), *s.shape[axis + 1 :]) for _ in range(s.int(1, 3))]
    return s.case(map(s.type, [s.shape, *shapes]), {"dimension": axis})


@sampler("pad")
def pad(s: Sample) -> Case:
    config = tuple((s.int(-min(n, 1), 2), s.int(0, 2), s.int(0, 2)) for n in s.shape)
    return s.case([s.type(), s.type(())], {"padding_config": config})


@sampler("rev")
def rev(s: Sample) -> Case:
    return s.case([s.type()], {"dimensions": s.axes()})


@sampler("iota", ranks=(1, 5))
def iota(s: Sample) -> Case | None:
    """From zero, which is not among the powers of two."""
    if s.dtype == "f8_e8m0fnu":
        return None
    params = {"dtype": s.type().dtype, "shape": s.shape, "dimension": s.axis()}
    return s.case([], params, batch=False)


@sampler("split", ranks=(1, 5))
def split(s: Sample) -> Case:
    axis = s.axis()
    first = s.int(0, s.shape[axis])
    return s.case([s.type()], {"sizes": (first, s.shape[axis] - first), "axis": axis})


@sampler("tile")
def tile(s: Sample) -> Case:
    return s.case([s.type()], {"reps": s.each(1, 2)})


@sampler("stack", ranks=(0, 4))
def stack(s: Sample) -> Case:
    return s.case([s.type()] * s.int(1, 3), {"axis": s.int(0, s.rank)})


@sampler("unstack", ranks=(1, 5))
def unstack(s: Sample) -> Case | None:
    axis = s.axis()
    return s.case([s.type()], {"axis": axis}) if s.shape[axis] else None


@sampler("optimization_barrier")
def barrier(s: Sample) -> Case:
    return s.case([s.type(), s.type(())])


# -- reductions ------------------------------------------------------------------------------------


@sampler("reduce_sum reduce_prod reduce_max reduce_min")
def reduction(s: Sample) -> Case:
    """JAX's derivative of an extremum of nothing is 0 / 0."""
    domain, axes = (0, 1) if s.is_discrete else (-2.0, 2.0), s.axes()
    of_nothing = s.name in ("reduce_max", "reduce_min") and not all(s.shape[i] for i in axes)
    return s.case([s.type()], {"axes": axes}, domain, tol=40, differences=not of_nothing,
                  jax_derivative=not of_nothing)  # fmt: skip


@sampler("reduce_and reduce_or reduce_xor", dtype="i32")
def bits(s: Sample) -> Case:
    return s.case([s.type()], {"axes": s.axes()}, (-9, 9))


@sampler("argmax argmin", ranks=(1, 5))
def position(s: Sample) -> Case | None:
    axis = s.axis()
    if not s.shape[axis]:
        return None
    return s.case([s.type()], {"axes": (axis,), "index_dtype": INT32})


@sampler("reduce", dtype="f64")
def general_reduction(s: Sample) -> Case | None:
    x = s.type(())
    if not s.is_discrete and s.category != "float":
        return None
    name = "and" if s.category == "bool" else "mul"
    combine = program(lambda b, *xs: b.emit(PRIMITIVES[name], *xs), x, x, name="combine")
    params = {"dimensions": s.axes(), "graph": combine}
    return s.case([s.type(), x], params, [(-2.0, 2.0), np.array(1)], wrt=(0,), tol=40,
                  jax_derivative=False)  # fmt: skip


@sampler("cumsum cumprod cummax cummin cumlogsumexp", ranks=(1, 5))
def cumulative(s: Sample) -> Case:
    domain = (0, 1) if s.is_discrete else (-2.0, 2.0)
    return s.case([s.type()], {"axis": s.axis(), "reverse": s.flag()}, domain, tol=40)


@sampler("linear_recurrence", ranks=(1, 5))
def recurrence(s: Sample) -> Case:
    domain = (0, 1) if s.is_discrete else (-1.5, 1.5)
    return s.case([s.type()] * 2, {"axis": s.axis(), "reverse": s.flag()}, domain, tol=40)


@sampler("sort", ranks=(1, 5))
def sort(s: Sample) -> Case:
    others = s.int(0, 2)
    params = {"dimension": s.axis(), "num_keys": s.int(1, 1 + others), "is_stable": True}
    return s.case([s.type()] * (1 + others), params)


@sampler("top_k", ranks=(1, 5))
def top_k(s: Sample) -> Case:
    axis = s.axis()
    return s.case([s.type()], {"k": s.int(0, s.shape[axis]), "axis": axis})


@sampler("approx_top_k", ranks=(1, 5))
def approximate(s: Sample) -> Case | None:
    axis = s.axis()
    if not s.shape[axis]:
        return None
    k = s.int(1, s.shape[axis])
    return s.case([s.type()], {"k": k, "reduction_dimension": axis, "is_max_k": s.flag()})


@sampler("name")
def name(s: Sample) -> Case:
    return s.case([s.type()], {"name": "x"})


@sampler("layout_constraint")
def layout_constraint(s: Sample) -> Case:
    """XLA dies of some empty arrays as JAX lowers them (0.11 and 0.12)."""
    return s.case([s.type()], {"major_to_minor": s.order()}, jax=not s.is_empty)
