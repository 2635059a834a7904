"""What marks a function for differentiation: JAX's own objects, under covector's names.

What is marked for JAX is so marked for covector.
"""

from __future__ import annotations

from jax import closure_convert as closure_convert
from jax import custom_gradient as custom_gradient
from jax import custom_jvp as custom_jvp
from jax import custom_vjp as custom_vjp
from jax import eval_shape as eval_shape
from jax.lax import stop_gradient as stop_gradient
