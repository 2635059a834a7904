"""Slices and gathers."""

from __future__ import annotations

import pytest
from harness import Case, bool_, f32, i32, laws, program, u8, u32

from covector.ir.builder import Builder
from covector.ir.errors import TypeRuleError
from covector.ir.graph import Value
from covector.ir.primitive import PRIMITIVES
from covector.passes.batch import batch_graph

ALL = "bf16 f64 c64 i32 u8 bool"

# -- slices --------------------------------------------------------------------------------------


def cut(*operand: int, start, limit, strides=None, also: str = "") -> Case:
    params = {"start_indices": start, "limit_indices": limit, "strides": strides}
    return Case("slice", [f32(*operand)], params, also=also)


def dynamic(*operand: int, sizes: tuple[int, ...], index=i32, also: str = "") -> Case:
    starts = [index() for _ in operand]
    domain = [(-2.0, 2.0)] + [(-2, 6)] * len(starts)
    return Case(
        "dynamic_slice", [f32(*operand), *starts], {"slice_sizes": sizes}, domain, also=also
    )


def update(*operand: int, sizes: tuple[int, ...], wrt=None, also: str = "") -> Case:
    starts = [i32() for _ in operand]
    domain = [(-2.0, 2.0)] * 2 + [(-2, 6)] * len(starts)
    types = [f32(*operand), f32(*sizes), *starts]
    return Case("dynamic_update_slice", types, {}, domain, wrt=wrt, also=also)


SLICES = [
    cut(4, 3, 5, start=(1, 0, 2), limit=(3, 2, 2), also=ALL),
    cut(4, 5, start=(1, 0), limit=(4, 5), strides=(2, 3), also=ALL),
    cut(4, 5, start=(1, 0), limit=(1, 5), strides=(2, 3)),
    cut(7, start=(0,), limit=(7,), strides=(3,)),
    dynamic(4, 5, sizes=(2, 3), also=ALL),
    dynamic(4, 5, sizes=(2, 5)),
    dynamic(4, 5, 3, sizes=(1, 5, 2), index=u32),
    dynamic(3, sizes=(0,)),
    update(4, 5, sizes=(2, 3), also=ALL),
    update(4, 5, sizes=(4, 2)),
    update(4, 5, sizes=(2, 3), wrt=(0,)),
    update(4, 5, sizes=(2, 3), wrt=(1,)),
    update(3, sizes=(0,)),
]

# -- gathers -------------------------------------------------------------------------------------


def gather(operand, indices, sizes, offset, collapsed, mapped, *, mode, batching=((), ()), **more):
    params = {
        "offset_dims": offset,
        "collapsed_slice_dims": collapsed,
        "start_index_map": mapped,
        "operand_batching_dims": batching[0],
        "start_indices_batching_dims": batching[1],
        "slice_sizes": sizes,
        "mode": mode,
        "fill_value": more.pop("fill_value", 0 if mode == "FILL_OR_DROP" else None),
    }
    inside = mode == "PROMISE_IN_BOUNDS"  # of gathers, all clamp; its derivatives do not
    low, high = (0, 1) if inside else (-2, 5)
    return Case("gather", [operand, indices], params, [(-2.0, 2.0), (low, high)], **more)


def gathers(mode: str) -> list[Case]:
    return [
        gather(f32(4, 5), i32(4, 2), (2, 3), (1, 2), (), (0, 1), mode=mode, also=ALL),
        gather(f32(4, 5), i32(4, 2), (2, 3), (0, 2), (), (1, 0), mode=mode),
        gather(f32(4, 3), i32(2, 2, 1), (1, 3), (1,), (0,), (0,), mode=mode),
        gather(f32(3, 4, 2), i32(2, 3, 1), (1, 1, 2), (2,), (1,), (1,), mode=mode,
               batching=((0,), (1,))),
        gather(f32(4, 3), i32(0, 1), (1, 3), (1,), (0,), (0,), mode=mode),
        gather(f32(4), i32(1), (1,), (), (0,), (0,), mode=mode),
        gather(f32(2, 4, 3), u8(2, 3), (1, 1, 1), (), (0, 1, 2), (0, 1, 2), mode=mode),
        gather(f32(4, 3), i32(2, 0), (1, 3), (1,), (0,), (), mode=mode),
    ]  # fmt: skip


GATHERS = [
    *gathers("FILL_OR_DROP"),
    *gathers("CLIP"),
    *gathers("PROMISE_IN_BOUNDS"),
    gather(f32(4, 3), i32(2, 1), (1, 3), (1,), (0,), (0,), mode="FILL_OR_DROP", fill_value=7.5),
    gather(
        f32(4),
        i32(6, 1),
        (1,),
        (),
        (0,),
        (0,),
        mode="FILL_OR_DROP",
        fill_value=float("nan"),
        differences=False,
    ),
    gather(bool_(4), i32(6, 1), (1,), (), (0,), (0,), mode="FILL_OR_DROP", fill_value=True),
]


@laws(SLICES)
def test_slices(case, law):
    law(case)


@laws(GATHERS)
def test_gathers(case, law):
    law(case)


# -- what is not covered by laws -----------------------------------------------------------------


def test_a_batch_of_equal_starts_is_one_slice():
    graph = program(
        lambda b, x, i, j: [b.dynamic_slice(x, i, j, slice_sizes=(2, 3))], f32(4, 5), i32(), i32()
    )
    batched, _ = batch_graph(graph, (True, False, False), 7)
    assert [e.primitive.name for e in batched.equations] == ["dynamic_slice"]


def test_a_batch_of_starts_leaves_out_full_axes():
    graph = program(
        lambda b, x, i, j: [b.dynamic_slice(x, i, j, slice_sizes=(2, 5))], f32(4, 5), i32(), i32()
    )
    batched, _ = batch_graph(graph, (True, True, False), 7)
    (_, gathered) = batched.equations
    assert gathered.params["start_index_map"] == (1,)


@pytest.mark.parametrize(
    ("build", "names"),
    [
        (lambda b, x: b.dynamic_slice(x, 1, 7, slice_sizes=(2, 2)), ["slice"]),
        (lambda b, x: b.slice(x, start_indices=(0, 0), limit_indices=(4, 5)), []),
        (lambda b, x: b.dynamic_update_slice(x, x, 1, 2), []),
    ],
)
def test_folds(build, names):
    def with_starts(b, x):
        return [build(_Starts(b), x)]

    graph = program(with_starts, f32(4, 5))
    assert [e.primitive.name for e in graph.equations] == names


class _Starts:
    """A builder that makes i32 literals of numbers."""

    def __init__(self, b: Builder) -> None:
        self.b = b

    def __getattr__(self, name: str):
        def emit(x, *rest, **params):
            rest = [self.b.literal(r, i32()) if isinstance(r, int) else r for r in rest]
            return getattr(self.b, name)(x, *rest, **params)

        return emit


GATHER = {"offset_dims": (1,), "collapsed_slice_dims": (0,), "start_index_map": (0,)}


@pytest.mark.parametrize(
    ("name", "types", "params", "message"),
    [
        ("slice", [f32(3)], {"start_indices": (0,), "limit_indices": (4,)}, "from 0 to 4"),
        ("slice", [f32(3)], {"start_indices": (0, 0), "limit_indices": (4,)}, "one start"),
        ("slice", [f32(3)], {"start_indices": (0,), "limit_indices": (2,), "strides": (0,)}, "pos"),
        ("dynamic_slice", [f32(3), i32(1)], {"slice_sizes": (1,)}, "scalars"),
        ("dynamic_slice", [f32(3), f32()], {"slice_sizes": (1,)}, "integer indices"),
        ("dynamic_slice", [f32(3), i32()], {"slice_sizes": (4,)}, "does not fit"),
        ("dynamic_slice", [f32(3)], {"slice_sizes": (1,)}, "one start"),
        ("dynamic_update_slice", [f32(3), i32(1), i32()], {}, "one dtype"),
        ("gather", [f32(4, 3), f32(2, 1)], {**GATHER, "slice_sizes": (1, 3)}, "integer"),
        ("gather", [f32(4, 3), i32(2, 2)], {**GATHER, "slice_sizes": (1, 3)}, "maps 1"),
        ("gather", [f32(4, 3), i32(2, 1)], {**GATHER, "slice_sizes": (2, 3)}, "length 1"),
        ("gather", [f32(4, 3), i32(2, 1)], {**GATHER, "slice_sizes": (1, 4)}, "does not fit"),
        ("gather", [f32(4, 3), i32(2, 1)], {**GATHER, "slice_sizes": (1, 3), "mode": "W"}, "W"),
    ],
)  # fmt: skip
def test_ill_typed(name, types, params, message):
    with pytest.raises(TypeRuleError, match=message):
        Builder().emit(PRIMITIVES[name], *map(Value, types), **params)
