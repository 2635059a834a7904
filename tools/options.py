"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def _pipeline(ctx: click.Context, param: click.Parameter, incomplete: str) -> Any:
    from .completion import complete_pipeline

    return complete_pipeline(ctx, param, incomplete)


def _target(ctx: click.Context, param: click.Parameter, incomplete: str) -> Any:
    from .completion import complete_target

    return complete_target(ctx, param, incomplete)


TARGET = click.argument("target", shell_complete=_target)
OUTPUT = click.option("-o", "--output", metavar="FILE", help="Write to FILE, whole or not at all.")
PASSES = click.option(
    "--passes",
    default="",
    metavar="PIPELINE",
    shell_complete=_pipeline,
    help='Passes to run, like "linearize{wrt=0},transpose,cse,dce".',
)
ARGS = click.option(
    "--args", metavar="TYPES", help='Argument types of a Python function: "f32[8,128], i32[8]".'
)
LOCATIONS = click.option(
    "--locations/--no-locations", default=True, help="Print source locations (on)."
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
LOAD = click.option(
    "--load",
    multiple=True,
    metavar="FILE.py",
    help="Import a Python file first: its Pass classes can be used in pipelines.",
)
INPUTS = click.option("--inputs", metavar="FILE.npz", help="Input arrays, by name or position.")
AT = click.option(
    "--at", metavar="NUMBERS", help='Numbers to fill the inputs with: "100", or "x=0, n=3".'
)
JAX = click.option(
    "--jax", "own", is_flag=True, help="Compare each pass with JAX's own transformation too."
)
SEED = click.option("--seed", default=0, show_default=True, help="Seed of the random inputs.")

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def combined(*options: Decorator) -> Decorator:
    """Several options as one decorator, shown in this order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate
