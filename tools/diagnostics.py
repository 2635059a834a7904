"""Errors that a program's comments foresee, for `covector opt --verify-diagnostics`.

    z: f32[3] = add x y    // expected-error {{cannot broadcast}}
    // expected-error @below {{there is no primitive}}

`@above`, `@below`, `@+2` and `@-1` name another line than the comment's own. What stands in the
braces has to occur in the error. An error of a pass has no line in the text: it may be foreseen
anywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..ir.errors import CovectorError, ParseError, UsageError

_EXPECTED = re.compile(
    r"//\s*expected-error(?:\s*@(?P<place>above|below|[+-]\d+))?\s*(?:\{\{(?P<text>.*?)\}\})?"
)
_LINE = re.compile(r"\bline (\d+)\b")
_STEPS = {"above": -1, "below": 1, None: 0}


@dataclass(frozen=True)
class Expected:
    """An error that is foreseen: the line on which, and what it says."""

    line: int
    text: str


def expected_errors(text: str) -> list[Expected]:
    """What the comments of a text foresee. Raises UsageError for one that says nothing."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        for match in _EXPECTED.finditer(line):
            place = match["place"]
            if match["text"] is None:
                raise UsageError(
                    f"expected-error on line {number} says no text",
                    hint="write // expected-error {{part of the message}}",
                )
            steps = _STEPS[place] if place in _STEPS else int(place)
            found.append(Expected(number + steps, match["text"]))
    return found


def line_of_error(error: CovectorError) -> int | None:
    """The line of the text that an error is about."""
    if isinstance(error, ParseError):
        return error.location.line if error.location is not None else None
    match = _LINE.search(error.stage or "")
    return int(match[1]) if match else None


def disagreements(expected: list[Expected], error: CovectorError | None) -> list[str]:
    """What was foreseen and did not happen, and what happened and was not foreseen."""
    left = list(expected)
    if error is not None:
        line, said = line_of_error(error), str(error)
        for e in expected:
            if e.text in said and line in (None, e.line):
                left.remove(e)
                break
        else:
            where = f"line {line}: " if line is not None else ""
            return [f"{where}unexpected error: {error.claim}", *map(_missing, left)]
    return list(map(_missing, left))


def _missing(expected: Expected) -> str:
    return f"line {expected.line}: no error says {expected.text!r}"
