"""Rewrite the outputs in the documentation by running what makes them.

    python docs/refresh.py            # rewrite README.md and docs/**/*.md in place
    python docs/refresh.py --check    # only say which would change; exit status 1 if any
    python docs/refresh.py --all      # also the outputs marked (by hand): measurements
    python docs/refresh.py PAGE...    # these pages only

There are two kinds. An output of a command is a fenced block below a comment
`<!-- output of: COMMAND -->`. A page that holds the line `<!-- executed page -->` is run by
docs/execute.py: its Python blocks one after the other, each with its output below it.
"""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
import subprocess
import sys
from pathlib import Path

from execute import MARK

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- output of: ([^\n]+?) -->\n```[a-z]*\n)(.*?)(```)", re.DOTALL)
BY_HAND = " (by hand)"


STATUS = re.compile(r" \(exit (\d)\)")


def run(command: str) -> str:
    """The standard output of a command, run at the root with this Python.

    `2>&1` at its end adds standard error; `(exit 1)` says with which status it ends.
    """
    status = STATUS.search(command)
    command = STATUS.sub("", command)
    both = command.endswith(" 2>&1")
    words = shlex.split(command.removesuffix(" 2>&1"))
    if words[0] == "python":
        words[0] = sys.executable
    elif (beside := Path(sys.executable).with_name(words[0])).exists():
        words[0] = str(beside)
    errors = subprocess.STDOUT if both else subprocess.PIPE
    result = subprocess.run(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True, check=False
    )
    if result.returncode != (int(status[1]) if status else 0):
        raise SystemExit(f"{command} failed:\n{result.stderr}")
    return result.stdout


def refreshed(path: Path, everything: bool) -> str:
    def replace(match: re.Match[str]) -> str:
        head, command, _, tail = match.groups()
        if command.endswith(BY_HAND) and not everything:
            return match.group(0)
        return head + run(command.removesuffix(BY_HAND)).rstrip() + "\n" + tail

    text = path.read_text()
    if MARK in text.splitlines():
        text = run(f"python docs/execute.py {shlex.quote(str(path))}")
    return BLOCK.sub(replace, text)


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    stale = False
    for path in [page.resolve() for page in options.pages] or pages():
        old, new, name = path.read_text(), refreshed(path, options.all), path.name
        if new == old:
            continue
        stale = True
        if options.check:
            changes = difflib.unified_diff(old.splitlines(), new.splitlines(), name, "as run now")
            print("\n".join(changes))
        else:
            path.write_text(new)
            print(f"rewrote {name}")
    sys.exit(1 if stale and options.check else 0)


if __name__ == "__main__":
    main()
