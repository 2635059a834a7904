"""The spelling of names, strings, numbers and types, for the printer and the parser alike.

Everything here round-trips: `unquote(quote_name(s)) == s`, and a scalar read back has the same bits
(a NaN is a NaN, whatever its payload).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from .types import Dtype, dtype_category, dtype_name

BARE: Final = r"[^\W\d][\w.]*+"
NAME: Final = rf"(?:{BARE}|`[^`\n]*+`)"
STRING: Final = r'"(?:[^"\\\n]|\\.)*+"'
DTYPE: Final = r"[a-z]\w*+(?:<[\w.+:-]*+>)?"
TYPE: Final = rf"~?{DTYPE}\[[\d, ]*+\]"
REAL: Final = r"(?:inf|nan|(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][-+]?\d++)?)"
COMPLEX: Final = rf"\([-+]?{REAL}[-+]{REAL}j\)|[-+]?{REAL}j"
NUMBER: Final = rf"{COMPLEX}|[-+]?{REAL}"
LOCATION: Final = (
    rf"//[ \t]*+(?P<file>{STRING}|[^\s:\"]++):(?P<line>-?\d{{1,18}})(?::(?P<column>-?\d{{1,18}}))?"
    rf"(?:[ \t]++in[ \t]++(?P<scope>{STRING}|[^\s\"#]++))?"
)

KEYWORDS: Final = frozenset({"return"})
"""Names that a value may not bear bare."""

_BARE = re.compile(BARE)
_INTEGER = re.compile(r"[-+]?\d+")
_REAL = re.compile(rf"[-+]?{REAL}")
_COMPLEX = re.compile(COMPLEX)
_ESCAPE = re.compile(r"\\(?:([\\\"nrt])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))")
_ESCAPED = re.compile(
    r"(?:[^\\]|\\[\\\"nrt]|\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8})*+", re.DOTALL
)
_SHORT_ESCAPES: Final = {"\\": "\\", '"': '"', "n": "\n", "r": "\r", "t": "\t"}


# -- names and strings ---------------------------------------------------------------------------


def quote_name(name: str) -> str:
    """A name as in the text: bare if it reads as one word, else between backquotes."""
    if _BARE.fullmatch(name) and name not in KEYWORDS:
        return name
    return f"`{_escape(name, '`')}`"


def quote_string(text: str) -> str:
    return f'"{_escape(text, chr(34))}"'


def unquote(text: str) -> str:
    """The name or string that a spelling stands for. Raises ValueError for a bad escape."""
    if text[:1] not in ('"', "`"):
        return text
    inner = text[1:-1]
    if "\\" not in inner:
        return inner
    if not _ESCAPED.fullmatch(inner):
        raise ValueError(r"a backslash starts \\ \" \n \r \t \xNN \uNNNN or \UNNNNNNNN")
    return _ESCAPE.sub(_unescape, inner)


def _escape(text: str, quote: str) -> str:
    if text.isprintable() and "\\" not in text and quote not in text:
        return text
    return "".join(_escape_character(c, quote) for c in text)


def _escape_character(c: str, quote: str) -> str:
    if c == "\\":
        return "\\\\"
    if c == quote:
        return '\\"' if c == '"' else f"\\x{ord(c):02x}"
    if c.isprintable():
        return c
    code = ord(c)
    if code < 0x100:
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(c, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _unescape(match: re.Match[str]) -> str:
    short, *codes = match.groups()
    if short:
        return _SHORT_ESCAPES[short]
    code = int(next(c for c in codes if c), 16)
    if code > 0x10FFFF:
        raise ValueError(f"there is no character U+{code:X}")
    return chr(code)


# -- scalars -------------------------------------------------------------------------------------


def scalar_text(value: np.ndarray[Any, Any]) -> str:
    """A scalar as the shortest text that reads back to the same bits."""
    dtype: Dtype = value.dtype
    category = dtype_category(dtype)
    if category == "bool":
        return str(bool(value))
    if category in ("int", "uint"):
        return str(int(value))
    with np.errstate(invalid="ignore"):  # of signalling NaNs
        return _inexact_text(value, complex if category == "complex" else float)


def _inexact_text(value: np.ndarray[Any, Any], convert: Callable[[Any], Any]) -> str:
    exact = convert(value)
    if value.dtype.char == "d":
        return repr(exact)
    short = str(value[()])
    # the few digits that numpy prints may be too few, since reading goes through double precision
    back: np.ndarray[Any, Any] = np.asarray(convert(short), dtype=value.dtype)
    return short if back.tobytes() == value.tobytes() else repr(exact)


def read_scalar(text: str, dtype: Dtype) -> np.ndarray[Any, Any]:
    """The scalar that a text states. Raises ValueError saying why the dtype cannot hold it."""
    category = dtype_category(dtype)
    number: Any = None
    if category == "bool":
        number = {"True": True, "False": False}.get(text)
    elif category in ("int", "uint"):
        number = int(text) if len(text) < 40 and _INTEGER.fullmatch(text) else None
    elif category == "float":
        number = float(text) if _REAL.fullmatch(text) else None
    elif category == "complex":
        both = _COMPLEX.fullmatch(text) or _REAL.fullmatch(text)
        number = complex(text) if both else None
    if number is None:
        raise ValueError(f"{text!r} is not a number that {dtype_name(dtype)} holds")
    return _hold(number, text, dtype)


def _hold(number: Any, text: str, dtype: Any) -> np.ndarray[Any, Any]:
    """The number as a scalar of the dtype, rounded if need be, but never to inf or another int."""
    if dtype.char in "fd" and abs(number) < 1e38:  # most literals: no overflow to look for
        return np.asarray(number, dtype=dtype)
    try:
        with np.errstate(all="ignore"):
            held = np.asarray(number, dtype=dtype)
    except (OverflowError, ValueError, TypeError):
        held = None
    if held is not None and not overflows(number, text):
        if isinstance(number, int):
            fits = int(held) == number
        else:
            back = complex(held)
            fits = _alike(back.real, complex(number).real) and _alike(
                back.imag, complex(number).imag
            )
        if fits:
            return held
    raise ValueError(f"{dtype_name(dtype)} cannot hold {text}")


def overflows(number: complex, text: str) -> bool:
    """Whether a text that states finite numbers was read as an infinite one."""
    return "inf" not in text and bool(np.isinf(number))


def _alike(held: float, number: float) -> bool:
    """Whether both are finite and held is number but for rounding, or the same infinity, or NaN."""
    if np.isfinite(number):
        return bool(np.isfinite(held)) and abs(number) <= 2 * abs(held) + 1  # else it saturated
    return held == number or (held != held and number != number)
