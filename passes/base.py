"""What a pass is: a frozen dataclass whose fields are its options, here as on the command line."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from ..ir.errors import UsageError, did_you_mean
from ..ir.graph import Graph, memoised
from ..ir.module import Module

PASSES: dict[str, type[Pass]] = {}
"""Every pass by name."""


@dataclass(frozen=True)
class Pass:
    """A function from modules to modules.

    Subclasses give `name`, `law` (what is true of the result, in one line; tools check it) and
    `run`; or `run_graph` alone, when each graph of the module is transformed by itself.
    """

    name: ClassVar[str]
    law: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__:
            PASSES[cls.name] = cls

    def run(self, module: Module) -> Module:
        """The transformed module. Raises PassError when the module does not allow the pass."""
        return module.replace(graphs={n: self._changed(g) for n, g in module.graphs.items()})

    def _changed(self, graph: Graph) -> Graph:
        changed: Graph = memoised(graph, self, lambda: self.run_graph(graph))
        return changed

    def run_graph(self, graph: Graph) -> Graph:
        raise NotImplementedError(f"{type(self).__name__} defines neither run nor run_graph")

    def counters(self, before: Module, after: Module) -> dict[str, int]:
        """What the pass did, as counts with names, for `--stats`."""
        return {}

    def describe(self) -> str:
        """The pass as in a pipeline string, with all options."""
        return self._text([f.name for f in fields(self)])

    def __str__(self) -> str:
        """The pass as in a pipeline string, with the options that differ from their defaults."""
        return self._text([f.name for f in fields(self) if getattr(self, f.name) != f.default])

    def _text(self, options: list[str]) -> str:
        given = [f"{name}={_option_text(getattr(self, name))}" for name in options]
        return self.name + (f"{{{' '.join(given)}}}" if given else "")


def _option_text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def find_pass(name: str) -> type[Pass]:
    """The pass of that name. Raises UsageError with near misses."""
    if name not in PASSES:
        raise UsageError(
            f"there is no pass {name!r}",
            hint=did_you_mean(name, PASSES) or f"passes: {', '.join(sorted(PASSES))}",
        )
    return PASSES[name]


def make_pass(name: str, options: dict[str, Any]) -> Pass:
    """A pass from its name and option values (texts are read by the option's type)."""
    cls = find_pass(name)
    known = {f.name: f for f in fields(cls)}
    values: dict[str, Any] = {}
    for key, value in options.items():
        if key not in known:
            raise UsageError(
                f"the pass {name} has no option {key!r}",
                hint=did_you_mean(key, known) or f"its options: {', '.join(known) or 'none'}",
            )
        values[key] = read_option(name, key, value, known[key].type)
    return cls(**values)


def read_option(pass_name: str, key: str, value: Any, annotation: Any) -> Any:
    """An option's value from its text. Raises UsageError naming what was expected."""
    return read_value(annotation, value, f"option {key} of pass {pass_name}")


_EXPECTED = {"bool": "true or false", "int": "an integer", "float": "a number"}


def read_value(annotation: Any, value: Any, what: str) -> Any:
    """A value of the annotated type from its text. Raises UsageError that calls it `what`."""
    kind = str(annotation).removesuffix("| None").strip()
    is_optional = kind != str(annotation)
    if is_optional and (value is None or value == "None"):
        return None
    try:
        if kind.startswith("tuple"):
            return tuple(_word(v) for v in _items(value))
        if not isinstance(value, str):
            return value
        if kind == "bool":
            return {"true": True, "1": True, "false": False, "0": False}[value.lower()]
        return {"int": int, "float": float, "str": str}[kind](value)
    except (KeyError, ValueError):
        raise UsageError(f"{what} takes {_EXPECTED.get(kind, kind)}, got {value!r}") from None


def _items(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [v.strip() for v in value.strip("()[]").split(",") if v.strip()]
    return list(value) if isinstance(value, (tuple, list)) else [value]


def _word(item: Any) -> Any:
    """An item of a list option: an int, None, or a name."""
    if not isinstance(item, str):
        return item
    if item == "None":
        return None
    return int(item) if item.lstrip("-").isdigit() else item
