"""What a program holds that is still Python: rules, and things of the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Thunk:
    """A rule that is still Python: called with input types it yields a graph, once for each.

    The printer shows it by name; a program read back from text holds one that says so when called.
    `derived` keeps what passes made of it, as that of a graph does.
    """

    __slots__ = ("_made", "derived", "make", "name")

    def __init__(self, name: str, make: Callable[..., Any]) -> None:
        self.name = name
        self.make = make
        self.derived: dict[Any, Any] = {}
        self._made: dict[Any, Any] = {}

    def __call__(self, *signature: Any) -> Any:
        if signature not in self._made:
            self._made[signature] = self.make(*signature)
        return self._made[signature]

    def __repr__(self) -> str:
        return f"thunk<{self.name}>"


class Opaque(Thunk):
    """Something of the host that a program refers to: a Python callback, or a primitive that
    someone else defined.

    Called with arrays it returns what it computes from them, every time anew. `held` is what
    lowering and export need of it; `rules` are the thunks by which a foreign primitive transforms.
    Names are unique in a process: programs are equal if theirs are. One read back from text says so
    when it is called.
    """

    __slots__ = ("__weakref__", "held", "rules")

    def __init__(
        self,
        name: str,
        make: Callable[..., Any],
        held: Any = None,
        rules: dict[str, Thunk] | None = None,
    ) -> None:
        super().__init__(name, make)
        self.held = held
        self.rules = rules or {}

    def __call__(self, *arrays: Any) -> Any:
        return self.make(*arrays)

    def __repr__(self) -> str:
        return f"opaque<{self.name}>"


class HostFunction(Opaque):
    """A Python function of ours, from arrays to a list of arrays, that a pure_callback calls."""

    __slots__ = ()
