"""Damage to files byte by byte, and what reading must not do whatever the bytes."""

from __future__ import annotations

import difflib  # noqa: F401 - reading may import it, which is no harm
import hashlib  # noqa: F401
import random
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from text_samples import SPICE, example, random_call, random_module

from covector.ir import ops  # noqa: F401 - defines the primitives
from covector.ir.errors import ParseError, VerifyError
from covector.ir.files import load
from covector.ir.module import Module
from covector.ir.parser import parse

ROOT = Path(__file__).parent.parent
INTERESTING = (
    b"0", b"-1", b"255", b"256", b"2147483648", b"9223372036854775807", b"9223372036854775808",
    b"18446744073709551616", b"9" * 400, b"1e400", b"nan", b"-inf", b"0x10", b"1_000", b"\0",
    b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\r", b"\r\n", b"\t", b"\\u0000", b"'",
    b"`", b'"', b"//", b"// -----", b"// covector 1\n", b"bytes[0:8]", b"elided",
)  # fmt: skip
BRACKETS = (b"(", b"[", b"{", b"((", b"[[", b'{"a":', b"(1,", b"f32[", b"call[graph=@", b"~")

BYTES_PER_BYTE = 400
"""What reading may allocate for each byte of a file, beside what it always needs."""
SECONDS_PER_KILOBYTE = 0.5


def corpus(folder: Path) -> list[bytes]:
    """Files as they are saved and texts as they are printed, and the programs of the repository."""
    found = []
    for seed in range(20):
        module = example() if seed == 0 else random_module(seed)
        module.save(folder / "seed.cvir")
        found += [(folder / "seed.cvir").read_bytes(), str(module).encode("utf-8", "replace")]
    for path in sorted([*ROOT.glob("tests/golden/**/*.cvir"), *ROOT.glob("docs/**/*.cvir")]):
        parts = path.read_text(encoding="utf-8").split("// -----\n")
        found += [part.encode() for part in parts if "func" in part]
    rng = random.Random(0)
    return found + [random_call(rng).encode() for _ in range(40)]


def mutated(rng: random.Random, files: list[bytes]) -> bytes:
    """One of the files, with a few of its bytes changed, moved, repeated or replaced."""
    data = bytearray(rng.choice(files))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 12))):
        i, j = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
        kind = rng.randrange(11)
        if kind == 0 and data:
            data[i % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 1 and data:
            data[i % len(data)] = rng.randrange(256)
        elif kind == 2:
            del data[i : i + rng.choice((1, 1, 2, 4, 16))]
        elif kind == 3:
            data[i:i] = rng.choice(INTERESTING)
        elif kind == 4:
            data[i:i] = data[j : j + rng.randrange(64)]
        elif kind == 5:
            data[i:j] = data[i:j] * rng.choice((2, 3))
        elif kind == 6:
            data[i : i + rng.randrange(8)] = rng.choice(BRACKETS) * rng.choice((1, 30, 300, 5000))
        elif kind == 7:
            data[i:i] = rng.choice(SPICE).encode("utf-8", "surrogatepass")
        elif kind == 8:
            other = rng.choice(files)
            data[i:] = other[rng.randrange(len(other) + 1) :]
        elif kind == 9:
            _change_number(rng, data, i)
        else:
            del data[i:]
    return bytes(data)


def _change_number(rng: random.Random, data: bytearray, start: int) -> None:
    """Another number in place of the first one after `start`."""
    digits = [i for i in range(start, min(len(data), start + 200)) if chr(data[i]).isdecimal()]
    if digits:
        end = digits[0]
        while end < len(data) and chr(data[end]).isdecimal():
            end += 1
        data[digits[0] : end] = rng.choice(INTERESTING)


class Broken(AssertionError):
    """Reading has done what it must not do."""


def check(data: bytes, path: Path, *, traced: bool = False) -> Module | None:
    """Assert that a file of these bytes is read, or refused with an error of ours; the module.

    Nothing is run or opened meanwhile, and no more than `BYTES_PER_BYTE` allocated (if `traced`).
    """
    path.write_bytes(data)
    began = time.process_time()
    module = None
    with watched(path), allocating(BYTES_PER_BYTE * len(data) + (1 << 22), traced):
        try:
            module = load(path)
        except (ParseError, VerifyError) as error:
            str(error)
    spent = time.process_time() - began
    if not traced and spent > 1 + SECONDS_PER_KILOBYTE * len(data) / 1024:
        raise Broken(f"reading {len(data)} bytes took {spent:.1f} s")
    if module is not None and parse(str(module)) != module:
        raise Broken("what was read does not read back")
    return module


@contextmanager
def allocating(limit: int, traced: bool) -> Iterator[None]:
    """Raise Broken if more than `limit` bytes are allocated at once."""
    if not traced:
        yield
        return
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    if peak > limit:
        raise Broken(f"reading has allocated {peak} bytes, {limit} are enough")


_FORBIDDEN = ("exec", "os.", "subprocess.", "socket.", "pickle.", "shutil.", "ctypes.", "import")
_watching: dict[int, tuple[str, list[str]]] = {}


def _hear(event: str, args: tuple[Any, ...]) -> None:
    """Note what the watching thread does that reading a file has no need of."""
    watching = _watching.get(threading.get_ident())
    if watching is None:
        return
    path, heard = watching
    if event == "open" and str(args[0]) != path and args[0] != -1:
        heard.append(f"open {args[0]}")
    elif event == "compile" and args[0] is not None:
        heard.append(f"compile {args[0]!r:.40}")
    elif event.startswith(_FORBIDDEN):
        heard.append(f"{event} {args!r:.80}")


_hooks: list[Any] = []


@contextmanager
def watched(path: Path) -> Iterator[None]:
    """Raise Broken if code is run, or a file other than `path` opened, in this thread."""
    if not _hooks:
        _hooks.append(_hear)
        sys.addaudithook(_hear)
    heard: list[str] = []
    _watching[threading.get_ident()] = (str(path), heard)
    try:
        yield
    finally:
        del _watching[threading.get_ident()]
    if heard:
        raise Broken(f"reading does {'; '.join(heard[:3])}")


def smaller(data: bytes, path: Path, error: type[BaseException]) -> bytes:
    """Fewer bytes with which `check` raises the same kind of error."""

    def fails(candidate: bytes) -> bool:
        try:
            check(candidate, path)
        except error:
            return True
        except BaseException:
            return False
        return False

    size = max(1, len(data) // 2)
    while size:
        i = 0
        while i < len(data):
            shorter = data[:i] + data[i + size :]
            if fails(shorter):
                data = shorter
            else:
                i += size
        size //= 2
    return data
