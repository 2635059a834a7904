"""A program as text that reads back exactly.

    module @loss {
      func @main(x: f32[4,8], w: f32[8,3]) -> (f32[]) {
        h: f32[4,3] = dot_general[dimension_numbers=(((1,),(0,)),((),()))] x w    // mlp.py:12:8
        y: f32[] = reduce_sum[axes=(0,1)] h                                       // mlp.py:13:4
        return y
      }
    }

A linear function has a bar before the inputs in which it is linear: `(r: f32[4] | t: f32[4])`.
Public graphs come first, then the graphs that they call (`func private`) in the order of first use,
then the captured arrays. Parameters at their defaults are left out.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from . import constants
from .graph import Atom, Constant, Equation, Graph, Literal, Location, Opaque, Thunk
from .naming import Names, graph_names, unique, value_names
from .primitive import REQUIRED, Primitive
from .syntax import quote_name, quote_string, scalar_text
from .types import ExtendedDtype, TensorType, dtype_name

if TYPE_CHECKING:
    from .module import Module

DENSE_LIMIT: Final = 16
"""Constants of at most this many elements are printed element by element."""

WIDEST: Final = 88
"""Locations stand in one column, to the right of every equation that is not longer than this."""

_BARE_FILE = re.compile(r'[^\s:"]+')
_BARE_SCOPE = re.compile(r'[^\s"#]+')

ConstantWriter = Callable[[Constant], str]


def print_module(module: Module, *, locations: bool = True, elide_constants: bool = False) -> str:
    """The text of a module.

    Without `locations` it still reads back, to the program without them. With `elide_constants`
    the contents of the captured arrays are left out: what reads back can be transformed, not run.
    """
    writer = write_elided if elide_constants else write_inline
    return "\n".join([*module_sections(module, writer, locations), ""])


def print_graph(graph: Graph, *, locations: bool = True, elide_constants: bool = False) -> str:
    """The text of one graph and of all that it calls, as functions without a module around them."""
    from .module import Module

    writer = write_elided if elide_constants else write_inline
    printer = _Printer(Module({graph.name or "f": graph}), locations, indent="")
    return "\n".join([*printer.functions(), *printer.constants(writer), ""])


def module_sections(
    module: Module, write_constant: ConstantWriter, locations: bool = True
) -> Iterator[str]:
    """The text in pieces of one function or constant each, to be joined by newlines."""
    printer = _Printer(module, locations, indent="  ")
    yield f"module @{quote_name(module.name)} {{"
    if module.entry != next(iter(module.graphs)):
        yield f"  entry @{quote_name(module.entry)}"
    if module.in_tree is not None:
        yield f"  in_tree = {value_text(module.in_tree)}"
    if module.out_tree is not None:
        yield f"  out_tree = {value_text(module.out_tree)}"
    yield from printer.functions()
    yield from printer.constants(write_constant)
    yield "}"


class _Printer:
    """The names that one module's text gives, and the functions written with them."""

    def __init__(self, module: Module, locations: bool, indent: str) -> None:
        self.module = module
        self.locations = locations
        self.indent = indent
        self.graph_names: dict[Any, str] = {
            graph: quote_name(name) for graph, name in graph_names(module).items()
        }
        table = list(module.constants())
        self.constant_names: dict[Any, str] = {
            c: quote_name(name)
            for c, name in zip(table, unique(c.name or "const" for c in table), strict=True)
        }
        self.literals: dict[Any, str] = {}

    def refer(self, thing: Any) -> str | None:
        """How a graph or constant is referred to."""
        if isinstance(thing, Graph):
            return "@" + self.graph_names.get(thing, quote_name(thing.name))
        if isinstance(thing, Constant):
            return "$" + self.constant_names.get(thing, quote_name(thing.name))
        return None

    def functions(self) -> Iterator[str]:
        public = set(self.module.graphs.values())
        for i, (graph, name) in enumerate(self.graph_names.items()):
            if i:
                yield ""
            yield self.function(graph, name, "" if graph in public else "private ")

    def function(self, graph: Graph, name: str, visibility: str) -> str:
        names = AtomTexts(value_names(graph), self.literals)
        indent = self.indent + "  "
        lines = [equation_line(eqn, names, self.refer, indent) for eqn in graph.equations]
        if self.locations:
            _add_locations(lines, graph.equations)
        inputs = _inputs_text([f"{names[v]}: {v.type.text}" for v in graph.inputs], graph)
        outputs = ", ".join([v.type.text for v in graph.outputs])
        head = f"{self.indent}func {visibility}@{name}({inputs}) -> ({outputs}) {{"
        results = ", ".join([names[v] for v in graph.outputs])
        tail = f"{indent}return {results}".rstrip()
        return "\n".join([head, *lines, tail, self.indent + "}"])

    def constants(self, write: ConstantWriter) -> Iterator[str]:
        if self.constant_names:
            yield ""
        for constant, name in self.constant_names.items():
            yield f"{self.indent}constant ${name}: {constant.type.text} = {write(constant)}"


def _inputs_text(inputs: list[str], graph: Graph) -> str:
    """The inputs of a function; a bar stands before those in which it is linear."""
    first = graph.linear_from
    if first is None:
        return ", ".join(inputs)
    return f"{', '.join(inputs[:first])} | {', '.join(inputs[first:])}".strip()


class AtomTexts(dict[Any, str]):
    """Operands as text: values by name, literals written out when first met."""

    def __init__(self, names: Names, literals: dict[Any, str]) -> None:
        super().__init__({value: quote_name(name) for value, name in names.items()})
        self.literals = literals

    def __missing__(self, x: Atom) -> str:
        if not isinstance(x, Literal):
            return quote_name(x.name or "_")  # not made in this graph: the verifier's matter
        text = self.literals.get(x)
        if text is None:
            text = self.literals[x] = literal_text(x)
        self[x] = text
        return text


def atom_texts(graph: Graph) -> AtomTexts:
    """How the operands of one graph are printed."""
    return AtomTexts(value_names(graph), {})


def refer_by_hint(thing: Any) -> str | None:
    """How a graph or constant is referred to where there is no module to make its name unique."""
    if isinstance(thing, (Graph, Constant)):
        return f"{'@' if isinstance(thing, Graph) else '$'}{quote_name(thing.name)}"
    return None


# -- equations -----------------------------------------------------------------------------------


def equation_line(
    eqn: Equation,
    names: dict[Any, str],
    refer: Callable[[Any], str | None] = refer_by_hint,
    indent: str = "",
) -> str:
    """One equation, without its location."""
    outputs = eqn.outputs
    if len(outputs) == 1:
        value = outputs[0]
        left = f"{indent}{names[value]}: {value.type.text} = "
    elif outputs:
        left = indent + ", ".join([f"{names[v]}: {v.type.text}" for v in outputs]) + " = "
    else:
        left = indent
    primitive = eqn.primitive
    params = params_text(primitive, eqn.params, refer) if eqn.params else ""
    inputs = eqn.inputs
    if len(inputs) == 1:
        return f"{left}{primitive.name}{params} {names[inputs[0]]}"
    if len(inputs) == 2:
        return f"{left}{primitive.name}{params} {names[inputs[0]]} {names[inputs[1]]}"
    return f"{left}{primitive.name}{params}{''.join([' ' + names[x] for x in inputs])}"


def params_text(
    primitive: Primitive, params: dict[str, Any], refer: Callable[[Any], str | None]
) -> str:
    """`[k=v, ...]` of the parameters that differ from their defaults, or nothing."""
    parts = []
    defaults = primitive.defaults
    for key, value in params.items():
        default = defaults.get(key, REQUIRED)
        if value is default:
            continue
        text = value_text(value, refer)
        if default is REQUIRED or text != value_text(default):
            parts.append(f"{key}={text}")
    return f"[{', '.join(parts)}]" if parts else ""


def location_text(location: Location) -> str:
    file, line, column, scope = location
    if not (_BARE_FILE.fullmatch(file) and file.isprintable()):
        file = quote_string(file)
    text = f"// {file}:{line}:{column}" if column else f"// {file}:{line}"
    if not scope:
        return text
    is_bare = _BARE_SCOPE.fullmatch(scope) and scope.isprintable()
    return f"{text} in {scope if is_bare else quote_string(scope)}"


def _add_locations(lines: list[str], equations: Iterable[Equation]) -> None:
    """Append each equation's location, in one column."""
    width = max([len(line) for line in lines if len(line) <= WIDEST], default=0) + 4
    texts: dict[Location, str] = {}
    for i, eqn in enumerate(equations):
        location = eqn.location
        if location is not None:
            text = texts.get(location)
            if text is None:
                text = texts[location] = location_text(location)
            line = lines[i]
            gap = width - len(line)
            lines[i] = f"{line}{' ' * gap if gap > 4 else '    '}{text}"


# -- values of parameters ------------------------------------------------------------------------


def value_text(value: Any, refer: Callable[[Any], str | None] = refer_by_hint) -> str:
    """Plain data as text. Anything else is written by its `repr`, which does not read back."""
    write = _WRITERS.get(value.__class__)
    if write is not None:
        return write(value)
    if value.__class__ is tuple:
        items = [value_text(item, refer) for item in value]
        return f"({items[0]},)" if len(items) == 1 else f"({','.join(items)})"
    if isinstance(value, (np.dtype, ExtendedDtype)):
        return dtype_name(value)
    if isinstance(value, (Graph, Constant)):
        return refer(value) or repr(value)
    if isinstance(value, Thunk):
        kind = "opaque" if isinstance(value, Opaque) else "thunk"
        return f"{kind}<{quote_string(value.name)}>"
    return _container_text(value, refer)


def _container_text(value: Any, refer: Callable[[Any], str | None]) -> str:
    """Lists and dictionaries (of pytrees), and subclasses of plain types as what they extend."""
    if isinstance(value, list):
        return f"[{', '.join([value_text(item, refer) for item in value])}]"
    if isinstance(value, dict):
        items = [f"{value_text(k, refer)}: {value_text(v, refer)}" for k, v in value.items()]
        return f"{{{', '.join(items)}}}"
    if isinstance(value, np.generic):
        return value_text(value.item(), refer)
    for plain in (int, float, complex, str, tuple):
        as_plain: Callable[[Any], Any] = plain
        if isinstance(value, plain):
            return value_text(as_plain(value), refer)
    return repr(value)


_WRITERS: Final[dict[type, Callable[[Any], str]]] = {
    int: str,
    bool: str,
    type(None): str,
    float: repr,
    complex: repr,
    str: quote_string,
    TensorType: str,
}


def literal_text(literal: Literal) -> str:
    """`0.5:f32[]`"""
    return f"{scalar_text(literal.value)}:{literal.type.text}"


# -- captured arrays -----------------------------------------------------------------------------


def write_inline(constant: Constant) -> str:
    """All elements if they are few, else the bytes in base64."""
    if not constants.has_contents(constant):
        return "elided"
    array = constants.contents(constant)
    if array.size <= DENSE_LIMIT and constants.reads_back(array):
        return f"dense {_dense(array)}"
    encoded = base64.b64encode(constants.little_endian(array)).decode("ascii")
    return f'base64 "{encoded}"'


def write_elided(_constant: Constant) -> str:
    return "elided"


def _dense(array: np.ndarray[Any, Any]) -> str:
    """The elements, in brackets nested like the axes; `[]` if there are none."""
    if array.ndim == 0:
        return scalar_text(array)
    if array.size == 0:
        return "[]"
    return f"[{', '.join([_dense(array[i, ...]) for i in range(len(array))])}]"
