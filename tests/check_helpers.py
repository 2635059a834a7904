"""Programs and passes that the tests of checking, bisecting and reducing share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wrong_passes import WRONG

from covector.passes import PASSES

# Every primitive that the wrong passes get wrong stands between others that they get right.
PROGRAM = """module @main {
  func @f(x: f32[4], w: f32[3,4], n: i32[]) -> (f32[]) {
    a: f32[3] = dot_general[dimension_numbers=(((1,), (0,)), ((), ()))] w x    // m.py:2:4
    b: f32[3] = tanh a                                                         // m.py:3:4
    c: f32[3] = sin b                                                          // m.py:4:4
    d: f32[3] = neg c                                                          // m.py:5:4
    e: f32[3] = sub d b                                                        // m.py:6:4
    g: f32[3] = mul e e                                                        // m.py:7:4
    s: f32[] = reduce_sum[axes=(0,)] g                                         // m.py:8:4
    k: i32[] = add n 1:i32[]
    r: f32[] = convert_element_type[new_dtype=f32] k
    y: f32[] = mul s r
    return y
  }
}
"""
SCAN = """module @main {
  func @f(x: f32[2]) -> (f32[2]) {
    y: f32[2] = scan[graph=@body, num_carry=1, length=3] x
    z: f32[2] = exp y
    return z
  }

  func private @body(c: f32[2]) -> (f32[2]) {
    a: f32[2] = tanh c
    b: f32[2] = sin a         // m.py:9:2
    return b
  }
}
"""
NAN = """module @main {
  func @f(x: f32[3]) -> (f32[]) {
    z: f32[3] = mul x 0.0:f32[]          // m.py:2:4
    s: f32[3] = sqrt z                   // m.py:3:4
    c: bool[3] = gt x 0.0:f32[]          // m.py:4:4
    w: f32[3] = select_n c x s           // m.py:5:4
    y: f32[] = reduce_sum[axes=(0,)] w   // m.py:6:4
    return y
  }
}
"""


@contextmanager
def wrong_passes() -> Iterator[None]:
    """The wrong passes are known inside, and nowhere else."""
    PASSES.update(WRONG)
    yield
    for name in WRONG:
        PASSES.pop(name, None)


for name in WRONG:
    PASSES.pop(name, None)
