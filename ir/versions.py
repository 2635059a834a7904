"""Which versions are installed: told without loading what they are of."""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

Version: TypeAlias = tuple[int, ...]


@cache
def installed(package: str) -> Version | None:
    """The version of a package, as numbers; None if it is not installed."""
    import importlib.metadata

    try:
        return version_parts(importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return None


def version_parts(version: str) -> Version:
    """0.11.0.dev20 as (0, 11, 0)."""
    parts = []
    for part in version.split(".")[:3]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        parts.append(int(digits or 0))
    return tuple(parts)
