"""What benchmarks/memory.py measured: saved, as tables, and drawn."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent / "suite"))
from results import environment

NOISE: Final = 1.05
"""Times of loops that are so near to each other count as equal."""


@dataclass
class Point:
    """One way to compute a gradient. peak, budget, predicted (what our plan says): MiB."""

    side: str
    name: str
    peak: float
    contractions: int
    budget: float | None = None
    predicted: float | None = None
    seconds: float = 0.0
    fastest: float = 0.0


@dataclass
class Results:
    """Points by program; the programs that are loops; where they were measured."""

    environment: dict[str, Any]
    programs: dict[str, list[Point]]
    loops: list[str]

    def add(self, name: str, is_loop: bool, points: list[Point]) -> None:
        self.environment = environment()
        self.programs[name] = points
        if is_loop and name not in self.loops:
            self.loops.append(name)

    def unmatched(self, name: str) -> list[Point]:
        """Points of JAX for which no plan needs as little memory and as little work."""
        points = self.programs[name]
        return [p for p in side(points, "jax") if not self._is_matched(p, points, name)]

    def _is_matched(self, p: Point, points: list[Point], name: str) -> bool:
        """Whether a plan needs no more memory (1 %) and no more contractions, in loops, of whose
        contractions nobody knows how often they run, no more time (5 %)."""
        for q in side(points, "covector"):
            if name in self.loops:
                is_cheap = q.fastest <= NOISE * p.fastest
            else:
                is_cheap = q.contractions <= p.contractions
            if is_cheap and q.peak <= 1.01 * p.peak:
                return True
        return False


def side(points: Sequence[Point], name: str) -> list[Point]:
    return [p for p in points if p.side == name]


def save(results: Results, path: Path) -> None:
    path.write_text(json.dumps(asdict(results), indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> Results:
    plain = json.loads(path.read_text(encoding="utf-8"))
    made = {name: [Point(**p) for p in points] for name, points in plain["programs"].items()}
    return Results(plain["environment"], made, plain["loops"])


# -- tables ----------------------------------------------------------------------------------------


def show(results: Results, points: bool) -> None:
    where = results.environment
    versions = ", ".join(f"{k} {v}" for k, v in where["versions"].items())
    print(f"{where['date']}, {where['machine']}, {where['cores']} cores; {versions}")
    if points:
        for name in results.programs:
            show_points(results, name)
    show_summary(results)
    show_predictions(results)


def show_points(results: Results, name: str) -> None:
    points = results.programs[name]
    print(f"\n{name}\n{'':42}{'peak':>10}{'predicted':>11}{'dots':>6}{'time':>11}{'/ jax':>7}")
    for p in sorted(points, key=lambda p: (p.side, -p.peak)):
        predicted = f"{p.predicted:.1f}" if p.predicted is not None else ""
        print(
            f"  {p.side:10}{p.name:30}{p.peak:7.1f} MiB{predicted:>9}{p.contractions:>6}"
            f"{p.seconds * 1e3:8.1f} ms{p.seconds / points[0].seconds:7.2f}"
        )
    worse = [p.name for p in results.unmatched(name)]
    print(f"  points of jax that no plan matches: {', '.join(worse) or 'none'}")


HEADS: Final = {
    "program": 20, "jax": 7, "ours": 7, "half: jax": 11, "ours ": 7, "quarter: jax": 14,
    "ours  ": 7, "smallest: jax": 15, "ours   ": 7, "unmatched": 11,
}  # fmt: skip


def show_summary(results: Results) -> None:
    """Time at a half and a quarter of JAX's memory, in units of JAX's time without checkpoint."""
    print("\npeak in MiB; time within a share of JAX's peak, in units of JAX's without checkpoint")
    print(row(head.strip() for head in HEADS))
    for name, points in results.programs.items():
        sides = side(points, "jax"), side(points, "covector")
        whole = sides[0][0]
        cells = [name, *(f"{some[0].peak:.1f}" for some in sides)]
        for share in (0.5, 0.25):
            cells += [time_within(some, share * whole.peak, whole.seconds) for some in sides]
        cells += [f"{min(p.peak for p in some):.1f}" for some in sides]
        print(row([*cells, f"{len(results.unmatched(name))} of {len(sides[0])}"]))


def row(cells: Iterable[str]) -> str:
    """The first cell to the left, the others to the right."""
    first, *rest = zip(cells, HEADS.values(), strict=True)
    return f"{first[0]:<{first[1]}}" + "".join(f"{text:>{width}}" for text, width in rest)


def time_within(points: list[Point], peak: float, unit: float) -> str:
    fitting = [p.seconds for p in points if p.peak <= 1.01 * peak]
    return f"{min(fitting) / unit:.2f}" if fitting else "-"


def show_predictions(results: Results) -> None:
    """What was predicted of compiled programs beside XLA's account of them."""
    print("\npredicted / actual bytes, over all budgets; actual bytes / budget")
    print(
        f"{'program':<20}{'plans':>7}{'least':>8}{'median':>8}{'greatest':>10}{'worst budget':>14}"
    )
    for name, points in results.programs.items():
        made = side(points, "covector")
        ratios = [p.predicted / p.peak for p in made if p.predicted is not None]
        within = max(p.peak / p.budget for p in made if p.budget is not None)
        print(
            f"{name:<20}{len(made):>7}{min(ratios):>8.2f}{statistics.median(ratios):>8.2f}"
            f"{max(ratios):>10.2f}{within:>14.2f}"
        )


# -- a plot ----------------------------------------------------------------------------------------


def plot(results: Results, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(4, len(results.programs))
    rows = -(-len(results.programs) // columns)
    size = (4 * columns, 3.4 * rows)
    figure, axes = pyplot.subplots(rows, columns, figsize=size, squeeze=False)
    for axis in axes.flat[len(results.programs) :]:
        axis.axis("off")
    for axis, (name, points) in zip(axes.flat, results.programs.items(), strict=False):
        for label, some, mark in series(points):
            xy = sorted((p.peak, p.seconds * 1e3) for p in some)
            axis.plot([x for x, _ in xy], [y for _, y in xy], mark, label=label, markersize=4)
        axis.set(title=name, xlabel="peak of temporaries (MiB)", ylabel="time (ms)")
        axis.set_ylim(bottom=0)
        axis.set_xlim(left=0)
    axes.flat[len(results.programs) - 1].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def series(points: list[Point]) -> list[tuple[str, list[Point], str]]:
    """Names, points and marks."""
    jaxs = side(points, "jax")
    loops = [p for p in jaxs if p.name.startswith("equinox")]
    rest = [p for p in jaxs if p not in loops]
    found = [("jax", rest, "o"), ("covector", side(points, "covector"), "s-")]
    return [*found, ("equinox", loops, "^")] if loops else found
