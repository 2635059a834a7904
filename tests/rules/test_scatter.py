"""Scatters: replaced, summed, multiplied, compared."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import Case, bool_, c64, f32, i32, laws, program

import covector
from covector.ir.builder import Builder
from covector.ir.errors import MissingRule, TypeRuleError
from covector.ir.graph import Value
from covector.ir.interpret import evaluate
from covector.ir.primitive import PRIMITIVES
from covector.passes.jvp import jvp_graph
from covector.passes.reverse import vjp_graph
from covector.passes.transpose import transpose_graph

NEW_JAX = jax.version.__version_info__ >= (0, 11)


def distinct(rng, type):
    """Positions that are each written once."""
    return rng.permutation(4)[: type.shape[0]].reshape(type.shape)


def scatter(name, operand, indices, updates, window, inserted, mapped, *, mode, at=(0, 3),
            batching=((), ()), **more):  # fmt: skip
    params = {
        "update_window_dims": window,
        "inserted_window_dims": inserted,
        "scatter_dims_to_operand_dims": mapped,
        "operand_batching_dims": batching[0],
        "scatter_indices_batching_dims": batching[1],
        "unique_indices": more.pop("unique", False),
        "mode": mode,
    }
    domain = [(-2.0, 2.0), at, (-2.0, 2.0)]
    return Case(name, [operand, indices, updates], params, domain, **more)


def scatters(name: str, mode: str, **more) -> list[Case]:
    also = "bf16 f64 i32 u8" + (" c64" if name not in ("scatter_min", "scatter_max") else "")
    outside = (0, 1) if mode == "PROMISE_IN_BOUNDS" else (-1, 4)
    more.update(mode=mode)
    cases = [
        scatter(name, f32(4, 6), i32(4, 2), f32(4, 2, 3), (1, 2), (), (0, 1), at=outside, **more),
        scatter(name, f32(4, 3), i32(5, 1), f32(3, 5), (0,), (0,), (0,), at=outside, **more),
        scatter(name, f32(3, 4, 2), i32(2, 3, 1), f32(2, 3, 2), (2,), (1,), (1,),
                batching=((0,), (1,)), at=(0, 2), **more),
        scatter(name, f32(4, 3), i32(0, 1), f32(0, 3), (1,), (0,), (0,), **more),
    ]  # fmt: skip
    once = scatter(name, f32(4, 3), i32(3, 1), f32(3, 3), (1,), (0,), (0,), at=distinct,
                   unique=True, also=also, **more)  # fmt: skip
    lone = scatter(name, f32(4), i32(1), f32(), (), (0,), (0,), at=outside, **more)
    scalar = scatter(name, f32(), i32(0), f32(), (), (), (), **more)
    return [*cases, once, lone, scalar]


SCATTERS = [
    *scatters("scatter", "FILL_OR_DROP"),
    *scatters("scatter_add", "FILL_OR_DROP"),
    *scatters("scatter_sub", "FILL_OR_DROP")[:2],
    *scatters("scatter", "CLIP", differences=False)[:2],  # clamped windows meet: who wins changes
    *scatters("scatter_add", "CLIP")[:2],
]
MORE_SCATTERS = [
    *scatters("scatter", "CLIP", differences=False)[2:],
    *scatters("scatter", "PROMISE_IN_BOUNDS"),
    *scatters("scatter_add", "CLIP")[2:],
    *scatters("scatter_add", "PROMISE_IN_BOUNDS"),
    *scatters("scatter_sub", "FILL_OR_DROP")[2:],
    *scatters("scatter_sub", "CLIP"),
    *scatters("scatter_sub", "PROMISE_IN_BOUNDS"),
]
PRODUCTS = [
    *scatters("scatter_mul", "FILL_OR_DROP", wrt=(0,)),
    *scatters("scatter_mul", "CLIP", wrt=(0,)),
    scatter("scatter_mul", f32(4, 3), i32(3, 1), f32(3, 3), (1,), (0,), (0,), at=distinct,
            unique=True, mode="FILL_OR_DROP"),
    scatter("scatter_mul", f32(4), i32(1), f32(), (), (0,), (0,), mode="CLIP",
            jax_derivative=False),
]  # fmt: skip
EXTREMA = [
    *scatters("scatter_max", "FILL_OR_DROP"),
    *scatters("scatter_max", "CLIP", jax_derivative=NEW_JAX),
    *scatters("scatter_min", "FILL_OR_DROP"),
    *scatters("scatter_min", "CLIP", jax_derivative=NEW_JAX),
]


@laws(SCATTERS)
def test_scatters(case, law):
    law(case)


@laws([*PRODUCTS, *EXTREMA])
def test_products_and_extrema(case, law):
    law(case)


@pytest.mark.slow
@laws(MORE_SCATTERS)
def test_more_scatters(case, law):
    law(case)


# -- what is not covered by laws -----------------------------------------------------------------

ROWS = {
    "update_window_dims": (1,),
    "inserted_window_dims": (0,),
    "scatter_dims_to_operand_dims": (0,),
}


def rows(b, x, indices, updates, name="scatter", **more):
    return b.emit(PRIMITIVES[name], x, indices, updates, **ROWS, **more)


def test_the_update_that_wins_has_the_tangent():
    """Value and tangent agree on who wins where rows are written twice."""
    graph = program(rows, f32(4, 3), i32(5, 1), f32(5, 3))
    pushed, _ = jvp_graph(graph, (True, False, True))
    x, u = np.zeros((4, 3), np.float32), np.arange(15, dtype=np.float32).reshape(5, 3) + 1
    indices = np.array([[1], [2], [1], [9], [1]], np.int32)
    y, dy = evaluate(pushed, [x, indices, u, x - 1, 10 * u])
    written = y != 0
    assert written[:, 0].tolist() == [False, True, True, False]
    np.testing.assert_array_equal(dy, np.where(written, 10 * y, -1))


def test_a_constant_update_needs_no_winner():
    """Nothing is numbered where the updates have no tangent."""
    graph = program(rows, f32(4, 3), i32(5, 1), f32(5, 3))
    pulled = vjp_graph(graph, (True, False, False))
    names = [e.primitive.name for e in pulled.equations]
    assert names == ["scatter", "broadcast_in_dim", "scatter"]


def test_scatter_mul_of_overlapping_windows_is_refused():
    graph = program(
        lambda b, *xs: rows(b, *xs, name="scatter_mul"), f32(4, 3), i32(5, 1), f32(5, 3)
    )
    with pytest.raises(MissingRule, match="overlap"):
        jvp_graph(graph, (False, False, True))


def test_scatter_of_overlapping_windows_is_not_transposed():
    graph = program(rows, f32(4, 3), i32(5, 1), f32(5, 3))
    with pytest.raises(MissingRule, match="overlap"):
        transpose_graph(graph, (False, False, True))


def clamped_max(x, updates):
    """The largest of x and of windows that are partly outside, and so are moved inside."""
    numbers = jax.lax.ScatterDimensionNumbers((1,), (), (0,))
    indices = np.array([[3], [-2]])
    return jax.lax.scatter_max(x, indices, updates, numbers, mode="clip").sum()


def test_extrema_of_windows_that_are_moved_inside():
    """The derivative of JAX before 0.11 takes them for windows that are dropped: differences say
    that it is wrong."""
    x, updates = jnp.array([0.0, 5.0, 0.0, 1.0]), jnp.array([[2.0, -1.0], [1.0, 3.0]])
    want = [[0.0, 1.0, 0.0, 1.0], [[1.0, 0.0], [1.0, 0.0]]]
    for argument in (0, 1):
        got = covector.grad(clamped_max, argument)(x, updates)
        np.testing.assert_array_equal(got, want[argument])
        theirs = jax.grad(clamped_max, argument)(x, updates)
        assert np.array_equal(theirs, got) == NEW_JAX


@pytest.mark.parametrize("name", ["scatter_max", "scatter_min"])
def test_an_extremum_that_several_attain(name):
    """As in JAX, each has its share; what is not a number is x's."""
    x, updates = jnp.array([2.0, 1.0, jnp.nan]), jnp.array([2.0, 2.0, 1.0, 1.0, 5.0])
    indices = np.array([[0], [0], [1], [7], [2]])
    numbers = jax.lax.ScatterDimensionNumbers((), (0,), (0,))

    def f(x, updates):
        return getattr(jax.lax, name)(x, indices, updates, numbers)

    got = covector.vjp(f, x, updates)[1](jnp.ones(3))
    third, half = np.float32(1) / 3, 0.5
    np.testing.assert_array_equal(got[0], np.array([third, half, 1], np.float32))
    np.testing.assert_array_equal(got[1], np.array([third, third, half, 0, 0], np.float32))
    finite = slice(0, 2)
    want = jax.vjp(f, x, updates)[1](jnp.ones(3))
    np.testing.assert_allclose(got[0][finite], want[0][finite], rtol=1e-6)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "types", "params", "message"),
    [
        ("scatter", [f32(4, 3), i32(2, 1), f32(2, 4)], ROWS, "larger"),
        ("scatter", [f32(4, 3), i32(2, 1), f32(3, 3)], ROWS, "do not fit"),
        ("scatter", [f32(4, 3), i32(2, 1), f32(2)], ROWS, "rank 2"),
        ("scatter_add", [bool_(4, 3), i32(2, 1), bool_(2, 3)], ROWS, "does not take bool"),
        ("scatter", [f32(4, 3), i32(2, 1), c64(2, 3)], ROWS, "one dtype"),
    ],
)  # fmt: skip
def test_ill_typed(name, types, params, message):
    with pytest.raises(TypeRuleError, match=message):
        Builder().emit(PRIMITIVES[name], *map(Value, types), **params)
