"""Rewrite the outputs in the documentation by running the commands that make them.

    python docs/refresh.py            # rewrite README.md and docs/*.md in place
    python docs/refresh.py --check    # only say which would change; exit status 1 if any
    python docs/refresh.py --all      # also the outputs marked (by hand): measurements

An output is a fenced block below a comment `<!-- output of: COMMAND -->`.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- output of: ([^\n]+?) -->\n```[a-z]*\n)(.*?)(```)", re.DOTALL)
BY_HAND = " (by hand)"


def run(command: str) -> str:
    """The standard output of a command, run at the root with this Python."""
    words = shlex.split(command)
    if words[0] == "python":
        words[0] = sys.executable
    result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{command} failed:\n{result.stderr}")
    return result.stdout.rstrip() + "\n"


def refreshed(text: str, everything: bool) -> str:
    def replace(match: re.Match[str]) -> str:
        head, command, _, tail = match.groups()
        if command.endswith(BY_HAND) and not everything:
            return match.group(0)
        return head + run(command.removesuffix(BY_HAND)) + tail

    return BLOCK.sub(replace, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    stale = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        old = path.read_text()
        new = refreshed(old, options.all)
        if new != old:
            stale.append(path.relative_to(ROOT))
            if not options.check:
                path.write_text(new)
    for path in stale:
        print(("stale: " if options.check else "rewrote ") + str(path))
    sys.exit(1 if stale and options.check else 0)


if __name__ == "__main__":
    main()
