"""`covector --version`: the versions of what a result may depend on."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Final

PACKAGES: Final = ("jax", "jaxlib", "numpy", "ml_dtypes", "scipy")


def versions() -> dict[str, str | None]:
    """Names and versions, without importing anything; None for what is not installed."""
    from .. import __version__

    found: dict[str, str | None] = {"covector": __version__}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return {**found, "python": platform.python_version()}


def versions_text() -> str:
    found = versions().items()
    return "\n".join(f"{name} {version or 'is not installed'}" for name, version in found)
