"""Files damaged byte by byte, for as long as one likes: reading them must do no harm.

    python benchmarks/fuzz_text.py [--seconds 60] [--seed 0]

A file is read, or refused by an error of covector's parser or verifier; nothing is run or opened
meanwhile, and what is allocated and how long it takes stay in proportion to the file. The first
file that breaks this is made smaller and printed. The damage is that of tests/text_fuzz.py.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from text_fuzz import check, corpus, mutated, smaller

TRACED = 20
"""One file in so many is read while its allocations are counted, which is slow."""
KEPT = 400
"""Damaged files that were read, at most, that are damaged further."""


def run(seed: int, seconds: float, folder: Path) -> bytes | None:
    """Damaged files until time is up or one breaks something; that one."""
    rng, deadline = random.Random(seed), time.monotonic() + seconds
    files = corpus(folder)
    original = len(files)
    said: Counter[str] = Counter()
    path = folder / "damaged.cvir"
    number, told = 0, time.monotonic()
    while time.monotonic() < deadline:
        data = mutated(rng, files)
        number += 1
        try:
            module = check(data, path, traced=number % TRACED == 0)
        except Exception as error:
            print(f"file {number} of seed {seed}: {type(error).__name__}: {error}")
            return smaller(data, path, type(error))
        said["read" if module is not None else "refused"] += 1
        if module is not None and len(data) < 1 << 14:
            if len(files) < original + KEPT:
                files.append(data)
            else:
                files[original + rng.randrange(KEPT)] = data
        if time.monotonic() - told > 30:
            told = time.monotonic()
            print(f"{number} files: {dict(said)}", flush=True)
    print(f"seed {seed}: {number} files, {dict(said)}, none breaks anything")
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        broken = run(given.seed, given.seconds, Path(folder))
    if broken is not None:
        print(repr(broken))
    return int(broken is not None)


if __name__ == "__main__":
    sys.exit(main())
