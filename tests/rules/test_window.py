"""Reductions over sliding windows."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Case, among, assert_close, bool_, f32, f64, i32, laws, program, random_like

from covector.frontend.execute import execute
from covector.ir.builder import Builder
from covector.ir.errors import PassError, TypeRuleError
from covector.ir.graph import Graph, Value
from covector.ir.interpret import evaluate
from covector.ir.primitive import PRIMITIVES
from covector.ir.types import TensorType, dtype_from_name
from covector.passes.batch import batch_graph
from covector.passes.jvp import jvp_graph
from covector.passes.reverse import vjp_graph
from covector.passes.transpose import transpose_graph

KINDS = ["sum", "max", "min"]


def window(dimensions, strides=None, padding=None, base=None, spread=None) -> dict:
    ones = (1,) * len(dimensions)
    return {
        "window_dimensions": dimensions,
        "window_strides": strides or ones,
        "padding": padding or ((0, 0),) * len(dimensions),
        "base_dilation": base or ones,
        "window_dilation": spread or ones,
    }


WINDOWS = [
    window((2, 3)),
    window((2, 3), (2, 1), ((1, 0), (2, 1))),
    window((2, 2), (3, 2), ((1, 2), (0, 1)), base=(2, 1)),
    window((7, 2), (1, 2), ((0, 0), (0, 1))),
]
SPREAD = window((2, 2), (1, 2), ((1, 2), (2, 1)), base=(2, 3), spread=(3, 2))


def reductions(kind: str) -> list[Case]:
    name = f"reduce_window_{kind}"
    cases = [Case(name, [f32(4, 5)], params) for params in WINDOWS]
    also = "bf16 f16 f64 i32 u8" + (" c64" if kind == "sum" else " bool")
    return [Case(name, [f32(4, 5)], WINDOWS[1], also=also), *cases]


CASES = [case for kind in KINDS for case in reductions(kind)]
CASES += [
    Case("reduce_window_sum", [f32(4, 5)], SPREAD),
    Case("reduce_window_sum", [f32(4, 5)], window((1, 2), padding=((-1, 0), (0, -1)))),
    Case("reduce_window_sum", [f32()], window(())),
    Case("reduce_window_max", [f32(4, 5)], SPREAD, jax_derivative=False, differences=False),
    Case("reduce_window_min", [f32(7, 5)], window((3, 2), spread=(2, 2)), jax_derivative=False),
    Case("reduce_window_max", [f32(0, 5)], window((1, 2), spread=(1, 2)), jax_derivative=False),
    Case("reduce_window_max", [f32(0, 5)], window((1, 2)), jax_derivative=False),
]


@laws(CASES)
def test_law(case, law):
    law(case)


# -- selection -----------------------------------------------------------------------------------


def without(params: dict, *names: str) -> dict:
    return {k: v for k, v in params.items() if k not in names}


DILATIONS = ("base_dilation", "window_dilation")


def tied(rng, type):
    """Keys of which many are equal."""
    return rng.integers(-1, 2, size=type.shape)


PADDED = {"window_dimensions": (2,), "window_strides": (2,), "padding": ((1, 0),)}
SELECTIONS = [
    *(
        Case("select_and_gather_add", [f32(4, 5), f32(4, 5)], {"select_prim": prim, **params},
             [(-2.0, 2.0), tied], wrt=(0,))
        for prim in ("ge", "le")
        for params in WINDOWS[:3]
    ),
    *(
        Case("select_and_scatter_add", [source, f32(4, 5)],
             {"select_prim": prim, **without(params, *DILATIONS)}, [(-2.0, 2.0), tied], wrt=(0,))
        for prim in ("ge", "le")
        for source, params in ((f32(3, 3), WINDOWS[0]), (f32(2, 6), WINDOWS[1]))
    ),
    *(  # padding comes before keys that lose to all, and so is selected; what is gathered by such
        # keys is 0 from any window, in JAX as well
        Case("select_and_scatter_add", [of(2), of(3)], {"select_prim": prim, **PADDED},
             [(-2.0, 2.0), among(worst)], wrt=(0,), adjoint=False)
        for of, prim, worst in (
            (f32, "ge", -np.inf), (f32, "le", np.inf), (bool_, "ge", False), (bool_, "le", True)
        )
    ),
]  # fmt: skip


@laws(SELECTIONS)
def test_selection(case, law):
    law(case)


def test_the_first_of_equal_keys_is_selected():
    params = {"select_prim": "ge", **window((2,), (2,))}
    graph = program(lambda b, v, k: [b.select_and_gather_add(v, k, **params)], f32(4), f32(4))
    (got,) = evaluate(graph, [np.arange(4.0), np.array([1.0, 1.0, 0.0, 2.0])])
    np.testing.assert_array_equal(got, [0.0, 3.0])


# -- any combiner --------------------------------------------------------------------------------


def scalar_graph(build, *types) -> Graph:
    return program(lambda b, *xs: list(build(b, *xs)), *types, name="combine")


def product(dtype) -> Graph:
    return scalar_graph(lambda b, x, y: [b.mul(x, y)], dtype(), dtype())


def pairs(dtype) -> Graph:
    """(sum, product) of two streams."""
    types = [dtype()] * 4
    return scalar_graph(lambda b, s, p, x, y: [b.add(s, x), b.mul(p, y)], *types)


NUMBERS, ZERO, ONE = (-2.0, 2.0), np.array(0.0), np.array(1.0)
FOLDS = [
    Case("reduce_window", [f64(4, 5), f64()], {"graph": product(f64), **params}, [NUMBERS, ONE],
         jax_derivative=False)
    for params in (*WINDOWS[:3], SPREAD)
] + [
    Case("reduce_window", [f64(3, 4), f64(3, 4), f64(), f64()],
         {"graph": pairs(f64), **window((2, 2), (1, 2), ((1, 0), (0, 1)))},
         [NUMBERS, NUMBERS, ZERO, ONE], jax_derivative=False),
]  # fmt: skip


@laws(FOLDS)
def test_fold(case, law):
    law(case)


def test_a_fold_with_constant_start_has_jax_tangents():
    import jax
    from jax import lax

    params = {"graph": product(f32), **WINDOWS[1]}
    graph = program(lambda b, x: [b.reduce_window(x, b.literal(1, x.type), **params)], f32(4, 5))
    pushed, _ = jvp_graph(graph, (True,))
    x, dx = random_like(f32(4, 5), 0), random_like(f32(4, 5), 1)

    def theirs(x):
        return lax.reduce_window(x, np.float32(1), lax.mul, (2, 3), (2, 1), ((1, 0), (2, 1)))

    y, dy = jax.jvp(theirs, (x,), (dx,))
    got = evaluate(pushed, [x, dx])
    assert_close(got[0], np.asarray(y))
    assert_close(got[1], np.asarray(dy), 10)


def test_select_and_scatter():
    import jax
    from jax import lax
    from jax._src.lax.windowed_reductions import _select_and_scatter

    select = scalar_graph(lambda b, x, y: [b.ge(x, y)], f32(), f32())
    params = {"select_graph": select, "scatter_graph": product(f32)}
    params |= without(window((2, 2), (1, 2)), *DILATIONS)
    graph = program(
        lambda b, x, s, i: [b.select_and_scatter(x, s, i, **params)], f32(4, 5), f32(3, 2), f32()
    )
    x, source = random_like(f32(4, 5), 0), random_like(f32(3, 2), 1)
    want = jax.jit(
        lambda x, s: _select_and_scatter(
            x, lax.ge, (2, 2), (1, 2), ((0, 0), (0, 0)), s, np.float32(0.5), lax.mul
        )
    )(x, source)
    (got,) = evaluate(graph, [x, source, np.float32(0.5)])
    assert_close(got, np.asarray(want))
    batched, _ = batch_graph(graph, (True, False, False), 2)
    (both,) = evaluate(batched, [np.stack([x, -x]), source, np.float32(0.5)])
    (other,) = evaluate(graph, [-x, source, np.float32(0.5)])
    assert_close(both, np.stack([got, other]))


def adding_to_the_largest(name: str) -> Graph:
    select = scalar_graph(lambda b, x, y: b.emit(PRIMITIVES[name], x, y), f64(), f64())
    add = scalar_graph(lambda b, x, y: [b.add(x, y)], f64(), f64())
    params = {"select_graph": select, "scatter_graph": add}
    params |= without(window((2, 2), (1, 2)), *DILATIONS)
    return program(
        lambda b, x, s, i: [b.select_and_scatter(x, s, i, **params)], f64(4, 5), f64(3, 2), f64()
    )


@laws([
    Case(adding_to_the_largest(name), [f64(4, 5), f64(3, 2), f64()], wrt=wrt, jax_derivative=False)
    for name in ("ge", "le")
    for wrt in ((1, 2), (0, 1))
])  # fmt: skip
def test_select_and_scatter_that_adds(case, law):
    law(case)


def test_select_and_scatter_that_does_not_add_has_no_derivative():
    with pytest.raises(PassError, match="scatters by add"):
        jvp_graph(adding_to_the_largest("gt"), (False, True, False))


# -- short programs ------------------------------------------------------------------------------


def test_sliding_sums_transpose_to_sliding_sums():
    graph = program(lambda b, x: [b.reduce_window_sum(x, **WINDOWS[1])], f32(4, 5))
    backward, _ = transpose_graph(graph, (True,))
    assert [e.primitive.name for e in backward.equations] == ["pad", "reduce_window_sum"]


def test_max_pooling_is_pulled_back_in_one_step():
    graph = program(lambda b, x: [b.reduce_window_max(x, **WINDOWS[1])], f32(4, 5))
    pulled = vjp_graph(graph, (True,))
    names = [e.primitive.name for e in pulled.equations]
    assert names == ["reduce_window_max", "select_and_scatter_add"]


def test_windows_of_one_element_are_no_windows():
    for params in (window(()), window((1, 1))):
        x = f32(*(2,) * len(params["padding"]))
        for name in ("reduce_window_max", "reduce_window_min"):
            graph = program(lambda b, x, p=params, n=name: b.emit(PRIMITIVES[n], x, **p), x)
            assert not graph.equations


# -- ill-typed -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "types", "params", "message"),
    [
        ("reduce_window_sum", [f32(3)], window((2, 2)), "rank 1"),
        ("reduce_window_sum", [f32(3)], window((0,)), "positive"),
        ("reduce_window_sum", [bool_(3)], window((1,)), "does not take bool"),
        ("reduce_window", [f32(3), i32()], {"graph": product(f32), **window((1,))}, "initial"),
        ("reduce_window", [f32(3)], {"graph": product(f32), **window((1,))}, "each operand"),
        ("reduce_window", [i32(3), i32()], {"graph": product(f32), **window((1,))}, "combiner"),
        (
            "select_and_gather_add",
            [f32(3), f32(3)],
            {"select_prim": "gt", **window((1,))},
            "by ge or le",
        ),
        (
            "select_and_gather_add",
            [f32(2), f32(3)],
            {"select_prim": "ge", **window((1,))},
            "each key",
        ),
        (
            "select_and_scatter_add",
            [f32(2), f32(3)],
            {"select_prim": "ge", **without(window((1,)), *DILATIONS)},
            "one value for each",
        ),
    ],
)
def test_ill_typed(name, types, params, message):
    with pytest.raises(TypeRuleError, match=message):
        Builder().emit(PRIMITIVES[name], *map(Value, types), **params)


def test_windows_without_axes_compile() -> None:
    """XLA for CPUs dies of a select_and_scatter of scalars."""
    params = {"window_dimensions": (), "window_strides": (), "padding": ()}
    case = Case("select_and_scatter_add", [f32(), f32()], {**params, "select_prim": "ge"})
    source, keys = case.sample()
    assert_close(execute(case.graph, [source, keys])[0], source)
    graphs = {"select_graph": scalar_graph(lambda b, x, y: [b.ge(x, y)], f32(), f32())}
    graphs["scatter_graph"] = scalar_graph(lambda b, x, y: [b.sub(x, y)], f32(), f32())
    general = Case("select_and_scatter", [f32(), f32(), f32()], {**graphs, **params})
    xs = general.sample()
    assert_close(execute(general.graph, xs)[0], xs[2] - xs[1])
    assert_close(evaluate(general.graph, xs)[0], xs[2] - xs[1])


@pytest.mark.parametrize("name", ["reduce_window_max", "reduce_window_min"])
def test_windows_of_narrow_integers(name: str) -> None:
    """A window of padding alone has the bound of the dtype."""
    i4 = TensorType((2,), dtype_from_name("i4"))
    case = Case(name, [i4], window((1,), padding=((1, 0),)))
    (found,) = evaluate(case.graph, [np.array([3, -2]).astype(i4.dtype)])
    assert found.astype(int).tolist() == [-8 if name.endswith("max") else 7, 3, -2]
