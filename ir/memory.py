"""Python's cyclic garbage collector, paused while a program is built.

Building a program allocates many small objects and frees few, so that the collector scans all of
them again and again and finds nothing: on large programs that is half of a pass's time.
"""

from __future__ import annotations

import gc
import threading
from typing import Final

_CHANGING: Final = threading.RLock()
_pauses = 0
"""How many there are now, in all threads: the collector is one for all of them."""

_was_enabled = False


class collector_paused:
    """`with collector_paused():` runs without cyclic garbage collection; reference counting goes
    on. Nests, also in threads: the last one to end lets the collector go on, if it did before the
    first."""

    __slots__ = ()

    def __enter__(self) -> None:
        global _pauses, _was_enabled
        with _CHANGING:
            if _pauses == 0:
                _was_enabled = gc.isenabled()
                gc.disable()
            _pauses += 1

    def __exit__(self, *_: object) -> None:
        global _pauses
        with _CHANGING:
            _pauses -= 1
            if _pauses == 0 and _was_enabled:
                gc.enable()
