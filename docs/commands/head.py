"""The first lines of what a command prints: `python docs/commands/head.py 12 primitives`."""

import contextlib
import io
import sys

from covector.tools.cli import main

with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
    main(sys.argv[2:])
lines = printed.getvalue().splitlines()
sys.stdout.write("\n".join([*lines[: int(sys.argv[1])], "..."]) + "\n")
