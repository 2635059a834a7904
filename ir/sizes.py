"""Sizes of memory as people write them: `24MiB`, `8 GB`, `1.5e9`."""

from __future__ import annotations

import math
import re
from typing import Final

from .errors import UsageError

_UNITS: Final = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_SIZE: Final = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-z]*)\s*", re.IGNORECASE)


def read_size(size: str | int | float, what: str = "a memory budget") -> int:
    """The bytes of a size: a number, or text with a unit (MB is 10^6 bytes, MiB 2^20).

    Raises UsageError, naming what the size is of, for anything else and for less than a byte.
    """
    hint = 'write "24MiB", "8GiB" or "1.5GB", or a number of bytes'
    if isinstance(size, str):
        match = _SIZE.fullmatch(size)
        unit = match and _UNITS.get(match.group(2).lower())
        if match is None or unit is None:
            raise UsageError(f"{what} is a size of memory, got {size!r}", hint=hint)
        value = float(match.group(1)) * unit
    elif isinstance(size, bool) or not isinstance(size, (int, float)):
        try:
            value = float(size.__index__())
        except AttributeError:
            kind = type(size).__name__
            raise UsageError(f"{what} is a size of memory, got a {kind}", hint=hint) from None
        if isinstance(size, bool):
            raise UsageError(f"{what} is a size of memory, got {size}", hint=hint)
    else:
        value = float(size)
    if not math.isfinite(value) or value < 1:
        raise UsageError(f"{what} is at least one byte, got {size!r}", hint=hint)
    return int(value)


def show_size(size: float) -> str:
    """Bytes with a unit prefix: 1310720 as 1.25 MiB."""
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if abs(size) >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size:.0f} B"
