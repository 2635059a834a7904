"""Captured arrays and files: the same bits come back, or a clear error."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from text_samples import F3, check_text, example, random_module

from covector.ir import ops  # noqa: F401 - defines the primitives
from covector.ir.builder import Builder
from covector.ir.errors import CovectorError, InterpretError, ParseError
from covector.ir.files import load
from covector.ir.graph import Constant, Equation, Graph, Thunk, Value
from covector.ir.module import Module, module_of
from covector.ir.parser import parse
from covector.ir.primitive import PRIMITIVES
from covector.ir.printer import print_module
from covector.ir.types import FLOAT32, TensorType
from covector.ir.writing import write_whole


def constant_module(array: Any, type: TensorType | None = None) -> Module:
    b = Builder()
    x = np.asarray(array)
    type = type or TensorType(x.shape, x.dtype)
    return module_of(b.graph([], [b.constant(value=Constant(array, type, "w"))], "main"))


@pytest.mark.parametrize(
    "array",
    [
        np.float32(1.5), np.zeros((0, 3)), np.eye(4), np.eye(5),
        np.arange(12.0).reshape(3, 4)[:, ::2], np.arange(40, dtype=">i4"),
        np.asarray([np.nan, -np.inf, -0.0], ml_dtypes.bfloat16),
        np.asarray([0x7FC00001, 0x3F800000], np.uint32).view(np.float32), np.ones(30, bool),
        np.arange(-8, 8).astype(ml_dtypes.int4), np.full(20, 1 + 2j), np.zeros((0, 10**6)),
    ],
)  # fmt: skip
def test_constants_keep_their_bits(array: Any, tmp_path: Path) -> None:
    x = np.asarray(array)
    module = constant_module(array, TensorType(x.shape, x.dtype.newbyteorder("=")))
    module.save(tmp_path / "m.cvir")
    for again in (check_text(module), load(tmp_path / "m.cvir")):
        assert again == module
        (read,) = again.constants()
        native = x.astype(x.dtype.newbyteorder("="))
        assert np.asarray(read.array).tobytes() == native.tobytes()
        assert np.asarray(read.array).shape == x.shape


def test_elided_constants() -> None:
    module = constant_module(np.eye(3))
    elided = parse(print_module(module, elide_constants=True))
    assert str(parse(str(elided))) == str(elided)
    assert elided != module
    assert parse(str(elided)) == elided
    with pytest.raises(InterpretError, match="elided"):
        elided.interpret()


def test_a_shared_constant_stays_one() -> None:
    c = Constant(np.eye(3, dtype=np.float32), TensorType((3, 3), FLOAT32), "c")
    b1, b2 = Builder(), Builder()
    f, g = b1.graph([], [b1.constant(value=c)], "f"), b2.graph([], [b2.constant(value=c)], "g")
    again = check_text(Module({"f": f, "g": g}))
    assert len(list(again.constants())) == 1


def test_thunks_read_back_by_name() -> None:
    x = Value(F3)
    eqn = Equation(PRIMITIVES["integer_pow"], (x,), (Value(F3),), {"y": Thunk('f"', lambda: 0)})
    text = str(module_of(Graph([x], [eqn], [])))
    again = parse(text, verify=False)
    assert str(again) == text
    with pytest.raises(CovectorError, match="still Python"):
        again.main.equations[0].params["y"]()


# -- files ---------------------------------------------------------------------------------------


def test_files_read_back(tmp_path: Path) -> None:
    path = tmp_path / "m.cvir"
    for seed in range(40):
        module = random_module(seed)
        module.save(path)
        assert load(path) == module
    path.write_text(str(example()), encoding="utf-8")
    assert load(path) == example()
    assert list(tmp_path.iterdir()) == [path]


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.cvir"
    module = example()
    module.save(path)
    raw = path.read_bytes()
    assert b"\0" in raw
    for length in range(0, len(raw), 5):
        path.write_bytes(raw[:length])
        with pytest.raises(ParseError):
            load(path)
    path.write_bytes(raw + b"x")
    with pytest.raises(ParseError, match="1 bytes follow"):
        load(path)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0", "neither"), (b"// covector 2\nfunc", "version 2"),
        (b"// covector x\n", "damaged"), (b"// cov", "damaged"), (b"\xff\xfef\0u\0", "neither"),
        (b"func \xff", "UTF-8"), (b"", "at least one function"), (b"// covector 0\n", "version 0"),
    ],
)  # fmt: skip
def test_foreign_files(raw: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.cvir"
    path.write_bytes(raw)
    with pytest.raises(ParseError, match=message):
        load(path)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "m.cvir"
    example().save(path)
    broken = constant_module(np.zeros(3), TensorType((40,), np.float64))
    with pytest.raises(CovectorError, match="holds an array of shape"):
        broken.save(path)
    assert load(path) == example()
    assert list(tmp_path.iterdir()) == [path]


def test_pipes_are_written_to(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()
    write_whole(path, [b"a", b"b"])
    reader.join()
    assert read == ["ab"] and path.is_fifo()


def test_links_stay(tmp_path: Path) -> None:
    link, file = tmp_path / "link", tmp_path / "file"
    file.write_text("old")
    link.symlink_to(file)
    write_whole(link, [b"new"])
    assert link.is_symlink() and file.read_text() == "new"
    write_whole(link, [b"newer"], follow=False)
    assert not link.is_symlink() and file.read_text() == "new" and link.read_text() == "newer"
