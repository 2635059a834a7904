"""JAX's own primitives, found where its modules define them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from typing import Any, Final

from .jax_compat import KERNEL_MODULES, MODULES, Primitive


@functools.cache
def jax_primitives() -> dict[str, Any]:
    """JAX's own primitives by name: those that its modules define, not other people's."""
    return scan_primitives()


def is_of_jax(primitive: Any) -> bool:
    """Whether a primitive is JAX's own. Some of its modules are loaded late."""
    if jax_primitives().get(primitive.name) is not primitive:
        jax_primitives().update(scan_primitives())
    return jax_primitives().get(primitive.name) is primitive


def scan_primitives() -> dict[str, Any]:
    """The same, of the modules that are loaded now."""
    found: dict[str, Any] = {}
    for _, primitive in _found_primitives():
        found.setdefault(primitive.name, primitive)
    return found


def _found_primitives() -> Iterator[tuple[str, Any]]:
    """The names of JAX's modules and the primitives in each."""
    for name, module in list(sys.modules.items()):
        if name.startswith(MODULES) and module is not None:
            for value in list(vars(module).values()):
                if isinstance(value, Primitive):
                    yield name, value


def is_of_kernels(name: str) -> bool:
    """Whether JAX's primitives of that name are of Pallas alone, whose kernels hold them."""
    homes = [home for home, primitive in _found_primitives() if primitive.name == name]
    return bool(homes) and all(home.startswith(KERNEL_MODULES) for home in homes)


BORROWERS: Final = frozenset(
    (
        "call", "closed_call", "cond", "core_call", "custom_jvp_call", "custom_linear_solve",
        "custom_vjp_call", "eval_jaxpr", "jit", "remat2", "remat_opt", "scan", "while",
    )
)  # fmt: skip
"""By JAX's names: the operations that are lent what rules in them close over (lent). Rules in
others, asked for, say so."""
