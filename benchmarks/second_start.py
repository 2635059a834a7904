"""From process start to the first gradient, with the persistent cache filled, ours beside JAX's.

    python benchmarks/second_start.py [--blocks 12] [--rounds 3]

Each run is a process of its own: it imports the library, reads the parameters of the GPT of
examples/gpt.py with unrolled blocks, and computes one gradient. The first run of each library
fills its cache; the rounds after it, interleaved, find everything there. What XLA compiles is
counted by JAX's own events: hits and misses of the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent / "suite"))
from results import environment, where

ROOT = Path(__file__).resolve().parent.parent

CHILD = """
import json, pickle, sys, time
import jax

library, inputs, options = sys.argv[1:]
counts = {"cache_hits": 0, "cache_misses": 0}

def count(event, **_):
    word = event.rsplit("/", 1)[-1]
    if word in counts:
        counts[word] += 1

jax.monitoring.register_event_listener(count)
if library.startswith("covector"):
    import covector as autodiff
else:
    autodiff = jax
import gpt

with open(inputs, "rb") as file:
    params, batch = pickle.load(file)
start = time.process_time()
gradient = autodiff.jit(autodiff.grad(gpt.loss), **json.loads(options))(params, batch)
jax.block_until_ready(gradient)
checksum = float(sum(abs(x).sum() for x in jax.tree.leaves(jax.device_get(gradient))))
print(json.dumps(dict(counts, checksum=checksum, gradient=time.process_time() - start)))
"""


LIBRARIES: dict[str, dict[str, str]] = {
    "covector": {},
    "covector, compile-time": {"optimize": "compile-time"},
    "jax": {},
}
"""Each with the options of its `jit`."""


def write_inputs(blocks: int, path: Path) -> None:
    """Parameters and a batch, as NumPy arrays."""
    sys.path.insert(0, str(ROOT / "examples"))
    import gpt

    config = gpt.Config(blocks=blocks, width=64, context=32, batch=4)
    values = gpt.init(config), next(iter(gpt.batches(config, 1)))
    path.write_bytes(pickle.dumps(jax.tree.map(np.asarray, values)))


def run(library: str, folder: Path) -> dict[str, Any]:
    """One process: its wall and processor seconds, and what it printed."""
    variables = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(folder / library),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "PYTHONPATH": str(ROOT / "examples"),
    }
    variables.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    given = [library, str(folder / "inputs"), json.dumps(LIBRARIES[library])]
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *given],
        env=variables, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    wall, after = time.perf_counter() - start, os.times()
    processor = after.children_user + after.children_system
    processor -= before.children_user + before.children_system
    return json.loads(done.stdout) | {"wall": wall, "processor": processor}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    libraries = tuple(LIBRARIES)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in libraries}
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(options.blocks, Path(folder) / "inputs")
        first = {name: run(name, Path(folder)) for name in libraries}
        for i in range(options.rounds):
            for name in libraries if i % 2 else reversed(libraries):
                found[name].append(run(name, Path(folder)))
    want = first["jax"]["checksum"]
    for name, runs in found.items():
        for one in (first[name], *runs):
            assert abs(one["checksum"] - want) < 1e-3 * abs(want), f"{name}: {one}"
    print(where(environment()))
    print(f"GPT of {options.blocks} blocks, medians of {options.rounds} processes")
    show(found)


def show(found: dict[str, list[dict[str, Any]]]) -> None:
    """The medians of each library, in parentheses in units of JAX's."""
    print(f"{'':34}" + "".join(f"{name:>24}" for name in found))
    for what, title in (
        ("wall", "process to gradient, wall s"),
        ("processor", "process to gradient, processor s"),
        ("gradient", "of it the gradient, processor s"),
    ):
        medians = {name: statistics.median(x[what] for x in runs) for name, runs in found.items()}
        cells = [f"{m:.2f} ({m / medians['jax']:.2f})" for m in medians.values()]
        print(f"{title:34}" + "".join(f"{cell:>24}" for cell in cells))
    for word in ("cache_hits", "cache_misses"):
        counts = [max(one[word] for one in runs) for runs in found.values()]
        print(f"{word.replace('_', ' '):34}" + "".join(f"{count:>24}" for count in counts))


if __name__ == "__main__":
    main()
