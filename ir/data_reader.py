"""Types, literals, parameter values and constants' contents, read from text."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from .constants import Elided, from_little_endian
from .errors import did_you_mean
from .graph import Constant, Graph, Literal, Opaque, Thunk
from .lexer import Cursor
from .syntax import BARE, DTYPE, NUMBER, TYPE, overflows, read_scalar
from .types import DTYPE_BY_NAME, ExtendedDtype, TensorType, dtype_from_name

DEEPEST: Final = 100
"""Levels of nesting in one value."""

LONGEST_AXIS: Final = 2**63 - 1
MOST_AXES: Final = 255

_TYPE = re.compile(TYPE)
_TYPE_PARTS = re.compile(r"(~?)([^\[]+)\[([^\]]*)\]")
_DTYPE = re.compile(DTYPE)
_WORD = re.compile(BARE)
_NUMBER = re.compile(NUMBER)
_SCALAR = re.compile(rf"{NUMBER}|{BARE}")
_LITERAL = re.compile(rf"({NUMBER}|{BARE}):(?=~?[a-z])")
_BASE64 = re.compile(r'"([A-Za-z0-9+/=\s]*+)"')
_BYTES = re.compile(r"bytes\[(\d{1,18}):(\d{1,18})\]")
_WORDS: Final = {"True": True, "False": False, "None": None}
_CLOSERS: Final = {"(": ")", "[": "]", "{": "}"}

ReadBytes = Callable[[int, int, TensorType], Any]


class DataReader(Cursor):
    """A cursor that reads data. Graphs and constants are known by name before they are read."""

    __slots__ = ("constants", "graphs", "literals", "types")

    def __init__(self, text: str, file: str) -> None:
        super().__init__(text, file)
        self.types: dict[str, TensorType] = {}
        self.literals: dict[str, Literal] = {}
        self.graphs: dict[str, tuple[Graph, int]] = {}
        self.constants: dict[str, tuple[Constant, int]] = {}

    # -- types and literals ----------------------------------------------------------------------

    def type(self) -> TensorType:
        start = self.pos
        found = self.match(_TYPE)
        if found is None:
            self.fail(f"expected a type such as f32[4,3], found {self.found()}")
        text = found.group()
        known = self.types.get(text)
        if known is None:
            known = self.types[text] = self._type(text, start)
        return known

    def _type(self, text: str, start: int) -> TensorType:
        parts = _TYPE_PARTS.fullmatch(text)
        assert parts is not None
        weak, dtype, lengths = parts.groups()
        shape = []
        for length in lengths.split(",") if lengths.strip() else ():
            digits = length.strip()
            if not digits.isdecimal() or len(digits) > 19 or int(digits) > LONGEST_AXIS:
                claim = "is too long" if digits.isdecimal() else "is no axis length"
                self.fail(f"{digits[:24]!r} {claim}", start, len(text))
            shape.append(int(digits))
        if len(shape) > MOST_AXES:
            self.fail(f"a type has at most {MOST_AXES} axes", start, len(text))
        return TensorType(tuple(shape), self._dtype(dtype, start + len(weak)), bool(weak))

    def _dtype(self, name: str, start: int) -> Any:
        try:
            return dtype_from_name(name)
        except KeyError:
            self.fail(
                f"there is no dtype {name!r}", start, len(name), did_you_mean(name, DTYPE_BY_NAME)
            )

    def literal(self) -> Literal | None:
        """`0.5:f32[]` if it stands here."""
        start = self.pos
        found = self.match(_LITERAL)
        if found is None:
            return None
        type = self.type()
        spelling = self.text[start : self.pos]
        known = self.literals.get(spelling)
        if known is None:
            if type.shape:
                self.fail("a literal is a scalar", start, len(spelling))
            known = self.literals[spelling] = Literal(
                self._scalar(found.group(1), type, start), type
            )
        return known

    def _scalar(self, text: str, type: TensorType, start: int) -> np.ndarray[Any, Any]:
        if isinstance(type.dtype, ExtendedDtype):
            self.fail(f"{type.dtype} has no literals", start, len(text))
        try:
            return read_scalar(text, type.dtype)
        except ValueError as error:
            self.fail(str(error), start, len(text))

    # -- values of parameters and of pytrees -----------------------------------------------------

    def value(self, depth: int = 0, tree: bool = False) -> Any:
        """Plain data. Lists and dictionaries only in the description of a pytree."""
        if depth > DEEPEST:
            self.fail(f"this is nested more than {DEEPEST} levels deep")
        start = self.pos
        number = self.match(_NUMBER)
        if number is not None and not _WORD.match(self.text, self.pos):
            return self._number(number.group(), start)
        self.pos = start
        opener = self.text[start : start + 1]
        if opener == "(" or (tree and opener in ("[", "{")):
            return self._sequence(opener, depth, tree)
        if opener == '"':
            return self.string("a value")
        if opener == "@":
            self.pos += 1
            return self.graph_named(self.name("the name of a function"), start)
        if opener == "$":
            self.pos += 1
            return self.constant_named(self.name("the name of a constant"), start)
        for kind, make in (("thunk", _thunk), ("opaque", _opaque)):
            if self.accept(f'{kind}<"'):
                self.pos -= 1
                found = make(self.string(f"the name of a {kind}"))
                self.expect(">", f"after the name of a {kind}")
                return found
        return self._word(start)

    def _word(self, start: int) -> Any:
        """A type, True, False, None or a dtype."""
        if _TYPE.match(self.text, start):
            return self.type()
        word = _WORD.match(self.text, start)
        if word is not None and word.group() in _WORDS:
            self.pos = word.end()
            return _WORDS[word.group()]
        dtype = self.match(_DTYPE)
        if dtype is None:
            hint = "strings stand in double quotes" if word is not None else None
            self.fail(f"expected a value, found {self.found()}", hint=hint)
        name = dtype.group()
        if name not in DTYPE_BY_NAME and "<" not in name and name != "token":
            near = did_you_mean(name, [*DTYPE_BY_NAME, *_WORDS])
            hint = near or "strings stand in double quotes"
            self.fail(f"{name!r} is no value", start, len(name), hint)
        return self._dtype(name, start)

    def _number(self, text: str, start: int) -> int | float | complex:
        if text.lstrip("+-").isdecimal():
            if len(text) > 1000:
                self.fail("this integer has more than 1000 digits", start, len(text))
            return int(text)
        number = complex(text) if text.endswith(("j", ")")) else float(text)
        if overflows(number, text):
            self.fail("this number is too large", start, len(text))
        return number

    def _sequence(self, opener: str, depth: int, tree: bool) -> Any:
        """A tuple, a list or a dictionary."""
        closer = _CLOSERS[opener]
        start = self.pos
        self.pos += 1
        items: list[Any] = []
        self.skip()
        comma = False
        while not self.accept(closer):
            if self.pos >= len(self.text):
                self.fail(f"this {opener!r} is not closed", start, 1)
            if items and not comma:
                self.fail(f"expected ',' or {closer!r}, found {self.found()}")
            item = self.value(depth + 1, tree)
            self.skip()
            items.append((item, self._entry(depth)) if opener == "{" else item)
            comma = self.accept(",")
            self.skip()
        if opener == "(":
            if len(items) == 1 and not comma:
                self.fail("a tuple of one item ends in a comma: (1,)", start, self.pos - start)
            return tuple(items)
        return self._dictionary(items, start) if opener == "{" else items

    def _entry(self, depth: int) -> Any:
        self.expect(":", "between a key and its value")
        self.skip()
        value = self.value(depth + 1, tree=True)
        self.skip()
        return value

    def _dictionary(self, items: list[tuple[Any, Any]], start: int) -> dict[Any, Any]:
        try:
            made = dict(items)
        except TypeError:
            self.fail("a dictionary's keys are strings, numbers or tuples", start, 1)
        if len(made) != len(items):
            self.fail("two keys of this dictionary are equal", start, 1)
        return made

    def graph_named(self, name: str, start: int) -> Graph:
        """The graph of that name: it is filled in when its function is read."""
        known = self.graphs.get(name)
        if known is None:
            known = self.graphs[name] = (Graph((), (), (), name), start)
        return known[0]

    def constant_named(self, name: str, start: int) -> Constant:
        """The constant of that name: it is filled in when its declaration is read."""
        known = self.constants.get(name)
        if known is None:
            nothing = TensorType((0,), np.bool_)
            known = self.constants[name] = (Constant(None, nothing, name), start)
        return known[0]

    # -- contents of constants -------------------------------------------------------------------

    def contents(self, type: TensorType, name: str, read_bytes: ReadBytes | None) -> Any:
        """What stands to the right of a constant's `=`."""
        start = self.pos
        form = self.text[start : start + 6]
        if form == "elided":
            self.pos += 6
            return Elided(type, name)
        if isinstance(type.dtype, ExtendedDtype):
            self.fail(f"the contents of arrays of {type.dtype} are written 'elided'")
        if self.accept("dense"):
            self.skip()
            return self._dense(type)
        if form == "base64":
            self.pos += 6
            self.skip()
            return self._base64(type)
        found = self.match(_BYTES)
        if found is None:
            self.fail(f"expected dense, base64, bytes or elided, found {self.found()}")
        if read_bytes is None:
            self.fail("these bytes are in a .cvir file of their own: load it by its path", start)
        try:
            return read_bytes(int(found.group(1)), int(found.group(2)), type)
        except ValueError as error:
            self.fail(str(error), start, self.pos - start)

    def _base64(self, type: TensorType) -> np.ndarray[Any, Any]:
        start = self.pos
        found = self.match(_BASE64)
        if found is None:
            self.fail(f"expected base64 in double quotes, found {self.found()}")
        try:
            raw = base64.b64decode("".join(found.group(1).split()), validate=True)
            return from_little_endian(raw, type)
        except (binascii.Error, ValueError) as error:
            self.fail(f"this is not an array of {type}: {error}", start, 1)

    def _dense(self, type: TensorType) -> np.ndarray[Any, Any]:
        start = self.pos
        parts: list[bytes] = []
        if 0 in type.shape:
            self.expect("[]", f"for an array of {type}")
        else:
            self._rows(type, 0, parts)
        try:
            flat = np.frombuffer(b"".join(parts), type.dtype) if parts else np.empty(0, type.dtype)  # type: ignore[arg-type]
            return flat.reshape(type.shape)
        except ValueError as error:
            self.fail(str(error), start, 1)

    def _rows(self, type: TensorType, axis: int, parts: list[bytes]) -> None:
        """Append the elements of one row, whose rows are nested like the remaining axes."""
        start = self.pos
        if axis == len(type.shape):
            scalar = self.match(_SCALAR)
            if scalar is None:
                self.fail(f"expected an element of {type}, found {self.found()}")
            parts.append(self._scalar(scalar.group(), type, start).tobytes())
            return
        if axis > DEEPEST:
            self.fail(f"this is nested more than {DEEPEST} levels deep")
        self.expect("[", f"to open axis {axis} of {type}")
        length = type.shape[axis]
        for i in range(length):
            self.skip()
            if i:
                self.expect(",", f"between the {length} items of axis {axis} of {type}")
                self.skip()
            self._rows(type, axis + 1, parts)
        self.skip()
        self.expect("]", f"after the {length} items of axis {axis} of {type}")


def _thunk(name: str) -> Thunk:
    """A thunk that was printed: what it did in Python is not in the text."""

    def refuse(*_signature: Any) -> Any:
        from .errors import CovectorError

        raise CovectorError(
            f"the rule {name!r} was still Python when this program was printed",
            hint="run the pass materialize before printing to make graphs of such rules",
        )

    return Thunk(name, refuse)


def _opaque(name: str) -> Opaque:
    """A thing of the host that was printed: only its name is in the text."""

    def refuse(*_arrays: Any) -> Any:
        from .errors import CovectorError

        raise CovectorError(
            f"{name!r} was a thing of the process that printed this program: only its name is in "
            "the text",
            hint="trace the function again in the process that is to run it",
        )

    return Opaque(name, refuse)
