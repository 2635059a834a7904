"""Each rule of the representation, broken once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from covector.ir import ops  # noqa: F401 - defines the primitives
from covector.ir.builder import Builder
from covector.ir.errors import TypeRuleError, VerifyError
from covector.ir.graph import Constant, Equation, Graph, Literal, Location, Thunk, Value
from covector.ir.module import Module, module_of
from covector.ir.primitive import PRIMITIVES, Primitive
from covector.ir.types import BOOL, FLOAT32, INT32, TensorType
from covector.ir.verifier import verify_graphs

F3, I3, F = TensorType((3,), FLOAT32), TensorType((3,), INT32), TensorType((), FLOAT32)
SIN, ADD, NEG, CALL, POW = (PRIMITIVES[n] for n in ("sin", "add", "neg", "call", "integer_pow"))
x, y, z, n = Value(F3, "x"), Value(F3, "y"), Value(F3), Value(I3, "n")
ONE = Literal(1.0, F)
NEGATE = Graph([x], [Equation(NEG, (x,), (y,), {})], [y], "negate")


def called(graph: Any) -> dict[str, Any]:
    return CALL.complete({"graph": graph})


def graph_of(*equations: Equation, outputs: Any = (), **fields: Any) -> Graph:
    return Graph([x, n], equations, outputs, "f", **fields)


def convert(dtype: str) -> Equation:
    params = {"new_dtype": dtype, "weak_type": False}  # as a string it is plain data
    made = Value(TensorType((3,), np.dtype(dtype)))
    return Equation(PRIMITIVES["convert_element_type"], (x,), (made,), params)


def power(value: Any) -> Equation:
    return Equation(POW, (x,), (y,), {"y": value})


def captured(array: Any, type: TensorType) -> Equation:
    params = {"value": Constant(array, type, "w")}
    return Equation(PRIMITIVES["constant"], (), (Value(type),), params)


WRONG: dict[str, tuple[Callable[[], Graph], str]] = {
    "never made": (
        lambda: graph_of(Equation(NEG, (y,), (z,), {})),
        "y is read before it is made, or never made",
    ),
    "read before made": (
        lambda: graph_of(Equation(NEG, (y,), (z,), {}), Equation(NEG, (x,), (y,), {})),
        "y is read before it is made",
    ),
    "made twice": (
        lambda: graph_of(Equation(NEG, (x,), (y,), {}), Equation(NEG, (x,), (y,), {})),
        "y is made twice",
    ),
    "made twice at once": (
        lambda: graph_of(Equation(CALL, (x,), (y, y), called(Graph([x], [], [x, x])))),
        "y is made twice",
    ),
    "input made": (lambda: graph_of(Equation(NEG, (x,), (x,), {})), "x is made twice"),
    "input twice": (lambda: Graph([x, x], [], [], "f"), "the input x: f32[3] is not a value or"),
    "input literal": (lambda: Graph([ONE], [], [], "f"), "is not a value"),  # type: ignore[list-item]
    "output literal": (lambda: graph_of(Equation(NEG, (ONE,), (ONE,), {})), "is made twice"),  # type: ignore[arg-type]
    "result never made": (lambda: graph_of(outputs=(y,)), "the result y is never made"),
    "captured value": (
        lambda: graph_of(Equation(CALL, (), (z,), called(Graph([], [], [x], "region")))),
        "the result x is never made",
    ),
    "constant of another shape": (
        lambda: graph_of(captured(np.zeros(2, np.float32), F3)),
        "$w of type f32[3], whose array has the shape (2,)",
    ),
    "shape": (lambda: graph_of(Equation(SIN, (ONE,), (y,), {"accuracy": None})), "makes f32[]"),
    "dtype": (
        lambda: graph_of(Equation(NEG, (n,), (y,), {})),
        "y is stated to be f32[3], but neg makes i32[3] here",
    ),
    "weakness": (
        lambda: graph_of(Equation(NEG, (x,), (Value(TensorType((3,), FLOAT32, True)),), {})),
        "is stated to be ~f32[3], but neg makes f32[3] here",
    ),
    "too many outputs": (
        lambda: graph_of(Equation(NEG, (x,), (y, z), {})),
        "neg makes 1 values here, not 2",
    ),
    "operand types": (
        lambda: graph_of(Equation(ADD, (x, n), (y,), {})),
        "add takes operands of one dtype; got f32, i32",
    ),
    "operand count": (lambda: graph_of(Equation(SIN, (), (y,), {"accuracy": None})), "0 operands"),
    "call arguments": (
        lambda: graph_of(Equation(CALL, (n,), (y,), called(NEGATE))),
        "operand 0 of call @negate has type i32[3]",
    ),
    "missing parameter": (
        lambda: graph_of(Equation(POW, (x,), (y,), {})),
        "integer_pow has the parameters y; here are none",
    ),
    "unknown parameter": (lambda: graph_of(Equation(NEG, (x,), (y,), {"k": 1})), "here are k"),
    "array parameter": (lambda: graph_of(power(np.zeros(3))), "y holds numpy.ndarray"),
    "numpy parameter": (lambda: graph_of(power(np.int64(3))), "the parameter y holds numpy.int64"),
    "list parameter": (lambda: graph_of(power((1, [2]))), "the parameter y holds builtins.list"),
    "deep parameter": (lambda: graph_of(power(deep(150))), "nested more than 100 levels deep"),
    "parameter of the wrong kind": (lambda: graph_of(power("3")), "integer_pow does not take"),
    "graph without region": (lambda: graph_of(power(NEGATE)), "integer_pow has no regions"),
    "graph too deep": (
        lambda: graph_of(Equation(CALL, (x,), (y,), called(((NEGATE,),)))),
        "a graph in a tuple of tuples",
    ),
    "constant in a tuple": (
        lambda: graph_of(power((Constant(np.zeros(3), F3),))),
        "a constant in a tuple",
    ),
    "nameless dtype": (
        lambda: graph_of(power(np.dtype([("float0", "V1")]))),
        "which has no name",
    ),
    "nameless input dtype": (
        lambda: Graph([Value(TensorType((), np.dtype("datetime64[s]")), "d")], [], [], "f"),
        "d has the dtype datetime64[s], which has no name",
    ),
    "nameless output dtype": (
        lambda: graph_of(convert("datetime64[s]")),
        "makes the dtype datetime64[s] here, which has no name",
    ),
    "location": (
        lambda: graph_of(Equation(NEG, (x,), (y,), {}, ("f.py", 3))),  # type: ignore[arg-type]
        "the location is ('f.py', 3)",
    ),
    "linear inputs": (lambda: graph_of(linear_from=3), "linear from input 3, but it has 2 inputs"),
}  # fmt: skip


def deep(levels: int) -> Any:
    value: Any = ()
    for _ in range(levels):
        value = (value,)
    return value


@pytest.mark.parametrize("case", WRONG)
def test_wrong(case: str) -> None:
    make, message = WRONG[case]
    graph = make()
    with pytest.raises(VerifyError) as caught:
        module_of(graph).verify()
    assert message in str(caught.value)
    assert caught.value.graph is not None
    assert f"@{caught.value.graph.name}" in str(caught.value)


def test_the_message_shows_the_equation_as_printed() -> None:
    eqn = Equation(ADD, (z, n), (y,), {}, Location("mlp.py", 12, 8))
    graph = Graph([x, z, n], [Equation(NEG, (x,), (Value(F3),), {}), eqn], [], "loss")
    with pytest.raises(VerifyError) as caught:
        module_of(graph).verify()
    assert caught.value.equation is eqn
    assert caught.value.index == 1
    assert str(caught.value).splitlines() == [
        "add takes operands of one dtype; got f32, i32",
        "  in @loss, at mlp.py:12:8",
        "    y: f32[3] = add a n",
        "  a: f32[3]   n: i32[3]",
        "  convert them first with convert_element_type",
    ]


def test_right() -> None:
    b = Builder()
    w = b.constant(value=Constant(np.zeros(3, np.float32), F3, "w"))
    out = b.select_n(b.lt(x, w), x, b.call(x, graph=NEGATE))
    empty = Graph([], [], [])
    module = Module({"main": b.graph([x], [out, ONE, x]), "empty": empty})
    assert module.verify() is module


def test_circles_are_named() -> None:
    graphs = [Graph([], [], [], f"f{i}") for i in range(3)]
    for i, graph in enumerate(graphs):
        graph.equations = (Equation(CALL, (), (), called(graphs[(i + 1) % 3])),)
    with pytest.raises(VerifyError, match="in a circle: @f2 -> @f0 -> @f1 -> @f2"):
        verify_graphs(graphs)


def test_public_names_and_trees() -> None:
    def refuse(message: str, **fields: Any) -> None:
        with pytest.raises(VerifyError, match=message):
            module_of(NEGATE, **fields).verify()

    refuse("the name of a module is a string", name="")
    refuse("the name of a module is a string", name=3)
    refuse("in_tree holds builtins.set", in_tree=("*", {"*"}))
    refuse("out_tree holds a graph|out_tree holds covector.ir.graph.Graph", out_tree=[NEGATE])
    module = module_of(NEGATE)
    module.graphs["other"] = NEGATE
    with pytest.raises(VerifyError, match="@negate is entered in the module as @other"):
        module.verify()
    module = module_of(NEGATE)
    module.entry = "none"
    with pytest.raises(VerifyError, match="the entry @none"):
        module.verify()


def test_a_shared_graph_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def infer(types: Any, params: Any) -> Any:
        nonlocal asked
        asked += 1
        return types[0]

    counting = dataclasses.replace(SIN, name="counting", infer=infer)
    monkeypatch.setitem(PRIMITIVES, "counting", counting)
    assert isinstance(counting, Primitive)
    shared = Graph([x], [Equation(counting, (x,), (y,), {"accuracy": None})], [y], "shared")
    calls = [Equation(CALL, (x,), (Value(F3),), called(shared)) for _ in range(5)]
    module = module_of(graph_of(*calls))
    module.verify()
    module.verify()
    assert asked == 1


@pytest.mark.parametrize(
    "failure", [TypeError("no"), KeyError("k"), ZeroDivisionError("z"), RecursionError("r")]
)
def test_whatever_a_type_rule_raises(failure: Exception) -> None:
    def infer(types: Any, params: Any) -> Any:
        raise failure

    failing = Primitive("failing", infer)
    with pytest.raises(VerifyError, match="failing does not take these parameters"):
        verify_graphs([graph_of(Equation(failing, (x,), (y,), {}))])


def test_hints_of_type_rules_are_kept() -> None:
    def infer(types: Any, params: Any) -> Any:
        raise TypeRuleError("no", hint="do this instead")

    with pytest.raises(VerifyError, match="do this instead"):
        verify_graphs([graph_of(Equation(Primitive("hinting", infer), (x,), (y,), {}))])


def test_plain_parameters_are_right() -> None:
    kinds = (1, 1.5, 1j, True, None, "s", FLOAT32, F3, (1, ("a", (BOOL,))), Thunk("t", lambda: 0))
    holder = Primitive("holder", lambda types, params: types[0], {"value": None, "graph": None})
    holder.has_regions = True
    regions = (NEGATE, (NEGATE, NEGATE))
    equations = [
        Equation(holder, (x,), (Value(F3),), {"value": value, "graph": graph})
        for value in (*kinds, Constant(np.zeros(3), F3))
        for graph in regions
    ]
    verify_graphs([graph_of(*equations)])
