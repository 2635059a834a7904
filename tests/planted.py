"""Rules that are wrong on purpose, one at a time in place of the right one, and where each shows.

A plant replaces one rule of one table (or one function of one pass) and says which program shows
it under which pipeline. The operation stands among others that are right.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import covector
from covector.ir.builder import Builder, Zero
from covector.ir.graph import Equation, Graph, Opaque
from covector.ir.module import Module
from covector.ir.primitive import PRIMITIVES
from covector.passes import tables
from covector.passes.families import load_all

Rule = Callable[..., Any]
M = "f32[3,3]"


@dataclass(frozen=True)
class Plant:
    """A wrong rule: what is wrong, the table and the primitive, and the equations that show it."""

    name: str
    table: str
    primitive: str
    rule: Rule
    body: str
    passes: str
    result: str = M
    functions: str = ""

    @contextlib.contextmanager
    def planted(self) -> Iterator[None]:
        """The rule in place of the right one."""
        if self.table == "function":
            module, _, name = self.primitive.partition(".")
            with mock.patch.object(
                importlib.import_module(f"covector.passes.{module}"), name, self.rule
            ):
                yield
            return
        load_all()  # rules that are loaded meanwhile would be taken out again with the wrong one
        rules = getattr(tables, self.table).rules
        with mock.patch.dict(rules, {PRIMITIVES[self.primitive]: self.rule}):
            yield

    @property
    def module(self) -> Module:
        """The program: a few equations before and after those of the plant."""
        sum_axes = tuple(range(self.result.count(",") + 1)) if self.result[4] != "]" else ()
        real = "" if self.result[0] == "f" else "  re: f32[3,3] = real r    // m.py:90:1\n"
        summed = "re" if real else "r"
        text = f"""module @main {{
  func @f(x: {M}, y: {M}) -> (f32[]) {{
    a: {M} = tanh x                 // m.py:1:1
    b: {M} = logistic a             // m.py:2:1
    c: {M} = add b y                // m.py:3:1
{self.body}
{real}    s: f32[] = reduce_sum[axes={sum_axes}] {summed}    // m.py:91:1
    t: f32[] = tanh s               // m.py:92:1
    u: f32[] = add t s              // m.py:93:1
    return u
  }}
{self.functions}
}}
"""
        return alive(covector.parse(text))


def alive(module: Module) -> Module:
    """The module with its callbacks, of which the text has only the names, able to run."""
    call = Opaque("p", lambda *arrays: None)

    def change(graph: Graph) -> Graph:
        return graph.with_equations(
            e.replace(params={**e.params, "callback": call}) if "callback" in e.params else e
            for e in graph.equations
        )

    return module.replace(graphs={n: change(g) for n, g in module.graphs.items()})


def tangents_of(f: Callable[..., Any]) -> Rule:
    """A jvp rule from (b, eqn, t, ...): tangents that are zero stay zero if all are."""

    def rule(b: Builder, eqn: Equation, tangents: Sequence[Any]) -> list[Any]:
        if all(isinstance(t, Zero) for t in tangents):
            return [Zero(v.type) for v in eqn.outputs]
        return [f(b, eqn, *(b.instantiate(t) for t in tangents))]

    return rule


def cotangent_of(f: Callable[..., Any]) -> Rule:
    """A transpose rule of what is linear in its first operand."""

    def rule(b: Builder, eqn: Equation, cts: Sequence[Any], linear: Sequence[bool]) -> list[Any]:
        ct = b.instantiate(cts[0])
        return [f(b, eqn, ct), *(Zero(x.type) for x in eqn.inputs[1:])]

    return rule


def batched_as(**params: Any) -> Rule:
    """A batch rule that moves the batch axis in front and emits with wrong parameters."""

    def rule(
        b: Builder, eqn: Equation, inputs: Sequence[Any], batched: Sequence[bool], size: int
    ) -> Any:
        made = {k: v(eqn.params[k]) for k, v in params.items()}
        return b.emit(eqn.primitive, *inputs, **{**eqn.params, **made}), (True,)

    return rule


def without_effects(eqns: Any, live: set[Any]) -> list[Equation]:
    """Dead code elimination that forgets about effects."""
    kept = []
    for eqn in reversed(eqns):
        if not live.isdisjoint(eqn.outputs):
            live.update(eqn.inputs)
            kept.append(eqn)
    return kept[::-1]


def merge_by_operands(primitive: Any, inputs: Any, params: Any) -> Any:
    return (primitive, inputs)


def swapped_halves(b: Builder, eqn: Equation, cts: Any, linear: Any) -> list[Any]:
    first, second = (
        b.slice(cts[0], start_indices=(i, 0), limit_indices=(i + 3, 3), strides=None)
        for i in (3, 0)
    )
    return [first, second]


def run_forwards(right: Rule) -> Rule:
    """The transpose of a scan that runs in the direction of the scan."""

    def rule(b: Builder, eqn: Equation, *rest: Any) -> Any:
        flipped = eqn.replace(params={**eqn.params, "reverse": not eqn.params["reverse"]})
        return right(b, flipped, *rest)

    return rule


def other_branch(right: Rule) -> Rule:
    def rule(b: Builder, eqn: Equation, *rest: Any) -> Any:
        swapped = eqn.params["branches"][::-1]
        return right(b, eqn.replace(params={**eqn.params, "branches": swapped}), *rest)

    return rule


SCAN = f"""  func private @body(c: {M}, z: f32[3]) -> ({M}, f32[3]) {{
    w: f32[3] = sin z
    d: {M} = mul c 0.5:f32[]
    e: {M} = broadcast_in_dim[shape=(3,3), broadcast_dimensions=(1,)] w
    g: {M} = add d e
    return g, w
  }}
"""
COND = f"""  func private @one(z: {M}) -> ({M}) {{
    w: {M} = sin z
    return w
  }}

  func private @two(z: {M}) -> ({M}) {{
    w: {M} = mul z 3.0:f32[]
    return w
  }}
"""
REVERSE = "linearize,transpose"


def _line(text: str, result: str = M) -> str:
    return f"    r: {result} = {text}    // m.py:50:1"


PLANTED = [
    Plant("sign", "jvp", "cos", tangents_of(lambda b, e, t: b.mul(t, b.sin(e.inputs[0]))),
          _line("cos c"), "jvp"),
    Plant("missing factor", "jvp", "exp", tangents_of(lambda b, e, t: t), _line("exp c"), "jvp"),
    Plant("missing term", "jvp", "mul", tangents_of(lambda b, e, s, t: b.mul(s, e.inputs[1])),
          _line("mul c a"), "jvp"),
    Plant("swapped operands", "jvp", "sub", tangents_of(lambda b, e, s, t: b.sub(t, s)),
          _line("sub c a"), REVERSE),
    Plant("inverse left out", "jvp", "log",
          tangents_of(lambda b, e, t: b.mul(t, e.inputs[0])),
          f"    q: {M} = square c    // m.py:49:1\n    p: {M} = add q 1.0:f32[]    // m.py:49:1\n"
          + _line("log p"), "grad"),
    Plant("power not lowered", "jvp", "integer_pow",
          tangents_of(lambda b, e, t: b.mul(t, e.outputs[0])), _line("integer_pow[y=3] c"), "vjp"),
    Plant("half of a square", "jvp", "square",
          tangents_of(lambda b, e, t: b.mul(t, e.inputs[0])), _line("square c"), "linearize"),
    Plant("both operands win", "jvp", "max", tangents_of(lambda b, e, s, t: b.add_any(s, t)),
          _line("max c a"), "jvp"),
    Plant("wrong axis", "transpose", "reduce_sum",
          cotangent_of(lambda b, e, ct: b.broadcast(ct, (3, 3), (1,) if ct.type.shape else ())),
          f"    p: f32[3] = reduce_sum[axes=(1,)] c    // m.py:49:1\n"
          "    q: f32[3] = sin p    // m.py:49:2\n"
          f"    o: {M} = broadcast_in_dim[shape=(3,3), broadcast_dimensions=(0,)] q\n"
          + _line("mul o y"), REVERSE),
    Plant("permutation not undone", "transpose", "transpose",
          cotangent_of(lambda b, e, ct: b.transpose(ct, permutation=e.params["permutation"])),
          "    p: f32[3,3,3] = broadcast_in_dim[shape=(3,3,3), broadcast_dimensions=(0,1)] c\n"
          "    q: f32[3,3,3] = transpose[permutation=(1,2,0)] p    // m.py:49:1\n"
          + _line("mul q q", "f32[3,3,3]"), REVERSE, "f32[3,3,3]"),
    Plant("order not reversed", "transpose", "cumsum",
          cotangent_of(lambda b, e, ct: b.cumsum(ct, **e.params)),
          f"    p: {M} = cumsum[axis=0] c    // m.py:49:1\n" + _line("mul p y"), REVERSE),
    Plant("reversal forgotten", "transpose", "rev", cotangent_of(lambda b, e, ct: ct),
          f"    p: {M} = rev[dimensions=(1,)] c    // m.py:49:1\n" + _line("mul p y"), REVERSE),
    Plant("parts exchanged", "transpose", "concatenate", swapped_halves,
          "    p: f32[6,3] = concatenate[dimension=0] c a    // m.py:49:1\n"
          + _line("mul p p", "f32[6,3]"), REVERSE, "f32[6,3]"),
    Plant("forgotten negation", "transpose", "neg", cotangent_of(lambda b, e, ct: ct),
          f"    p: {M} = neg c    // m.py:49:1\n" + _line("mul p y"), REVERSE),
    Plant("dropped conjugate", "jvp", "abs",
          tangents_of(lambda b, e, t: b.real(b.mul(t, b.sign(e.inputs[0])))),
          "    z: c64[3,3] = complex c a    // m.py:49:1\n" + _line("abs z"), "jvp"),
    Plant("imaginary part unturned", "transpose", "imag",
          cotangent_of(lambda b, e, ct: b.complex(b.full(ct.type, 0), ct)),
          "    z: c64[3,3] = complex c a    // m.py:49:1\n"
          "    v: c64[3,3] = mul z z    // m.py:49:2\n"
          "    i: f32[3,3] = imag v    // m.py:49:3\n"
          + _line("mul i y"), REVERSE),
    Plant("axis not moved for the batch", "batch", "cumsum", batched_as(axis=lambda axis: axis),
          _line("cumsum[axis=1] c"), "batch{size=3}"),
    Plant("reversal of the batch", "batch", "rev",
          batched_as(dimensions=lambda d: tuple(i for i in d)), _line("rev[dimensions=(0,)] c")
          .replace("r:", "q:") + "\n" + _line("mul q y"), "batch{size=3}"),
    Plant("scan transposed forwards", "transpose", "scan",
          run_forwards(tables.transpose.find(Equation(PRIMITIVES["scan"], (), (), {}))),
          f"    p: {M}, q: {M} = scan[graph=@body, num_carry=1, length=3] c a    // m.py:49:1\n"
          + _line("mul p q"), REVERSE, functions=SCAN),
    Plant("branches exchanged", "jvp", "cond",
          other_branch(tables.jvp.find(Equation(PRIMITIVES["cond"], (), (), {}))),
          "    i: i32[] = convert_element_type[new_dtype=i32] 1.0:f32[]    // m.py:48:1\n"
          f"    p: {M} = cond[branches=(@one,@two)] i c    // m.py:49:1\n" + _line("mul p y"),
          "jvp", functions=COND),
    Plant("lost effect", "function", "dce.live_equations", without_effects,
          '    debug_print[fmt="{}", callback=opaque<"p">] c    // m.py:49:1\n'
          + _line("sin c"), "dce"),
    Plant("merged in spite of other parameters", "function", "cse.equation_key",
          merge_by_operands, f"    p: {M} = cumsum[axis=0] c    // m.py:48:1\n"
          f"    q: {M} = cumsum[axis=1] c    // m.py:49:1\n" + _line("mul p q"), "cse"),
]  # fmt: skip
