"""Equations of derivative programs remember what they were derived from."""

from __future__ import annotations

import covector
from covector.ir.graph import Equation, Graph
from covector.ir.module import Module
from covector.passes import Pipeline, parse_pipeline

PROGRAM = """module @main {
  func @f(x: f32[4]) -> (f32[]) {
    a: f32[4] = sin x
    b: f32[], c: f32[4] = scan[graph=@body, num_carry=1, length=4] 1.0:f32[] a
    d: f32[4] = mul c a
    y: f32[] = reduce_sum[axes=(0,)] d
    return y
  }

  func private @body(c: f32[], x: f32[]) -> (f32[], f32[]) {
    a: f32[] = exp x
    b: f32[] = mul a c
    return b, b
  }
}
"""


def derived(passes: str) -> tuple[Module, Module]:
    module = covector.parse(PROGRAM)
    return module, Pipeline(parse_pipeline(passes)).run(module)


def steps(eqn: Equation) -> tuple[list[str], Equation]:
    """The steps that led to an equation, last first, and the equation that they began with."""
    found = []
    while eqn.origin is not None:
        found.append(eqn.origin.step)
        eqn = eqn.origin.equation
    return found, eqn


def equations(module: Module) -> list[Equation]:
    return [eqn for graph in module.all_graphs() for eqn in graph.equations]


def test_every_new_equation_has_an_origin_in_the_program() -> None:
    for passes in ("jvp", "linearize,transpose", "grad,cse,dce", "batch", "grad,batch", "jvp,jvp"):
        before, after = derived(passes)
        known = set(equations(before))
        for eqn in equations(after):
            if eqn not in known:
                assert steps(eqn)[1] in known, (passes, eqn)


def test_the_steps_are_told_apart() -> None:
    before, after = derived("grad,inline")
    sin = before.main.equations[0]
    of_sin = [(steps(e)[0], e.primitive.name) for e in equations(after) if steps(e)[1] is sin]
    backward = ["transpose", "jvp"]  # the sum of what the readers of its output send, and its rule
    assert of_sin == [([], "sin"), (["jvp"], "cos"), (backward, "add_any"), (backward, "mul")]


def test_loops_and_their_bodies_have_origins() -> None:
    before, after = derived("grad")
    loop = next(e for e in before.main.equations if e.primitive.name == "scan")
    (backward,) = [
        e for e in after.main.equations if e.primitive.name == "scan" and e.params["reverse"]
    ]
    assert steps(backward) == (["transpose", "jvp"], loop)
    body: Graph = backward.params["graph"]
    primals = {steps(e)[1].primitive.name for e in body.equations}
    assert primals <= {"exp", "mul"} and "exp" in primals


def test_origins_are_no_part_of_the_program() -> None:
    after = derived("grad")[1]
    assert covector.parse(str(after)) == after
