"""Recording: what a function's program says about it (names, places, constants), and its errors."""

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
from jax import lax

from covector.frontend.export import call_graph, eval_graph
from covector.frontend.modules import as_function, from_jaxpr, make_ir
from covector.frontend.trace import trace_flat
from covector.ir.errors import ArgumentError, CovectorError, UsageError
from covector.ir.graph import Equation, Graph, Value
from covector.ir.types import FLOAT32, TensorType

F32 = TensorType((3,), FLOAT32)
X = np.arange(3, dtype=np.float32)


def record(f: Any, *args: Any, **kwargs: Any) -> Graph:
    graph: Graph = make_ir(f)(*args, **kwargs).verify().main
    return graph


def named(graph: Graph) -> dict[str, str]:
    """The primitive that made each named value."""
    return {v.name: eqn.primitive.name for eqn in graph.equations for v in eqn.outputs if v.name}


def find(graph: Graph, primitive: str) -> Equation:
    (found,) = [eqn for eqn in graph.equations if eqn.primitive.name == primitive]
    return found


def same(actual: Any, expected: Any) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), actual, expected)


# -- names and places ------------------------------------------------------------------------------


def test_values_have_the_names_of_their_variables() -> None:
    def f(x: Any, w: Any) -> Any:
        h = jnp.dot(x, w)
        z1 = jnp.tanh(h + 1.0)
        mean = jnp.mean(z1)
        total: Any = z1 - mean
        total *= 3.0
        if (top := jnp.max(total)) is not None:
            total = total / top
        return total

    names = named(record(f, np.ones((2, 3), np.float32), np.ones((3, 2), np.float32)))
    assert names["h"] == "dot_general"
    assert names["z1"] == "tanh"
    assert names["mean"] == "div"
    assert names["total"] in ("sub", "mul", "div")
    assert names["top"] == "reduce_max"


def test_only_the_whole_expression_is_named() -> None:
    def f(x: Any) -> Any:
        y = jnp.exp(jnp.sin(x) * 2)
        return jnp.cos(y)

    assert named(record(f, X)) == {"y": "exp"}


def test_unpacked_outputs_are_named_in_order() -> None:
    def f(x: Any) -> Any:
        a, b = jnp.split(x, [1])
        c, d = jnp.sin(a), jnp.cos(b)
        values, indices = lax.top_k(x, 2)
        return a, b, c, d, values, indices

    graph = record(f, X)
    assert [v.name for v in graph.outputs] == ["a", "b", "c", "d", "values", "indices"]


def test_a_returned_value_has_the_name_that_the_caller_gives_it() -> None:
    def layer(x: Any) -> Any:
        return jnp.tanh(x) * 2

    def pair(x: Any) -> Any:
        return jnp.sin(x), jnp.cos(x)

    def f(x: Any) -> Any:
        h1 = layer(x)
        h2 = layer(layer(h1))
        h3 = jax.vmap(lambda v: layer(v))(x)
        total, gradient = jax.value_and_grad(lambda v: jnp.sum(layer(v)))(h1)
        s, c = pair(h1)
        return h2, h3, total, gradient, s, c

    names = named(record(f, X))
    assert {name: names[name] for name in ("h1", "h2")} == {"h1": "mul", "h2": "mul"}
    assert not {"gradient", "s", "c", "total"} & set(names)


def test_derivatives_that_jax_makes_belong_to_their_operation() -> None:
    def f(x: Any) -> Any:
        def loss(v: Any) -> Any:
            return jnp.sum(jnp.tanh(v))

        return jax.grad(loss)(x)

    first = f.__code__.co_firstlineno
    lines = {e.location.line - first for e in record(f, X).equations if e.location}
    assert lines == {2}


def test_each_round_of_a_loop_is_named() -> None:
    def f(x: Any) -> Any:
        for _ in range(3):
            x = jnp.sin(x)
        return x

    assert [v.name for e in record(f, X).equations for v in e.outputs] == ["x"] * 3


def test_names_in_loop_bodies_and_jitted_functions() -> None:
    @jax.jit
    def helper(x: Any) -> Any:
        inner = jnp.sin(x)
        return inner * 2

    def f(x: Any) -> Any:
        def step(carry: Any, _: Any) -> Any:
            grown = carry * 1.5
            return grown, None

        return lax.scan(step, helper(x), None, length=3)[0]

    graph = record(f, X)
    assert named(find(graph, "call").params["graph"])["inner"] == "sin"
    assert named(find(graph, "scan").params["graph"])["grown"] == "mul"


def test_places_are_the_users_lines() -> None:
    def f(x: Any) -> Any:
        y = jnp.where(x > 0, x, 0.0)
        return y + jnp.var(x)

    first = f.__code__.co_firstlineno
    graph = record(f, X)
    lines = [e.location.line - first for e in graph.equations if e.location]
    assert lines[0] == 1
    assert lines[-1] == 2
    assert set(lines) == {1, 2}
    place = graph.equations[0].location
    assert place is not None
    assert place.file.endswith("test_trace.py")
    assert place.column == 23


def test_library_functions_have_no_places_of_their_own() -> None:
    """A function that JAX traces once is called from many lines: its program names none of them."""

    def f(x: Any) -> Any:
        return jnp.var(x) + jnp.var(x * 2)

    graph = record(f, X)
    callees = [e.params["graph"] for e in graph.equations if e.primitive.name == "call"]
    assert len(callees) == 2
    assert callees[0] is callees[1]
    assert all(e.location is None for e in callees[0].equations)


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


# -- custom rules ----------------------------------------------------------------------------------


def grads(f: Any, *args: Any) -> tuple[Any, Any]:
    """The gradients of f as it is, and as it came back from a graph."""

    def total(f: Any) -> Any:
        return jax.grad(lambda *args: jnp.sum(f(*args)))(*args)

    return total(as_function(make_ir(f)(*args))), total(f)


def test_rules_closing_over_traced_values() -> None:
    """The rule reads y long after the trace of y is over."""

    def f(x: Any, y: Any) -> Any:
        @jax.custom_jvp
        def g(x: Any) -> Any:
            return x * y

        g.defjvp(lambda primals, tangents: (g(*primals), tangents[0] * y * 10))
        return g(x)

    graph = record(f, X, X)
    assert find(graph, "custom_jvp_call").params["num_consts"] >= 1
    same(grads(f, X, X)[0], X * 10)


def test_reverse_rules_closing_over_traced_values() -> None:
    def f(x: Any, y: Any) -> Any:
        @jax.custom_vjp
        def g(x: Any) -> Any:
            return x * y

        g.defvjp(lambda x: (x * y, jnp.cos(x)), lambda res, ct: (ct * res * y,))
        return g(x)

    same(grads(f, X, X)[0], np.cos(X) * X)


def test_rules_with_static_arguments() -> None:
    @functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
    def power(f: Any, n: int, x: Any) -> Any:
        return f(x) ** n

    @power.defjvp
    def rule(f: Any, n: int, primals: Any, tangents: Any) -> Any:
        return power(f, n, *primals), tangents[0] * 5.0 * n

    actual, expected = grads(lambda x: power(jnp.sin, 3, x), X)
    same(actual, expected)


@pytest.mark.parametrize("symbolic_zeros", [False, True])
def test_forward_rules(symbolic_zeros: bool) -> None:
    told = []

    @jax.custom_jvp
    def g(x: Any, n: Any, y: Any) -> Any:
        return x * y + n, jnp.sum(y), n

    @functools.partial(g.defjvp, symbolic_zeros=symbolic_zeros)
    def rule(primals: Any, tangents: Any) -> Any:
        y = primals[2]
        dx, dn, dy = tangents
        told.append([type(t).__name__ == "SymbolicZero" for t in tangents])
        out = g(*primals)
        if symbolic_zeros:
            zero = jax.custom_derivatives.SymbolicZero(jax.typeof(out[1]).to_tangent_aval())
            return out, (dx * y * 7, zero, dn)
        return out, (dx * y * 7 + dy * 0, jnp.sum(dy) * 0, dn)

    def f(x: Any) -> Any:
        a, b, n = g(x, jnp.int32(3), jnp.cos(jnp.ones(3)))
        return a + b + n

    actual, expected = grads(f, X)
    same(actual, expected)
    assert told[0] == told[-1] == [False, symbolic_zeros, symbolic_zeros]


@pytest.mark.parametrize("symbolic_zeros", [False, True])
def test_reverse_rules(symbolic_zeros: bool) -> None:
    @jax.custom_vjp
    def g(x: Any, n: Any, y: Any) -> Any:
        return {"a": x * y["y"], "b": x * n}

    def fwd(x: Any, n: Any, y: Any) -> Any:
        if symbolic_zeros:
            x, n, y = x.value, n.value, {"y": y["y"].value}
        return g(x, n, y), (x, y, n)

    def bwd(residuals: Any, cts: Any) -> Any:
        x, y, n = residuals
        if symbolic_zeros:
            zero = jax.custom_derivatives.SymbolicZero
            cts = {k: jnp.zeros(3) if isinstance(c, zero) else c for k, c in cts.items()}
        return cts["a"] * y["y"] * 3 + cts["b"] * n, None, {"y": cts["a"] * x}

    g.defvjp(fwd, bwd, symbolic_zeros=symbolic_zeros)

    def f(x: Any, y: Any) -> Any:
        out = g(x, 2, {"y": y})
        return out["a"] * 2

    actual, expected = grads(f, X, X)
    same(actual, expected)


def test_rules_inside_of_jitted_functions() -> None:
    @jax.custom_jvp
    def g(x: Any) -> Any:
        return jnp.sin(x)

    g.defjvp(lambda primals, tangents: (g(*primals), tangents[0] * 3))
    h = jax.jit(lambda x: g(x) * 2)
    same(*grads(h, X))
    same(grads(h, X)[0], np.full(3, 6.0))


def test_one_function_is_traced_once_in_a_recording() -> None:
    def f(x: Any) -> Any:
        return jax.nn.relu(jax.nn.relu(x) - 1)

    graph = record(f, X)
    first, second = (e.params for e in graph.equations if e.primitive.name == "custom_jvp_call")
    assert first["graph"] is second["graph"]
    assert first["jvp"] is second["jvp"]


def test_a_gradient_stated_with_the_function() -> None:
    @jax.custom_gradient
    def f(x: Any) -> Any:
        return x**2, lambda ct: ct * 10 * x

    same(*grads(f, X))


def test_checkpoint_policies_by_name() -> None:
    from jax.ad_checkpoint import checkpoint_name

    policies = jax.checkpoint_policies

    def body(x: Any) -> Any:
        return jnp.sin(checkpoint_name(jnp.sin(x), "s"))

    def policy(given: Any) -> Any:
        f = jax.checkpoint(body, policy=given)
        same(*grads(f, X))
        return find(record(f, X), "checkpoint").params["policy"]

    assert policy(None) is None
    assert policy(policies.everything_saveable) == "everything_saveable"
    assert policy(policies.save_only_these_names("s", "t")) == "save_only_these_names(s,t)"
    asked = policy(lambda prim, *_, **params: prim.name == "sin")
    graph = find(record(jax.checkpoint(body), X), "checkpoint").params["graph"]
    assert asked(find(graph, "name")) is False


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


# -- transformations of JAX inside -----------------------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [
        lambda x: jax.vmap(lambda v: jnp.sin(v) * v)(x),
        lambda x: jax.vmap(lambda v: lax.psum(v, "i"), axis_name="i")(x),
        lambda x: jax.jacobian(lambda v: v**2)(x),
        lambda x: jax.linearize(jnp.sin, x)[1](x),
        lambda x: jax.vjp(jnp.sin, x)[1](x)[0],
        lambda x: jax.linear_transpose(lambda v: v * 3, x)(x)[0],
        lambda x: jax.jvp(jax.nn.relu, (x,), (x,))[1],
        lambda x: jax.vmap(jax.grad(jax.nn.softplus))(x),
        lambda x: jax.eval_shape(jnp.sin, x).dtype.type(2) * x,
        lambda x: jax.lax.stop_gradient(x) * x,
        lambda x: jax.named_call(jnp.sin, name="s")(x),
        lambda x: jnp.vectorize(lambda a: a + 1, signature="()->()")(x),
        lambda x: jax.ensure_compile_time_eval() and x,
    ],
)
def test_transformations_of_jax_inside(f: Any) -> None:
    same(as_function(make_ir(f)(X))(X), f(jnp.asarray(X)))


def test_values_computed_at_once() -> None:
    def f(x: Any) -> Any:
        with jax.ensure_compile_time_eval():
            table = jnp.arange(3.0) * 2
            assert float(table[1]) == 2.0
            assert float(jax.nn.relu(table[1])) == 2.0
        return x * table

    graph = record(f, X)
    assert [e.primitive.name for e in graph.equations] == ["constant", "mul"]
    assert isinstance(graph.outputs[0], Value)
