"""The FNet encoder: embeddings, a stack of mixing and feed-forward blocks, a pooled first token.

Equal neighbouring layers form a run; each run is one `nn.scan`, so that the time to compile grows
with the number of runs, not of layers. Its parameters have a leading axis, one entry per layer.
"""

import collections
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp

from fnet_jax.core.config import ModelConfig
from fnet_jax.core.mesh import constrain, gather_param
from fnet_jax.core.special_tokens import PAD_ID
from fnet_jax.nn import transforms
from fnet_jax.nn.layers import LayerNorm, dense, normal_init, remat_module
from fnet_jax.nn.mixers import MIXERS
from fnet_jax.nn.parallel import first_position


class Encoder(nn.Module):
    """Embedder, `num_layers` blocks, pooler."""

    config: ModelConfig

    def setup(self) -> None:
        """Names the submodules; a run is called after its first layer."""
        self.embedder = Embedder(self.config)
        for first, count, mixer in layer_runs(self.config):
            setattr(self, f"layers_{first}", _stack(self.config, count)(self.config, mixer))
        self.pooler = dense("pooler", self.config.d_model, dtype=self.config.dtype)

    def __call__(
        self,
        input_ids_BL: jax.Array,
        type_ids_BL: jax.Array,
        deterministic: bool = True,
        padding_mask_BL: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Encodes.

        Args:
            input_ids_BL: tokens.
            type_ids_BL: segment of each token.
            deterministic: False draws dropout masks from the `dropout` generator.
            padding_mask_BL: True at real tokens, the only ones that attention and mean pooling look at; by
                default wherever the token is not `PAD_ID`. `attention_impl='cudnn'` takes padding at the end
                only.

        Returns:
            sequence_BLD, and pooled_BD = tanh(Dense(sequence at position 0)), or of the mean over all
            positions but the padding.

        Raises:
            ValueError: if L exceeds `max_seq_length`, or differs from it with a mixer of fixed length.
        """
        x_BLD = self.embedder(input_ids_BL, type_ids_BL, deterministic)
        if padding_mask_BL is None:
            padding_mask_BL = input_ids_BL != PAD_ID
        for first, _, _ in layer_runs(self.config):
            x_BLD, _ = getattr(self, f"layers_{first}")(x_BLD, padding_mask_BL, deterministic)
        pooled_BD = first_position(x_BLD) if self.config.pooling == "first" else _mean(x_BLD, padding_mask_BL)
        return x_BLD, jnp.tanh(self.pooler(pooled_BD))

    def word_embedding(self) -> jax.Array:
        """The table of word embeddings, [V, E] in float32, for heads that share it."""
        return self.embedder.word.embedding


def _mean(x_BLD: jax.Array, mask_BL: jax.Array) -> jax.Array:
    """x_BD, the mean over the positions that the mask names; summed in float32."""
    weights_BL = mask_BL.astype(jnp.float32)
    sum_BD = jnp.einsum("bld,bl->bd", x_BLD.astype(jnp.float32), weights_BL)
    count_B1 = jnp.maximum(jnp.sum(weights_BL, axis=1, keepdims=True), 1.0)
    return (sum_BD / count_B1).astype(x_BLD.dtype)


class Embedder(nn.Module):
    """Word + position + type embeddings, LayerNorm, a map from E to D, dropout."""

    config: ModelConfig

    def setup(self) -> None:
        """Names the tables; `hidden_mapping_in` is there even when E = D, as in the original."""
        c = self.config
        # In float32: one row gets the gradients of thousands of positions, which bfloat16 cannot add up.
        self.word = nn.Embed(c.vocab_size, c.d_emb, embedding_init=normal_init)
        self.position = nn.Embed(c.max_seq_length, c.d_emb, embedding_init=normal_init)
        self.type = nn.Embed(c.type_vocab_size, c.d_emb, embedding_init=normal_init)
        self.layer_norm = LayerNorm(output_dtype=c.dtype)
        # The one Dense of the model that the original initialises by Flax's default, lecun_normal.
        init = nn.initializers.lecun_normal()
        self.hidden_mapping_in = dense("hidden_mapping_in", c.d_model, dtype=c.dtype, kernel_init=init)
        self.dropout = nn.Dropout(c.dropout_rate)

    def __call__(self, input_ids_BL: jax.Array, type_ids_BL: jax.Array, deterministic: bool) -> jax.Array:
        """Embeds.

        Returns:
            x_BLD in the dtype of the computation.

        Raises:
            ValueError: if L exceeds `max_seq_length`.
        """
        length = input_ids_BL.shape[1]
        if length > self.config.max_seq_length:
            raise ValueError(
                f"the input has {length} positions, max_seq_length is {self.config.max_seq_length}; "
                f"cut the input or raise max_seq_length"
            )
        input_ids_BL, type_ids_BL = (constrain(ids, "batch", "length") for ids in (input_ids_BL, type_ids_BL))
        word_VE = gather_param(self.word.embedding, "word/embedding", whole=None)
        word_BLE = jnp.take(word_VE, input_ids_BL, axis=0)
        position_LE = gather_param(self.position.embedding, "position/embedding")[:length]
        type_BLE = jnp.take(gather_param(self.type.embedding, "type/embedding"), type_ids_BL, axis=0)
        x_BLE = word_BLE + position_LE[None] + type_BLE
        x_BLD = self.hidden_mapping_in(self.layer_norm(x_BLE))
        return constrain(self.dropout(x_BLD, deterministic), "batch", "length", None)


class Block(nn.Module):
    """Mixing, residual, LayerNorm, feed-forward, residual, LayerNorm (arXiv 2105.03824, figure 1).

    There is no dropout on the mixing output.
    """

    config: ModelConfig
    mixer: str

    @nn.compact
    def __call__(
        self, x_BLD: jax.Array, padding_mask_BL: jax.Array, deterministic: bool
    ) -> tuple[jax.Array, None]:
        """Returns (y_BLD, None): the carry of `nn.scan` and no other output."""
        c = self.config
        mixed_BLD = MIXERS[self.mixer](c, name=self.mixer)(x_BLD, padding_mask_BL, deterministic)
        x_BLD = constrain(x_BLD + mixed_BLD, "batch", "length", None)
        x_BLD = remat_module(LayerNorm)(output_dtype=c.dtype, name="mixing_layer_norm")(x_BLD)
        x_BLD = constrain(
            x_BLD + FeedForward(c, name="feed_forward")(x_BLD, deterministic), "batch", "length", None
        )
        return remat_module(LayerNorm)(output_dtype=c.dtype, name="output_layer_norm")(x_BLD), None


class FeedForward(nn.Module):
    """Dense(F), GELU (tanh form), Dense(D), dropout."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x_BLD: jax.Array, deterministic: bool) -> jax.Array:
        """Returns y_BLD."""
        c = self.config
        h_BLF = dense("intermediate", c.d_ff, dtype=c.dtype, bias_init=normal_init)(x_BLD)
        h_BLF = constrain(h_BLF, "batch", "length", "mlp")
        y_BLD = dense("output", c.d_model, gelu=True, dtype=c.dtype)(h_BLF)
        return nn.Dropout(c.dropout_rate)(y_BLD, deterministic)


def layer_mixers(config: ModelConfig) -> tuple[str, ...]:
    """The mixer of each layer, first to last.

    Exactly `num_attention_layers` layers are attention: the first ones (bottom), the last ones (top),
    those in the middle, or evenly spread from the first on (mixed).

    Raises:
        ValueError: if `num_attention_layers` is not within 0 … `num_layers`.
    """
    layers, k = config.num_layers, config.num_attention_layers
    if not 0 <= k <= layers:
        raise ValueError(f"num_attention_layers={k} is not within 0 … num_layers={layers}")
    middle = (layers - k + 1) // 2
    attention = {
        "bottom": range(k),
        "middle": range(middle, middle + k),
        "mixed": [i * layers // k for i in range(k)],
        "top": range(layers - k, layers),
    }[config.attention_layout]
    return tuple("attention" if i in attention else config.mixer for i in range(layers))


def layer_runs(config: ModelConfig) -> list[tuple[int, int, str]]:
    """Runs of equal neighbouring layers: (index of the first layer, number of layers, mixer)."""
    runs, first = [], 0
    for mixer, group in itertools.groupby(layer_mixers(config)):
        count = len(list(group))
        runs.append((first, count, mixer))
        first += count
    return runs


def describe_layers(config: ModelConfig, platform: str) -> str:
    """For the log, such as "10 layers of fourier (fft), 2 layers of attention".

    Args:
        config: the model's.
        platform: as a device names it; decides what `fourier_impl='auto'` is.
    """
    parts = []
    for mixer, count in collections.Counter(layer_mixers(config)).items():
        impl = config.fourier_impl
        if mixer in ("fourier", "hartley"):
            if impl == "auto":
                impl = transforms.choose_impl(platform, config.max_seq_length, config.d_model)
            mixer += f" ({impl})"
        if mixer == "attention" and config.attention_impl != "xla":
            mixer += f" ({config.attention_impl if platform == 'gpu' else 'xla'})"
        parts.append(f"{count} layer{'s' * (count > 1)} of {mixer}")
    return ", ".join(parts)


def _stack(config: ModelConfig, count: int) -> type[Block]:
    """`Block`, `count` times over: parameters stacked on axis 0, own random keys for each layer."""
    block = Block
    if config.remat:
        # Inside a scan nothing can be merged with the recomputation; deterministic is argument 3.
        block = nn.remat(Block, prevent_cse=False, static_argnums=(3,))
    return nn.scan(
        block,
        variable_axes={"params": 0, "constants": 0, "intermediates": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=(nn.broadcast, nn.broadcast),
        length=count,
    )
