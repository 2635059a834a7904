"""Switches of the pass manager: what to show, check and leave out while a pipeline runs.

Each is an option of the command line (`--print-after-all`), a keyword argument of `run_passes`
(`print_after_all=True`) and an environment variable (`COVECTOR_PRINT_AFTER_ALL=1`), of which the
first given counts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..ir.errors import UsageError, did_you_mean
from .base import find_pass, read_value

PREFIX = "COVECTOR_"
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})


def _switch(default: Any, help: str, metavar: str | None = None, choices: str = "") -> Any:
    words = tuple(choices.split())
    return field(default=default, metadata={"help": help, "metavar": metavar, "choices": words})


@dataclass(frozen=True)
class Settings:
    """How a pipeline runs; the defaults show nothing and verify each step."""

    print_before: tuple[str, ...] = _switch((), "Print the program before these passes.", "PASSES")
    print_after: tuple[str, ...] = _switch((), "Print the program after these passes.", "PASSES")
    print_before_all: bool = _switch(False, "Print the program before every pass.")
    print_after_all: bool = _switch(False, "Print the program after every pass.")
    print_after_change: bool = _switch(False, "Print what each pass changed, as a diff.")
    print_after_failure: bool = _switch(False, "Print the program at which a pass failed.")
    print_to: str | None = _switch(
        None, "Write the program before the first and after each pass to DIR.", "DIR"
    )
    print_locations: bool = _switch(True, "Whether these prints show source locations (yes).")
    elide_larger: int | None = _switch(
        None, "Leave out the contents of constants of more than N elements.", "N"
    )
    verify_each: bool = _switch(True, "Verify the program after each pass (yes).")
    verify_roundtrip: bool = _switch(
        False, "Check after each pass that the text reads back as the same program."
    )
    timing: str | None = _switch(
        None, "Print how long each pass took: table, tree or json.", choices="table tree json"
    )
    timing_trace: str | None = _switch(
        None, "Write the times as a Chrome trace (chrome://tracing, Perfetto).", "FILE.json"
    )
    stats: str | None = _switch(
        None, "Print what each pass did, and costs around it: table or json.", choices="table json"
    )
    stop_after: int | None = _switch(None, "Run the first N passes only.", "N")
    bisect_limit: int | None = _switch(
        None,
        "Run only the first N passes of those that leave the program's meaning as it is, and all "
        "others; -1 runs all and counts.",
        "N",
    )
    disable: tuple[str, ...] = _switch((), "Leave out these passes.", "PASSES")
    reproducer: str | None = _switch(
        None, "Where to write the program at which a pass fails; off writes none.", "FILE"
    )

    def __post_init__(self) -> None:
        for name in (*self.print_before, *self.print_after, *self.disable):
            find_pass(name)
        for f in fields(self):
            choices, value = f.metadata["choices"], getattr(self, f.name)
            if choices and value is not None and value not in choices:
                raise UsageError(
                    f"{f.name} is {' or '.join(choices)}, not {value!r}",
                    hint=did_you_mean(str(value), choices),
                )

    @classmethod
    def of(cls, given: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Settings:
        """Settings from keyword arguments, and from the environment where those say nothing."""
        known = {f.name: f for f in fields(cls)}
        values = _from_environment(os.environ if environment is None else environment)
        for name, value in given.items():
            if name not in known:
                hint = did_you_mean(name, known) or f"there are: {', '.join(known)}"
                raise UsageError(f"there is no switch {name!r}", hint=hint)
            if value is not None:
                values[name] = _read(name, known[name].type, value, name)
        return cls(**values) if values else _DEFAULTS

    def replace(self, **changes: Any) -> Settings:
        return replace(self, **changes)


def is_switched() -> bool:
    """Whether the environment sets any switch; costs a microsecond, as calls of users ask."""
    raw = getattr(os.environ, "_data", None)  # names as the system has them: no decoding
    return raw is None or not _KEYS.isdisjoint(raw)


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if environment is os.environ and not is_switched():
        return values
    for f in fields(Settings):
        text = environment.get(PREFIX + f.name.upper())
        if text is not None:
            values[f.name] = _read(f.name, f.type, text, PREFIX + f.name.upper())
    return values


def _read(name: str, annotation: Any, value: Any, shown: str) -> Any:
    """A switch's value from what was given. Raises UsageError naming the switch as it was given."""
    if annotation == "bool" and isinstance(value, str):
        word = value.strip().lower()
        if word not in _TRUE | _FALSE:
            raise UsageError(f"{shown} is 1 or 0, not {value!r}")
        return word in _TRUE
    if name in ("timing", "stats"):
        word = str(value).strip().lower()
        if value is True or word in _TRUE:
            return "table"
        return None if word in _FALSE else word
    return read_value(annotation, value, shown)


_DEFAULTS = Settings()
_KEYS = frozenset(os.environ.encodekey(PREFIX + f.name.upper()) for f in fields(Settings))
