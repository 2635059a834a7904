"""Text to program: what the printer writes, and what people make of it by hand.

Grammar, beside the printer's layout: blank space and line breaks are free inside brackets; an
equation ends with its line. `# ...` and `// ...` are comments, but for `// file:line:column` at the
end of an equation, which is its location. The `module @name { }` around the functions may be left
out. Reading runs no code and allocates no more than the text is long.

Equations are made as they stand: nothing is folded or reused.
"""

from __future__ import annotations

import re
from typing import Any, Final

from . import ops  # the primitives must be defined
from .data_reader import ReadBytes
from .equation_reader import EquationReader, Scope
from .errors import VerifyError, did_you_mean
from .graph import Atom, Graph, Value
from .lexer import END_OF_LINE, SPACE
from .module import Module
from .syntax import quote_name
from .types import TensorType
from .verifier import check_acyclic, verify_graphs

__all__ = ["ops", "parse", "parse_with_bytes"]

_RETURN = re.compile(r"return(?![\w.])")
_WORD = re.compile(r"\w++")
_LIKELY: Final = 2000
"""Names considered for "did you mean"."""


def parse(text: str, *, verify: bool = True, file: str = "<text>") -> Module:
    """The module that a text states. Raises ParseError, or VerifyError if it breaks a rule."""
    return parse_with_bytes(text, None, verify=verify, file=file)


def parse_with_bytes(
    text: str, read_bytes: ReadBytes | None, *, verify: bool = True, file: str = "<text>"
) -> Module:
    """`parse`, with the bytes that constants of the form `bytes[start:stop]` refer to."""
    parser = _Parser(text, file)
    parser.read_bytes = read_bytes
    module = parser.module()
    try:
        roots = [graph for graph, _ in parser.graphs.values()]
        if verify:
            verify_graphs(roots)
        else:
            check_acyclic(roots)
    except VerifyError as error:
        parser.locate(error)
        raise
    return module


class _Parser(EquationReader):
    __slots__ = ("entry", "private", "public", "read_bytes", "trees")

    def __init__(self, text: str, file: str) -> None:
        super().__init__(text, file)
        self.read_bytes: ReadBytes | None = None
        self.public: dict[str, Graph] = {}
        self.private: set[str] = set()
        self.entry: tuple[str, int] | None = None
        self.trees: dict[str, Any] = {}

    # -- modules ---------------------------------------------------------------------------------

    def module(self) -> Module:
        self.accept("\ufeff")
        self.skip()
        name, wrapped = "main", self.keyword("module")
        if wrapped:
            self.expect("@", "before the name of the module")
            name = self.name("the name of the module")
            self.skip()
            self.expect("{", "after the name of the module")
        start = self.pos
        while self.item():
            pass
        if wrapped:
            self.skip()
            if self.pos >= len(self.text):
                self.fail("the module is not closed: expected '}'")
            self.expect("}", "or func, constant, entry, in_tree, out_tree in a module")
            self.skip()
        if self.pos < len(self.text):
            self.fail(f"expected the end of the text, found {self.found()}")
        self.check_names(start)
        return Module(
            self.public,
            self.entry[0] if self.entry else None,
            name,
            self.trees.get("in_tree"),
            self.trees.get("out_tree"),
        )

    def keyword(self, word: str) -> bool:
        """Move past a word, and the space after it, if it stands here."""
        found = _WORD.match(self.text, self.pos)
        if found is None or found.group() != word:
            return False
        self.pos = found.end()
        self.skip()
        return True

    def item(self) -> bool:
        """Read one function, constant or attribute, if one stands here."""
        self.skip()
        start = self.pos
        if self.keyword("func"):
            self.function()
        elif self.keyword("constant"):
            self.constant()
        elif self.keyword("entry"):
            if self.entry:
                self.fail("the entry is stated twice", start)
            self.expect("@", "before the name of the entry")
            at = self.pos
            self.entry = (self.name("the name of the entry"), at)
        elif self.keyword("in_tree"):
            self.tree("in_tree", start)
        elif self.keyword("out_tree"):
            self.tree("out_tree", start)
        else:
            return False
        return True

    def tree(self, which: str, start: int) -> None:
        if which in self.trees:
            self.fail(f"{which} is stated twice", start)
        self.expect("=", f"after {which}")
        self.skip()
        self.trees[which] = self.value(tree=True)

    def constant(self) -> None:
        start = self.pos
        self.expect("$", "before the name of a constant")
        name = self.name("the name of a constant")
        constant = self.constant_named(name, start)
        if constant.array is not None:
            self.fail(f"the constant ${quote_name(name)} is declared twice", start)
        self.skip()
        self.expect(":", "before the type of a constant")
        self.skip()
        constant.type = self.type()
        self.skip()
        self.expect("=", "before the contents of a constant")
        self.skip()
        constant.array = self.contents(constant.type, name, self.read_bytes)

    def locate(self, error: VerifyError) -> None:
        """Add the line of the text to an error about an equation that was read from it."""
        if error.graph in self.positions and error.index is not None:
            pos = self.positions[error.graph][error.index]
            error.stage = f"{error.stage}, line {self.line_of(pos)} of {self.file}"

    def check_names(self, start: int) -> None:
        """Raise ParseError unless all that was referred to was declared."""
        defined = {*self.public, *self.private}
        for name, (_, pos) in self.graphs.items():
            if name not in defined:
                hint = did_you_mean(name, list(defined)[:_LIKELY])
                self.fail(f"there is no function @{quote_name(name)}", pos, None, hint)
        for name, (constant, pos) in self.constants.items():
            if constant.array is None:
                known = [n for n, (c, _) in self.constants.items() if c.array is not None]
                hint = did_you_mean(name, known[:_LIKELY])
                self.fail(f"there is no constant ${quote_name(name)}", pos, None, hint)
        if not self.public:
            self.fail("a module has at least one function that is not private", start)
        if self.entry and self.entry[0] not in self.public:
            name, pos = self.entry
            hint = did_you_mean(name, list(self.public)[:_LIKELY])
            self.fail(f"there is no public function @{quote_name(name)}", pos, None, hint)

    # -- functions -------------------------------------------------------------------------------

    def function(self) -> None:
        private = self.keyword("private")
        start = self.pos
        self.expect("@", "before the name of a function")
        name = self.name("the name of a function")
        if name in self.public or name in self.private:
            self.fail(f"the function @{quote_name(name)} is defined twice", start)
        graph = self.graph_named(name, start)
        if private:
            self.private.add(name)
        else:
            self.public[name] = graph
        scope = Scope(self.literals)
        self.skip()
        self.expect("(", "before the inputs of a function")
        graph.inputs, graph.linear_from = self.inputs(scope)
        declared = self.output_types()
        self.expect("{", "before the body of a function")
        opened = self.pos - 1
        graph.equations = tuple(self.body(scope, graph))
        graph.outputs = self.results(scope, graph, declared)
        self.skip()
        if not self.accept("}"):
            if self.pos >= len(self.text):
                self.fail("this '{' is not closed", opened, 1)
            self.fail(
                f"expected '}}' after the results of @{quote_name(name)}, found {self.found()}"
            )

    def inputs(self, scope: Scope) -> tuple[tuple[Value, ...], int | None]:
        """`r: f32[4] | t: f32[4])`: the inputs, and where the linear ones start, if any."""
        values: list[Value] = []
        linear_from = None
        fresh = True  # after '(' or '|', where no comma is needed
        self.skip()
        while not self.accept(")"):
            if linear_from is None and self.accept("|"):
                linear_from, fresh = len(values), True
            else:
                if not fresh:
                    self.expect(",", "or ')' between the inputs of a function")
                    self.skip()
                values.append(self.declaration(scope))
                fresh = False
            self.skip()
        return tuple(values), linear_from

    def output_types(self) -> list[tuple[TensorType, int]]:
        self.skip()
        self.expect("->", "before the types of a function's results")
        self.skip()
        self.expect("(", "around the types of a function's results")
        types: list[tuple[TensorType, int]] = []
        self.skip()
        while not self.accept(")"):
            if types:
                self.expect(",", "or ')' between the types of a function's results")
                self.skip()
            at = self.pos
            types.append((self.type(), at))
            self.skip()
        self.skip()
        return types

    def results(
        self, scope: Scope, graph: Graph, declared: list[tuple[TensorType, int]]
    ) -> tuple[Atom, ...]:
        """`return x, y`"""
        start = self.pos
        found = self.match(_RETURN)
        if found is None:
            what = f"@{quote_name(graph.name)}"
            self.fail(f"expected an equation or return in {what}, found {self.found()}")
        atoms: list[Atom] = []
        self.skip(SPACE)
        while not self.match(END_OF_LINE):
            if atoms:
                self.expect(",", "between the results of a function")
                self.skip()
            at = self.pos
            atoms.append(self.operand(scope))
            if len(atoms) <= len(declared):
                wanted = declared[len(atoms) - 1][0]
                if atoms[-1].type is not wanted:
                    self.fail(f"this result has type {atoms[-1].type}, not {wanted}", at)
            self.skip(SPACE)
        if len(atoms) != len(declared):
            self.fail(
                f"@{quote_name(graph.name)} returns {len(atoms)} values, but declares "
                f"{len(declared)}",
                start,
            )
        return tuple(atoms)
