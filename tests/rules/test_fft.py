"""Fourier transforms."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from harness import Case, c64, c128, f32, f64, laws

from covector.ir.builder import Builder
from covector.ir.errors import TypeRuleError
from covector.ir.graph import Value
from covector.ir.types import TensorType
from covector.lowering.emit import lower_graph


def transform(kind: str, x: TensorType, *lengths: int, also: str = "") -> Case:
    params = {"fft_type": kind, "fft_lengths": lengths}
    return Case("fft", [x], params, also=also, tol=20)


CASES = [
    transform("FFT", c64(5), 5, also="c128"),
    transform("FFT", c64(3, 4), 3, 4, also="c128"),
    transform("IFFT", c64(2, 4), 4, also="c128"),
    transform("IFFT", c64(2, 3, 4), 2, 3, 4),
    transform("RFFT", f32(6), 6, also="f64"),
    transform("RFFT", f32(2, 5), 5, also="f64"),
    transform("RFFT", f32(3, 4), 3, 4),
    transform("RFFT", f32(1), 1),
    transform("IRFFT", c64(4), 6, also="c128"),
    transform("IRFFT", c64(2, 3), 5, also="c128"),
    transform("IRFFT", c64(3, 3), 3, 4),
    transform("IRFFT", c64(2, 3, 3), 2, 3, 5),
    transform("FFT", c64(0, 4), 4),
    transform("RFFT", f32(0, 4), 4),
    transform("IRFFT", c64(0, 3), 4),
]


@laws(CASES)
def test_law(case: Case, law: Callable[[Case], None]) -> None:
    law(case)


@pytest.mark.parametrize(
    ("type", "kind", "lengths", "claim"),
    [
        (f64(4), "FFT", (4,), "takes complex64 or complex128, not f64"),
        (c128(4), "RFFT", (4,), "takes float32 or float64, not c128"),
        (c128(4), "FFT", (5,), "does not fit the last axes"),
        (c128(4), "FFT", (4, 4), "along 2 axes"),
        (c128(4), "DCT", (4,), "no type 'DCT'"),
    ],
)
def test_refused(type: TensorType, kind: str, lengths: tuple[int, ...], claim: str) -> None:
    with pytest.raises(TypeRuleError, match=claim):
        Builder().fft(Value(type), fft_type=kind, fft_lengths=lengths)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "rocm", "tpu"])
@pytest.mark.parametrize("case", [CASES[1], CASES[6], CASES[10]], ids=repr)
def test_lowers_everywhere(case: Case, platform: str) -> None:
    text = lower_graph(case.graph, (platform,)).as_text()
    assert "stablehlo.fft" in text
