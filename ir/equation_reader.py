"""Equations, read from text: fast where they look as the printer writes them, else with care.

Almost every line is one match of one regular expression and a few look-ups. A line that does not
match, or in which anything is unknown, is read again token by token: that way accepts every layout
that the grammar allows, and raises every error, pointing at the token.
"""

from __future__ import annotations

import re
import sys
from array import array
from typing import Final

from .data_reader import DataReader
from .errors import TypeRuleError, did_you_mean
from .graph import Atom, Equation, Graph, Literal, Location, Params, Value
from .lexer import END_OF_LINE, SPACE
from .primitive import PRIMITIVES, Primitive
from .syntax import LOCATION, NAME, STRING, TYPE, quote_name, unquote

_EQUATION: Final = re.compile(
    rf"[ \t]*+(?!return\b)({NAME}): ({TYPE})((?:, {NAME}: {TYPE})*+) = (\w++)"
    rf'(?:\[((?:[^\[\]"`#\n/]++|{STRING}|\[[^\[\]"`#\n/]*+\])*+)\])?'
    rf"((?: ++(?:[\w.+\-():~<>\[\]]++|`[^`\n]*+`))*+)"
    rf"[ \t\r]*+(//[^\n]*+)?\n"
)
"""An equation as the printer writes it: name, type, more outputs, primitive, params, operands,
comment."""

_OUTPUT: Final = re.compile(rf"({NAME}): ({TYPE})")
_OPERAND: Final = re.compile(r"[^\s`]++|`[^`]*+`")
_LOCATION: Final = re.compile(rf"{LOCATION}[ \t\r]*+(?:#[^\n]*+)?")
_COMMENT: Final = re.compile(r"//[^\n]*+")
_LEFT_SIDE: Final = re.compile(rf"{NAME}\s*+:")
_NAME: Final = re.compile(NAME)
_PRIMITIVE: Final = re.compile(r"\w++")
_EQUALS: Final = re.compile(r"[ \t]*+=")
_RETURN: Final = re.compile(r"return(?![\w.]|\s*+:)")
_LIKELY: Final = 2000
"""Names considered for "did you mean"."""
_REMEMBERED: Final = 100_000
"""Entries after which a table of what was read before starts anew."""
_NOWHERE: Final = Location("", 0)
"""Stands for "not looked up yet"."""


class Scope(dict[str, Atom]):
    """A function's values by their spelling; literals by theirs, once they have been read."""

    __slots__ = ("literals",)

    def __init__(self, literals: dict[str, Literal]) -> None:
        super().__init__()
        self.literals = literals

    def __missing__(self, spelling: str) -> Atom:
        return self.literals[spelling]


class EquationReader(DataReader):
    """Reads the equations of functions. Equal operations share one dictionary of parameters."""

    __slots__ = ("locations", "operations", "positions")

    def __init__(self, text: str, file: str) -> None:
        super().__init__(text, file)
        self.operations: dict[tuple[str, str | None], tuple[Primitive, Params]] = {}
        self.locations: dict[str, Location | None] = {}
        self.positions: dict[Graph, array[int]] = {}
        """Where in the text each function's equations start."""

    def body(self, scope: Scope, graph: Graph) -> list[Equation]:
        """The equations up to `return` or `}`."""
        equations: list[Equation] = []
        positions = self.positions[graph] = array("Q")
        match, text = _EQUATION.match, self.text
        pos = self.pos
        while True:
            found = match(text, pos)
            if found is not None:
                eqn = self.from_line(found, scope)
                if eqn is not None:
                    equations.append(eqn)
                    positions.append(pos)
                    pos = found.end()
                    continue
            self.pos = pos
            self.skip()
            if self.pos != pos:  # past comments and empty lines
                pos = self.pos
                continue
            if pos >= len(text) or text[pos] == "}" or _RETURN.match(text, pos):
                return equations
            positions.append(pos)
            equations.append(self.equation(scope))
            pos = self.pos

    # -- the fast way ----------------------------------------------------------------------------

    def from_line(self, found: re.Match[str], scope: Scope) -> Equation | None:
        """The equation on a line as the printer writes it; None if it must be read with care."""
        name, type_text, more, primitive, params, operands, comment = found.groups()
        operation = self.operations.get((primitive, params))
        if operation is None:
            self.pos = found.start(4)
            operation = self.operation()
        type = self.types.get(type_text)
        if type is None:
            self.pos = found.start(2)
            type = self.type()
        spellings = operands.split() if "`" not in operands else _OPERAND.findall(operands)
        try:
            inputs = tuple([scope[spelling] for spelling in spellings])
        except KeyError:
            inputs = self.operands_between(found.start(6), found.end(6), scope)
        if name in scope or name[0] == "`":
            if name in scope or not _is_canonical(name):
                return None
            value = Value(type, unquote(name))
        else:
            value = Value(type, name)
        scope[name] = value
        outputs: tuple[Value, ...] = (value,)
        if more:
            outputs = self.more_outputs(value, found, scope)
        location = None
        if comment is not None:
            location = self.locations.get(comment, _NOWHERE)
            if location is _NOWHERE:
                location = self.location(comment)
        return Equation(operation[0], inputs, outputs, operation[1], location)

    def operands_between(self, start: int, end: int, scope: Scope) -> tuple[Atom, ...]:
        """The operands in a part of the text, which hold only names, literals and spaces."""
        atoms = []
        for found in _OPERAND.finditer(self.text, start, end):
            atom: Atom | None = scope.get(found.group())
            if atom is None:
                self.pos = found.start()
                atom = self.operand(scope)
                if self.pos != found.end():
                    self.fail(f"expected an operand, found {self.found()}")
            atoms.append(atom)
        return tuple(atoms)

    def more_outputs(self, first: Value, found: re.Match[str], scope: Scope) -> tuple[Value, ...]:
        """The first output and the others of the same equation."""
        values = [first]
        for other in _OUTPUT.finditer(self.text, found.start(3), found.end(3)):
            self.pos = other.start()
            values.append(self.declaration(scope))
        return tuple(values)

    # -- with care -------------------------------------------------------------------------------

    def equation(self, scope: Scope) -> Equation:
        """One equation in any layout."""
        outputs: list[tuple[Value, int]] = []
        if _LEFT_SIDE.match(self.text, self.pos):
            while True:
                start = self.pos
                outputs.append((self.undeclared(), start))
                self.skip()
                if not self.accept(","):
                    break
                self.skip()
            self.expect("=", "or ',' after the type of a value")
            self.skip()
        primitive, params = self.operation()
        inputs: list[Atom] = []
        self.skip(SPACE)
        while not self.at_end_of_equation():
            inputs.append(self.operand(scope))
            self.skip(SPACE)
        location = self.end_of_equation()
        for value, start in outputs:
            self.declare(value, scope, start)
        return Equation(primitive, tuple(inputs), tuple([v for v, _ in outputs]), params, location)

    def undeclared(self) -> Value:
        """`x: f32[3]`: a new value, not yet in the scope."""
        name = self.name("the name of a value")
        self.skip()
        self.expect(":", "and a type after the name of a value")
        self.skip()
        return Value(self.type(), name)

    def declare(self, value: Value, scope: Scope, start: int) -> None:
        key = quote_name(str(value.name))
        if key in scope:
            self.fail(f"{key} is made twice", start)
        scope[key] = value

    def declaration(self, scope: Scope) -> Value:
        start = self.pos
        value = self.undeclared()
        self.declare(value, scope, start)
        return value

    def operation(self) -> tuple[Primitive, Params]:
        """A primitive with its parameters, defaults filled in."""
        start = self.pos
        found = self.match(_PRIMITIVE)
        if found is None:
            self.fail(f"expected the name of a primitive, found {self.found()}")
        name = found.group()
        primitive = PRIMITIVES.get(name)
        if primitive is None:
            hint = did_you_mean(name, PRIMITIVES)
            if _EQUALS.match(self.text, self.pos):
                hint = f"values are made with their type: {name}: f32[3] = ..."
            self.fail(f"there is no primitive {name!r}", start, len(name), hint)
        given: Params = {}
        spelling = None
        self.skip(SPACE)
        opened = self.pos
        if self.accept("["):
            given = self.parameters(primitive, opened)
            spelling = self.text[opened + 1 : self.pos - 1]
        try:
            params = primitive.complete(given)
        except TypeRuleError as error:
            self.fail(error.claim, start, len(name), error.hint)
        if len(self.operations) > _REMEMBERED:
            self.operations.clear()
        operation = self.operations[name, spelling] = (primitive, params)
        return operation

    def parameters(self, primitive: Primitive, opened: int) -> Params:
        """`a=1, b=(2,3)]`"""
        given: Params = {}
        self.skip()
        while not self.accept("]"):
            if self.pos >= len(self.text):
                self.fail("this '[' is not closed", opened, 1)
            if given:
                self.expect(",", "or ']' between parameters")
                self.skip()
                if self.accept("]"):
                    break
            start = self.pos
            name = self.name("the name of a parameter")
            if name not in primitive.defaults:
                self.fail(
                    f"{primitive.name} has no parameter {name!r}",
                    start,
                    None,
                    did_you_mean(name, primitive.defaults)
                    or f"its parameters: {', '.join(primitive.defaults) or 'none'}",
                )
            if name in given:
                self.fail(f"the parameter {name!r} is given twice", start)
            self.skip()
            self.expect("=", "after the name of a parameter")
            self.skip()
            given[name] = self.value()
            self.skip()
        return given

    def operand(self, scope: Scope) -> Atom:
        """A value by name, or a literal."""
        start = self.pos
        literal = self.literal()
        if literal is not None:
            return literal
        found = self.match(_NAME)
        if found is None:
            self.fail(f"expected a value or a literal, found {self.found()}")
        key = quote_name(self.unquoted(found.group(), start))
        value = scope.get(key)
        if value is None:
            names = list(scope)[-_LIKELY:]
            hint = did_you_mean(key, names)
            self.fail(f"no value {key} is made before this", start, len(found.group()), hint)
        return value

    def at_end_of_equation(self) -> bool:
        return END_OF_LINE.match(self.text, self.pos) is not None

    def end_of_equation(self) -> Location | None:
        """Move past a comment; the location if it is one."""
        found = self.match(_COMMENT)
        if found is not None:
            return self.location(found.group())
        self.match(END_OF_LINE)
        return None

    def location(self, comment: str) -> Location | None:
        """The location that a comment states, None for other comments."""
        found = _LOCATION.fullmatch(comment)
        location = None
        if found is not None:
            file, line, column, scope = found.group("file", "line", "column", "scope")
            location = Location(
                sys.intern(self.unquoted(file, self.pos)),
                int(line),
                int(column or 0),
                sys.intern(self.unquoted(scope, self.pos)) if scope else "",
            )
        if len(self.locations) > _REMEMBERED:
            self.locations.clear()
        self.locations[comment] = location
        return location


def _is_canonical(name: str) -> bool:
    """Whether a name in backquotes is spelled as the printer spells it."""
    try:
        return name != "``" and quote_name(unquote(name)) == name
    except ValueError:
        return False
