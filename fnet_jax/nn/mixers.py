"""Token mixers: the one sublayer in which FNet and BERT differ. All have one signature.

    mixer(x_BLD, padding_mask_BL=None, deterministic=True) -> y_BLD

`padding_mask_BL` is True at real tokens, None if there is no padding; only attention looks at it, all others
mix padding like any other token, as the original does. `deterministic=False` draws dropout masks. To add a
mixer see docs/add_a_mixer.md.
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


class WithoutParameters(nn.Module):
    """A mixer that is a function of x alone, such as the transforms of `transforms.py`."""

    config: ModelConfig
    mix: Callable[[jax.Array, ModelConfig], jax.Array]

    def __call__(
        self, x_BLD: jax.Array, padding_mask_BL: jax.Array | None = None, deterministic: bool = True
    ) -> jax.Array:
        """Mixes."""
        return self.mix(x_BLD, self.config)


class Linear(nn.Module):
    """`S x W` with trained `seq_kernel` S [L, L] and `hidden_kernel` W [D, D] (the paper's "Linear")."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, x_BLD: jax.Array, padding_mask_BL: jax.Array | None = None, deterministic: bool = True
    ) -> jax.Array:
        """`y[n, k] = Σ S[n, l] x[l, j] W[j, k]`, in the dtype of x.

        Raises:
            ValueError: if L is not `max_seq_length`.
        """
        _, length, width = x_BLD.shape
        if length != self.config.max_seq_length:
            raise ValueError(
                f"mixer={self.name!r} mixes exactly max_seq_length={self.config.max_seq_length} positions, "
                f"the input has {length}; pad it to that length"
            )
        hidden_DD, seq_LL = self.matrix("hidden_kernel", width), self.matrix("seq_kernel", length)
        hidden_DD = gather_param(hidden_DD.astype(x_BLD.dtype), "linear/hidden_kernel")
        h_BLD = jnp.einsum("blj,jk->blk", x_BLD, hidden_DD)
        return with_whole_sequences(_along_length, h_BLD, seq_LL.astype(x_BLD.dtype))

    def matrix(self, name: str, size: int) -> jax.Array:
        """Declares one of the two matrices, [size, size]."""
        return self.param(name, normal_init, (size, size))


def _along_length(h_BLD: jax.Array, seq_LL: jax.Array) -> jax.Array:
    return jnp.einsum("nl,blk->bnk", seq_LL, h_BLD)


class Random(Linear):
    """As `Linear` with random matrices that are never trained (the paper's "Random").

    They live in the collection `constants`, beside `params`, and are saved with every checkpoint:
    made again from a seed, they would change with the random generator of the next JAX.
    """

    def matrix(self, name: str, size: int) -> jax.Array:
        """Declares one of the two matrices, [size, size]."""
        init = nn.initializers.lecun_normal()
        return self.variable("constants", name, lambda: init(self.make_rng("params"), (size, size))).value


class Attention(nn.Module):
    """Multi-head self-attention, as in BERT; padding is not attended to."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, x_BLD: jax.Array, padding_mask_BL: jax.Array | None = None, deterministic: bool = True
    ) -> jax.Array:
        """Mixes.

        Raises:
            ValueError: if D is not a multiple of `num_heads`.
        """
        width, heads, rate = x_BLD.shape[-1], self.config.num_heads, self.config.mixing_dropout_rate
        if width % heads:
            raise ValueError(f"d_model={width} is not a multiple of num_heads={heads}")

        layer = functools.partial(dense, dtype=x_BLD.dtype, bias_init=normal_init)
        # Afterwards all positions of a head are on one device.
        q_BLHX, k_BLHX, v_BLHX = (
            divide_heads(layer(name, (heads, width // heads))(x_BLD)) for name in ("query", "key", "value")
        )
        if padding_mask_BL is None:
            padding_mask_BL = jnp.ones(x_BLD.shape[:2], bool)
        mask_B11L = padding_mask_BL[:, None, None, :]
        if deterministic or rate == 0:
            y_BLHX = library_attention(q_BLHX, k_BLHX, v_BLHX, mask_B11L, self.config.attention_impl)
        else:
            y_BLHX = dropout_attention(
                q_BLHX, k_BLHX, v_BLHX, mask_B11L, nn.Dropout(rate, deterministic=False)
            )
        return layer("out", width, axis=(-2, -1))(divide_positions(y_BLHX))


def _without_parameters(mix: Callable[[jax.Array, ModelConfig], jax.Array]) -> Callable[..., nn.Module]:
    return functools.partial(WithoutParameters, mix=mix)


# Name of the mixer in the config (`core.config.Mixer`) -> what makes its module of a `ModelConfig`.
MIXERS: dict[str, Callable[..., nn.Module]] = {
    "fourier": _without_parameters(lambda x_BLD, config: transforms.fourier(x_BLD, config.fourier_impl)),
    "hartley": _without_parameters(lambda x_BLD, config: transforms.hartley(x_BLD, config.fourier_impl)),
    "dct": _without_parameters(lambda x_BLD, _: transforms.dct(x_BLD)),
    "hadamard": _without_parameters(lambda x_BLD, _: transforms.hadamard(x_BLD)),
    "linear": Linear,
    "random": Random,
    "attention": Attention,
    # No mixing at all: the block computes LayerNorm(2x) (the paper's "FF-only").
    "ff_only": _without_parameters(lambda x_BLD, _: x_BLD),
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
        q_BLHX, k_BLHX, v_BLHX: queries, keys, values, of one dtype, which y_BLHX has too.
        mask_B11L: True where a key may be attended to.
        dropout: called on the probabilities.
    """
    logits_BHLM = jnp.einsum("blhx,bmhx->bhlm", q_BLHX, k_BLHX, preferred_element_type=jnp.float32)
    logits_BHLM = logits_BHLM * jnp.float32(q_BLHX.shape[-1] ** -0.5)
    logits_BHLM = jnp.where(mask_B11L, logits_BHLM, 0.7 * jnp.finfo(jnp.float32).min)
    probs_BHLM = dropout(jax.nn.softmax(logits_BHLM)).astype(v_BLHX.dtype)
    return jnp.einsum("bhlm,bmhx->blhx", probs_BHLM, v_BLHX)
