"""How the arguments of a compiled function divide: static or traced, donated or kept, and in which
flat order.

The C++ dispatch flattens the traced positional arguments, then the traced keyword arguments by
name. A program's inputs are in that order or its fast path feeds them wrongly, so it is written
down once, here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax

Numbers = int | Sequence[int] | None
Names = str | Iterable[str] | None


@dataclass(frozen=True)
class Call:
    """One call, divided. `leaves` are the flat traced arguments; `static` the rest, by position and
    by name.
    """

    leaves: tuple[Any, ...]
    tree: Any
    static: tuple[tuple[int | str, Any], ...]
    donated: tuple[int, ...]

    def rebuild(self, leaves: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments and keyword arguments of the function, with other leaves."""
        args, kwargs = jax.tree.unflatten(self.tree, leaves)
        args = list(args)
        for place, value in self.static:
            if isinstance(place, int):
                args.insert(place, value)
            else:
                kwargs[place] = value
        return tuple(args), kwargs


@dataclass(frozen=True)
class CallSpec:
    """Which arguments are static and which are donated, by position and by name."""

    static_argnums: tuple[int, ...] = ()
    static_argnames: tuple[str, ...] = ()
    donate_argnums: tuple[int, ...] = ()
    donate_argnames: tuple[str, ...] = ()

    @classmethod
    def resolve(
        cls,
        fun: Callable[..., Any] | None,
        static_argnums: Numbers = None,
        static_argnames: Names = None,
        donate_argnums: Numbers = None,
        donate_argnames: Names = None,
    ) -> CallSpec:
        """As in jax.jit: give numbers or names, the other follows from the function's signature."""
        given = (static_argnums, static_argnames, donate_argnums, donate_argnames)
        if given == (None, None, None, None):
            return cls()
        parameters = _parameters(fun)
        static = _pair("static", fun, parameters, static_argnums, static_argnames)
        donated = _pair("donate", fun, parameters, donate_argnums, donate_argnames)
        clash = set(static[0]) & set(donated[0]) or set(static[1]) & set(donated[1])
        if clash:
            raise ValueError(f"arguments {sorted(clash)} are both static and donated")
        return cls(*static, *donated)

    def split(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Call:
        """Divide the arguments of one call."""
        static_positions = _from_start(self.static_argnums, len(args))
        donated_positions = _from_start(self.donate_argnums, len(args))
        traced = [i for i in range(len(args)) if i not in static_positions]
        traced_names = sorted(k for k in kwargs if k not in self.static_argnames)
        static: list[tuple[int | str, Any]] = [
            (i, args[i]) for i in sorted(static_positions) if 0 <= i < len(args)
        ]
        static += [(k, kwargs[k]) for k in sorted(kwargs) if k in self.static_argnames]
        for place, value in static:
            _check_hashable(place, value)
        parts = [args[i] for i in traced], {k: kwargs[k] for k in traced_names}
        leaves, tree = jax.tree.flatten((tuple(parts[0]), parts[1]))
        given_away = [i in donated_positions for i in traced] + [
            k in self.donate_argnames for k in traced_names
        ]
        counts = (
            [len(jax.tree.leaves(x)) for x in (*parts[0], *parts[1].values())]
            if any(given_away)
            else []
        )
        pairs = zip(given_away, counts, strict=False)  # no counts were made if none is given away
        flags = [flag for flag, count in pairs for _ in range(count)]
        donated = tuple(i for i, flag in enumerate(flags) if flag)
        return Call(tuple(leaves), tree, tuple(static), donated)


def _from_start(numbers: Sequence[int], n_args: int) -> set[int]:
    """Positions from 0 of one call: functions of any number of arguments count from its end."""
    return {i + n_args if i < 0 else i for i in numbers}


def _check_hashable(place: int | str, value: Any) -> None:
    try:
        hash(value)
    except TypeError:
        raise ValueError(
            f"static argument {place!r} is a {type(value).__name__}, which cannot be hashed: "
            "a compiled function is looked up by its static arguments"
        ) from None


def _parameters(fun: Callable[..., Any] | None) -> list[inspect.Parameter] | None:
    """None where a function does not tell its signature (some C functions)."""
    try:
        return list(inspect.signature(fun).parameters.values()) if fun is not None else None
    except (TypeError, ValueError):
        return None


def _pair(
    word: str, fun: Any, parameters: list[inspect.Parameter] | None, numbers: Numbers, names: Names
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    positional = [
        p for p in parameters or () if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    either = [p.name if p.kind is p.POSITIONAL_OR_KEYWORD else None for p in positional]
    nums = _numbers(word, parameters, positional, numbers)
    named = (names,) if isinstance(names, str) else tuple(names or ())
    if parameters is not None:
        _check_names(word, parameters, named)
    elif named and numbers is None and word == "donate":
        raise ValueError(
            f"Getting the signature of function {fun} failed. Pass {word}_argnums instead of "
            f"{word}_argnames."
        )
    if names is None:
        named = tuple(
            name for i in nums if 0 <= i < len(either) and (name := either[i]) is not None
        )
    elif numbers is None:
        nums = tuple(i for i, name in enumerate(either) if name in named)
    return nums, named


def _numbers(
    word: str,
    parameters: list[inspect.Parameter] | None,
    positional: list[inspect.Parameter],
    numbers: Numbers,
) -> tuple[int, ...]:
    nums = (numbers,) if isinstance(numbers, int) else tuple(numbers or ())
    if parameters is None or any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return tuple(sorted(nums))
    for i in nums:
        if not -len(positional) <= i < len(positional):
            raise ValueError(
                f"{word}_argnums={nums}: the function has {len(positional)} positional arguments"
            )
    return tuple(sorted({i % len(positional) for i in nums}))


def _check_names(word: str, parameters: list[inspect.Parameter], names: tuple[str, ...]) -> None:
    known = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    unknown = [name for name in names if name not in known]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        unknown = [name for name in unknown if any(name == p.name for p in parameters)]
    if unknown:
        raise ValueError(f"{word}_argnames={names}: the function has no argument {unknown[0]!r}")
