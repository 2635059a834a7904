"""`covector trace`, `lower` and `run`: from a Python function or a program to text and numbers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import click

from .options import ARGS, INPUTS, JSON, LOAD, LOCATIONS, OUTPUT, PASSES, SEED
from .output import write, write_file, write_module
from .targets import load_files, read_target, transformed


@click.command()
@click.argument("target")
@ARGS
@PASSES
@LOAD
@LOCATIONS
@OUTPUT
def trace(
    target: str,
    args: str | None,
    passes: str,
    load: tuple[str, ...],
    locations: bool,
    output: str | None,
) -> None:
    """Trace a Python function and print its program.

    Example: covector trace examples/gpt.py:loss
    """
    load_files(load)
    write_module(transformed(read_target(target, args), passes), output, locations)


@click.command()
@click.argument("target")
@ARGS
@PASSES
@LOAD
@click.option(
    "--platform",
    type=click.Choice(["cpu", "cuda", "rocm", "tpu"]),
    default="cpu",
    show_default=True,
    help="What to lower for; the device need not be there.",
)
@click.option("--locations/--no-locations", default=False, help="Print MLIR locations (off).")
@OUTPUT
def lower(
    target: str,
    args: str | None,
    passes: str,
    load: tuple[str, ...],
    platform: str,
    locations: bool,
    output: str | None,
) -> None:
    """Lower a program to StableHLO.

    Example: covector lower examples/gpt.py:loss --passes "grad{wrt=0}" --platform tpu
    """
    from ..lowering.emit import lower_module

    load_files(load)
    module = transformed(read_target(target, args), passes)
    write(lower_module(module, platforms=(platform,)).as_text(locations), output)


@click.command()
@click.argument("target")
@ARGS
@PASSES
@LOAD
@INPUTS
@SEED
@click.option("--interpret", is_flag=True, help="Evaluate with NumPy instead of compiling.")
@click.option("--save", metavar="FILE.npz", help="Write the outputs to a file.")
@JSON
def run(
    target: str,
    args: str | None,
    passes: str,
    load: tuple[str, ...],
    inputs: str | None,
    seed: int,
    interpret: bool,
    save: str | None,
    as_json: bool,
) -> None:
    """Run a program on random inputs, or on those of a file, and print what it returns.

    Example: covector run loss.cvir --passes "grad{wrt=0}" --seed 1
    """
    from .data import describe_outputs, load_inputs, outputs_as_json, random_inputs

    load_files(load)
    module = transformed(read_target(target, args), passes)
    graph = module.main
    arrays = load_inputs(graph, inputs) if inputs else random_inputs(graph, seed)
    if interpret:
        outputs: Any = module.interpret(*arrays)
    else:
        from ..frontend.execute import execute

        outputs = execute(graph, arrays)
    describe = outputs_as_json if as_json else describe_outputs
    write(describe(graph, outputs), None)
    if save:
        save_arrays(save, graph, outputs)


def save_arrays(path: str, graph: Any, outputs: Any) -> None:
    """Write the outputs of a graph to an `.npz` file, by name or position."""
    import numpy as np

    named = {
        getattr(v, "name", None) or f"arr_{i}": np.asarray(x)
        for i, (v, x) in enumerate(zip(graph.outputs, outputs, strict=True))
    }
    buffer = io.BytesIO()
    np.savez(buffer, **named)  # type: ignore[arg-type]
    write_file(Path(path), buffer.getvalue())
