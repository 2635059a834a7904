"""Errors of passes as the types that JAX raises for the same mistakes, which users may catch."""

from __future__ import annotations

from jax.errors import UnexpectedTracerError

from ..ir.errors import ClosedOverError, CovectorError


class ClosedOverTracerError(ClosedOverError, UnexpectedTracerError):
    """A derivative is wanted by a traced value that a function with a rule of its own closes over.

    JAX, whose rules are traced where they stand, calls it a leaked tracer.
    """


class LeakedTracerError(CovectorError):
    """A value of a recording is still held when the recording is over (JAX raises a plain
    Exception)."""


class TracingForbiddenError(CovectorError, RuntimeError):
    """A call would have to be traced while jax.no_tracing() is in force."""


class as_jax_errors:
    """`with as_jax_errors():` what is raised inside is raised as a type that is also JAX's."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, ClosedOverError):
            raise ClosedOverTracerError(
                error.claim,
                error.equation,
                location=error.location,
                stage=error.stage,
                hint=error.hint,
            ) from None
