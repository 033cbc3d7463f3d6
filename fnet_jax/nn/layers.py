"""The layers of encoder and heads: Flax's own, with sharded parameters and few activations kept."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fnet_jax.core.mesh import gather_param

INIT_STDDEV = 0.02
normal_init = nn.initializers.normal(INIT_STDDEV)


def remat_module(module: type[nn.Module]) -> type[nn.Module]:
    """`nn.remat` of a module: the backward pass keeps its input only, and computes the rest again.

    For cheap functions, elementwise or nearly so, and for gathering a parameter from other devices. Left
    alone, JAX keeps every intermediate of GELU and LayerNorm: six arrays [B, L, F] and six float32 [B, L, D]
    for a layer, most of the memory of a step.
    """
    # Inside a scan nothing can be merged with the recomputation.
    return nn.remat(module, prevent_cse=False)


def dense(name: str, features: int | Sequence[int], *, gelu: bool = False, **options: Any) -> nn.Module:
    """A dense layer whose kernel is gathered from the devices that share it when it is used.

    Args:
        name: of the layer; its parameters lie as `core.mesh.PARAM_RULES` says for that name.
        features: size of the output, or sizes.
        gelu: whether GELU (tanh form) is applied to the input first.
        options: of `flax.linen.DenseGeneral`.
    """
    layer = remat_module(_GeluDense if gelu else nn.DenseGeneral)
    dot_general = functools.partial(_gathered_dot, f"{name}/kernel")
    return layer(features, name=name, dot_general=dot_general, **{"kernel_init": normal_init, **options})


def _gathered_dot(name: str, x: jax.Array, kernel: jax.Array, *args: Any, **options: Any) -> jax.Array:
    """`jax.lax.dot_general`; the kernel comes in the dtype of the computation and travels in it."""
    return jax.lax.dot_general(x, gather_param(kernel, name), *args, **options)


class _GeluDense(nn.DenseGeneral):
    """Dense of GELU of the input."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return super().__call__(nn.gelu(x, approximate=True))


class LayerNorm(nn.LayerNorm):
    """LayerNorm over the last axis, epsilon 1e-12, all in float32; only its output is `output_dtype`."""

    epsilon: float = 1e-12
    output_dtype: str = "float32"

    def __call__(self, x: jax.Array) -> jax.Array:  # type: ignore[override]
        """Normalises."""
        return super().__call__(x.astype(jnp.float32)).astype(self.output_dtype)
