"""`covector view`: a pipeline as one page, to click through in a browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from .options import ARGS, LOAD, PASSES, TARGET, combined
from .output import BAD_PROGRAM, write
from .switches import HIDDEN_SWITCHES, WithForms, given
from .targets import load_files, read_target

PAGE = Path(__file__).parent / "page"
SCRIPTS = ("tokens", "program", "listing", "details", "source", "memory", "graph", "main")


@click.command(cls=WithForms)
@combined(TARGET, ARGS, PASSES, LOAD, HIDDEN_SWITCHES)
@click.option(
    "-o", "--output", metavar="FILE.html", default="view.html", show_default=True,
    help="Where the page goes; - is standard output.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print what the page shows as JSON.")
def view(
    target: str,
    args: str | None,
    passes: str,
    load: tuple[str, ...],
    output: str,
    as_json: bool,
    **switches: Any,
) -> int:
    """Write a page that shows each step of a pipeline: program, differences, memory, graph, source.

    The page needs no network. Its keys are listed under ?. A pipeline that fails is shown as far as
    it came, and the exit status is 1.

    Example: covector view model.py:loss --passes "linearize,transpose,clean" -o loss.html
    """
    from ..passes.pipeline import parse_pipeline
    from ..passes.settings import Settings
    from .view_data import page_data, record

    load_files(load)
    module = read_target(target, args)
    recorder = record(module, parse_pipeline(passes), Settings.of(given(switches)))
    data = page_data(recorder, _folders(target))
    if as_json:
        write(json.dumps(data), None if output == "view.html" else output)
    else:
        write(page_html(data), output)
        if output != "-":
            click.echo(f"wrote {output}", err=True)
    errors = [step["error"] for step in data["steps"] if step["error"]]
    for error in errors:
        click.echo(f"error: {error}", err=True)
    return BAD_PROGRAM if errors else 0


def _folders(target: str) -> list[Path]:
    """Where source files are looked for: here, and beside the target."""
    path, colon, _ = target.rpartition(":")
    file = Path(path if colon and path.endswith(".py") else target)
    return [Path(), file.parent, *file.resolve().parents[1:3]]


def page_html(data: dict[str, Any]) -> str:
    """One page that holds all it needs. Nothing in the data can end its script."""
    held = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    scripts = "\n".join((PAGE / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    page = (PAGE / "view.html").read_text(encoding="utf-8")
    parts = {
        "STYLE": (PAGE / "view.css").read_text(encoding="utf-8"),
        "DATA": held,
        "SCRIPT": scripts,
    }
    before, *rest = page.split("<!--")
    made = [before]
    for part in rest:
        name, _, after = part.partition("-->")
        made += [parts[name.strip()], after]
    return "".join(made)
