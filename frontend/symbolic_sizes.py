"""Sizes that `jax.export` leaves open. Programs are of known sizes, so functions that are exported
for others are transformed by JAX's own transformations.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from .avals import SymbolicSizesError

Function = TypeVar("Function", bound=Callable[..., Any])


def or_by_jax(
    theirs: Callable[..., Any], only_ours: tuple[str, ...] = ()
) -> Callable[[Function], Function]:
    """`@or_by_jax(jax.vjp)`: a function that is JAX's where there are values of open sizes, among
    its arguments or among what a function closes over.

    Raises SymbolicSizesError there with options that only ours has.
    """

    def enter(ours: Function) -> Function:
        @functools.wraps(ours)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return ours(*args, **kwargs)
            except SymbolicSizesError:
                if any(name in kwargs for name in only_ours):
                    raise
            return theirs(*args, **kwargs)

        return cast(Function, call)

    return enter
