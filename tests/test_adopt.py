"""A builder that takes over a whole graph knows its equations as if it had made them."""

from __future__ import annotations

import numpy as np
import pytest

from covector.ir.builder import Builder
from covector.ir.graph import Graph, Value
from covector.ir.types import TensorType

F = TensorType((3,), np.dtype(np.float32))


def sine_and_ones() -> tuple[Graph, Value, Value]:
    """x -> sin x, ones."""
    b, x = Builder(), Value(F, "x")
    y = b.sin(x)
    ones = b.full(F, 1)
    return b.graph((x,), (y, ones)), y, ones


@pytest.fixture
def adopted() -> tuple[Builder, Value, list[Value]]:
    graph, *_ = sine_and_ones()
    b, x = Builder(), Value(F, "x")
    return b, x, b.adopt(graph, (x,))


def test_values_are_the_graphs_own() -> None:
    graph, y, ones = sine_and_ones()
    b, x = Builder(), Value(F)
    assert b.adopt(graph, (x,)) == [y, ones]
    assert [eqn.inputs for eqn in b.equations if eqn.primitive.name == "sin"] == [(x,)]


def test_equal_equations_are_reused(adopted: tuple[Builder, Value, list[Value]]) -> None:
    b, x, (y, _) = adopted
    assert b.sin(x) is y
    assert len(b.equations) == 2


def test_what_is_uniform_is_folded(adopted: tuple[Builder, Value, list[Value]]) -> None:
    b, x, (_, ones) = adopted
    assert b.mul(x, ones) is x


def test_definitions_are_found(adopted: tuple[Builder, Value, list[Value]]) -> None:
    b, _, (y, _) = adopted
    made = b.definition(y)
    assert made is not None
    assert made.primitive.name == "sin"


def test_appended_equations_come_after(adopted: tuple[Builder, Value, list[Value]]) -> None:
    b, _, (y, _) = adopted
    other = Builder()
    z = other.cos(y)
    b.append(other.equations[0])
    assert b.cos(y) is z
    assert [eqn.primitive.name for eqn in b.equations] == ["sin", "broadcast_in_dim", "cos"]


def test_a_graph_is_taken_over_once_and_copied_then() -> None:
    graph, y, _ = sine_and_ones()
    b, x, other = Builder(), Value(F), Value(F)
    first, *_ = b.adopt(graph, (x,))
    second, *_ = b.adopt(graph, (other,))
    again, *_ = b.adopt(graph, (x,))
    assert first is y
    assert second is not y
    assert again is y  # equal equations


def test_arguments_that_are_one_or_known_are_folded_in() -> None:
    b, x, y = Builder(), Value(F), Value(F)
    graph = b.graph((x, y), (b.sub(x, y), b.mul(x, y)))
    outer, z = Builder(), Value(F)
    ones = outer.full(F, 1)
    _, product = outer.adopt(graph, (z, ones))
    assert product is z
    scalar = TensorType((), np.dtype(np.float32))
    inner, u, v = Builder(), Value(scalar), Value(scalar)
    graph = inner.graph((u, v), (inner.mul(u, v),))
    w = Value(scalar)
    (product,) = Builder().adopt(graph, (w, Builder().literal(1, scalar)))
    assert product is w
