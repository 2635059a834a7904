"""What the page of a pipeline shows, as plain data: each step's program, size, time and memory."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from ..ir.errors import CovectorError
from ..ir.module import Module
from ..passes.base import Pass
from ..passes.observers import Observer
from ..passes.pipeline import Pipeline
from ..passes.settings import Settings
from ..passes.statistics import Measures
from .line_diff import line_edits
from .progress import say
from .timeline import timeline_of
from .view_lines import Line, keys_of, lines_of, values_of

Data = dict[str, Any]
LARGEST_SOURCE: Final = 1_000_000
"""Bytes of a source file up to which it goes into the page."""


class Recorder(Observer):
    """Keeps what every step of a pipeline makes, with the seconds that it took, verified."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, Module | None, float | None, str]] = []
        self._since = 0.0

    def start(self, module: Module) -> None:
        self.steps.append(("input", module, None, ""))

    def before(self, step: Pass, module: Module) -> None:
        say(f"pass {step}")
        self._since = time.perf_counter()

    def after(self, step: Pass, before: Module, after: Module) -> None:
        self.steps.append((str(step), after, time.perf_counter() - self._since, ""))

    def failed(self, step: Pass, before: Module, after: Module | None, error: Exception) -> None:
        seconds = time.perf_counter() - self._since
        text = (
            error.claim if isinstance(error, CovectorError) else f"{type(error).__name__}: {error}"
        )
        self.steps.append((str(step), after, seconds, text))


def record(module: Module, passes: Sequence[Pass], settings: Settings) -> Recorder:
    """Run a pipeline and keep its steps; of one that fails, all up to the failure."""
    recorder = Recorder()
    try:
        Pipeline(tuple(passes), settings, (recorder,)).run(module)
    except CovectorError:
        if not recorder.steps[-1][3]:
            raise
    return recorder


def page_data(recorder: Recorder, folders: Iterable[Path]) -> Data:
    """The data of the page. Lines that several steps have stand in `lines` once."""
    table: dict[Line, int] = {}
    steps: list[Data] = []
    before: Module | None = None
    old: list[tuple[Line, Any]] = []
    for name, module, seconds, error in recorder.steps:
        say(f"laying out {name}")
        step: Data = {"name": name, "seconds": seconds, "error": error}
        if module is not None:
            new = lines_of(module)
            shared = values_of(module) & values_of(before) if before is not None else set()
            edits = line_edits(keys_of(old, shared), keys_of(new, shared)) if before else []
            step |= {
                "lines": [table.setdefault(line, len(table)) for line, _ in new],
                "edits": edits, **_sizes(module), "memory": _memory(module),
            }  # fmt: skip
            before, old = module, new
        else:
            step |= {**steps[-1], **step, "edits": [("=", len(old))]}
        steps.append(step)
    sources = dict.fromkeys(line.source[0] for line in table if line.source is not None)
    files = {file: i for i, file in enumerate(sources)}
    return {
        "module": next(m.name for _, m, _, _ in recorder.steps if m is not None),
        "files": list(files),
        "sources": _sources(files, list(folders)),
        "lines": [_line_data(line, files) for line in table],
        "steps": steps,
    }


def _line_data(line: Line, files: dict[str, int]) -> Data:
    data: Data = {"t": line.text, "k": line.kind}
    if line.makes:
        data["d"] = [list(pair) for pair in line.makes]
    if line.reads:
        data["u"] = list(line.reads)
    if line.source is not None:
        data["s"] = [files[line.source[0]], line.source[1]]
    return data


def _sizes(module: Module) -> Data:
    try:
        return vars(Measures.of(module))
    except CovectorError as error:  # what cannot be counted is unknown, not nothing
        equations = sum(len(graph) for graph in module.all_graphs())
        return {"equations": equations, "unknown": error.claim}


def _memory(module: Module) -> list[Data]:
    """The memory of each public function over its equations, and what makes the peak."""
    found = []
    for name, graph in module.graphs.items():
        timeline = timeline_of(graph)
        values = [{"value": v, "bytes": n} for v, n, _ in timeline.values[:12]]
        found.append({"function": name, "live": timeline.live, "at": timeline.at, "values": values})
    return found


def _sources(files: Iterable[str], folders: list[Path]) -> dict[str, str]:
    """The texts of the source files that are there, found from any of the folders."""
    texts = {}
    for file in files:
        for folder in folders:
            path = folder / file
            try:
                if path.is_file() and path.stat().st_size <= LARGEST_SOURCE:
                    texts[file] = path.read_text(encoding="utf-8", errors="replace")
                    break
            except OSError:
                continue
    return texts
