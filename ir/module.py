"""A module: named graphs, one of them the entry. What is printed, parsed, saved and run."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import UsageError, did_you_mean
from .graph import Constant, Graph, walk_graphs


class Module:
    """Public graphs by name, in order; the first is the entry unless another is named.

    A graph is known here by the name it has in `graphs`; the graphs that these call are reached
    through their equations. `in_tree` and `out_tree` describe how the entry's flat inputs and
    outputs are nested: plain data in which "*" stands for a leaf (`(("*", {"w": "*"}), {})`), or
    None for flat ones. Passes keep the fields that they do not change (`replace`).
    """

    __slots__ = ("entry", "graphs", "in_tree", "name", "out_tree")

    def __init__(
        self,
        graphs: Mapping[str, Graph],
        entry: str | None = None,
        name: str = "main",
        in_tree: Any = None,
        out_tree: Any = None,
    ) -> None:
        if not graphs:
            raise UsageError("a module has at least one graph")
        self.graphs = {key: g if g.name == key else g.renamed(key) for key, g in graphs.items()}
        self.entry = entry if entry is not None else next(iter(self.graphs))
        if self.entry not in self.graphs:
            raise UsageError(
                f"the entry @{self.entry} is not a graph of the module",
                hint=did_you_mean(self.entry, self.graphs),
            )
        self.name = name
        self.in_tree = in_tree
        self.out_tree = out_tree

    @property
    def main(self) -> Graph:
        """The entry graph."""
        return self.graphs[self.entry]

    def replace(self, **fields: Any) -> Module:
        """A copy with some fields changed."""
        return Module(
            fields.get("graphs", self.graphs),
            fields.get("entry", self.entry),
            fields.get("name", self.name),
            fields.get("in_tree", self.in_tree),
            fields.get("out_tree", self.out_tree),
        )

    def with_main(self, graph: Graph, **fields: Any) -> Module:
        """A copy with another entry graph under the same name."""
        return self.replace(graphs={**self.graphs, self.entry: graph}, **fields)

    def all_graphs(self) -> list[Graph]:
        """Every graph, callees before callers, once each."""
        return walk_graphs(*self.graphs.values())

    def constants(self) -> Iterator[Constant]:
        """The table of captured arrays, in order of first use, once each."""
        seen: set[Constant] = set()
        for graph in self.all_graphs():
            for eqn in graph.equations:
                for value in eqn.params.values():
                    if isinstance(value, Constant) and value not in seen:
                        seen.add(value)
                        yield value

    # Text, equality, files and execution are each a module of their own; these are their front
    # doors. Execution lives in a higher layer, which is found by name when it is first asked for:
    # programs are read, transformed and printed without JAX.

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Compile the entry and run it on arguments nested as `in_tree` says, or flat."""
        return _frontend("run")(self, *args, **kwargs)

    def to_jaxpr(self) -> Any:
        """The entry as a JAX ClosedJaxpr."""
        return _frontend("to_jaxpr")(self)

    def as_function(self) -> Any:
        """The entry as a function that binds JAX primitives, under JAX's transformations too."""
        return _frontend("as_function")(self)

    def __str__(self) -> str:
        from .printer import print_module

        return print_module(self)

    def __repr__(self) -> str:
        sizes = ", ".join(f"@{name} ({len(g)})" for name, g in self.graphs.items())
        return f"<covector module @{self.name}: {sizes}>"

    def _repr_html_(self) -> str:
        html: str = _above("tools.notebook").module_html(self)
        return html

    def __eq__(self, other: object) -> bool:
        """Equal in everything that is printed: structure, constants, names and locations."""
        if not isinstance(other, Module):
            return NotImplemented
        from .equality import modules_equal

        return modules_equal(self, other)

    def __hash__(self) -> int:
        return hash(self.hash())

    def hash(self) -> str:
        """A digest of the structure: types, operations, constants; not names or locations."""
        from .equality import structural_hash

        return structural_hash(self)

    def verify(self) -> Module:
        """Check every rule of the representation. Returns the module; raises VerifyError."""
        from .verifier import verify_module

        verify_module(self)
        return self

    def save(self, path: str | Path) -> None:
        """Write text and constants to one `.cvir` file, whole or not at all."""
        from .files import save

        save(self, path)

    def stats(self) -> dict[str, Any]:
        """Counts: graphs, equations, equations by primitive, constants and their bytes."""
        from .statistics import module_statistics

        return module_statistics(self)

    def interpret(self, *inputs: Any, graph: str | None = None) -> list[Any]:
        """Evaluate a graph (the entry) on flat arrays by the NumPy meaning of each primitive."""
        from .interpret import evaluate

        return evaluate(self.graphs[graph or self.entry], inputs)


def _frontend(name: str) -> Any:
    return getattr(_above("frontend.modules"), name)


def _above(module: str) -> Any:
    package = __name__.rpartition(".ir.")[0]
    return importlib.import_module(f"{package}.{module}")


def module_of(graph: Graph, others: Sequence[Graph] = (), **fields: Any) -> Module:
    """A module of an entry graph and more."""
    return Module({g.name: g for g in (graph, *others)}, graph.name, **fields)
