"""`covector trace`, `lower` and `run`: from a Python function or a program to text and numbers."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import click

from .emit import EMIT, emit
from .options import ARGS, INPUTS, JSON, LOAD, LOCATIONS, OUTPUT, PASSES, SEED, TARGET, combined
from .output import write, write_file
from .switches import HIDDEN_SWITCHES, WithForms, given
from .targets import load_files, read_target, transformed

SOURCE = combined(TARGET, ARGS, PASSES, LOAD, HIDDEN_SWITCHES)
"""What is traced or read, the pipeline to run over it, and the switches of `opt` for that."""


def _prepare(
    target: str, args: str | None, passes: str, load: tuple[str, ...], switches: dict[str, Any]
) -> Any:
    load_files(load)
    return transformed(read_target(target, args), passes, given(switches))


@click.command(cls=WithForms)
@SOURCE
@EMIT
@LOCATIONS
@JSON
@OUTPUT
def trace(
    target: str,
    args: str | None,
    passes: str,
    load: tuple[str, ...],
    form: str,
    locations: bool,
    as_json: bool,
    output: str | None,
    **switches: Any,
) -> None:
    """Trace a Python function and print its program. The switches of opt work here too.

    Example: covector trace examples/gpt.py:loss
    """
    module = _prepare(target, args, passes, load, switches)
    emit(module, output, "json" if as_json else form, locations, switches["elide_larger"])


@click.command(cls=WithForms)
@SOURCE
@click.option(
    "--platform",
    type=click.Choice(["cpu", "cuda", "rocm", "tpu"]),
    default="cpu",
    show_default=True,
    help="What to lower for; the device need not be there.",
)
@click.option("--locations/--no-locations", default=False, help="Print MLIR locations (no).")
@JSON
@OUTPUT
def lower(
    target: str,
    args: str | None,
    passes: str,
    load: tuple[str, ...],
    platform: str,
    locations: bool,
    as_json: bool,
    output: str | None,
    **switches: Any,
) -> None:
    """Lower a program to StableHLO. The switches of opt work here too.

    Example: covector lower examples/gpt.py:loss --passes "grad{wrt=0}" --platform tpu
    """
    from ..lowering.emit import lower_module

    lowering = lower_module(_prepare(target, args, passes, load, switches), (platform,))
    text = lowering.as_text(locations)
    if as_json:
        text = json.dumps(
            {
                "name": lowering.name,
                "platforms": lowering.platforms,
                "constants": [{"name": c.name, "type": str(c.type)} for c in lowering.constants],
                "inputs": [str(t) for t in lowering.in_types],
                "outputs": [str(t) for t in lowering.out_types],
                "stablehlo": text,
            },
            indent=1,
        )
    write(text, output)


@click.command(cls=WithForms)
@SOURCE
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
    **switches: Any,
) -> None:
    """Run a program on random inputs, or on those of a file, and print what it returns.

    Example: covector run loss.cvir --passes "grad{wrt=0}" --seed 1
    """
    from .data import describe_outputs, load_inputs, outputs_as_json, random_inputs

    module = _prepare(target, args, passes, load, switches)
    graph = module.main
    arrays = load_inputs(graph, inputs) if inputs else random_inputs(graph, seed)
    if interpret:
        outputs: Any = module.interpret(*arrays)
    else:
        from .xla import run_xla

        outputs = run_xla(graph, arrays)
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
