"""Steps of programs in programs, and of linear algebra on well-conditioned matrices."""

from __future__ import annotations

from functools import reduce as fold
from typing import Any

import numpy as np
from generated import BOOL, C64, F32, I32, Drawing, kind, sample
from nested_programs import BASES, WRAPPERS, W, X, is_possible

import covector
from covector.ir.builder import Builder
from covector.ir.graph import Value
from covector.ir.primitive import primitive_named as primitive
from covector.ir.types import TensorType
from covector.passes.rules import matrix


def emit_all(d: Drawing, name: str, *operands: Any, **params: Any) -> tuple[Any, ...]:
    outputs = d.b.emit(primitive(name), *operands, **params)
    d.evaluate()
    return outputs


# -- programs in programs --------------------------------------------------------------------------


def captures(d: Drawing) -> list[Any]:
    return [d.value() for _ in range(d.int(1, 2))]


def call(d: Drawing) -> None:
    xs = captures(d)
    d.keep(*emit_all(d, "call", *xs, graph=d.graph(xs)))


def checkpoint(d: Drawing) -> None:
    xs = captures(d)
    d.keep(*emit_all(d, "checkpoint", *xs, graph=d.graph(xs)))


def cond(d: Drawing) -> None:
    xs = captures(d)
    first = d.graph(xs)
    types = [t.strong for t in first.output_types]
    others = [d.graph(xs, types) for _ in range(d.int(1, 2))]
    which = d.emit("min", d.emit("and", d.of_type((), I32), 3), len(others))
    if len(others) == 1 and d.bool():
        which = d.of_type((), BOOL)
    d.keep(*emit_all(d, "cond", which, *xs, branches=(first, *others)))


def scan(d: Drawing) -> None:
    """A scan of nothing to three steps over consts, carries and xs."""
    length = d.among([2, 3, 1, 0])
    consts = [d.value() for _ in range(d.int(0, 1))]
    carry = [d.value("fci") for _ in range(d.int(0, 2))]
    carried = [x.type.strong for x in carry]
    xs = [d.of_type((length, *d.shape()), F32) for _ in range(d.int(0, 1))]
    if not (consts or carry or xs):
        return
    slices = [x.type.with_shape(x.type.shape[1:]) for x in xs]
    outputs = [*carried, *(TensorType(d.shape(), F32) for _ in range(d.int(0, 1)))]
    graph = d.graph([*consts, *carry, *slices], outputs or [TensorType((), F32)])
    d.keep(*emit_all(
        d, "scan", *consts, *carry, *xs, graph=graph, num_consts=len(consts),
        num_carry=len(carry), length=length, reverse=d.bool(),
    ))  # fmt: skip


def while_(d: Drawing) -> None:
    """A loop of a few steps, as many as a value says. What it carries changes in each."""
    i, limit = Value(TensorType((), I32), "i"), d.int(0, 3)
    x = d.value("fc")
    b, carried = Builder(), Value(x.type.strong)
    condition = b.graph([i, carried], [b.lt(i, limit)], "condition")
    inner = d.graph([x], [x.type.strong])
    b, j, y = Builder(), Value(i.type), Value(x.type.strong)
    end = b.add(b.mul(y, 0.5), *b.inline(inner, [y]))
    body = b.graph([j, y], [b.add(j, 1), end], "body")
    start = d.emit("and", d.of_type((), I32), 1)
    outputs = emit_all(d, "while", start, x, cond_graph=condition, body_graph=body)
    d.keep(*outputs)


def nested(d: Drawing) -> None:
    """A function of the nested tests, in any of the region primitives."""
    wrappers = [d.among(WRAPPERS) for _ in range(d.int(1, 2))]
    base = d.among(BASES)
    if not is_possible((base, wrappers)):
        return
    function = fold(lambda f, wrap: wrap(f), wrappers, base)
    graph = covector.make_ir(function)(W, X).main
    outputs = d.b.inline(graph, [d.of_type((3, 3), F32), d.of_type((3,), F32)])
    d.evaluate()
    d.keep(*outputs)


def reduce(d: Drawing) -> None:
    x = d.value("f", rank=1)
    b, scalar = Builder(), TensorType((), x.type.dtype)
    xs = [Value(scalar), Value(scalar)]
    name, start = d.among([("add", 0.0), ("mul", 1.0), ("max", -np.inf)])
    graph = b.graph(xs, [getattr(b, name)(*xs)], "combine")
    d.keep(d.emit("reduce", x, b.literal(start, x.type), dimensions=d.axes(x), graph=graph))


def constant(d: Drawing) -> None:
    from covector.ir.graph import Constant

    type = TensorType(d.shape(), d.among([F32, C64, I32]))
    array = sample(np.random.default_rng(d.int(0, 9)), type)
    d.keep(d.emit("constant", value=Constant(array, type)))


# -- linear algebra --------------------------------------------------------------------------------


def general(d: Drawing, rows: int, columns: int) -> Any:
    """Some matrix, perhaps of a batch."""
    lead = d.among([(), (), (2,)])
    return d.of_type((*lead, rows, columns), d.among([F32, F32, C64]))


def shifted(d: Drawing, x: Any, step: float = 3.0) -> Any:
    """x / 4 + diag(10, 10 + step, ...): regular, with eigenvalues apart."""
    n = x.type.shape[-1]
    b = d.b
    counts = b.add(b.mul(b.iota(dtype=F32, shape=(n,), dimension=0), step), 10.0)
    diagonal = matrix.from_diagonal(b, counts)
    diagonal = b.convert(diagonal, x.type.dtype)
    rank = len(x.type.shape)
    diagonal = b.broadcast(diagonal, x.type.shape, (rank - 2, rank - 1))
    y = b.add(b.mul(x, 0.25), diagonal)
    d.evaluate()
    return y


def regular(d: Drawing) -> Any:
    n = d.among([2, 3, 1, 0])
    return shifted(d, general(d, n, n))


def hermitian(d: Drawing) -> Any:
    x = regular(d)
    y = d.b.mul(d.b.add(x, matrix.adjoint(d.b, x)), 0.5)
    d.evaluate()
    return y


def keep_part(d: Drawing, y: Any, upper: bool = False) -> None:
    y = (matrix.upper_triangle if upper else matrix.lower_triangle)(d.b, y)
    d.evaluate()
    d.keep(y)


def cholesky(d: Drawing) -> None:
    keep_part(d, d.emit("cholesky", hermitian(d)))


def lu(d: Drawing) -> None:
    d.keep(*d.emit("lu", regular(d)))


def qr(d: Drawing) -> None:
    n = d.among([2, 3, 1])
    x = regular(d) if d.bool() else None
    if x is None:
        tall = general(d, n, n)
        square = shifted(d, tall)
        x = d.emit("concatenate", square, tall, dimension=len(tall.type.shape) - 2)
    d.keep(*d.emit("qr", x, full_matrices=False))


def eigh(d: Drawing) -> None:
    """Eigenvalues, and squares of eigenvectors, whose phases are arbitrary."""
    vectors, values = d.emit("eigh", hermitian(d))
    size = d.emit("abs", vectors)
    d.keep(values, d.emit("mul", size, size))


def svd(d: Drawing) -> None:
    x = regular(d)
    if d.bool():
        d.keep(d.emit("svd", x, full_matrices=False, compute_uv=False))
        return
    s, u, vh = d.emit("svd", x, full_matrices=False)
    polar = matrix.matmul(d.b, u, vh)
    d.evaluate()
    d.keep(s, polar)


def eig(d: Drawing) -> None:
    x = regular(d)
    made = d.emit("eig", x, compute_left_eigenvectors=False, compute_right_eigenvectors=False)
    d.keep(made)


def triangular_solve(d: Drawing) -> None:
    a, left, k = regular(d), d.bool(), d.int(0, 2)
    *lead, n, _ = a.type.shape
    y = d.of_type((*lead, n, k) if left else (*lead, k, n), a.type.dtype)
    transpose = d.bool()
    d.keep(d.emit(
        "triangular_solve", a, y, left_side=left, lower=d.bool(), transpose_a=transpose,
        conjugate_a=transpose and kind(a) == "c" and d.bool(), unit_diagonal=d.bool(),
    ))  # fmt: skip


def tridiagonal_solve(d: Drawing) -> None:
    n = d.int(3, 4)
    lower, middle, upper = (d.of_type((n,), F32) for _ in range(3))
    middle = d.emit("add", d.emit("abs", middle), 20.0)
    edge = {"padding_config": ((1, 0, 0),)}
    lower = d.emit("pad", d.of_type((n - 1,), F32), d.b.literal(0, lower.type), **edge)
    edge = {"padding_config": ((0, 1, 0),)}
    upper = d.emit("pad", d.of_type((n - 1,), F32), d.b.literal(0, upper.type), **edge)
    y = d.of_type((n, d.int(1, 2)), F32)
    d.keep(d.emit("tridiagonal_solve", lower, middle, upper, y))


def symmetric_product(d: Drawing) -> None:
    n = d.int(1, 3)
    a, c = d.of_type((n, d.int(1, 2)), F32), d.of_type((n, n), F32)
    c = d.emit("add", c, d.emit("transpose", c, permutation=(1, 0)))
    d.keep(d.emit("symmetric_product", a, c, alpha=2.0, beta=0.5))


STEPS = {
    "call": call, "cond": cond, "scan": scan, "while": while_, "checkpoint": checkpoint,
    "nested": nested, "reduce": reduce, "constant": constant, "cholesky": cholesky, "lu": lu,
    "qr": qr, "eigh": eigh, "svd": svd, "eig": eig, "triangular_solve": triangular_solve,
    "tridiagonal_solve": tridiagonal_solve, "symmetric_product": symmetric_product,
}  # fmt: skip
