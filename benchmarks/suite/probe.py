"""Whether a peer survives a program: XLA ends the whole process on what some make of one, or needs
more time and memory than there is.

python benchmarks/suite/probe.py "GPT, 12 blocks" enzyme_ad     by a signal, if not
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jax
from libraries import Library, libraries
from programs import all_programs
from programs.program import Program

MOST_SECONDS = 300
"""How long a peer may take for all of it; JAX is done with the largest program in less."""


def why_not(program: Program, library: Library, quick: bool) -> str | None:
    """Why the library cannot be asked for the program in this process, if it cannot. (What raises
    an error can.)"""
    if not library.may_abort:
        return None
    command = [sys.executable, str(Path(__file__).resolve()), program.name, library.name]
    command += ["--quick"] if quick else []
    try:
        done = subprocess.run(command, capture_output=True, timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired:
        return f"is not done after {MOST_SECONDS} s"
    return None if done.returncode >= 0 else f"ends the process by signal {-done.returncode}"


def main(name: str, peer: str, *quick: str) -> None:
    (library,) = (x for x in libraries((peer,)) if x.name == peer)
    (program,) = (p for p in all_programs(bool(quick)) if p.name == name)
    jax.block_until_ready(library.jit(library.derive(program))(*program.args))


if __name__ == "__main__":
    main(*sys.argv[1:])
