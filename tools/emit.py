"""A program in the form that was asked for: text, a jaxpr, StableHLO, a graph for dot, JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import click

from .output import write

if TYPE_CHECKING:
    from ..ir.graph import Atom, Equation, Graph
    from ..ir.module import Module

FORMS: Final = ("text", "jaxpr", "stablehlo", "dot", "json")
EMIT = click.option(
    "--emit", "form", type=click.Choice(FORMS), default="text", help="What to print (text)."
)


def emit(
    module: Module,
    output: str | None,
    form: str = "text",
    locations: bool = True,
    elide_larger: int | None = None,
) -> None:
    """Write a program; text goes to a `.cvir` file in that format, arrays as bytes."""
    if form == "text" and output is not None and output.endswith(".cvir") and elide_larger is None:
        module.save(output)
        return
    write(emitted(module, form, locations, elide_larger), output, highlight=form == "text")


def emitted(
    module: Module, form: str = "text", locations: bool = True, elide_larger: int | None = None
) -> str:
    """A program as text of a form."""
    if form == "jaxpr":
        return f"{module.to_jaxpr()}\n"
    if form == "stablehlo":
        from ..lowering.emit import lower_module

        return lower_module(module).as_text(locations)
    if form == "dot":
        return dot_text(module)
    if form == "json":
        return json.dumps(as_json(module, locations), indent=1) + "\n"
    from ..passes.observers import program_text

    return program_text(module, locations=locations, elide_larger=elide_larger)


# -- JSON ----------------------------------------------------------------------------------------


def as_json(module: Module, locations: bool = True) -> dict[str, Any]:
    """A program as plain data. Names are those of the text; graphs and constants go by name."""
    from ..ir.naming import graph_names, unique

    names: dict[Any, str] = {g: f"@{name}" for g, name in graph_names(module).items()}
    constants = list(module.constants())
    labels = unique(c.name for c in constants)
    names |= {c: f"${name}" for c, name in zip(constants, labels, strict=True)}
    return {
        "module": module.name,
        "entry": module.entry,
        "in_tree": module.in_tree,
        "out_tree": module.out_tree,
        "functions": [
            _graph_as_json(g, names, locations) for g in names if hasattr(g, "equations")
        ],
        "constants": [{"name": names[c][1:], "type": str(c.type)} for c in constants],
    }


def _graph_as_json(graph: Graph, names: dict[Any, str], locations: bool) -> dict[str, Any]:
    from ..ir.printer import atom_texts

    texts = atom_texts(graph)
    return {
        "name": names[graph][1:],
        "inputs": [{"name": texts[v], "type": str(v.type)} for v in graph.inputs],
        "linear_from": graph.linear_from,
        "equations": [_equation_as_json(e, texts, names, locations) for e in graph.equations],
        "outputs": [texts[x] for x in graph.outputs],
        "output_types": [str(t) for t in graph.output_types],
    }


def _equation_as_json(
    eqn: Equation, texts: dict[Any, str], names: dict[Any, str], locations: bool
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "outputs": [{"name": texts[v], "type": str(v.type)} for v in eqn.outputs],
        "primitive": eqn.primitive.name,
        "params": {k: _param_as_json(p, names) for k, p in eqn.params.items()},
        "inputs": [texts[x] for x in eqn.inputs],
    }
    if locations and eqn.location is not None:
        made["location"] = str(eqn.location)
    return made


def _param_as_json(value: Any, names: dict[Any, str]) -> Any:
    from ..ir.printer import value_text

    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, tuple):
        return [_param_as_json(item, names) for item in value]
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    return value_text(value, lambda thing: names.get(thing))


# -- dot -----------------------------------------------------------------------------------------


def dot_text(module: Module) -> str:
    """The entry and what it calls as clusters of a graph in Graphviz's language."""
    from ..ir.naming import graph_names

    lines = ["digraph {", "  node [shape=box, fontname=monospace]"]
    for i, (graph, name) in enumerate(graph_names(module).items()):
        lines += [f"  subgraph cluster_{i} {{", f"    label={_quoted('@' + name)}"]
        lines += [f"    {line}" for line in _dot_graph(graph, f"g{i}_")]
        lines.append("  }")
    return "\n".join([*lines, "}", ""])


def _dot_graph(graph: Graph, prefix: str) -> list[str]:
    from ..ir.printer import atom_texts

    texts = atom_texts(graph)
    nodes: dict[Any, str] = {}
    lines: list[str] = []

    def node(name: str, label: str, style: str = "") -> str:
        lines.append(f"{prefix}{name} [label={_quoted(label)}{style}]")
        return f"{prefix}{name}"

    def edges(atoms: tuple[Atom, ...], target: str) -> None:
        known = [x for x in atoms if x in nodes]
        lines.extend(f"{nodes[x]} -> {target} [label={_quoted(str(x.type))}]" for x in known)

    for i, v in enumerate(graph.inputs):
        nodes[v] = node(f"in{i}", f"{texts[v]}: {v.type}", ", shape=ellipse")
    for i, eqn in enumerate(graph.equations):
        shown = ", ".join(texts[v] for v in eqn.outputs)
        made = node(str(i), f"{shown} = {eqn.primitive.name}")
        edges(eqn.inputs, made)
        nodes |= dict.fromkeys(eqn.outputs, made)
    for i, x in enumerate(graph.outputs):
        edges((x,), node(f"out{i}", f"output {i}", ", shape=ellipse"))
    return lines


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
