"""Random well-typed programs over as many primitives as possible, drawn by hypothesis.

    @given(programs())
    def test_law(program): ...

A program is drawn equation by equation: a step is sampled from the table of `generated_steps` and
given the values made so far. Each is evaluated at the example inputs as it is made, so that values
that grow are scaled down; a step keeps to its primitive's domain by wrapping its operands
(`log (abs x + 0.5)`). Near kinks and jumps little is well determined: `jax_results` in
`generated_checks` says how well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from covector.ir.builder import Builder
from covector.ir.graph import Equation, Graph, Literal, Value
from covector.ir.interpret import apply
from covector.ir.module import Module, module_of
from covector.ir.primitive import primitive_named
from covector.ir.types import TensorType, dtype_category, dtype_from_name, real_dtype

Array = np.ndarray[Any, Any]
Step = Callable[["Drawing"], Any]

F32, C64, I32, U32, BOOL = map(dtype_from_name, ["f32", "c64", "i32", "u32", "bool"])
F16, BF16, F64, C128 = map(dtype_from_name, ["f16", "bf16", "f64", "c128"])
ROWS = 2
"""How many examples a batch has, and members the named axis."""
LARGE = 8.0
"""Values whose absolute value may be greater are scaled down."""
KINDS = {"float": "f", "complex": "c", "int": "i", "uint": "u", "bool": "b", "extended": "k"}


def kind(x: Any) -> str:
    """f, c, i, u, b, or k for keys."""
    return KINDS[dtype_category(x.type.dtype)]


@dataclass(frozen=True)
class Program:
    """A module whose entry is the program, and example inputs. Its representation is its text."""

    module: Module
    inputs: tuple[Array, ...]

    def equations(self) -> Iterator[Equation]:
        for graph in self.module.all_graphs():
            yield from graph.equations

    @property
    def has_axis(self) -> bool:
        """Whether it has collectives, and so is one row of a program."""
        return any(eqn.primitive.family == "collective" for eqn in self.equations())

    @property
    def has_effects(self) -> bool:
        return any(eqn.effects for eqn in self.equations())

    @property
    def dtypes(self) -> set[Any]:
        made = {v.type.dtype for eqn in self.equations() for v in eqn.outputs}
        return made | {t.dtype for t in self.module.main.input_types}

    def __repr__(self) -> str:
        return f"{self.module}\n// inputs: {[x.tolist() for x in self.inputs]}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What hypothesis shows of a failing example."""
        printer.text(repr(self))


class Drawing:
    """A program being drawn: the values made so far, with their arrays at the example inputs."""

    def __init__(self, draw: Any, values: Sequence[Value], arrays: Sequence[Array], depth: int = 0):
        self.draw, self.depth = draw, depth
        self.b = Builder()
        self.values: list[Any] = list(values)
        self.arrays: dict[Any, Any] = dict(zip(values, arrays, strict=True))
        self._evaluated = 0
        self.rotation = 0

    # -- choices -----------------------------------------------------------------------------------

    def among(self, options: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def int(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def bool(self) -> bool:
        return bool(self.draw(st.booleans()))

    def axis(self, x: Any) -> int:
        return self.int(0, len(x.type.shape) - 1)

    def axes(self, x: Any) -> tuple[int, ...]:
        """Some axes, in order."""
        return tuple(i for i in range(len(x.type.shape)) if self.bool())

    def order(self, n: int) -> tuple[int, ...]:
        return tuple(self.draw(st.permutations(range(n))))

    def shape(self, rank: int | None = None, least: int = 0) -> tuple[int, ...]:
        rank = self.int(0, 2) if rank is None else rank
        lengths = [n for n in (2, 3, 1, 2, 3, 0) if n >= least]
        return tuple(self.among(lengths) for _ in range(rank))

    # -- operands ----------------------------------------------------------------------------------

    def value(self, kinds: str = "fcib", rank: int = 0) -> Any:
        """A value of one of these kinds and of at least this rank; made of another if need be."""
        fitting = [v for v in self.values if kind(v) in kinds and len(v.type.shape) >= rank]
        if fitting:
            return self.among(fitting[::-1])
        x = self.among([v for v in self.values if kind(v) != "k"])
        dtype = x.type.dtype if kind(x) in kinds else DTYPES[kinds[0]]
        shape = x.type.shape if len(x.type.shape) >= rank else self.shape(rank, 1)
        return self.coerce(x, shape, dtype)

    def of_type(self, shape: Sequence[int], dtype: Any) -> Any:
        """Some value as an array of this type."""
        return self.coerce(self.value(), shape, dtype)

    def like(self, x: Any) -> Any:
        """Some value as an array of the type of x."""
        same = [v for v in self.values if v.type is x.type]
        return (
            self.among(same) if same and self.bool() else self.of_type(x.type.shape, x.type.dtype)
        )

    def coerce(self, x: Any, shape: Sequence[int], dtype: Any) -> Any:
        """The elements of x, cut off or followed by 0.3, in another shape and dtype."""
        shape, size = tuple(shape), math.prod(shape)
        if x.type.shape != shape:
            flat = self.emit("reshape", x, new_sizes=(x.type.size,))
            zero = Literal(np.asarray(0.3).astype(x.type.dtype), TensorType((), x.type.dtype))
            padding = ((0, size - x.type.size, 0),)
            flat = self.emit("pad", flat, zero, padding_config=padding)
            x = self.emit("reshape", flat, new_sizes=shape)
        if x.type.dtype != dtype:
            if kind(x) == "c" and real_dtype(x.type.dtype) != x.type.dtype:
                x = self.emit("real", x)
            x = self.emit("convert_element_type", x, new_dtype=dtype, weak_type=False)
        return x

    # -- equations ---------------------------------------------------------------------------------

    def emit(self, name: str, *operands: Any, **params: Any) -> Any:
        """The output of a primitive, or its outputs; they are not yet among the values."""
        outputs = self.b.emit(primitive_named(name), *operands, **params)
        self.evaluate()
        return outputs[0] if len(outputs) == 1 else outputs

    def evaluate(self) -> None:
        """Evaluate the equations that are new."""
        with np.errstate(all="ignore"):
            for eqn in self.b.equations[self._evaluated :]:
                results = self._results(eqn)
                self.arrays.update(zip(eqn.outputs, results, strict=True))
        self._evaluated = len(self.b.equations)

    def _results(self, eqn: Equation) -> Sequence[Array]:
        arrays = [self.array(x) for x in eqn.inputs]
        if eqn.primitive.family != "collective":
            return apply(eqn, arrays)
        like = arrays[0] if arrays else np.zeros(())  # of a row among equals
        return [np.resize(like, v.type.shape).astype(v.type.dtype) for v in eqn.outputs]

    def array(self, x: Any) -> Array:
        return x.value if isinstance(x, Literal) else self.arrays[x]

    def keep(self, *outputs: Any) -> None:
        """Enter values, scaled down where they are large."""
        for y in outputs:
            if not isinstance(y, Value) or kind(y) == "k":
                continue
            if kind(y) in "fc":
                x = np.abs(self.array(y))
                top = float(np.max(x, initial=0))
                if not math.isfinite(top):
                    continue
                if top > LARGE:
                    y = self.emit("mul", y, 2.0 ** -math.ceil(math.log2(top / LARGE)))
            if isinstance(y, Value) and y not in self.values:
                self.values.append(y)

    def graph(self, inputs: Sequence[Any], results: Sequence[TensorType] | None = None) -> Graph:
        """A graph drawn over values like these inputs, returning values of these types.

        Without types, it returns one or two of its values.
        """
        values = [Value(x.type if hasattr(x, "type") else x) for x in inputs]
        arrays = [
            self.array(x) if hasattr(x, "type") else np.full(x.shape, 0.4).astype(x.dtype)
            for x in inputs
        ]
        inner = Drawing(self.draw, values, arrays, self.depth + 1)
        inner.rotation = self.rotation
        inner.steps(1, 3)
        if results is None:
            outputs = [inner.value() for _ in range(self.int(1, 2))]
        else:
            outputs = [inner.coerce(inner.value(), t.shape, t.dtype) for t in results]
        return inner.b.graph(values, outputs, "region")

    def steps(self, least: int, most: int) -> None:
        """Draw so many steps."""
        from generated_steps import LEAVES, STEPS

        names = LEAVES if self.depth >= 2 else list(STEPS)
        for _ in range(self.int(least, most)):
            self.rotation = (self.rotation * 31 + 7) % 65536
            self.step(names[(self.int(0, len(names) - 1) + self.rotation) % len(names)])

    def step(self, name: str) -> None:
        from generated_steps import STEPS

        STEPS[name](self)


DTYPES = {"f": F32, "c": C64, "i": I32, "u": U32, "b": BOOL}


def sample(rng: np.random.Generator, type: TensorType) -> Array:
    """An example: numbers between 0.2 and 2 of either sign; small integers."""
    category = dtype_category(type.dtype)
    if category in ("int", "uint"):
        return rng.integers(0, 4, type.shape).astype(type.dtype)
    if category == "bool":
        return np.asarray(rng.integers(0, 2, type.shape), bool)
    x = rng.uniform(0.2, 2, type.shape) * rng.choice([-1, 1], type.shape)
    if category == "complex":
        x = x + 1j * rng.uniform(0.2, 2, type.shape)
    return np.asarray(x).astype(type.dtype)


SHAPES = [(2,), (2, 3), (), (3,), (1, 3), (3, 3), (0,), (2, 1, 3), (2, 0), (3, 2, 2), (1,)]


@st.composite
def programs(draw: Any, step: str | None = None, max_steps: int = 3) -> Program:
    """Programs of up to `max_steps` steps, with one to three inputs; `step` is one of the last.

    Most steps are one equation, and some that prepare its operands.
    """
    seed = draw(st.integers(0, 1 << 16))
    rng = np.random.default_rng(seed)
    shapes = st.sampled_from(SHAPES)
    real, complex_ = draw(
        st.sampled_from([(F32, C64)] * 5 + [(F64, C128), (F16, C64), (BF16, C64)])
    )
    dtypes = st.sampled_from([real, F32, real, F32, complex_, I32, BOOL])
    types = [TensorType(draw(shapes), real)]
    types += draw(st.lists(st.builds(TensorType, shapes, dtypes), max_size=2))
    inputs = [Value(t, f"x{i}") for i, t in enumerate(types)]
    arrays = [sample(rng, t) for t in types]
    d = Drawing(draw, inputs, arrays)
    d.rotation = seed  # hypothesis likes to repeat its choices: the table starts elsewhere
    d.steps(0 if step else 1, max_steps)
    if step is not None:
        d.step(step)
        d.steps(0, 1)
    read = {x for eqn in d.b.equations for x in eqn.inputs}
    outputs = [v for v in d.values if v not in read][-4:] or [d.values[-1]]
    graph = d.b.graph(inputs, outputs, "f")
    return Program(module_of(graph), tuple(arrays))
