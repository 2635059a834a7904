"""What a function will be compiled to, judged by its name and arguments (see lowering.ahead)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from ..lowering import ahead
from ..lowering.call_spec import Call
from ..lowering.jax_compat import devices_for
from ..lowering.jax_compat_calls import is_trace_clean

_ADDRESS: Final = re.compile(r"\b0x[0-9a-fA-F]+\b")
"""What differs from process to process in what objects say of themselves."""


def expected(fun: Callable[..., Any], call: Call, *asked: Any) -> str | None:
    """Begin to read what the function was compiled to in an earlier process, for arguments of these
    types and what is `asked` of the compiler; what to compile it under. None where nothing is kept,
    or this is a trace."""
    if not ahead.is_on() or not is_trace_clean():
        return None
    (device,) = devices_for(None)
    if device.platform != "cpu":  # of others it was not measured
        return None
    types = [(getattr(x, "shape", ()), _dtype_name(x)) for x in call.leaves]
    named = repr((tuple(_names(fun)), str(call.tree), types, call.donated, asked))
    return ahead.expect(_ADDRESS.sub("", named), device)


def _dtype_name(x: Any) -> str:
    return str(getattr(x, "dtype", type(x).__name__))


def _names(fun: Any) -> Iterator[tuple[str, ...]]:
    """What a function and those that it wraps are called, and where they are written."""
    while fun is not None:
        code = getattr(fun, "__code__", None)
        place = (code.co_filename, code.co_name) if inspect.iscode(code) else ()
        yield (str(getattr(fun, "__qualname__", type(fun).__qualname__)), *place)
        fun = getattr(fun, "__wrapped__", getattr(fun, "func", None))
