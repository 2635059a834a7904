"""What is known of programs by their structural hashes, for as many as this process may need."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from ..lowering.jax_compat_calls import on_clear_caches

Known = TypeVar("Known")

LIMIT: Final = 4096
"""Programs that a cache remembers; JAX's caches of compiled functions have the same size."""


class ProgramCache(dict[Any, Known]):
    """A dictionary that forgets its oldest entries, and all of them by jax.clear_caches."""

    def __init__(self) -> None:
        super().__init__()
        on_clear_caches(self.clear)

    def __setitem__(self, key: Any, known: Known) -> None:
        super().__setitem__(key, known)
        if len(self) > LIMIT:
            self.pop(next(iter(self)), None)
