"""How long the stages of a run take: nested spans, as a table, a tree, JSON or a Chrome trace."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Span:
    """A named stretch of time, in seconds since the timer was made, and what it consists of."""

    name: str
    start: float
    seconds: float = 0.0
    parts: list[Span] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        parts = [part.as_json() for part in self.parts]
        return {"name": self.name, "seconds": self.seconds} | ({"parts": parts} if parts else {})


class Timer:
    """Collects spans: `with timer.span("cse"): ...`; spans inside spans are their parts."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.total = Span("total", 0.0)
        self._open = [self.total]

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        span = Span(name, time.perf_counter() - self.began)
        self._open[-1].parts.append(span)
        self._open.append(span)
        try:
            yield
        finally:
            self._open.pop()
            span.seconds = time.perf_counter() - self.began - span.start

    def stop(self) -> None:
        self.total.seconds = time.perf_counter() - self.began

    def report(self, form: str) -> str:
        """The spans as `table` (by name, longest first), `tree` (in order) or `json`."""
        self.stop()
        if form == "json":
            return json.dumps(self.total.as_json(), indent=1)
        rows = self._tree() if form == "tree" else self._table()
        whole = max(self.total.seconds, 1e-12)
        lines = ["     ms      %  stage"]
        lines += [f"{1e3 * s:7.2f}  {100 * s / whole:5.1f}  {name}" for name, s in rows]
        return "\n".join(lines)

    def _table(self) -> list[tuple[str, float]]:
        """Time by stage, apart from its parts, longest first."""
        totals: dict[str, float] = {}
        for span in _walk(self.total):
            own = span.seconds - sum(part.seconds for part in span.parts)
            name = "rest" if span is self.total else span.name
            totals[name] = totals.get(name, 0.0) + own
        rows = sorted(totals.items(), key=lambda row: -row[1])
        return [*rows, ("total", self.total.seconds)]

    def _tree(self) -> list[tuple[str, float]]:
        rows: list[tuple[str, float]] = []

        def add(span: Span, depth: int) -> None:
            rows.append(("  " * depth + span.name, span.seconds))
            for part in span.parts:
                add(part, depth + 1)

        add(self.total, 0)
        return rows

    def chrome_trace(self) -> str:
        """The spans in the format of Chrome's and Perfetto's trace viewers."""
        self.stop()
        events = [
            {
                "name": span.name,
                "ph": "X",
                "ts": 1e6 * span.start,
                "dur": 1e6 * span.seconds,
                "pid": os.getpid(),
                "tid": 0,
            }
            for span in _walk(self.total)
        ]
        return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"})


def _walk(span: Span) -> Iterator[Span]:
    yield span
    for part in span.parts:
        yield from _walk(part)
