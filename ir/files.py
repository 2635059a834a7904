"""Programs in files.

A `.cvir` file is the text of a module, after a line that states the version of the format:

    // covector 1
    module @main { ... constant $w: f32[512,512] = bytes[0:1048576] ... }

then, if there are arrays of more than a few elements, a zero byte and their bytes, one after the
other, little-endian. Without such arrays it can be edited like any text. Plain text, without the
first line, is read as well. Reading runs no code, and allocates no more than the file is long.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np

from . import constants, printer
from .errors import ParseError, UsageError
from .graph import Constant, Location
from .module import Module
from .parser import parse_with_bytes
from .syntax import quote_name
from .types import ExtendedDtype, TensorType
from .writing import write_whole

VERSION: Final = 1
_HEADER: Final = re.compile(rb"// covector (\d{1,9})\r?\n")
_MAGIC: Final = b"// covector "
_CHUNK: Final = 1 << 20


def save(module: Module, path: str | Path) -> None:
    """Write a module to a file, whole or not at all."""
    kept: list[Constant] = []
    size = 0

    def refer(constant: Constant) -> str:
        nonlocal size
        if isinstance(constant.type.dtype, ExtendedDtype):
            raise UsageError(
                f"${quote_name(constant.name)} holds {constant.type}, which has no bytes to save",
                hint="make it an input of the program",
            )
        if not constants.has_contents(constant) or constant.type.size <= printer.DENSE_LIMIT:
            return printer.write_inline(constant)
        kept.append(constant)
        start, size = size, size + constant.type.nbytes
        return f"bytes[{start}:{size}]"

    def pieces() -> Iterator[bytes | memoryview]:
        yield b"// covector %d\n" % VERSION
        for section in printer.module_sections(module, refer):
            yield section.encode("utf-8")
            yield b"\n"
        for i, constant in enumerate(kept):
            if i == 0:
                yield b"\0"
            yield constants.little_endian(constants.contents(constant))

    write_whole(path, pieces())


def load(path: str | Path, *, verify: bool = True) -> Module:
    """Read a module from a `.cvir` file or from plain text.

    Raises ParseError for what is no program (truncated, foreign, or of a newer version),
    VerifyError for a program that breaks a rule, OSError if the file cannot be read.
    """
    name = os.fspath(path)
    with open(path, "rb") as file:
        text = _read_text(file, name)
        data = _Data(file, name, os.fstat(file.fileno()).st_size)
        module = parse_with_bytes(text, data.read, verify=verify, file=name)
        data.expect_end()
    return module


def _read_text(file: BufferedReader, name: str) -> str:
    """The text, up to a zero byte or the end; the file is left where the arrays start."""
    raw = file.read(_CHUNK)
    has_header = _check_version(raw, name)
    if not has_header and b"\0" in raw:
        _fail(name, "this is neither a .cvir file nor text")
    while (end := raw.find(b"\0")) < 0:
        chunk = file.read(max(_CHUNK, len(raw)))
        if not chunk:
            end = len(raw)
            break
        raw += chunk
    file.seek(end + 1)
    try:
        return raw[:end].decode("utf-8")
    except UnicodeDecodeError as error:
        _fail(name, f"this is not text in UTF-8: {error.reason} at byte {error.start}")


def _check_version(raw: bytes, name: str) -> bool:
    """Whether the file has the first line of a .cvir file, of a version that can be read."""
    found = _HEADER.match(raw)
    if found is None:
        if raw.startswith(_MAGIC) or (raw and _MAGIC.startswith(raw)):
            _fail(name, "the first line of this .cvir file is damaged")
        return False
    version = int(found.group(1))
    if not 1 <= version <= VERSION:
        _fail(
            name,
            f"this file has version {version} of the format; this covector reads up to {VERSION}",
            hint="a newer covector wrote it: upgrade, or print the program there as text",
        )
    return True


class _Data:
    """The arrays that follow the text, read one after the other."""

    def __init__(self, file: BufferedReader, name: str, size: int) -> None:
        self.file = file
        self.name = name
        self.next = 0
        self.size = max(0, size - file.tell())

    def read(self, start: int, stop: int, type: TensorType) -> np.ndarray[Any, Any]:
        """The array of a type at bytes start to stop. Raises ValueError."""
        if start != self.next:
            raise ValueError(f"arrays follow each other: this one should start at {self.next}")
        if stop - start != type.nbytes:
            raise ValueError(f"{type} takes {type.nbytes} bytes, not {stop - start}")
        if stop > self.size:
            missing = stop - self.size
            raise ValueError(f"the file is truncated: at least {missing} bytes are missing")
        self.next = stop
        raw: Any = np.empty(stop - start, np.uint8)
        if self.file.readinto(raw) != len(raw):
            raise ValueError("the file is truncated: it became shorter while it was read")
        array = constants.from_little_endian(raw, type)
        array.flags.writeable = False
        return array

    def expect_end(self) -> None:
        if self.next != self.size:
            _fail(self.name, f"{self.size - self.next} bytes follow the arrays of this .cvir file")


def _fail(name: str, claim: str, hint: str | None = None) -> NoReturn:
    raise ParseError(claim, location=Location(name, 1), hint=hint) from None
