"""Recording: what a function's program says about it, and its errors."""

from __future__ import annotations

import functools
import gc
import weakref
from collections import OrderedDict
from typing import Any, NamedTuple

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from trace_helpers import F32, X, find, record, same

from covector.frontend.export import call_graph, eval_graph
from covector.frontend.modules import as_function, from_jaxpr, make_ir
from covector.frontend.trace import trace_flat
from covector.ir.errors import ArgumentError, CovectorError, UsageError

# -- inputs ----------------------------------------------------------------------------------------


class Point(NamedTuple):
    x: Any
    y: Any


@jax.tree_util.register_pytree_with_keys_class
class Box:
    def __init__(self, value: Any, label: str) -> None:
        self.value, self.label = value, label

    def tree_flatten_with_keys(self) -> Any:
        return [(jax.tree_util.GetAttrKey("value"), self.value)], self.label

    @classmethod
    def tree_unflatten(cls, label: str, children: Any) -> Box:
        return cls(*children, label)


@pytest.mark.parametrize(
    "tree",
    [
        {"b": X, "a": (X, [None, X])},
        Point(X, {"z": X}),
        Box(X, "label"),
        OrderedDict(b=X, a=X),
        (),
        None,
        [X, (X, Box(Point(X, None), "inner"))],
    ],
    ids=["dict", "namedtuple", "custom", "ordered", "empty", "none", "nested"],
)
def test_trees_nest_as_they_came(tree: Any) -> None:
    def f(tree: Any, scale: Any) -> Any:
        return jax.tree.map(lambda x: x * scale, tree), tree

    module = make_ir(f)(tree, 2.0)
    same(as_function(module)(tree, 2.0), f(tree, 2.0))
    with pytest.raises(CovectorError, match="nested"):
        as_function(module)((tree, tree), 2.0)


def test_inputs_are_named_by_parameter_and_path() -> None:
    def f(params: Any, x: Any, *rest: Any, scale: Any = 1.0, **others: Any) -> Any:
        return params["w1"] * x * scale * rest[0] * others["b"]

    graph = record(f, {"w1": X}, X, X, scale=2.0, b=X)
    names = [v.name for v in graph.inputs]
    assert names[:2] == ["params.w1", "x"]
    assert "scale" in names
    assert len(set(names)) == 5


def test_static_arguments_are_part_of_the_program() -> None:
    def f(n: int, x: Any, mode: str) -> Any:
        return x * n if mode == "multiply" else x + n

    module = make_ir(f, static_argnums=0, static_argnames="mode")(3, X, mode="multiply")
    assert len(module.main.inputs) == 1
    same(as_function(module)(X), X * 3)


def test_types_instead_of_arrays() -> None:
    graph = record(lambda x: x * 2, jax.ShapeDtypeStruct((4, 2), jnp.bfloat16))
    assert str(graph.inputs[0].type) == "bf16[4,2]"


def test_weak_types_follow_jax() -> None:
    graph = record(lambda x, n: (x * n, x * 2, n + 1, n * 1.5), np.float32(1), 3)
    assert [str(v.type) for v in graph.inputs] == ["f32[]", "~i32[]"]
    assert [str(v.type) for v in graph.outputs] == ["f32[]", "f32[]", "~i32[]", "~f32[]"]


def test_wide_types_where_they_are_on() -> None:
    with jax.enable_x64(True):
        graph = record(lambda x: (x * 2.0, jnp.arange(3)), np.float64(1))
    assert [str(v.type) for v in graph.outputs] == ["f64[]", "i64[3]"]
    assert str(record(lambda x: x, np.float64(1)).inputs[0].type) == "f32[]"


def test_typed_keys() -> None:
    graph = record(lambda k: jax.random.split(k), jax.random.key(0))
    assert str(graph.inputs[0].type) == "key<fry>[]"
    assert str(graph.outputs[0].type) == "key<fry>[2]"


# -- outputs ---------------------------------------------------------------------------------------


def test_outputs_may_be_inputs_constants_and_repeated() -> None:
    w = jnp.ones(2)
    graph = record(lambda x: (x, x, 1.0, 2, True, w, None, np.float32(3)), X)
    assert graph.outputs[0] is graph.inputs[0] is graph.outputs[1]
    types = ["f32[3]", "f32[3]", "~f32[]", "~i32[]", "bool[]", "f32[2]", "f32[]"]
    assert [str(v.type) for v in graph.outputs] == types


def test_outputs_that_are_no_arrays() -> None:
    def f(x: Any) -> Any:
        return "text"

    with pytest.raises(ArgumentError, match="output 0 of f is 'text'"):
        make_ir(f)(X)


# -- captured values -------------------------------------------------------------------------------


def test_captured_arrays_are_constants_with_names() -> None:
    weights = jnp.ones((3, 3))
    params = {"bias": jnp.ones(3)}
    wide = np.ones(3)

    def f(x: Any) -> Any:
        return weights @ x + weights[0] + params["bias"] + wide

    module = make_ir(f)(X)
    assert [c.name for c in module.constants()] == ["weights", "params.bias", "wide"]


def test_captured_scalars_are_literals() -> None:
    rate = jnp.float32(0.5)
    graph = record(lambda x: x * rate * np.float32(2.0) * 3, X)
    assert {e.primitive.name for e in graph.equations} == {"mul"}


def test_tracers_of_an_enclosing_trace_are_captured() -> None:
    seen = []

    def outer(y: Any) -> Any:
        recording = trace_flat(lambda x: [x * y + y], [F32], name="inner")
        seen.append(recording)
        assert recording.captured == (y,)
        return eval_graph(recording.graph, (*recording.captured, X))[0]

    y = jnp.float32(2.0)
    same(jax.jit(outer)(y), X * 2 + 2)
    same(jax.vmap(outer)(jnp.ones(2)), np.stack([X + 1] * 2))
    module = make_ir(outer)(y)
    same(as_function(module)(y), X * 2 + 2)
    assert [len(r.graph.inputs) for r in seen] == [2, 2, 2]


def test_a_recording_holds_no_array_longer_than_needed() -> None:
    def f(x: Any) -> Any:
        return [jnp.sin(x)]

    class Held(np.ndarray):
        pass

    held = np.ones(3, np.float32).view(Held)
    alive = weakref.ref(held)
    recording = trace_flat(f, [F32])
    del held
    gc.collect()
    assert alive() is None
    assert len(recording.graph) == 1


# -- calls -----------------------------------------------------------------------------------------


def test_a_jitted_function_is_one_shared_graph() -> None:
    @jax.jit
    def helper(x: Any, y: Any) -> Any:
        return x * y

    graph = record(lambda x: helper(helper(x, x), x), X)
    first, second = (e.params["graph"] for e in graph.equations)
    assert first is second
    assert first.name == "helper"


def test_inlined_functions_leave_no_call() -> None:
    @functools.partial(jax.jit, inline=True)
    def helper(x: Any) -> Any:
        return jnp.sin(x) * 2

    assert [e.primitive.name for e in record(helper, X).equations] == ["sin", "mul"]


def test_graphs_are_spliced_into_a_recording() -> None:
    inner = record(lambda x: jnp.sin(x) * 2, X)

    def f(x: Any) -> Any:
        return eval_graph(inner, [x])[0] + call_graph(inner, [x * 2])[0]

    graph = record(f, X)
    assert [e.primitive.name for e in graph.equations] == ["sin", "mul", "mul", "call", "add"] or [
        e.primitive.name for e in graph.equations
    ] == ["sin", "mul", "call", "add"]
    assert find(graph, "call").params["graph"] is inner
    same(as_function(make_ir(f)(X))(X), np.sin(X) * 2 + np.sin(X * 2) * 2)


def test_a_called_graph_stays_a_call_in_jax() -> None:
    inner = record(lambda x: jnp.sin(x) * 2, X)
    jaxpr = jax.make_jaxpr(lambda x: call_graph(inner, call_graph(inner, [x])))(X)
    first, second = jaxpr.eqns
    assert first.params["jaxpr"] is second.params["jaxpr"]


def test_a_jaxpr_is_read_once() -> None:
    jaxpr = jax.make_jaxpr(jnp.sin)(X)
    assert from_jaxpr(jaxpr, "f").main.equations is from_jaxpr(jaxpr, "g").main.equations


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "error"),
    [
        (lambda x: x if x.sum() > 0 else -x, jax.errors.TracerBoolConversionError),
        (lambda x: float(x[0]), jax.errors.ConcretizationTypeError),
        (lambda x: int(x[0]), jax.errors.ConcretizationTypeError),
        (lambda x: [1, 2, 3][x[0].astype(int)], jax.errors.TracerIntegerConversionError),
        (lambda x: np.sin(x), jax.errors.TracerArrayConversionError),
        (lambda x: x[x > 0], jax.errors.NonConcreteBooleanIndexError),
    ],
)
def test_values_that_are_not_known_yet(f: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        make_ir(f)(X)


def test_unknown_values_name_the_line() -> None:
    def f(x: Any) -> Any:
        positive = x > 0
        return x if positive.all() else -x

    with pytest.raises(jax.errors.TracerBoolConversionError, match=r"test_trace.py:\d+:\d+"):
        make_ir(f)(X)


def test_leaked_values() -> None:
    leaked = []

    def f(x: Any) -> Any:
        leaked.append(jnp.sin(x))
        return x

    make_ir(f)(X)
    uses = [lambda x: x + leaked[0], jax.jit(lambda x: x + leaked[0]), lambda _: -leaked[0]]
    for use in (*uses, make_ir(lambda x: x + leaked[0])):
        with pytest.raises(jax.errors.UnexpectedTracerError, match="recording f"):
            use(X)


def test_primitives_of_other_people() -> None:
    other = jax.extend.core.Primitive("mul")
    other.def_abstract_eval(lambda x: x)

    def f(x: Any) -> Any:
        return other.bind(x)

    (eqn,) = make_ir(f)(X).main.equations
    assert eqn.primitive.name == "foreign" and eqn.params["name"] == "mul"


def test_modules_hold_no_tracers() -> None:
    def outer(x: Any) -> Any:
        make_ir(lambda y: x * y)(X)

    with pytest.raises(UsageError, match="enclosing trace"):
        make_ir(outer)(X)


def test_errors_of_users_pass_through_unchanged() -> None:
    def f(x: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        make_ir(f)(X)
    assert isinstance(jnp.sin(X), jax.Array)  # and no trace is left behind
