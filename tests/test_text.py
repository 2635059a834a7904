"""The text of programs: what is printed reads back, and what does not read says where and why."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_samples import F3, F, check_text, example, random_module

from covector.ir import ops  # noqa: F401 - defines the primitives
from covector.ir.graph import Equation, Graph, Location, Value
from covector.ir.module import Module, module_of
from covector.ir.parser import parse
from covector.ir.primitive import PRIMITIVES
from covector.ir.printer import print_graph, print_module
from covector.ir.syntax import quote_name, quote_string, read_scalar, scalar_text, unquote
from covector.ir.types import DTYPE_BY_NAME, TOKEN, ExtendedDtype

GOLDEN = Path(__file__).parent / "golden" / "text"


def test_layout(golden: Callable[[str, str], None]) -> None:
    module = example()
    check_text(module.verify())
    golden("text/example.cvir", str(module))
    golden("text/example_short.cvir", print_module(module, locations=False, elide_constants=True))
    golden("text/example_graph.cvir", print_graph(module.main, locations=False))


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_random_modules_read_back(start: int) -> None:
    for seed in range(start, start + 50):
        check_text(random_module(seed).verify())


@given(st.text())
def test_names_and_strings_read_back(text: str) -> None:
    assert unquote(quote_name(text)) == text
    assert unquote(quote_string(text)) == text
    x = Value(F3, text)
    again = check_text(Module({text or "f": Graph([x], [], [x])}, name=text or "m").verify())
    assert again.main.inputs[0].name == (text or "a")
    assert list(again.graphs) == [text or "f"]


@given(st.text(), st.integers(0, 10**9), st.integers(0, 10**6))
def test_locations_read_back(file: str, line: int, column: int) -> None:
    x, y = Value(F3), Value(F3)
    eqn = Equation(PRIMITIVES["neg"], (x,), (y,), {}, Location(file, line, column))
    again = check_text(module_of(Graph([x], [eqn], [y])))
    assert again.main.equations[0].location == eqn.location
    assert parse(print_module(again, locations=False)).main.equations[0].location is None


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text()
    | st.sampled_from([*DTYPE_BY_NAME.values(), TOKEN, ExtendedDtype("key<rbg>"), F3, F]),
    lambda items: st.lists(items).map(tuple),
    max_leaves=10,
)


@given(plain)
def test_parameters_read_back(value: Any) -> None:
    x = Value(F3)
    eqn = Equation(PRIMITIVES["integer_pow"], (x,), (Value(F3),), {"y": value})
    module = module_of(Graph([x], [eqn], []))
    again = parse(str(module), verify=False)
    assert str(again) == str(module)
    found = again.main.equations[0].params["y"]
    assert repr(found) == repr(value)  # which tells -0.0, nan and True from their equals


trees = st.recursive(
    st.none() | st.just("*"),
    lambda items: (
        st.lists(items)
        | st.lists(items).map(tuple)
        | st.dictionaries(st.text() | st.integers(), items)
    ),
)


@given(trees)
def test_trees_read_back(tree: Any) -> None:
    again = check_text(Module({"f": Graph([], [], [])}, in_tree=tree, out_tree=tree).verify())
    assert repr(again.in_tree) == repr(tree)
    assert repr(again.out_tree) == repr(tree)


@pytest.mark.parametrize("name", DTYPE_BY_NAME)
def test_scalars_keep_their_bits(name: str) -> None:
    dtype: Any = DTYPE_BY_NAME[name]
    width = {"i2": 2, "u2": 2, "i4": 4, "u4": 4, "f4_e2m1fn": 4}.get(name, 8)
    if name in ("i2", "i4"):
        every = np.arange(-(2 ** (width - 1)), 2 ** (width - 1)).astype(dtype)
    elif dtype.itemsize == 1:
        every = np.arange(2 if name == "bool" else 2**width, dtype=np.uint8).view(dtype)
    else:
        raw = np.random.default_rng(0).integers(0, 256, 1000 * dtype.itemsize, np.uint8)
        every = np.concatenate([raw.view(dtype), np.asarray([0.0, -0.0, 1.0], dtype)])
    for x in every:
        scalar: Any = np.asarray(x, dtype)
        with np.errstate(invalid="ignore"):
            is_nan = bool(scalar != scalar)
            again = read_scalar(scalar_text(scalar), dtype)
        assert again.tobytes() == scalar.tobytes() or (is_nan and again != again)


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("1e39", "f32"), ("nan", "f4_e2m1fn"), ("inf", "f8_e4m3fn"), ("300", "i8"), ("1.5", "i32"),
        ("-1", "u8"), ("True", "f32"), ("2", "bool"), ("1e400", "f64"), ("8", "i4"),
        ("1e9", "f4_e2m1fn"), ("0.0", "f8_e8m0fnu"), ("(1e39+1j)", "c64"), ("9" * 400, "i32"),
        ("x", "f32"),
    ],
)  # fmt: skip
def test_what_a_dtype_cannot_hold(text: str, dtype: str) -> None:
    with pytest.raises(ValueError, match=dtype):
        read_scalar(text, DTYPE_BY_NAME[dtype])


# -- by hand -------------------------------------------------------------------------------------


def test_layout_is_free_inside_brackets() -> None:
    loose = parse(
        """# a comment
        module @m {
        // another: 1
        func @main ( x : f32[ 2, 3 ] ,   # inputs
            y:f32[2,3] ) -> ( f32[2,3],
              f32[] ) {

          a : f32[2,3]=mul [ out_dtype = None ,
            ] x   y// f.py:3
          `b`: f32[2,3] = integer_pow[
             y = 3 // the exponent
          ] `a`   // f.py:3:4 # and more
          neg x // not a location: 3
          return b , .5:f32[] } }
        """,
        verify=False,
    )
    tight = parse(
        """module @m {
        func @main(x: f32[2,3], y: f32[2,3]) -> (f32[2,3], f32[]) {
          a: f32[2,3] = mul x y    // f.py:3
          b: f32[2,3] = integer_pow[y=3] a    // f.py:3:4
          neg x
          return b, 0.5:f32[]
        }
        }""",
        verify=False,
    )
    assert loose == tight


def test_windows_line_ends_and_byte_order_mark() -> None:
    text = str(example())
    assert parse("\ufeff" + text.replace("\n", "\r\n")) == example()


def test_functions_without_a_module() -> None:
    module = parse("func @f(x: f32[]) -> (f32[]) {\n  return x }\nfunc @g() -> () { return }")
    assert (module.name, list(module.graphs), module.entry) == ("main", ["f", "g"], "f")


def test_order_of_functions_is_free() -> None:
    funcs = str(example()).split("\n\n")
    assert len(funcs) == 4
    head, main = funcs[0], funcs[1]
    moved = "\n\n".join([head, funcs[2], main, funcs[3]])
    assert parse(moved) == example()


def test_equal_operations_share_their_parameters() -> None:
    lines = "\n".join(f"y{i}: f32[3] = integer_pow[y=3] x" for i in range(3))
    graph = parse(f"func @f(x: f32[3]) -> () {{\n{lines}\nreturn }}").main
    assert graph.equations[0].params is graph.equations[2].params
    assert len(graph) == 3  # nothing was reused


# -- equality and hash ---------------------------------------------------------------------------


def variants() -> dict[str, str]:
    """Edits of the example's text, by whether they change what it does."""
    return {
        "same: name": "z: f32[3] -> zz: f32[3]",
        "same: location": "mlp.py:12:8 -> mlp.py:12:9",
        "same: module": "module @loss -> module @other",
        "primitive": "sin x -> cos x",
        "literal": "2.5:f32[] -> 2.25:f32[]",
        "parameter": "integer_pow[y=3] -> integer_pow[y=4]",
        "constant": "dense [0.0, 1.0 -> dense [-0.0, 1.0",
        "tree": '"*", None] -> "*", None, None]',
        "linear": "x: f32[3] | t: f32[3] -> x: f32[3], t: f32[3]",
        "entry": "entry @main\n -> \n",
        "operand": "mul `params['w']` a -> mul a `params['w']`",
    }


@pytest.mark.parametrize("what", variants())
def test_equality_and_hash_see(what: str) -> None:
    old, _, new = variants()[what].partition(" -> ")
    text = str(example())
    assert old in text
    other = parse(text.replace(old, new).replace("] z ", "] zz " if "zz" in new else "] z "))
    assert other != example()
    assert (other.hash() == example().hash()) == what.startswith("same")


def test_hash_is_the_same_in_another_process() -> None:
    code = "import sys; from covector.ir.parser import parse; print(parse(sys.stdin.read()).hash())"
    out = subprocess.run(
        [sys.executable, "-c", code],
        input=str(example()),
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == example().hash()


def test_equal_modules_have_equal_hashes() -> None:
    assert {example(): 1}[parse(str(example()))] == 1
    assert example() != "a module"


def test_the_documented_example_is_a_program() -> None:
    document = (Path(__file__).parent.parent / "docs" / "text.md").read_text(encoding="utf-8")
    indented = document.split("\n\n    module", 1)[1].split("\n\n**Modules", 1)[0]
    module = parse("module" + indented)
    assert module.entry == "main"
    check_text(module)
