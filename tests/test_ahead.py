"""Executables are read from the persistent cache while their programs are traced."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import logging, sys
import jax, jax.numpy as jnp
import covector

logging.basicConfig(stream=sys.stdout, format="%(message)s")
logging.getLogger("covector.lowering.ahead").setLevel(logging.DEBUG)
counts = {"cache_hits": 0, "cache_misses": 0}

def count(event, **_):
    last = event.split("/")[-1]
    counts[last] = counts.get(last, 0) + 1

jax.monitoring.register_event_listener(count)
FACTOR = float(sys.argv[1])

def f(x):
    return (jnp.sin(x) * FACTOR).sum()

x = jnp.arange(4.0)
counts.clear()
grad = covector.grad(f)
if sys.argv[2] == "jit":
    print("result", float(covector.jit(grad)(x)[1]))
elif sys.argv[2] == "stages":
    print("result", float(covector.jit(grad).lower(x).compile()(x)[1]))
elif sys.argv[2] == "compile":
    print("result", float(covector.compile(grad, x)(x)[1]))
else:  # an argument whose structure says where it is in memory
    partial = jax.tree_util.Partial(f)
    print("result", float(covector.jit(lambda g, x: covector.grad(g)(x))(partial, x)[1]))
print("hits", counts.get("cache_hits", 0), "misses", counts.get("cache_misses", 0))
"""


def run(cache: Path, factor: float = 2.0, how: str = "jit", enabled: bool = True) -> str:
    settings = {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "JAX_ENABLE_COMPILATION_CACHE": str(enabled).lower(),
    }
    script = cache.parent / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), str(factor), how],
        env={**os.environ, **settings}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def notes(cache: Path) -> list[Path]:
    return sorted((cache / "covector").glob("*"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.mark.parametrize("how", ["jit", "stages", "compile", "partial"])
def test_the_second_process_reads_ahead(cache: Path, how: str) -> None:
    first = run(cache, how=how)
    assert "read ahead" not in first
    assert "hits 0" in first
    (note,) = notes(cache)
    second = run(cache, how=how)
    assert "was read ahead" in second
    assert "misses 0" in second
    assert "hits 0" not in second  # JAX looks it up, and counts it, as ever
    assert first.splitlines()[0] == second.splitlines()[-2]
    assert notes(cache) == [note]


def test_another_program_of_that_name_is_not_mistaken(cache: Path) -> None:
    run(cache)
    (note,) = notes(cache)
    before = note.read_text()
    other = run(cache, factor=3.0)
    assert "was read ahead" not in other
    expected = 3.0 * 0.5403023
    assert abs(float(other.splitlines()[0].split()[1]) - expected) < 1e-5
    assert note.read_text() != before  # the next process expects this one
    assert "was read ahead" in run(cache, factor=3.0)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"key": "nothing", "options": ""}'])
def test_notes_that_say_nothing_are_passed_over(cache: Path, text: str) -> None:
    first = run(cache)
    (note,) = notes(cache)
    note.write_text(text)
    second = run(cache)
    assert "was read ahead" not in second
    assert "misses 0" in second
    assert first.splitlines()[0] == second.splitlines()[-2]
    assert "was read ahead" in run(cache)  # it was written anew


def test_executables_that_are_gone_are_compiled(cache: Path) -> None:
    first = run(cache)
    for entry in cache.glob("*-cache"):
        entry.unlink()
    second = run(cache)
    assert "was read ahead" not in second
    assert first.splitlines()[0] == next(x for x in second.splitlines() if "result" in x)


def test_nothing_is_noted_without_a_cache(cache: Path) -> None:
    run(cache, enabled=False)
    assert notes(cache) == []
