"""What is derived once for each kind of equation is what the rules would write for each."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest
import sampled_arrays as sampled_arrays
import sampled_elementwise as sampled_elementwise
import sampled_linalg as sampled_linalg
import sampled_shape as sampled_shape
from harness import Case, f32, program
from sampled import SAMPLED, by_dtype, by_rank

from covector.ir.builder import Builder
from covector.ir.errors import CovectorError, MissingRule, PassError
from covector.ir.graph import Equation, Graph
from covector.ir.interpret import evaluate
from covector.ir.module import Module
from covector.ir.primitive import PRIMITIVES
from covector.passes import batch_kinds, tables, transpose_kinds
from covector.passes.batch import batch_graph
from covector.passes.linearize import linearize_graph
from covector.passes.transpose import linear_flags, transpose_graph

WITHOUT_KINDS = {"new": lambda primitive: False}


def afresh(graph: Graph) -> Graph:
    """The same program, of which nothing was derived yet."""
    return graph.renamed(graph.name)


def text(graph: Graph) -> str:
    return str(Module({graph.name: graph}, graph.name))


def outcome(graph: Graph, derive: Any) -> str:
    """What is derived of a program as text, or what is wrong with it."""
    try:
        return text(derive(afresh(graph)))
    except CovectorError as error:
        return f"{type(error).__name__}: {error}"


def transposed(graph: Graph, active: Any) -> Graph:
    linear = linearize_graph(graph, active).linear
    return transpose_graph(linear, linear_flags(linear))[0]


def cases(name: str) -> list[Case]:
    return [*by_rank(name), *by_dtype(name)]


@pytest.mark.parametrize("name", SAMPLED)
def test_batched_equations(name: str) -> None:
    """The same text, whichever operands have a batch axis: when the rule is recorded, and when what
    it wrote is made again."""
    for case in cases(name):
        n = len(case.graph.inputs)
        flags = {(True,) * n, *[tuple(i == j for i in range(n)) for j in range(n)]}
        for batched in flags if n else ():
            derive = lambda graph, batched=batched: batch_graph(graph, batched, 2)[0]
            made = [outcome(case.graph, derive) for _ in range(2)]
            with mock.patch.object(batch_kinds, "has_kinds", **WITHOUT_KINDS):
                assert made == 2 * [outcome(case.graph, derive)]


@pytest.mark.parametrize("name", SAMPLED)
def test_transposed_equations(name: str) -> None:
    for case in cases(name):
        if case.is_differentiable:
            derive = lambda graph, case=case: transposed(graph, case.active)
            made = [outcome(case.graph, derive) for _ in range(2)]
            with mock.patch.object(transpose_kinds, "has_kinds", **WITHOUT_KINDS):
                assert made == 2 * [outcome(case.graph, derive)]


def test_sizes_of_batches_are_told_apart() -> None:
    graph = program(
        lambda b, x, y: [b.dot_general(x, y, dimension_numbers=(((1,), (0,)), ((), ())))],
        f32(2, 3),
        f32(3, 4),
    )
    for size in (0, 1, 5):
        made, _ = batch_graph(graph, (True, False), size)
        assert made.outputs[0].type.shape == (size, 2, 4)


def test_names_and_lines_are_those_of_each_equation() -> None:
    def build(b: Builder, x: Any, y: Any) -> list[Any]:
        found = [b.sin(x), b.sin(y)]
        for value, name in zip(found, ("first", "second"), strict=True):
            value.name = name
        return found

    made, _ = batch_graph(program(build, f32(3), f32(3)), (True, True), 2)
    assert [v.name for v in made.outputs] == ["first", "second"]
    for eqn, of in zip(made.equations, ("first", "second"), strict=True):
        assert eqn.origin is not None and eqn.origin.equation.output.name == of


# -- rules that are replaced -----------------------------------------------------------------------


def test_a_batch_rule_that_is_replaced_is_asked_at_once() -> None:
    def batched(b: Builder, eqn: Equation, inputs: Any, flags: Any, size: int) -> Any:
        return [b.mul(inputs[0], 7.0)], (True,)

    def value() -> float:
        graph = program(lambda b, x: [b.cos(x)], f32())
        found, _ = batch_graph(graph, (True,), 1)
        return float(evaluate(found, [np.zeros(1, np.float32)])[0][0])

    assert value() == 1
    with mock.patch.dict(tables.batch.rules, {PRIMITIVES["cos"]: batched}):
        assert value() == 0
    assert value() == 1


def test_a_transpose_rule_that_is_replaced_is_asked_at_once_and_checked() -> None:
    def none(b: Builder, eqn: Equation, cts: Any, linear: Any) -> Any:
        return []

    def fails(b: Builder, eqn: Equation, cts: Any, linear: Any) -> Any:
        raise MissingRule("no", eqn)

    def negated() -> Graph:
        return transpose_graph(program(lambda b, x: [b.neg(x)], f32()), (True,))[0]

    assert [eqn.primitive.name for eqn in negated().equations] == ["neg"]
    with (
        mock.patch.dict(tables.transpose.rules, {PRIMITIVES["neg"]: none}),
        pytest.raises(PassError, match="0 cotangents for 1 inputs"),
    ):
        negated()
    with (
        mock.patch.dict(tables.transpose.rules, {PRIMITIVES["neg"]: fails}),
        pytest.raises(MissingRule, match="no"),
    ):
        negated()
    assert [eqn.primitive.name for eqn in negated().equations] == ["neg"]


def test_what_is_not_linear_is_refused_each_time() -> None:
    for _ in range(2):
        graph = program(lambda b, x: [b.mul(x, x)], f32(3))
        with pytest.raises(PassError, match="not linear"):
            transpose_graph(graph, (True,))
        graph = program(lambda b, x: [b.add(x, 1.0)], f32(3))
        with pytest.raises(PassError, match="the number 1"):
            transpose_graph(graph, (True,))
