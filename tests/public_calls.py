"""A call of every public function of JAX's: its name, and an expression in named operands.

`calls()` makes them of the tables in public_functions.py and public_lax.py. What is not called is
in `WITHOUT`, with the reason.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import public_functions as tables
from jax import lax
from public_lax import LAX

_rng = np.random.default_rng(0)


def _uniform(low: float, high: float, *shape: int) -> np.ndarray[Any, Any]:
    return _rng.uniform(low, high, shape).astype(np.float32)


_square = _uniform(-1, 1, 3, 3)
OPERANDS: dict[str, Any] = {
    "a": _uniform(-1, 1, 3, 4), "b": _uniform(-1, 1, 3, 4),
    "p": _uniform(0.5, 2, 3, 4), "q": _uniform(0.5, 2, 3, 4), "u": _uniform(0.1, 0.9, 3, 4),
    "v": _uniform(-1, 1, 6), "w": _uniform(-1, 1, 6), "t": np.cumsum(_uniform(0.2, 1, 6)),
    "s": _square + 3 * np.eye(3, dtype=np.float32),
    "h": _square @ _square.T + 2 * np.diag(np.arange(1, 4)).astype(np.float32),
    "r": _uniform(-1, 1, 3), "y": _uniform(-1, 1, 2, 2, 5, 5), "g": _uniform(-1, 1, 4, 2, 3, 2),
    "i": _rng.integers(0, 8, (3, 4)).astype(np.int32),
    "j": _rng.integers(1, 6, (3, 4)).astype(np.int32),
    "n": np.array([0, 2, 2, 1, 0, 1], np.int32),
    "c": (_uniform(-1, 1, 3, 4) + 1j * _uniform(-1, 1, 3, 4)).astype(np.complex64),
    "z": _rng.integers(0, 2, (3, 4)).astype(bool),
    "k": jax.random.key(0),
}  # fmt: skip
"""a b: in (-1, 1). p q: in (0.5, 2). u: in (0.1, 0.9). v w r: vectors. t: increasing. s: a regular
matrix. h: a positive definite one. y g: images and filters. i j n: integers. c: complex. z: bool.
k: a key."""

SCOPE: dict[str, Any] = {
    "jax": jax, "jnp": jnp, "np": np, "lax": lax,
    "SOLVE": lambda f, y: jnp.linalg.inv(jax.jacobian(f)(y)) @ y,
    "DIVIDE": lambda f, y: y / f(np.ones((3, 4), np.float32)),
    "ROWS": lax.ScatterDimensionNumbers((1,), (0,), (0,)),
    "NARROW": np.ones((2, 3, 32), jnp.float8_e4m3fn),
    "SCALES": np.ones((2, 3, 1), jnp.float8_e8m0fnu),
}  # fmt: skip
"""What expressions may read besides operands."""

WITHOUT: dict[str, str] = {
    "it gives no array": """
        jax.numpy: array_repr array_str can_cast broadcast_shapes einsum_path get_printoptions
            iscomplexobj isdtype isrealobj isscalar issubdtype iterable ndim printoptions
            promote_types result_type set_printoptions shape size
        jax.lax: ConvGeneralDilatedDimensionNumbers DotDimensionNumbers PrecisionLike
            broadcast_shapes conv_dimension_numbers conv_general_permutations dtype
            conv_general_shape_tuple conv_shape_tuple conv_transpose_shape_tuple padtype_to_pads
            reduce_window_shape_tuple
        jax.random: key_dtype key_impl
        jax.nn: get_scaled_dot_general_config
    """,
    "it takes no array: a constant of its arguments": """
        jax.numpy: arange bartlett blackman diag_indices diag_indices_from empty eye hamming
            hanning identity indices ix_ kaiser mask_indices ones tri tril_indices
            tril_indices_from triu_indices triu_indices_from zeros
        jax.lax: empty iota
        jax.numpy.fft: fftfreq rfftfreq
    """,
    "it reads or writes files, or Python's objects": """
        jax.numpy: from_dlpack frombuffer fromfile fromiter fromstring load save savez
    """,
    "its result has a shape that depends on values, which JAX does not trace either": """
        jax.numpy: trim_zeros
    """,
    "JAX fails in the batch of it": "jax.lax: pbroadcast",
    "it keeps a value alive and gives none": "jax.lax: dce_sink",
    "refused: tokens are not values here": "jax.lax: after_all create_token",
    "refused: it stands only inside of shard_map": """
        jax.lax: pcast precv psend ragged_all_to_all psum_scatter_start
    """,
    "refused: it stands only between two steps of JAX's own transformations": "jax.lax: stage",
    "refused: shapes here are known": "jax.lax: shape_as_value",
    "it is rng_uniform, whose numbers no two runs share": "jax.lax: rng_uniform",
    "a program of two arguments that must be functions of a configuration": """
        jax.nn: scaled_dot_general
    """,
}
"""Functions that are not called, by the reason."""

CALLS: dict[str, tables.Table] = {
    "jax.numpy": tables.NUMPY, "jax.lax": LAX, "jax.lax.linalg": tables.LINALG,
    "jax.numpy.linalg": tables.NUMPY_LINALG, "jax.numpy.fft": tables.FFT, "jax.nn": tables.NN,
    "jax.nn.initializers": tables.INITIALIZERS, "jax.random": tables.RANDOM,
    "jax.scipy.special": tables.SPECIAL, "jax.scipy.linalg": tables.SCIPY_LINALG,
    "jax.scipy.signal": tables.SIGNAL, **tables.OTHERS,
}  # fmt: skip


# -- calls -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """One call of a public function: `function(*operands)` evaluates the expression."""

    module: str
    name: str
    expression: str

    def __repr__(self) -> str:
        return f"{self.module}.{self.name}: {self.expression.strip()}"

    @property
    def code(self) -> CodeType:
        return compile(self.expression.strip(), f"<{self.module}.{self.name}>", "eval")

    @property
    def names(self) -> list[str]:
        read = set(_names(self.code))
        return [name for name in OPERANDS if name in read]

    @property
    def operands(self) -> list[Any]:
        return [OPERANDS[name] for name in self.names]

    def function(self, *operands: Any) -> Any:
        scope: dict[str, Any] = {**SCOPE}
        scope["f"] = getattr(importlib.import_module(self.module), self.name)
        return eval(self.code, {**scope, **dict(zip(self.names, operands, strict=True))})


def _names(code: CodeType) -> Iterator[str]:
    """The global names that an expression reads, those of its functions included."""
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _names(const)


def calls() -> Iterator[Call]:
    """All calls of the functions that this JAX has."""
    for module, table in CALLS.items():
        there = public(module)
        for expression, names in table.items():
            yield from (Call(module, n, expression) for n in names.split() if n in there)
    for name, arguments in tables.DISTRIBUTIONS.items():
        module = f"jax.scipy.stats.{name}"
        for function in public(module):
            given = tables.QUANTILES.get(name, "u") if function in ("ppf", "isf") else arguments
            given = tables.DISTRIBUTIONS["poisson"][3:] if function == "entropy" else given
            yield Call(module, function, f"f({given})")


def public(module: str) -> list[str]:
    """The functions of a module."""
    found = importlib.import_module(module)
    return [
        name
        for name in dir(found)
        if not name.startswith("_")
        and callable(getattr(found, name))
        and not inspect.isclass(getattr(found, name))
    ]


def without() -> dict[tuple[str, str], str]:
    """Module and name of functions that are not called, with the reason."""
    found = {}
    for reason, text in WITHOUT.items():
        module = ""
        for word in text.split():
            if word.endswith(":"):
                module = word[:-1]
            else:
                found[module, word] = reason
    return found
