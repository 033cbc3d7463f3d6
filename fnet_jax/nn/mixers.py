"""Token mixers: the one sublayer in which FNet and BERT differ. All have one signature.

    mixer(x_BLD, padding_mask_BL, deterministic) -> y_BLD

`padding_mask_BL` is True at real tokens; only attention looks at it, all others mix padding like any
other token, as the original does. To add a mixer see docs/add_a_mixer.md.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from fnet_jax.core.config import AttentionImpl, ModelConfig
from fnet_jax.core.mesh import gather_param
from fnet_jax.nn import transforms
from fnet_jax.nn.layers import dense, normal_init
from fnet_jax.nn.parallel import divide_heads, divide_positions, with_whole_sequences


class Fourier(nn.Module):
    """`Re(F_L x F_D)`; no parameters (arXiv 2105.03824, section 3.2)."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x_BLD: jax.Array, padding_mask_BL: jax.Array, deterministic: bool) -> jax.Array:
        """Mixes; see `transforms.fourier`."""
        return transforms.fourier(x_BLD, self.config.fourier_impl)


class Hartley(nn.Module):
    """`Re(F_L x F_D) − Im(F_L x F_D)`; no parameters. Obeys `fourier_impl` too."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x_BLD: jax.Array, padding_mask_BL: jax.Array, deterministic: bool) -> jax.Array:
        """Mixes; see `transforms.hartley`."""
        return transforms.hartley(x_BLD, self.config.fourier_impl)


class Dct(nn.Module):
    """Orthonormal 2-D cosine transform; no parameters."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x_BLD: jax.Array, padding_mask_BL: jax.Array, deterministic: bool) -> jax.Array:
        """Mixes; see `transforms.dct`."""
        return transforms.dct(x_BLD)


class Hadamard(nn.Module):
    """`H_L x H_D`; no parameters."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x_BLD: jax.Array, padding_mask_BL: jax.Array, deterministic: bool) -> jax.Array:
        """Mixes; see `transforms.hadamard`."""
        return transforms.hadamard(x_BLD)


class Linear(nn.Module):
    """`S x W` with trained `seq_kernel` S [L, L] and `hidden_kernel` W [D, D] (the paper's "Linear")."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x_BLD: jax.Array, padding_mask_BL: jax.Array, deterministic: bool) -> jax.Array:
        """Mixes.

        Raises:
            ValueError: if L is not `max_seq_length`.
        """
        length, width = _fixed_shape(self, x_BLD)
        hidden_kernel_DD = self.param("hidden_kernel", normal_init, (width, width))
        seq_kernel_LL = self.param("seq_kernel", normal_init, (length, length))
        return _matrices_mix(x_BLD, hidden_kernel_DD, seq_kernel_LL)


class Random(nn.Module):
    """As `Linear` with random matrices that are never trained (the paper's "Random").

    They live in the collection `constants`, beside `params`, and are saved with every checkpoint:
    made again from a seed, they would change with the random generator of the next JAX.
    """

    config: ModelConfig

    @nn.compact
    def __call__(self, x_BLD: jax.Array, padding_mask_BL: jax.Array, deterministic: bool) -> jax.Array:
        """Mixes.

        Raises:
            ValueError: if L is not `max_seq_length`.
        """
        length, width = _fixed_shape(self, x_BLD)

        def constant(name: str, size: int) -> jax.Array:
            init = nn.initializers.lecun_normal()
            return self.variable("constants", name, lambda: init(self.make_rng("params"), (size, size))).value

        return _matrices_mix(x_BLD, constant("hidden_kernel", width), constant("seq_kernel", length))


class Attention(nn.Module):
    """Multi-head self-attention, as in BERT; padding is not attended to."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x_BLD: jax.Array, padding_mask_BL: jax.Array, deterministic: bool) -> jax.Array:
        """Mixes.

        Raises:
            ValueError: if D is not a multiple of `num_heads`.
        """
        width, heads, rate = x_BLD.shape[-1], self.config.num_heads, self.config.mixing_dropout_rate
        if width % heads:
            raise ValueError(f"d_model={width} is not a multiple of num_heads={heads}")

        layer = functools.partial(dense, dtype=x_BLD.dtype, bias_init=normal_init)

        def project(name: str) -> jax.Array:
            """Letter X: width of a head, D/H. All positions of a head are on one device."""
            y_BLHX = layer(("embed", "heads", None), (heads, width // heads), name=name)(x_BLD)
            return divide_heads(y_BLHX)

        q_BLHX, k_BLHX, v_BLHX = (project(name) for name in ("query", "key", "value"))
        mask_B11L = padding_mask_BL[:, None, None, :]
        if deterministic or rate == 0:
            y_BLHX = library_attention(q_BLHX, k_BLHX, v_BLHX, mask_B11L, self.config.attention_impl)
        else:
            y_BLHX = dropout_attention(
                q_BLHX, k_BLHX, v_BLHX, mask_B11L, nn.Dropout(rate, deterministic=False)
            )
        out = layer(("heads", None, "embed"), width, axis=(-2, -1), name="out")
        return out(divide_positions(y_BLHX))


class FfOnly(nn.Module):
    """No mixing at all: the identity, so that the block computes LayerNorm(2x) (the paper's "FF-only")."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x_BLD: jax.Array, padding_mask_BL: jax.Array, deterministic: bool) -> jax.Array:
        """Returns its input."""
        return x_BLD


# Name of the mixer in the config (`core.config.Mixer`) -> module.
MIXERS: dict[str, type[nn.Module]] = {
    "fourier": Fourier,
    "hartley": Hartley,
    "dct": Dct,
    "hadamard": Hadamard,
    "linear": Linear,
    "random": Random,
    "attention": Attention,
    "ff_only": FfOnly,
}


def library_attention(
    q_BLHX: jax.Array, k_BLHX: jax.Array, v_BLHX: jax.Array, mask_B11L: jax.Array, impl: AttentionImpl
) -> jax.Array:
    """`jax.nn.dot_product_attention`, by cuDNN where that is asked for and there is a GPU."""
    # Inside, the library leaves bfloat16 -> float32 to promotion, which the tests forbid.
    with jax.numpy_dtype_promotion("standard"):
        if impl == "xla" or jax.default_backend() != "gpu":
            return jax.nn.dot_product_attention(q_BLHX, k_BLHX, v_BLHX, mask=mask_B11L)
        # Padding is at the end. As a mask it would have to be written out, an [L, L] for every example.
        lengths_B = jnp.sum(mask_B11L, axis=(1, 2, 3), dtype=jnp.int32)
        return jax.nn.dot_product_attention(
            q_BLHX, k_BLHX, v_BLHX, key_value_seq_lengths=lengths_B, implementation="cudnn"
        )


def dropout_attention(
    q_BLHX: jax.Array,
    k_BLHX: jax.Array,
    v_BLHX: jax.Array,
    mask_B11L: jax.Array,
    dropout: Callable[[jax.Array], jax.Array],
) -> jax.Array:
    """What `jax.nn.dot_product_attention` computes, with dropout on the probabilities.

    The library function has no place for the dropout of BERT, and its fused kernels none either, so
    this one writes the [B, H, L, L] probabilities out. Softmax in float32.

    Args:
        q_BLHX: queries.
        k_BLHX: keys.
        v_BLHX: values.
        mask_B11L: True where a key may be attended to.
        dropout: called on the probabilities.

    Returns:
        y_BLHX in the dtype of the queries.
    """
    logits_BHLM = jnp.einsum("blhx,bmhx->bhlm", q_BLHX, k_BLHX, preferred_element_type=jnp.float32)
    logits_BHLM = logits_BHLM * jnp.float32(q_BLHX.shape[-1] ** -0.5)
    logits_BHLM = jnp.where(mask_B11L, logits_BHLM, 0.7 * jnp.finfo(jnp.float32).min)
    probs_BHLM = dropout(jax.nn.softmax(logits_BHLM)).astype(v_BLHX.dtype)
    return jnp.einsum("bhlm,bmhx->blhx", probs_BHLM, v_BLHX)


def _fixed_shape(mixer: Linear | Random, x_BLD: jax.Array) -> tuple[int, int]:
    """(L, D), for mixers whose matrices have the length built in."""
    _, length, width = x_BLD.shape
    if length != mixer.config.max_seq_length:
        raise ValueError(
            f"mixer={mixer.name!r} mixes exactly max_seq_length={mixer.config.max_seq_length} positions, "
            f"the input has {length}; pad it to that length"
        )
    return length, width


def _matrices_mix(x_BLD: jax.Array, hidden_kernel_DD: jax.Array, seq_kernel_LL: jax.Array) -> jax.Array:
    """`y[n, k] = Σ seq_kernel[n, i] x[i, j] hidden_kernel[j, k]`, in the dtype of x."""
    hidden_kernel_DD = gather_param(hidden_kernel_DD.astype(x_BLD.dtype), (None, "embed"))
    h_BLD = jnp.einsum("blj,jk->blk", x_BLD, hidden_kernel_DD)
    return with_whole_sequences(_along_length, h_BLD, seq_kernel_LL.astype(x_BLD.dtype))


def _along_length(h_BLD: jax.Array, seq_kernel_LL: jax.Array) -> jax.Array:
    return jnp.einsum("nl,blk->bnk", seq_kernel_LL, h_BLD)
