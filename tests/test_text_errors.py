"""What is no program says where and why; whatever the text, nothing else is raised."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_fuzz import Broken, allocating, check, corpus, mutated, watched
from text_samples import F, check_text, damage, example, random_call, random_module

from covector.ir import ops  # noqa: F401 - defines the primitives
from covector.ir.builder import Builder
from covector.ir.errors import ParseError, VerifyError
from covector.ir.graph import Value
from covector.ir.module import module_of
from covector.ir.parser import parse

GOLDEN = Path(__file__).parent / "golden" / "text"


RAISES = "// -----\n"


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("errors/*.cvir")), ids=lambda p: p.stem)
def test_error(path: Path, golden: Callable[[str, str], None]) -> None:
    """Each file is a program and, below it, the message that reading it raises."""
    program = path.read_text(encoding="utf-8").partition(RAISES)[0]
    with pytest.raises((ParseError, VerifyError)) as caught:
        parse(program, file=path.name)
    message = f"{type(caught.value).__name__}: {caught.value}"
    comment = "\n".join(f"// {line}".rstrip() for line in message.splitlines())
    golden(f"text/errors/{path.name}", f"{program}{RAISES}{comment}")


def survives(text: str) -> None:
    """Assert that reading raises nothing but the two errors, and that what is read reads back."""
    try:
        module = parse(text)
    except (ParseError, VerifyError) as error:
        str(error)
        return
    assert parse(str(module)) == module


@given(st.text())
def test_any_text(text: str) -> None:
    survives(text)
    survives(f"func @main(x: f32[]) -> () {{\n  {text}\n  return\n}}")


@pytest.mark.parametrize("seed", range(4))
def test_damaged_texts(seed: int) -> None:
    rng = random.Random(seed)
    sources = [str(random_module(seed)), str(example())]
    for _ in range(400):
        survives(damage(rng, rng.choice(sources)))


@pytest.mark.parametrize("seed", range(4))
def test_arbitrary_calls(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(500):
        survives(random_call(rng))


@pytest.mark.slow
def test_much_damage() -> None:
    rng = random.Random(0)
    for i in range(40_000):
        text = str(random_module(i % 500)) if i % 2 else random_call(rng)
        survives(damage(rng, text))


# -- size ----------------------------------------------------------------------------------------


def test_deep_calls_need_no_recursion() -> None:
    depth = 3000
    funcs = [
        f"func private @f{i}(x: f32[]) -> (f32[]) {{\n"
        f"  y: f32[] = call[graph=@f{i + 1}] x\n  return y }}"
        for i in range(depth)
    ]
    text = "\n".join([*funcs, f"func @f{depth}(x: f32[]) -> (f32[]) {{\n return x }}"])
    text = text.replace("func private @f0(", "func @f0(")
    module = parse(text)
    assert len(module.all_graphs()) == depth + 1
    check_text(module)


def test_wide_programs() -> None:
    b = Builder()
    x = Value(F, "x")
    values = [b.mul(x, float(i)) for i in range(2000)]
    for i, value in enumerate(values[2:], 2):
        value.name = f"v{i % 7}"
    graph = b.graph([x, *(Value(F) for _ in range(500))], values, "main")
    assert len(check_text(module_of(graph)).main.outputs) == 2000


def test_nothing_is_allocated_for_a_large_type() -> None:
    big = "f32[1000000000000]"
    parse(f"func @f(x: {big}) -> ({big}) {{\n  y: {big} = sin x\n  return y }}")
    with pytest.raises(ParseError, match="bytes"):
        parse('func @f() -> () { return } constant $c: f32[1000000000000] = base64 "AAAA"')
    with pytest.raises(ParseError, match="items"):
        parse("func @f() -> () { return } constant $c: f32[1000000000000] = dense [1, 2]")


# -- bytes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_damaged_files(seed: int, tmp_path: Path) -> None:
    damage_files(seed, 500, tmp_path)


@pytest.mark.slow
def test_many_damaged_files(tmp_path: Path) -> None:
    """About a minute; `benchmarks/fuzz_text.py` goes on for as long as one likes."""
    damage_files(100, 6000, tmp_path)


def damage_files(seed: int, count: int, folder: Path) -> None:
    rng, files = random.Random(seed), corpus(folder)
    read = 0
    for i in range(count):
        data = mutated(rng, files)
        try:
            read += check(data, folder / "damaged.cvir", traced=i % 20 == 0) is not None
        except Exception as error:
            pytest.fail(f"{data!r}: {type(error).__name__}: {error}")
    assert count / 200 < read < count / 2


def test_what_is_watched(tmp_path: Path) -> None:
    """The guards of the fuzzer see what they are there for."""
    file = tmp_path / "f.cvir"
    acts: list[Callable[[], object]] = [
        lambda: eval("1 + 1"),
        os.listdir,
        Path(__file__).read_bytes,
    ]
    for act in acts:
        with pytest.raises(Broken), watched(file):
            act()
    with pytest.raises(Broken, match="allocated"), allocating(1 << 20, traced=True):
        bytearray(1 << 21)
