"""How shape primitives transform.

They are linear, so their jvp is themselves. Transposed, repeating becomes summing, placing becomes
taking, and the rest moves elements back.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ...ir.builder import Builder, Operand, Zero
from ...ir.graph import Equation
from ...ir.ops import shape as s
from ...ir.types import BOOL, TensorType, has_tangent
from .. import tables
from ..tables import Operands, materialise_batch, unary_transpose

Axes = tuple[int, ...]
Batched = tuple[Operands, Sequence[bool]]


def nonzero_positions(operands: Operands) -> list[int]:
    return [i for i, x in enumerate(operands) if not isinstance(x, Zero)]


@lru_cache(maxsize=1024)
def inverse_permutation(permutation: tuple[int, ...]) -> Axes:
    return tuple(sorted(range(len(permutation)), key=permutation.__getitem__))


def place_along(b: Builder, x: Operand, axis: int, start: int, length: int) -> Operand:
    """x among zeros: its axis becomes `length` long, with x at `start`."""
    shape = x.type.shape
    high = length - start - shape[axis]
    config = tuple((start, high, 0) if i == axis else (0, 0, 0) for i in range(len(shape)))
    return b.pad(x, b.literal(0, x.type), padding_config=config)


# -- jvp of what takes any number of operands ----------------------------------------------------


@tables.jvp.rule(s.concatenate)
def jvp_concatenate(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """d[x, y] = [dx, dy]; one lone tangent is padded instead."""
    given = nonzero_positions(tangents)
    axis = eqn.params["dimension"]
    if len(given) == 1:
        start = sum(x.type.shape[axis] for x in eqn.inputs[: given[0]])
        length = eqn.outputs[0].type.shape[axis]
        return [place_along(b, tangents[given[0]], axis, start, length)]
    return b.emit(s.concatenate, *tangents, **eqn.params)


@tables.jvp.rule(s.stack)
def jvp_stack(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    return b.emit(s.stack, *tangents, **eqn.params)


@tables.jvp.rule(s.tie)
def jvp_tie(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    return [tangents[1]]


@tables.jvp.rule(s.optimization_barrier)
def jvp_optimization_barrier(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    return barrier_of(b, tangents)


def barrier_of(b: Builder, operands: Operands) -> list[Operand]:
    """The operands behind a barrier; symbolic zeros need none."""
    given = [i for i in nonzero_positions(operands) if has_tangent(operands[i].type)]
    behind = list(operands)
    if given:
        results = b.emit(s.optimization_barrier, *(operands[i] for i in given))
        for i, x in zip(given, results, strict=True):
            behind[i] = x
    return behind


# -- transpose -----------------------------------------------------------------------------------


@unary_transpose(s.broadcast_in_dim)
def transpose_broadcast_in_dim(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    """Sum over the axes that were added or stretched, then put the axes back in place."""
    shape = eqn.inputs[0].type.shape
    summed, kept, permutation = _repeated(shape, ct.type.shape, eqn.params["broadcast_dimensions"])
    ct = b.reduce_sum(ct, axes=summed) if summed else b.reshape(ct, new_sizes=kept)
    if permutation is not None:
        ct = b.transpose(ct, permutation=permutation)
    return ct if ct.type.shape == shape else b.reshape(ct, new_sizes=shape)


@lru_cache(maxsize=4096)
def _repeated(small: Axes, large: Axes, axes: Axes) -> tuple[Axes, Axes, Axes | None]:
    """Of a broadcast, the axes that repeat something; the shape without axes of length 1 that were
    added, if none does; and the permutation that orders what is left, if it needs one."""
    repeated = {i for i in range(len(large)) if i not in axes}
    repeated.update(axis for axis, n in zip(axes, small, strict=True) if n == 1)
    summed: Axes = ()
    left = list(axes)
    if any(large[i] != 1 for i in repeated):
        summed = tuple(sorted(repeated))
        left = [axis for axis in axes if axis not in repeated]
    is_ordered = left == sorted(left)
    order = None if is_ordered else inverse_permutation(inverse_permutation(tuple(left)))
    return summed, tuple(large[axis] for axis in sorted(axes)), order


@unary_transpose(s.reshape)
@unary_transpose(s.squeeze)
def transpose_reshape(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    return b.reshape(ct, new_sizes=eqn.inputs[0].type.shape)


@unary_transpose(s.transpose)
def transpose_transpose(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    return b.transpose(ct, permutation=inverse_permutation(eqn.params["permutation"]))


@unary_transpose(s.rev)
def transpose_rev(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    return b.rev(ct, **eqn.params)


@unary_transpose(s.tile)
def transpose_tile(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    """Each repeated axis is split in (copies, elements), and the copies are summed."""
    x, reps = eqn.inputs[0].type, eqn.params["reps"]
    split: list[int] = []
    copies = []
    for n, r in zip(x.shape, reps, strict=True):
        if r != 1:
            copies.append(len(split))
            split.append(r)
        split.append(n)
    return b.reduce_sum(b.reshape(ct, new_sizes=tuple(split)), axes=tuple(copies))


@tables.transpose.rule(s.concatenate)
def transpose_concatenate(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    """Cut the cotangent where the operands meet; one operand's part alone is a slice."""
    (ct,) = cts
    axis = eqn.params["dimension"]
    sizes = tuple(x.type.shape[axis] for x in eqn.inputs)
    if sum(linear) > 1:
        return b.emit(s.split, ct, sizes=sizes, axis=axis)
    result: list[Operand] = [Zero(x.type) for x in eqn.inputs]
    i = list(linear).index(True)
    start = [0] * ct.type.ndim
    limit = list(ct.type.shape)
    start[axis], limit[axis] = sum(sizes[:i]), sum(sizes[: i + 1])
    result[i] = b.slice(ct, start_indices=tuple(start), limit_indices=tuple(limit))
    return result


@tables.transpose.rule(s.split)
def transpose_split(b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]) -> Operands:
    """Join the parts again; one part alone is padded."""
    given = nonzero_positions(cts)
    axis = eqn.params["axis"]
    if len(given) == 1:
        start = sum(eqn.params["sizes"][: given[0]])
        length = eqn.inputs[0].type.shape[axis]
        return [place_along(b, cts[given[0]], axis, start, length)]
    return b.emit(s.concatenate, *cts, dimension=axis)


@tables.transpose.rule(s.stack, s.unstack)
def transpose_stacked(b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]) -> Operands:
    inverse = s.unstack if eqn.primitive is s.stack else s.stack
    return b.emit(inverse, *cts, **eqn.params)


@tables.transpose.rule(s.pad)
def transpose_pad(b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]) -> Operands:
    """Take the elements back from where they went; the padding value gets the sum of the rest."""
    (ct,) = cts
    x, value = eqn.inputs
    taken = unpad(b, ct, x.type.shape, eqn.params["padding_config"])
    ct_value: Operand = Zero(value.type)
    if linear[1]:
        everywhere = tuple(range(ct.type.ndim))
        ct_value = b.sub(b.reduce_sum(ct, axes=everywhere), b.reduce_sum(taken, axes=everywhere))
    return [taken if linear[0] else Zero(x.type), ct_value]


def unpad(b: Builder, ct: Operand, shape: Axes, config: Sequence[tuple[int, int, int]]) -> Operand:
    """The elements of a padded array that padding did not add; those cut off are zeros.

    Element i of an axis sits at low + i (interior + 1). What negative padding cut off is first
    padded back on; then all is one strided slice.
    """
    restored = tuple((max(-low, 0), max(-high, 0), 0) for low, high, _ in config)
    ct = b.pad(ct, b.literal(0, ct.type.strong), padding_config=restored)
    start = [max(low, 0) if n else 0 for (low, _, _), n in zip(config, shape, strict=True)]
    steps = [interior + 1 for _, _, interior in config]
    limit = [
        low + (n - 1) * step + 1 if n else 0
        for low, step, n in zip(start, steps, shape, strict=True)
    ]
    strides = tuple(steps) if any(step > 1 for step in steps) else None
    return b.slice(ct, start_indices=tuple(start), limit_indices=tuple(limit), strides=strides)


@tables.transpose.rule(s.tie)
def transpose_tie(b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]) -> Operands:
    return [Zero(eqn.inputs[0].type), cts[0]]


@tables.transpose.rule(s.optimization_barrier)
def transpose_optimization_barrier(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    return barrier_of(b, cts)


# -- batch ---------------------------------------------------------------------------------------


def shift(axes: Sequence[int]) -> Axes:
    """Axes of an array, in the array that has a batch axis in front."""
    return tuple(axis + 1 for axis in axes)


def batch_with(**moved: Any) -> tables.BatchRule:
    """The rule of a primitive of one operand whose parameters change as `moved` says."""

    def batch_unary(
        b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
    ) -> Batched:
        params = {name: moved[name](value, size) for name, value in eqn.params.items()}
        outputs = b.emit(eqn.primitive, *inputs, **params)
        return outputs, (True,) * len(outputs)

    return batch_unary


def _shifted(axes: Axes, _size: int) -> Axes:
    return shift(axes)


def _under_batch(axes: Axes, _size: int) -> Axes:
    return (0, *shift(axes))


def _sized(shape: Axes, size: int) -> Axes:
    return (size, *shape)


def _next_axis(axis: int, _size: int) -> int:
    return axis + 1


def kept(value: Any, _size: int) -> Any:
    """A parameter that does not depend on axes."""
    return value


tables.batch.define(s.broadcast_in_dim, batch_with(shape=_sized, broadcast_dimensions=_under_batch))
tables.batch.define(s.reshape, batch_with(new_sizes=_sized))
tables.batch.define(s.transpose, batch_with(permutation=_under_batch))
tables.batch.define(s.squeeze, batch_with(dimensions=_shifted))
tables.batch.define(s.rev, batch_with(dimensions=_shifted))
tables.batch.define(s.split, batch_with(sizes=kept, axis=_next_axis))
tables.batch.define(s.tile, batch_with(reps=lambda reps, _size: (1, *reps)))
tables.batch.define(s.unstack, batch_with(axis=_next_axis))
tables.batch.define(s.dce_sink, batch_with(prevent_mlir_dce=kept))


@tables.batch.rule(s.concatenate, s.stack)
def batch_joined(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    ((name, axis),) = eqn.params.items()
    full = [materialise_batch(b, x, is_b, size) for x, is_b in zip(inputs, batched, strict=True)]
    return b.emit(eqn.primitive, *full, **{name: axis + 1}), (True,)


@tables.batch.rule(s.pad)
def batch_pad(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    """With a padding value for each example, select it wherever x did not go."""
    x, value = inputs
    config = eqn.params["padding_config"]
    wide = ((0, 0, 0), *config) if batched[0] else config
    if not batched[1]:
        return b.emit(s.pad, x, value, padding_config=wide), (True,)
    shape = (size, *eqn.outputs[0].type.shape)
    padded = b.pad(x, b.literal(0, x.type), padding_config=wide)
    unbatched = TensorType(eqn.inputs[0].type.shape, BOOL)
    mask = b.pad(b.full(unbatched, True), b.literal(False, unbatched), padding_config=config)
    everywhere = range(1, len(shape))
    return [
        b.select_n(
            b.broadcast(mask, shape, everywhere),
            b.broadcast(value, shape, (0,)),
            materialise_batch(b, padded, batched[0], size),
        )
    ], (True,)


@tables.batch.rule(s.tie, s.optimization_barrier)
def batch_as_it_is(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    return b.emit(eqn.primitive, *inputs, **eqn.params), tuple(batched)[-len(eqn.outputs) :]
