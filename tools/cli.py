"""`covector`: trace, transform, lower and run programs from the command line.

Programs go to standard output, or whole to a file (`-o`); errors go to standard error. The exit
status is 1 for a program that is wrong and 2 for a command that is.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

import click

from ..ir.errors import CovectorError, UsageError, did_you_mean
from .output import BAD_PROGRAM, BAD_USAGE, exit_status, report
from .progress import working

COMMANDS: Final = {
    "trace": "programs",
    "opt": "opt",
    "lower": "programs",
    "run": "programs",
    "passes": "listings",
    "primitives": "listings",
    "check": "check",
    "bisect": "bisect",
    "reduce": "reduce",
    "why-nan": "why_nan",
    "report": "report",
    "view": "view",
    "completion": "completion",
}
"""The file of each command, imported when the command is called."""

_ARGUMENTS: Final = "covector.arguments"
OUR_FAULT: Final = 70
INTERRUPTED: Final = 130


class Commands(click.Group):
    """The commands, found by name when they are called."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".{COMMANDS[cmd_name]}", __package__)
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            hint = did_you_mean(args[0], COMMANDS) or f"commands: {', '.join(COMMANDS)}"
            raise UsageError(f"there is no command {args[0]!r}", hint=hint)
        return super().resolve_command(ctx, args)


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from .versions import versions, versions_text

        as_json = "--json" in ctx.meta[_ARGUMENTS]
        click.echo(json.dumps(versions(), indent=1) if as_json else versions_text())
        ctx.exit()


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each switch of opt is an environment variable too, for pipelines run from Python: "
    "COVECTOR_PRINT_AFTER_ALL=1 python train.py. COVECTOR_TRACEBACK=1 shows where an error of "
    "covector's own was raised.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
    help="Print the versions of covector, jax, jaxlib and others.",
)  # fmt: skip
@click.option("--json", is_flag=True, expose_value=False, help="With --version: as JSON.")
def cli() -> None:
    """See, transform and run JAX programs, one pass at a time.

    A TARGET is file.py:function, a program in text or .cvir form, or - for standard input.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The command line's entry: errors become one message and an exit status."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # XLA's notes on its start are not ours
    as_json = "--json" in (sys.argv[1:] if arguments is None else arguments)
    try:
        with working("covector"):
            status = cli.main(
                args=list(arguments) if arguments is not None else None,
                prog_name="covector",
                standalone_mode=False,
            )
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        report(_as_usage_error(error), as_json=as_json)
        return BAD_USAGE
    except click.Abort:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except CovectorError as error:
        if os.environ.get("COVECTOR_TRACEBACK"):
            raise
        report(error, as_json=as_json)
        return exit_status(error)
    except RecursionError:
        click.echo("error: the program is nested too deeply", err=True)
        return BAD_PROGRAM
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        click.echo(
            f"error: {error.strerror or error}: {error.filename or ''}".rstrip(": "), err=True
        )
        return BAD_USAGE
    except Exception as error:
        if os.environ.get("COVECTOR_TRACEBACK"):
            raise
        report_bug(error)
        return OUR_FAULT


def _as_usage_error(error: click.ClickException) -> UsageError:
    """What click found wrong with a command line, worded like our own errors."""
    ctx = getattr(error, "ctx", None)
    command = ctx.command_path if ctx is not None else "covector"
    if isinstance(error, click.NoSuchOption) and ctx is not None:
        known = [name for p in ctx.command.params for name in (*p.opts, *p.secondary_opts)]
        hint = did_you_mean(error.option_name, known)
        return UsageError(
            f"{command} has no option {error.option_name}", hint=hint or f"see {command} --help"
        )
    message = error.format_message().rstrip(".")
    return UsageError(message[:1].lower() + message[1:], hint=f"see {command} --help")


def report_bug(error: Exception) -> None:
    """What nobody foresaw: where it was raised, and how to see more."""
    import traceback

    last = traceback.extract_tb(error.__traceback__)[-1]
    click.echo(
        f"internal error: {type(error).__name__}: {error}\n"
        f"  at {last.filename}:{last.lineno} in {last.name}\n"
        "  this is a bug in covector; COVECTOR_TRACEBACK=1 shows how it came about",
        err=True,
    )


if __name__ == "__main__":
    main()
