"""`covector completion`: the script by which a shell completes commands, options and their values.

The names of passes, primitives and of the functions in a Python file are completed too; files are
read for that, never imported.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from .options import JSON
from .output import write

SHELLS = ("bash", "zsh", "fish")
_LINES = {
    "bash": 'eval "$(covector completion bash)"    # in ~/.bashrc',
    "zsh": 'eval "$(covector completion zsh)"    # in ~/.zshrc',
    "fish": "covector completion fish | source    # in ~/.config/fish/config.fish",
}

_COLONS = "COMP_WORDBREAKS=${COMP_WORDBREAKS//:}    # file.py:function is one word\n"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@JSON
def completion(shell: str, as_json: bool) -> None:
    """Print the script that makes a shell complete covector's command lines.

    Example: eval "$(covector completion bash)"
    """
    from .cli import cli

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(cli, {}, "covector", "_COVECTOR_COMPLETE").source().strip() + "\n"
    if shell == "bash":
        script += _COLONS
    if as_json:
        write(json.dumps({"shell": shell, "install": _LINES[shell], "script": script}), None)
    else:
        write(script, None)


def complete_pipeline(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Pass names after the last comma, and the names of pipelines."""
    from ..passes import PASSES
    from ..passes.pipeline import PIPELINES

    before, comma, last = incomplete.rpartition(",")
    if "{" in last:
        return []
    names = sorted([*PASSES, *PIPELINES])
    return [f"{before}{comma}{name}" for name in names if name.startswith(last)]


def complete_target(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Files, and the functions of a Python file after its colon."""
    path, colon, start = incomplete.rpartition(":")
    if colon and path.endswith(".py"):
        return [CompletionItem(f"{path}:{name}") for name in functions_of(path, start)]
    return [CompletionItem(incomplete, type="file")]


def functions_of(path: str, start: str = "") -> list[str]:
    """The public functions at the top of a Python file; none of one that cannot be read."""
    try:
        tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return []
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [name for name in names if name.startswith(start) and not name.startswith("_")]
