"""A line that says what goes on, for commands that take more than two seconds.

It stands on standard error, if that is a terminal, and is gone when the command is done.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any, Final

DELAY: Final = 2.0
"""Seconds before anything is shown."""


class Activity:
    """What a command is doing. Nothing is drawn, nor rich imported, before DELAY has passed."""

    def __init__(self, label: str, delay: float) -> None:
        self.label = label
        self.done: float = 0
        self.total: float | None = None
        self._lock = threading.Lock()
        self._shown: Any = None
        self._task: Any = None
        self._over = False
        self._timer = threading.Timer(delay, self._show)
        self._timer.daemon = True
        self._timer.start()

    def say(self, label: str, done: float = 0, total: float | None = None) -> None:
        """What is going on now, and how much of it is done."""
        with self._lock:
            self.label, self.done, self.total = label, done, total
            if self._shown is not None:
                self._shown.update(self._task, description=label, completed=done, total=total)

    def stop(self) -> None:
        """Take the line away, or see to it that it never comes."""
        self._timer.cancel()
        with self._lock:
            self._over = True
            if self._shown is not None:
                self._shown.stop()
                self._shown = None

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        columns = (
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(),
        )  # fmt: skip
        with self._lock:
            if self._over:
                return
            console = Console(file=sys.stderr)
            self._shown = Progress(*columns, console=console, transient=True)
            self._task = self._shown.add_task(self.label, completed=self.done, total=self.total)
            self._shown.start()


_current: list[Activity] = []


@contextlib.contextmanager
def working(label: str) -> Iterator[None]:
    """Say what goes on while the block runs, if it runs for long."""
    if not sys.stderr.isatty():
        yield
        return
    activity = Activity(label, DELAY)
    _current.append(activity)
    try:
        yield
    finally:
        _current.remove(activity)
        activity.stop()


def say(label: str, done: float = 0, total: float | None = None) -> None:
    """What the command is doing now; no one listens where nothing is shown."""
    if _current:
        _current[-1].say(label, done, total)


def quiet() -> None:
    """Take the line away for good: output follows."""
    if _current:
        _current[-1].stop()
