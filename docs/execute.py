"""Run the Python blocks of a page in order, and print the page with what they printed.

    python docs/execute.py docs/autodiff.md

A page is run if it holds the line `<!-- executed page -->`. Its ```python blocks share one
namespace, as cells of a notebook do: what a block prints, and the value of a last expression,
stands in the ```text block right below it, which is rewritten. A block below `<!-- raises NAME -->`
must raise that exception, and its output is the message. Lines in programs are lines of the page.
"""

from __future__ import annotations

import ast
import contextlib
import io
import linecache
import os
import re
import sys
from pathlib import Path
from typing import Any

MARK = "<!-- executed page -->"
BLOCK = re.compile(
    r"(?:<!-- raises (?P<error>[\w.]+) -->\n)?"
    r"```python\n(?P<code>.*?)```\n"
    r"(?P<between>\n?)(?:```text\n(?P<output>.*?)```\n)?",
    re.DOTALL,
)


def executed(text: str, name: str) -> str:
    """The page with the outputs of its blocks; `name` is what locations call it."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    show_source(text, name)
    namespace: dict[str, Any] = {"__name__": "__main__"}

    def replace(match: re.Match[str]) -> str:
        line = text.count("\n", 0, match.start("code"))
        printed = run(match["code"], line, name, namespace, match["error"])
        source = text[match.start() : match.end("code")] + "```\n"
        if not printed:
            return source + match["between"]
        return f"{source}\n```text\n{printed}```\n" + ("" if match["output"] else match["between"])

    return BLOCK.sub(replace, text)


def show_source(text: str, name: str) -> None:
    """Let tracebacks and programs find the page's code under the lines that it has in the page."""
    lines = [""] * (text.count("\n") + 1)
    for match in BLOCK.finditer(text):
        first = text.count("\n", 0, match.start("code"))
        code = match["code"].splitlines()
        lines[first : first + len(code)] = code
    source = [line + "\n" for line in lines]
    linecache.cache[name] = (len(text), None, source, name)


def run(code: str, line: int, name: str, namespace: dict[str, Any], error: str | None) -> str:
    """What a block prints. Its exception, if it is the one announced; others end the run."""
    tree = ast.parse("\n" * line + code, name)
    last = tree.body[-1] if tree.body else None
    value = ast.Expression(last.value) if isinstance(last, ast.Expr) else None
    body = ast.Module(tree.body[:-1] if value is not None else tree.body, [])
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        try:
            exec(compile(body, name, "exec"), namespace)
            if value is not None:
                result = eval(compile(value, name, "eval"), namespace)
                if result is not None:
                    print(repr(result))
        except Exception as raised:
            if type(raised).__name__ != error:
                raise
            print(f"{error}: {raised}")
        else:
            if error is not None:
                raise SystemExit(f"{name}:{line + 1}: the block was to raise {error}")
    lines = [text.rstrip() for text in stream.getvalue().rstrip().splitlines()]
    return "".join(text + "\n" for text in lines)


if __name__ == "__main__":
    page = Path(sys.argv[1])
    sys.stdout.write(executed(page.read_text(), page.name))
