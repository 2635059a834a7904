"""Special functions: error function, gamma and beta functions, zeta, Bessel functions."""

from __future__ import annotations

from .elementwise import ACCURACY, elementwise
from .operands import FLOAT

erf = elementwise("erf", FLOAT, family="special")
erfc = elementwise("erfc", FLOAT, family="special", defaults=ACCURACY)
erf_inv = elementwise("erf_inv", FLOAT, family="special")

lgamma = elementwise("lgamma", FLOAT, family="special")
digamma = elementwise("digamma", FLOAT, family="special")
polygamma = elementwise("polygamma", FLOAT, 2, family="special")
"""`polygamma m x`: the m-th derivative of digamma."""

igamma = elementwise("igamma", FLOAT, 2, family="special")
"""`igamma a x`: P(a, x), the distribution function of Gamma(a, 1)."""

igammac = elementwise("igammac", FLOAT, 2, family="special")
"""`igammac a x`: Q(a, x) = 1 - P(a, x)."""

igamma_grad_a = elementwise("igamma_grad_a", FLOAT, 2, family="special")
"""`igamma_grad_a a x`: dP/da."""

random_gamma_grad = elementwise("random_gamma_grad", FLOAT, 2, family="special")
"""`random_gamma_grad a x`: dx/da of a sample x of Gamma(a, 1), its rank P(a, x) held fixed."""

regularized_incomplete_beta = elementwise("regularized_incomplete_beta", FLOAT, 3, family="special")
"""`regularized_incomplete_beta a b x`: I_x(a, b), the distribution function of Beta(a, b)."""

zeta = elementwise("zeta", FLOAT, 2, family="special")
"""`zeta s q`: the Hurwitz zeta function, the sum of (q + k)^-s over k = 0, 1, ..."""

bessel_i0e = elementwise("bessel_i0e", FLOAT, family="special")
bessel_i1e = elementwise("bessel_i1e", FLOAT, family="special")
"""exp(-|x|) I_n(x): the modified Bessel functions, scaled."""
