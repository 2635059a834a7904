"""Runge-Kutta methods as tables of numbers.

Every method is written so that its last stage is the slope at the end of the step: the last row of
`a` holds the weights of the solution, and the last stage of a step is the first of the next one.

    Y_i = y + h sum_j a_ij k_j      k_i = f(t + c_i h, Y_i)      y(t + h) = Y_s
    error = h sum_i e_i k_i         y(t + x h) = y + h sum_i sum_m dense_im x^m k_i,   m = 1, 2, ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

Row = tuple[float, ...]


@dataclass(frozen=True)
class Tableau:
    """One method. `order` is that of the solution that is carried on.

    `error` is None for a method without an error estimate: it takes steps of a fixed size.
    `gamma` is the diagonal of `a` in all stages but the first, 0 for explicit methods.
    """

    name: str
    order: int
    a: tuple[Row, ...]
    error: Row | None
    dense: tuple[Row, ...]
    gamma: float = 0.0

    @property
    def c(self) -> Row:
        return tuple(sum(row) for row in self.a)

    @property
    def stages(self) -> int:
        return len(self.a)

    @property
    def weights(self) -> Row:
        return self.a[-1]

    @property
    def degree(self) -> int:
        """The degree of the polynomial between the ends of a step."""
        return len(self.dense[0])


def _square(rows: Sequence[Sequence[float]], diagonal: float = 0.0) -> tuple[Row, ...]:
    """Lower triangular rows (the first is empty) as full ones, with a diagonal after the first."""
    n = len(rows)
    return tuple(
        (*row, diagonal if row else 0.0, *[0.0] * (n - len(row) - 1))
        for row in (tuple(map(float, r)) for r in rows)
    )


def _hermite(weights: Row) -> tuple[Row, ...]:
    """The cubic through both ends with the slopes there."""
    n = len(weights)
    rows = [(0.0, 3 * w, -2 * w) for w in weights]
    rows[0] = (1.0, rows[0][1] - 2, rows[0][2] + 1)
    rows[n - 1] = (rows[n - 1][0], rows[n - 1][1] - 1, rows[n - 1][2] + 1)
    return tuple(rows)


def _quartic(weights: Row, middle: Row) -> tuple[Row, ...]:
    """The quartic through both ends with the slopes there, and through the middle."""
    rows = [
        [0.0, 16 * m - 5 * w, 14 * w - 32 * m, 16 * m - 8 * w]
        for w, m in zip(weights, middle, strict=True)
    ]
    for row, more in ((rows[0], (1, -4, 5, -2)), (rows[-1], (0, 1, -3, 2))):
        row[:] = [x + y for x, y in zip(row, more, strict=True)]
    return tuple(tuple(row) for row in rows)


def _tableau(
    name: str,
    order: int,
    rows: Sequence[Sequence[float]],
    error: Sequence[float] | None = None,
    middle: Sequence[float] | None = None,
    dense: tuple[Row, ...] | None = None,
    gamma: float = 0.0,
) -> Tableau:
    a = _square(rows, gamma)
    if dense is None:
        dense = _hermite(a[-1]) if middle is None else _quartic(a[-1], tuple(middle))
    return Tableau(name, order, a, None if error is None else tuple(error), dense, gamma)


# -- explicit -------------------------------------------------------------------------------------

EULER: Final = _tableau("euler", 1, [[], [1]])
MIDPOINT: Final = _tableau("midpoint", 2, [[], [1 / 2], [0, 1]])
HEUN: Final = _tableau("heun", 2, [[], [1], [1 / 2, 1 / 2]])
RK4: Final = _tableau("rk4", 4, [[], [1 / 2], [0, 1 / 2], [0, 0, 1], [1 / 6, 1 / 3, 1 / 3, 1 / 6]])
"""The classical method of Kutta."""

BOSH3: Final = _tableau(
    "bosh3",
    3,
    [[], [1 / 2], [0, 3 / 4], [2 / 9, 1 / 3, 4 / 9]],
    error=[2 / 9 - 7 / 24, 1 / 3 - 1 / 4, 4 / 9 - 1 / 3, -1 / 8],
)
"""Bogacki and Shampine, Appl. Math. Lett. 2 (1989)."""

_DOPRI5_WEIGHTS = (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)
_DOPRI5_EMBEDDED = (
    1951 / 21600, 0, 22642 / 50085, 451 / 720, -12231 / 42400, 649 / 6300, 1 / 60,
)  # fmt: skip

DOPRI5: Final = _tableau(
    "dopri5",
    5,
    [
        [],
        [1 / 5],
        [3 / 40, 9 / 40],
        [44 / 45, -56 / 15, 32 / 9],
        [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
        [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
        _DOPRI5_WEIGHTS,
    ],
    error=[w - v for w, v in zip((*_DOPRI5_WEIGHTS, 0), _DOPRI5_EMBEDDED, strict=True)],
    middle=[
        6025192743 / 30085553152 / 2, 0, 51252292925 / 65400821598 / 2,
        -2691868925 / 45128329728 / 2, 187940372067 / 1594534317056 / 2,
        -1776094331 / 19743644256 / 2, 11237099 / 235043384 / 2,
    ],
)  # fmt: skip
"""Dormand and Prince, J. Comput. Appl. Math. 6 (1980); in between, Shampine's quartic (1986)."""

_TSIT5_WEIGHTS = (
    0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081,
    2.324710524099774,
)  # fmt: skip
_TSIT5_EMBEDDED = (
    0.09468075576583945, 0.009183565540343254, 0.4877705284247616, 1.234297566930479,
    -2.7077123499835256, 1.866628418170587, 1 / 66,
)  # fmt: skip


def _product(scale: float, roots: Sequence[float], square: bool) -> Row:
    """scale * x^2 (x - r)(x - s), or scale * x (x - r)(x^2 - s x + q) if not `square`."""
    if square:
        r, s = roots
        return (0.0, scale * r * s, -scale * (r + s), scale)
    r, s, q = roots
    return (-scale * r * q, scale * (q + r * s), -scale * (r + s), scale)


TSIT5: Final = _tableau(
    "tsit5",
    5,
    [
        [],
        [0.161],
        [-0.008480655492356989, 0.335480655492357],
        [2.8971530571054935, -6.359448489975075, 4.3622954328695815],
        [5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525],
        [
            5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401,
            -0.028269050394068383,
        ],
        _TSIT5_WEIGHTS,
    ],
    error=[w - v for w, v in zip((*_TSIT5_WEIGHTS, 0), _TSIT5_EMBEDDED, strict=True)],
    dense=(
        _product(-1.0530884977290216, (1.329989018975141, 1.4364028541716351, 0.7139816917074209),
                 square=False),
        (0.0, 0.1017 * 1.2949852507374631, -0.1017 * 2.1966568338249754, 0.1017),
        (0.0, 2.490627285651252793 * 1.57803468208092486,
         -2.490627285651252793 * 2.38535645472061657, 2.490627285651252793),
        _product(-16.54810288924490272, (1.21712927295533244, 0.61620406037800089), square=True),
        _product(47.37952196281928122, (1.203071208372362603, 0.658047292653547382), square=True),
        _product(-34.87065786149660974, (1.2, 0.666666666666666667), square=True),
        _product(2.5, (1.0, 0.6), square=True),
    ),
)  # fmt: skip
"""Tsitouras, Comput. Math. Appl. 62 (2011), with his interpolant of order 4."""

# -- implicit -------------------------------------------------------------------------------------


def _kvaerno(name: str, order: int, gamma: float, rows: Sequence[Sequence[float]]) -> Tableau:
    """Its last two stages are the solutions of both orders, so their difference is the error."""
    a = _square(rows, gamma)
    error = [x - y for x, y in zip(a[-1], a[-2], strict=True)]
    return _tableau(name, order, rows, error=error, gamma=gamma)


_G3: Final = 0.43586652150845899941601945  # root of x^3 - 3 x^2 + 3/2 x - 1/6: L-stable

KVAERNO3: Final = _kvaerno(
    "kvaerno3",
    3,
    _G3,
    [
        [],
        [_G3],
        [(-4 * _G3**2 + 6 * _G3 - 1) / (4 * _G3), (1 - 2 * _G3) / (4 * _G3)],
        [
            (6 * _G3 - 1) / (12 * _G3),
            -1 / ((24 * _G3 - 12) * _G3),
            (-6 * _G3**2 + 6 * _G3 - 1) / (6 * _G3 - 3),
        ],
    ],
)
"""Kværnø, BIT 44 (2004): L-stable, stiffly accurate, singly diagonally implicit, of order 3(2)."""

KVAERNO5: Final = _kvaerno(
    "kvaerno5",
    5,
    0.26,
    [
        [],
        [0.26],
        [0.13, 0.84033320996790809],
        [0.22371961478320505, 0.47675532319799699, -0.06470895363112615],
        [0.16648564323248321, 0.10450018841591720, 0.03631482272098715, -0.13090704451073998],
        [0.13855640231268224, 0, -0.04245337201752043, 0.02446657898003141, 0.61943039072480676],
        [
            0.13659751177640291, 0, -0.05496908796538376, -0.04118626728321046,
            0.62993304899016403, 0.06962479448202728,
        ],
    ],
)  # fmt: skip
"""Kværnø, BIT 44 (2004): order 5(4)."""

METHODS: Final[dict[str, Tableau]] = {
    t.name: t for t in (EULER, MIDPOINT, HEUN, RK4, BOSH3, DOPRI5, TSIT5, KVAERNO3, KVAERNO5)
}
"""Every method by name."""
