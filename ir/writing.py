"""Files written whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path


def write_whole(
    path: str | Path, pieces: Iterable[bytes | memoryview], *, follow: bool = True
) -> None:
    """Write beside the file, then take its place: readers see the old one or the new one.

    What is no file (a device like /dev/null, a pipe) keeps its place and is written to. `follow`
    says whether a symbolic link stays and its target is replaced. Raises OSError.
    """
    if follow and os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as target:
            target.writelines(pieces)
        return
    file = Path(os.path.realpath(path) if follow else path)
    temporary = file.with_name(f".{file.name}.{os.urandom(8).hex()}")
    try:
        with temporary.open("xb") as new:
            new.writelines(pieces)
            new.flush()
            os.fsync(new.fileno())
        if file.exists():
            temporary.chmod(stat.S_IMODE(file.stat().st_mode))
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
