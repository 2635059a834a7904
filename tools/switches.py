"""The pass manager's switches as options of commands: one for each field of `Settings`."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any

import click

from ..passes.settings import Settings
from .options import Decorator, combined

_WITH_FORM = {"timing": "table", "stats": "table"}
"""Switches that may be given without a value, and the value that they then have."""


def _option(f: Field[Any], hidden: bool) -> Decorator:
    name = "--" + f.name.replace("_", "-")
    help, choices = f.metadata["help"], f.metadata["choices"]
    if f.type == "bool":
        both = f"{name}/--no-{name.removeprefix('--')}" if f.default else name
        return click.option(both, f.name, default=None, help=help, hidden=hidden, is_flag=True)
    kind: Any = click.Choice(choices) if choices else int if "int" in str(f.type) else str
    metavar = f"[={'|'.join(choices)}]" if choices else f.metadata["metavar"]
    return click.option(
        name, f.name, default=None, type=kind, metavar=metavar, help=help, hidden=hidden
    )


SWITCHES = combined(*(_option(f, hidden=False) for f in fields(Settings)))
HIDDEN_SWITCHES = combined(*(_option(f, hidden=True) for f in fields(Settings)))


class WithForms(click.Command):
    """A command whose `--timing` and `--stats` need no value: `--timing`, `--timing=tree`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spelled = {f"--{name}": f"--{name}={form}" for name, form in _WITH_FORM.items()}
        return super().parse_args(ctx, [spelled.get(word, word) for word in args])


def given(switches: dict[str, Any]) -> dict[str, Any]:
    """The switches that were on the command line."""
    return {name: value for name, value in switches.items() if value is not None}
