"""Region primitives nested in each other, at random, under transformations of transformations.

Every graph is verified before it is interpreted, and every module that is made is printed and read
back (see roundtrip_guard).
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import Phase, given, settings
from laws import Checked
from nested_programs import (
    WRAPPERS,
    Function,
    W,
    Wrapper,
    X,
    as_meant,
    base_constant,
    base_tanh,
    in_custom_jvp,
    in_custom_vjp,
    in_fori,
    in_scan,
    in_vmap,
    in_vmap_of_w,
    in_while,
    is_possible,
    nest,
    programs,
)


def check(base: Function, wrappers: list[Wrapper]) -> None:
    """All transformations and their pairs; without those that JAX does not have for a primitive."""
    program = Checked(nest(base, wrappers), W, X, reference=as_meant(base, wrappers))
    program.value()
    program.cleaned()
    program.batched()
    program.batched([False, True])
    program.batch_of_batch()
    if in_custom_vjp not in wrappers:
        program.forward()
        program.adjoint()
        program.forward_over_batch()
        program.forward_over_forward()
    if in_while not in wrappers:
        program.reverse()
        program.reverse_over_batch()
        program.batch_of_reverse()
        program.reverse_over_reverse()
    if not {in_custom_vjp, in_while} & set(wrappers):
        program.forward_over_reverse()


@given(programs)
@settings(max_examples=6, phases=[Phase.explicit, Phase.generate])
def test_nested_programs(program: tuple[Function, list[Wrapper]]) -> None:
    check(*program)


@pytest.mark.parametrize(
    "wrappers", [[in_custom_vjp, in_vmap], [in_vmap_of_w, in_custom_vjp, in_vmap]]
)
def test_a_rule_that_reads_what_its_function_does_not(wrappers: list[Wrapper]) -> None:
    check(base_constant, wrappers)


@pytest.mark.parametrize(
    "wrappers", [[in_custom_jvp, in_custom_jvp, in_scan], [in_custom_jvp, in_custom_vjp, in_fori]]
)
def test_a_rule_that_calls_a_function_with_a_rule(wrappers: list[Wrapper]) -> None:
    check(base_tanh, wrappers)


# Slow: some ten minutes.
@pytest.mark.slow
@given(programs)
@settings(max_examples=150)
def test_many_nested_programs(program: tuple[Function, list[Wrapper]]) -> None:
    check(*program)


@pytest.mark.slow
@pytest.mark.parametrize("outer", WRAPPERS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("inner", WRAPPERS, ids=lambda f: f.__name__)
def test_every_pair(outer: Any, inner: Any) -> None:
    if is_possible((base_tanh, [inner, outer])):
        check(base_tanh, [inner, outer])
