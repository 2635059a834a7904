"""Where to keep states so that a loop can be run backwards with the fewest steps forwards.

With room for S states, the first among them, the steps of a loop of N are reversed one after the
other from the last: each needs the state before it, which is reached by steps forwards from the
nearest kept state. With beta(s, r) = C(s + r, s), and r the least number with beta(S, r) >= N, at
least

    t(N, S) = r N - C(S + r, r - 1)

steps are needed, and no step is taken more than r times (A. Griewank and A. Walther, Algorithm 799:
Revolve, ACM Transactions on Mathematical Software 26, 2000).
"""

from __future__ import annotations

from math import comb

from .errors import UsageError


def repeats(length: int, snapshots: int) -> int:
    """The least r such that C(snapshots + r, r) >= length: how often a step is taken at most."""
    if snapshots < 1:
        raise UsageError(f"a loop is reversed with one snapshot at least, not {snapshots}")
    r = 0
    reached = 1
    while reached < length:
        r += 1
        reached += reached * snapshots // r
    return r


def advances(length: int, snapshots: int) -> int:
    """The least number of steps forwards that reverse a loop, beside one in each reversed step."""
    r = repeats(length, snapshots)
    return r * length - comb(snapshots + r, r - 1) if r else 0


def distance(length: int, snapshots: int) -> int:
    """How far ahead to keep the next state, with room for `snapshots`, the one at hand included.

    Of the steps ahead, the last ones are reversed first, from the state to be kept, with one place
    less; then those before it, once more from here. Both numbers of repeats stay least if the first
    are at most beta(s - 1, r), and at least as many as keeps the others within beta(s, r - 1).
    """
    r = repeats(length, snapshots)
    if snapshots == 1 or r <= 1:
        return 1
    before = comb(snapshots + r - 2, snapshots)
    ahead = comb(snapshots + r - 1, snapshots - 1)
    return max(1, before, length - ahead)


def first_positions(length: int, snapshots: int) -> tuple[int, ...]:
    """The steps before which a state is kept on the way to the last of `length` steps."""
    positions = [0]
    while snapshots > 1 and length - positions[-1] > 1:
        positions.append(positions[-1] + distance(length - positions[-1], snapshots))
        snapshots -= 1
    return tuple(positions)
