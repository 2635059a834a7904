"""A place in a text, moved along by regular expressions, and errors that point at it."""

from __future__ import annotations

import re
from typing import Final, NoReturn

from .errors import ParseError
from .graph import Location
from .syntax import NAME, STRING, TYPE, unquote

SPACE: Final = re.compile(r"[ \t\r]*+")
SPACE_AND_COMMENTS: Final = re.compile(r"(?:\s++|//[^\n]*+|#[^\n]*+)*+")
END_OF_LINE: Final = re.compile(r"[ \t\r]*+(?:(?://|#)[^\n]*+)?(?=\n|\}|\Z)")
_NAME: Final = re.compile(NAME)
_STRING: Final = re.compile(STRING)
_TOKEN: Final = re.compile(rf"{TYPE}|[@$]?{NAME}|{STRING}|[-+]?[\d.][\w.+-]*|->|\S|")
_WIDEST: Final = 120


class Cursor:
    """A text and a position in it."""

    __slots__ = ("file", "pos", "text")

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.pos = 0

    def skip(self, space: re.Pattern[str] = SPACE_AND_COMMENTS) -> None:
        match = space.match(self.text, self.pos)
        if match is not None:
            self.pos = match.end()

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Move past the pattern if it stands here."""
        found = pattern.match(self.text, self.pos)
        if found is not None:
            self.pos = found.end()
        return found

    def accept(self, symbol: str) -> bool:
        """Move past a symbol if it stands here."""
        if self.text.startswith(symbol, self.pos):
            self.pos += len(symbol)
            return True
        return False

    def expect(self, symbol: str, why: str) -> None:
        if not self.accept(symbol):
            self.fail(f"expected {symbol!r} {why}, found {self.found()}")

    def name(self, what: str) -> str:
        """Move past a name. `what` says what it would have named."""
        start = self.pos
        found = self.match(_NAME)
        if found is None:
            self.fail(f"expected {what}, found {self.found()}")
        name = self.unquoted(found.group(), start)
        if not name:
            self.fail(f"{what} is not empty", start)
        return name

    def string(self, what: str) -> str:
        start = self.pos
        found = self.match(_STRING)
        if found is None:
            self.fail(f"expected {what} as a double-quoted string, found {self.found()}")
        return self.unquoted(found.group(), start)

    def unquoted(self, spelling: str, start: int) -> str:
        try:
            return unquote(spelling)
        except ValueError as error:
            self.fail(str(error), start, len(spelling))

    def found(self) -> str:
        """The token here, for messages."""
        match = _TOKEN.match(self.text, self.pos)
        token = match.group() if match is not None else ""
        if token:
            return repr(token if len(token) <= 40 else token[:37] + "...")
        following = self.text[self.pos : self.pos + 1]
        return {"": "the end of the text", "\n": "the end of the line"}.get(following, "a space")

    def line_of(self, pos: int) -> int:
        return self.text.count("\n", 0, pos) + 1

    def fail(
        self, claim: str, pos: int | None = None, width: int | None = None, hint: str | None = None
    ) -> NoReturn:
        """Raise a ParseError that points at the token at `pos`, or at the current place."""
        at = self.pos if pos is None else pos
        if width is None:
            token = _TOKEN.match(self.text, at)
            width = len(token.group()) if token is not None else 1
        start = self.text.rfind("\n", 0, at) + 1
        end = self.text.find("\n", at)
        line = self.text[start : end if end >= 0 else len(self.text)]
        raise ParseError(
            claim,
            location=Location(self.file, self.line_of(at), at - start + 1),
            excerpt=_excerpt(line, at - start, width),
            hint=hint,
        ) from None


def _excerpt(line: str, column: int, width: int) -> str:
    """The line, or the part of a long one around the column, and carets below it."""
    first = max(0, column - _WIDEST // 2) if len(line) > _WIDEST else 0
    shown = line[first : first + _WIDEST]
    if not first:  # drop the indentation
        first = len(shown) - len(shown.lstrip())
        first = min(first, column)
        shown = shown[first:]
    before = "".join(c if c == "\t" else " " for c in shown[: column - first])
    carets = "^" * max(1, min(width, len(shown) - (column - first)))
    return (
        f"{''.join(c if c.isprintable() or c == chr(9) else ' ' for c in shown)}\n{before}{carets}"
    )
