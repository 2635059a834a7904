"""The lines of a program with what a viewer has to know of each: what it makes, reads and is from.

A line also has a key by which it is found again in the next step of a pipeline: values that both
programs hold are the same however they are called there, so that a fresh name is no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

from ..ir.graph import Constant, Equation, Graph, Literal
from ..ir.module import Module
from ..ir.naming import graph_names, unique
from ..ir.printer import atom_texts, equation_line, params_text
from ..ir.syntax import quote_name

Refer = Callable[[Any], str | None]


class Line(NamedTuple):
    """One line: its text, kind (f: head of a function, e: equation, r: return, empty: other), the
    names that it defines with their types, the names that it reads, and its source line."""

    text: str
    kind: str = ""
    makes: tuple[tuple[str, str], ...] = ()
    reads: tuple[str, ...] = ()
    source: tuple[str, int] | None = None


def lines_of(module: Module) -> list[tuple[Line, Any]]:
    """The lines of a module, each with the thing that it shows (a graph, an equation or None)."""
    graphs = {graph: quote_name(name) for graph, name in graph_names(module).items()}
    constants = list(module.constants())
    labels = unique(c.name or "const" for c in constants)
    names = {c: f"${quote_name(name)}" for c, name in zip(constants, labels, strict=True)}

    def refer(thing: Any) -> str | None:
        if isinstance(thing, Graph):
            return "@" + graphs.get(thing, quote_name(thing.name))
        return names.get(thing)

    public = set(module.graphs.values())
    found: list[tuple[Line, Any]] = []
    for graph, name in graphs.items():
        found += [(Line(""), None)] if found else []
        found += _function(graph, name, graph in public, refer)
    found += [(Line(""), None)] if constants else []
    found += [(_constant(c, names[c]), None) for c in constants]
    return found


def _constant(constant: Constant, name: str) -> Line:
    return Line(f"constant {name}: {constant.type.text}", "c")


def _function(graph: Graph, name: str, public: bool, refer: Refer) -> Iterator[tuple[Line, Any]]:
    texts = atom_texts(graph)
    made = tuple((texts[v], v.type.text) for v in graph.inputs)
    inputs = [f"{n}: {t}" for n, t in made]
    if graph.linear_from is not None:
        inputs.insert(graph.linear_from, "|")
    shown = ", ".join(inputs).replace(", |, ", " | ").replace("|, ", "| ")
    results = ", ".join(t.text for t in graph.output_types)
    head = f"func {'' if public else 'private '}@{name}({shown}) -> ({results}) {{"
    yield Line(head, "f", made), graph
    for eqn in graph.equations:
        yield _equation(eqn, texts, refer), eqn
    outputs = tuple(texts[x] for x in graph.outputs)
    reads = tuple(texts[x] for x in graph.outputs if not isinstance(x, Literal))
    yield Line(f"  return {', '.join(outputs)}".rstrip(), "r", (), reads), graph
    yield Line("}"), None


def _equation(eqn: Equation, texts: dict[Any, str], refer: Refer) -> Line:
    place = eqn.location
    return Line(
        equation_line(eqn, texts, refer, "  "),
        "e",
        tuple((texts[v], v.type.text) for v in eqn.outputs),
        tuple(texts[x] for x in eqn.inputs if not isinstance(x, Literal)),
        (place.file, place.line) if place is not None else None,
    )


def keys_of(lines: list[tuple[Line, Any]], shared: set[Any]) -> list[Hashable]:
    """What each line is compared by. `shared` are the values that both programs hold."""
    keys: list[Hashable] = []
    for line, thing in lines:
        if line.kind == "r":
            keys.append(("return", *_operands(thing.outputs, line, shared)))
        elif isinstance(thing, Equation):
            outputs = [
                (v if v in shared else name, v.type)
                for v, (name, _) in zip(thing.outputs, line.makes, strict=True)
            ]
            params = params_text(thing.primitive, thing.params, _unnamed)
            operands = _operands(thing.inputs, line, shared)
            keys.append((thing.primitive.name, params, *outputs, *operands))
        else:
            keys.append(line.text)
    return keys


def _unnamed(thing: Any) -> str | None:
    """Graphs and constants go by their hints: numbers in their names are no difference."""
    return str(thing.name)


def _operands(atoms: Sequence[Any], line: Line, shared: set[Any]) -> list[Any]:
    reads = iter(line.reads)
    named = [(x, None if isinstance(x, Literal) else next(reads)) for x in atoms]
    return [x if name is None or x in shared else name for x, name in named]


def values_of(module: Module) -> set[Any]:
    """Every value that the graphs of a module take or make."""
    found: set[Any] = set()
    for graph in module.all_graphs():
        found.update(graph.inputs)
        for eqn in graph.equations:
            found.update(eqn.outputs)
    return found
