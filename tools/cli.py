"""`covector`: trace, transform, lower and run programs from the command line.

Programs go to standard output, or whole to a file (`-o`); errors go to standard error. The exit
status is 1 for a program that is wrong and 2 for a command that is.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ..ir.errors import CovectorError, UsageError
from .output import write

OUTPUT = click.option("-o", "--output", metavar="FILE", help="Write to FILE, whole or not at all.")
PASSES = click.option(
    "--passes", default="", metavar="PIPELINE", help='Like "linearize{wrt=0},transpose,cse,dce".'
)
ARGS = click.option(
    "--args", metavar="TYPES", help='Argument types of a Python function: "f32[8,128], i32[8]".'
)
LOCATIONS = click.option(
    "--locations/--no-locations", default=True, help="Print source locations (on)."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(None, "--version", package_name="covector", message="%(version)s")
def cli() -> None:
    """See, transform and run JAX programs, one pass at a time.

    A TARGET is file.py:function, a program in text or .cvir form, or - for standard input.
    """


@cli.command()
@click.argument("target")
@ARGS
@PASSES
@LOCATIONS
@OUTPUT
def trace(target: str, args: str | None, passes: str, locations: bool, output: str | None) -> None:
    """Trace a Python function and print its program.

    Example: covector trace examples/gpt.py:loss
    """
    from .targets import read_target

    _emit(_transformed(read_target(target, args), passes, verify=True), locations, output)


@cli.command()
@click.argument("program")
@PASSES
@click.option("--verify/--no-verify", default=True, help="Verify after each pass (on).")
@LOCATIONS
@OUTPUT
def opt(program: str, passes: str, verify: bool, locations: bool, output: str | None) -> None:
    """Run passes over a program in text form.

    Example: covector opt loss.cvir --passes "linearize,transpose,cse,dce"
    """
    from .targets import read_program

    _emit(_transformed(read_program(program), passes, verify), locations, output)


@cli.command()
@click.argument("target")
@ARGS
@PASSES
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
    platform: str,
    locations: bool,
    output: str | None,
) -> None:
    """Lower a program to StableHLO.

    Example: covector lower examples/gpt.py:loss --passes "grad{wrt=0}" --platform tpu
    """
    from ..lowering.emit import lower_module
    from .targets import read_target

    module = _transformed(read_target(target, args), passes, verify=True)
    write(lower_module(module, platforms=(platform,)).as_text(locations), output)


@cli.command()
@click.argument("target")
@ARGS
@PASSES
@click.option("--inputs", metavar="FILE.npz", help="Input arrays, by name or position.")
@click.option("--seed", default=0, show_default=True, help="Seed of the random inputs.")
@click.option("--interpret", is_flag=True, help="Evaluate with NumPy instead of compiling.")
@click.option("--save", metavar="FILE.npz", help="Write the outputs to a file.")
def run(
    target: str,
    args: str | None,
    passes: str,
    inputs: str | None,
    seed: int,
    interpret: bool,
    save: str | None,
) -> None:
    """Run a program on random inputs, or on those of a file, and print what it returns.

    Example: covector run loss.cvir --passes "grad{wrt=0}" --seed 1
    """
    from .data import describe_outputs, load_inputs, random_inputs
    from .targets import read_target

    module = _transformed(read_target(target, args), passes, verify=True)
    graph = module.main
    arrays = load_inputs(graph, inputs) if inputs else random_inputs(graph, seed)
    if interpret:
        outputs: Any = module.interpret(*arrays)
    else:
        from ..frontend.execute import execute

        outputs = execute(graph, arrays)
    write(describe_outputs(graph, outputs), None)
    if save:
        _save_arrays(save, [v.name for v in graph.outputs], outputs)


@cli.command()
def passes() -> None:
    """List the passes with their options and laws."""
    from .listings import pass_listing

    write(pass_listing(), None)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def primitives(as_json: bool) -> None:
    """List the primitives and which layers know them."""
    from .listings import primitive_listing

    write(primitive_listing(as_json), None)


def _transformed(module: Any, passes: str, verify: bool) -> Any:
    if not passes.strip():
        return module
    from ..passes import run_passes

    return run_passes(module, passes, verify=verify)


def _emit(module: Any, locations: bool, output: str | None) -> None:
    from ..ir.printer import print_module

    if output is not None and output.endswith(".cvir"):
        module.save(output)
        return
    write(print_module(module, locations=locations), output, highlight=True)


def _save_arrays(path: str, names: list[str | None], outputs: Any) -> None:
    import io

    import numpy as np

    from .output import write_file

    buffer = io.BytesIO()
    arrays = {n or f"arr_{i}": np.asarray(x) for i, (n, x) in enumerate(zip(names, outputs, strict=True))}
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_file(Path(path), buffer.getvalue())


def main(arguments: list[str] | None = None) -> None:
    """The command line's entry: errors become one message and an exit status."""
    try:
        cli.main(args=arguments, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except UsageError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except CovectorError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
