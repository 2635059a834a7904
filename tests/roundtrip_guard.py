"""Watches every module that a test makes: whatever is a valid program prints, and reads back equal.

Tests make modules in all layers: by tracing, by each pass, by the programs that are compiled. Each
is kept until its test ends, and then held to the law of the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from covector import parse
from covector.ir.errors import CovectorError
from covector.ir.module import Module
from covector.ir.primitive import PRIMITIVES


@contextmanager
def modules_made() -> Iterator[list[Module]]:
    """The modules that are constructed inside, in order."""
    made: list[Module] = []
    construct = Module.__init__

    def construct_and_keep(self: Module, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        made.append(self)

    Module.__init__ = construct_and_keep  # type: ignore[method-assign]
    try:
        yield made
    finally:
        Module.__init__ = construct  # type: ignore[method-assign]


def unread(modules: list[Module]) -> Iterator[str]:
    """What is wrong with the text of each module whose text does not read back equal."""
    seen: set[Any] = set()
    for module in modules:
        key = (*module.graphs.values(), module.entry, module.name)
        if key in seen or not is_valid(module):
            continue
        seen.add(key)
        text = str(module)
        try:
            again = parse(text)
        except CovectorError as error:
            yield f"{error}\n{text}"
            continue
        if again != module:
            yield f"this reads back as another program:\n{text}\nnamely:\n{again}"


def is_valid(module: Module) -> bool:
    """Whether the verifier accepts it and its primitives are registered: tests break programs, and
    make up primitives, on purpose too."""
    try:
        module.verify()
    except Exception:
        return False
    return all(
        PRIMITIVES.get(eqn.primitive.name) is eqn.primitive
        for graph in module.all_graphs()
        for eqn in graph.equations
    )
