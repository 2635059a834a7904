"""Values of a function's inside, by name: `tap` gives one, `intermediates` lists them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name

from ..ir.graph import Location
from ..ir.types import TensorType
from .arguments import check_callable
from .named_values import Names


def tap(x: Any, name: str) -> Any:
    """x, every array of it named for `intermediates`, `derivative` and `monitor`.

    Changes no value, and works in any JAX program. Policies of `checkpoint` know the name too.
    """
    return jax.tree.map(lambda leaf: checkpoint_name(leaf, name), x)


@dataclass(frozen=True)
class Intermediate:
    """A value that can be named.

    type: its type; inside of a scan, that of the stack over all iterations. location: its line.
    """

    name: str
    type: TensorType
    location: Location | None

    def __str__(self) -> str:
        place = f"    // {self.location}" if self.location else ""
        return f"{self.name}: {self.type}{place}"


def intermediates(f: Callable[..., Any]) -> Callable[..., list[Intermediate]]:
    """A function of f's arguments that lists what can be named in f, in the order of the program.

    Names are those of `tap`; `f.z1` for what was assigned to z1 in f, or returned to it there;
    `block[3].h` for the third call of block; `f.x[2]` for the second assignment in one call.
    Nothing is computed.
    """
    check_callable(f, "intermediates")

    def listed(*args: Any, **kwargs: Any) -> list[Intermediate]:
        made = Names.of(f, args, kwargs).in_order()
        return [Intermediate(name, m.type, m.location) for name, m in made]

    return listed
