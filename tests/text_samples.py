"""An example, random modules and random damage to texts, for the tests of the text."""

from __future__ import annotations

import random
import re
from typing import Any

import numpy as np

from covector.ir import ops
from covector.ir.builder import Builder
from covector.ir.graph import Constant, Equation, Graph, Literal, Location, Value
from covector.ir.module import Module
from covector.ir.parser import parse
from covector.ir.primitive import PRIMITIVES, REQUIRED
from covector.ir.types import DTYPE_BY_NAME, FLOAT32, ExtendedDtype, TensorType, dtype_category

__all__ = ["check_text", "damage", "example", "ops", "random_call", "random_module"]

F3 = TensorType((3,), FLOAT32)
F = TensorType((), FLOAT32)

NAMES = (
    "x", "x_1", "x_2", "y", "a", "b", "return", "func", "h.w", "params['w']", 'params["w"]', "`",
    "\\", "a b", "", "é", "日本", "2x", "x:y", "line\nbreak", "\x00", "\ud800", "inf", "True",
)  # fmt: skip
FILES = (
    "mlp.py",
    "/a/b.py",
    "C:\\a b\\m.py",
    "a:1",
    'q"q.py',
    "<stdin>",
    "",
    "//x",
    "#x",
    "x\ny",
    "é.py",
)
LITERALS = {
    "float": (0.0, -0.0, 1.0, 0.1, 2.5, 3.0),
    "int": (0, 1, 3, -2), "uint": (0, 1, 3), "bool": (True, False),
    "complex": (0.1 + 2j, complex(-0.0, 1.0), complex(0.0, -0.0)),
}  # fmt: skip
SHAPES = ((), (3,), (2, 3), (0,), (1, 17), (4, 0, 2))


def check_text(module: Module) -> Module:
    """Assert the laws of the text; returns the module that was read back."""
    text = str(module)
    again = parse(text)
    assert again == module
    assert str(again) == text
    assert again.hash() == module.hash()
    return again


def example() -> Module:
    """A module with a bit of everything."""
    b = Builder()
    x = Value(F3, "x")
    b.location = Location("my model.py", 3, 4)
    y = b.sin(x)
    y.name = "params['w']"
    layer = b.graph([x], [b.mul(y, b.add(x, 2.5))], "layer")
    b = Builder()
    x, key = Value(F3, "x"), Value(TensorType((), ExtendedDtype("key<fry>")), "key")
    b.location = Location("mlp.py", 12, 8)
    w = b.constant(value=Constant(np.arange(3, dtype=np.float32), F3, "w"))
    big = Constant(np.arange(20, dtype=np.float16), TensorType((20,), np.float16), "w")
    h = b.call(x, graph=layer)
    h.name = "x"
    b.location = None
    z = b.call(w, graph=layer)
    z.name = "z"
    b.location = Location("mlp.py", 13)
    weak = b.convert_element_type(
        b.integer_pow(z, y=3), new_dtype=np.dtype(np.int32), weak_type=True
    )
    main = b.graph([x, key], [h, weak, b.constant(value=big), Literal(0.1, F)], "main")
    t = Value(F3, "t")
    b = Builder()
    linear = Graph([x, t], [*_mul(b, x, t)], b.equations[-1].outputs, "main.linear", 1)
    trees = {"in_tree": (("*", "*"), {"w": ["*", None]}), "out_tree": "*"}
    return Module({"main.linear": linear, "main": main}, "main", "loss", **trees)


def _mul(b: Builder, x: Value, t: Value) -> list[Equation]:
    b.mul(x, t)
    return b.equations


def random_module(seed: int) -> Module:
    """Some graphs that call each other, with all kinds of names, locations, literals, constants."""
    rng = random.Random(seed)
    graphs: list[Graph] = []
    for _ in range(rng.randrange(1, 5)):
        graphs.append(random_graph(rng, graphs))
    public = {
        f"{rng.choice(('main', 'f', 'g h', 'f.linear'))}{i or ''}": g
        for i, g in enumerate(graphs[-2:])
    }
    trees = (None, ("*", {"w": ["*", None]}), {"@": "m:T", "children": ("*",), 1: ()})
    return Module(
        public,
        rng.choice([None, *public]),
        rng.choice(("main", "the loss", "f.g")),
        rng.choice(trees),
        rng.choice(trees),
    )


def random_graph(rng: random.Random, callees: list[Graph]) -> Graph:
    """A graph over one dtype, whose callees have the same input and output types."""
    b = Builder()
    own = TensorType(
        rng.choice(SHAPES), rng.choice(list(DTYPE_BY_NAME.values())), rng.random() < 0.2
    )
    inputs = [Value(own, rng.choice((None, *NAMES))) for _ in range(rng.randrange(1, 4))]
    values: list[Any] = list(inputs)
    for _ in range(rng.randrange(8)):
        b.location = random_location(rng)
        made = random_equation(rng, b, own, values, callees)
        for value in made:
            value.name = rng.choice((None, *NAMES))
            if value.type is own:
                values.append(value)
    outputs: list[Any] = [rng.choice(values) for _ in range(rng.randrange(3))]
    if rng.random() < 0.5:
        outputs.append(random_literal(rng, own.dtype))
    linear = rng.choice((None, None, rng.randrange(len(inputs) + 1)))
    return Graph(inputs, b.equations, outputs, rng.choice(("f", "f_1", "g", "<lambda>")), linear)


def random_equation(
    rng: random.Random, b: Builder, own: TensorType, values: list[Any], callees: list[Graph]
) -> tuple[Any, ...]:
    kind = rng.randrange(6)
    x, y = rng.choice(values), rng.choice(values)
    fitting = [g for g in callees if all(t.strong is own.strong for t in g.input_types)]
    if kind == 0 and fitting:
        graph = rng.choice(fitting)
        made = b.emit(PRIMITIVES["call"], *(rng.choice(values) for _ in graph.inputs), graph=graph)
    elif kind == 1:
        type = TensorType(rng.choice(SHAPES), own.dtype)
        made = (
            b.constant(value=Constant(random_array(rng, type), type, rng.choice(NAMES) or "w")),
        )
    elif kind == 2:
        dtype = rng.choice(list(DTYPE_BY_NAME.values()))
        made = (b.convert_element_type(x, new_dtype=dtype, weak_type=rng.random() < 0.5),)
    elif dtype_category(own.dtype) == "bool":
        made = (b.emit(PRIMITIVES["and"], x, y)[0],)
    elif kind == 3:
        made = (b.add(x, random_literal(rng, own.dtype)),)
    elif kind == 4:
        made = (b.mul(x, y, out_dtype=rng.choice((None, own.dtype))),)
    else:
        made = (b.integer_pow(x, y=rng.choice((2, 3))),)
    return tuple(v for v in made if isinstance(v, Value) and v not in values)


def random_literal(rng: random.Random, dtype: Any) -> Literal:
    value = rng.choice(LITERALS[dtype_category(dtype)])
    if dtype.name in ("int2", "uint2"):
        value = abs(value) % 2
    return Literal(np.asarray(value).astype(dtype), TensorType((), dtype, rng.random() < 0.3))


def random_array(rng: random.Random, type: TensorType) -> np.ndarray[Any, Any]:
    values = np.random.default_rng(rng.randrange(1000)).normal(size=type.shape)
    return np.abs(values * 1.5).astype(type.dtype)


def random_location(rng: random.Random) -> Location | None:
    if rng.random() < 0.3:
        return None
    return Location(rng.choice(FILES), rng.randrange(1000), rng.randrange(3))


# -- damage --------------------------------------------------------------------------------------

_TOKEN = re.compile(r'\w+|\s+|"[^"]*"|.', re.DOTALL)
SPICE = (
    "f32[3]", "~f32[]", "key<fry>[2]", "f32[1000000000000]", "f32[" + "9" * 30 + "]", "f32[-1]",
    "@main", "$w", "(", ")", "[", "]", "{", "}", "`", '"', "\\", "//", "#", "\n", " ", "|", "->",
    "0.5:f32[]", "nan:i32[]", "1e999", "1e999:f64[]", 'thunk<"a">', 'thunk<"', "None", "(1,)", "()",
    "(" * 200, "return", "func", "private", "module @x {", "constant $w: f32[3] = ", "dense [",
    'base64 "', 'base64 "AAAA"', "elided", "bytes[0:4]", "in_tree = ", '{"a": "*"}', ":", ",", "=",
    "é", "\x00", "\ud800", "\u2028", "０", "1_0", "inf", "j", "(1+2j):c64[]", "-0.0", "entry @main",
    "i32", "bool", "9" * 5000,
)  # fmt: skip
ARGUMENTS = (
    "0", "1", "-1", "(0,)", "(1,)", "(0,1)", "()", "None", "True", '"a"', "f32", "@g", "(@g,@g)",
    "$w", "1.5", "((0,1),(1,0))", "(((1,),(0,)),((),()))", "f32[3]", 'thunk<"t">', "(False,)",
    "99999999999", "(99999999999,)", '"fry"', "((0,0,0),)", "nan", "(2,3,4)", "(None,)", "4",
)  # fmt: skip
TYPES = (
    "f32[3]", "f32[]", "i32[4,4]", "bool[]", "key<fry>[]", "c64[2]", "f32[2,3,4]", "u32[2]",
    "f32[0]", "i32[]", "bf16[8,8]", "i4[3]", "f32[1000000000000]",
)  # fmt: skip


def damage(rng: random.Random, text: str) -> str:
    """The text with a few tokens deleted, repeated, moved or replaced."""
    tokens = _TOKEN.findall(text)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        i, j = sorted((rng.randrange(len(tokens) + 1), rng.randrange(len(tokens) + 1)))
        kind = rng.randrange(7)
        if kind == 0:
            del tokens[i : i + rng.choice((1, 1, 2, 5))]
        elif kind == 1:
            tokens.insert(i, rng.choice(SPICE))
        elif kind == 2:
            tokens[i : i + 1] = [rng.choice(SPICE)]
        elif kind == 3:
            tokens[i : i + 1] = tokens[j : j + 1]
        elif kind == 4:
            tokens.insert(i, chr(rng.choice((rng.randrange(128), rng.randrange(0x3000)))))
        elif kind == 5:
            tokens[i:i] = tokens[j : j + rng.randrange(12)]
        else:
            del tokens[i:]
    return "".join(tokens)


def random_call(rng: random.Random) -> str:
    """A program of one equation that gives some primitive arbitrary operands and parameters."""
    primitive = PRIMITIVES[rng.choice(sorted(PRIMITIVES))]
    inputs = [f"x{i}: {rng.choice(TYPES)}" for i in range(rng.randrange(5))]
    outputs = [f"y{i}: {rng.choice(TYPES)}" for i in range(rng.choice((0, 1, 1, 1, 2)))]
    given = [
        f"{name}={rng.choice(ARGUMENTS)}"
        for name, default in primitive.defaults.items()
        if default is REQUIRED or rng.random() < 0.5
    ]
    left = f"{', '.join(outputs)} = " if outputs else ""
    operands = " ".join(f"x{i}" for i in range(len(inputs)))
    return (
        f"func @main({', '.join(inputs)}) -> () {{\n"
        f"  {left}{primitive.name}[{', '.join(given)}] {operands}\n  return\n}}\n"
        "func private @g(x: f32[3]) -> (f32[3]) {\n  return x\n}\n"
        "constant $w: f32[3] = dense [1, 2, 3]\n"
    )
