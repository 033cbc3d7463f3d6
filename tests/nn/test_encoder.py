"""Scanned layers against layers applied one by one; remat, padding, dtypes, initial values."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.nnx import bridge

from fnet_jax.core.config import ModelConfig
from fnet_jax.core.mesh import path_str
from fnet_jax.core.special_tokens import PAD_ID
from fnet_jax.nn.encoder import Block, Embedder, Encoder, LayerNorm, layer_runs
from tests.nn import reference

HYBRID = dict(num_layers=3, num_attention_layers=1, attention_layout="top")


@functools.cache
def build(config: ModelConfig):
    batch = reference.tiny_batch(config, batch_size=3)
    ids, types = batch["input_ids"], batch["type_ids"]
    encoder = Encoder(config)
    return encoder, jax.jit(encoder.init)(jax.random.key(0), ids, types), ids, types


def test_alone_with_a_few_arguments():
    """No mesh, no mask, no dropout; a mask of one's own in place of `PAD_ID`."""
    encoder = Encoder(ModelConfig(vocab_size=30, d_model=8, num_layers=2, max_seq_length=12, pooling="mean"))
    batch = reference.tiny_batch(encoder.config, 3)
    ids, types = batch["input_ids"], batch["type_ids"]
    variables, apply = jax.jit(encoder.init)(jax.random.key(0), ids, types), jax.jit(encoder.apply)
    sequence, pooled = apply(variables, ids, types)
    assert (sequence.shape, pooled.shape) == ((3, 12, 8), (3, 8))
    _, same = apply(variables, ids, types, padding_mask_BL=ids != PAD_ID)
    np.testing.assert_array_equal(pooled, same)
    _, other = apply(variables, ids, types, padding_mask_BL=np.arange(12) < np.full((3, 1), 4))
    assert np.abs(pooled - other).max() > 1e-3


def test_as_an_nnx_module():
    encoder = Encoder(reference.tiny_config(mixer="random", num_layers=1, dropout_rate=0.5))
    batch = reference.tiny_batch(encoder.config, 3)
    ids, types = batch["input_ids"], batch["type_ids"]
    module = bridge.ToNNX(encoder, rngs=nnx.Rngs(0))
    bridge.lazy_init(module, ids, types, rngs=jax.random.key(0))
    sequence, pooled = nnx.jit(lambda module: module(ids, types))(module)
    expected = jax.jit(encoder.init_with_output)(jax.random.key(0), ids, types)[0]
    np.testing.assert_allclose(sequence, expected[0], atol=1e-6)
    np.testing.assert_allclose(pooled, expected[1], atol=1e-6)
    trained, _ = nnx.jit(lambda module: module(ids, types, False, rngs=nnx.Rngs(dropout=1)))(module)
    assert np.abs(trained - sequence).max() > 1e-3


@pytest.mark.parametrize("mixer", ["fourier", "random"])
def test_scanned_layers_equal_layers_one_by_one(mixer):
    config = reference.tiny_config(mixer=mixer, **HYBRID)
    encoder, variables, ids, types = build(config)
    sequence, _ = jax.jit(encoder.apply)(variables, ids, types)

    x = encoder.apply(variables, ids, types, True, method=lambda m, *args: m.embedder(*args))
    for first, count, name in layer_runs(config):
        for i in range(count):
            layer = {
                collection: jax.tree.map(lambda leaf, i=i: leaf[i], tree[f"layers_{first}"])
                for collection, tree in variables.items()
                if f"layers_{first}" in tree
            }
            x, _ = jax.jit(Block(config, name).apply, static_argnums=3)(layer, x, ids != PAD_ID, True)
    np.testing.assert_allclose(sequence, x, atol=2e-6)


def test_layers_of_a_run_are_initialised_differently():
    _, variables, _, _ = build(reference.tiny_config(mixer="random"))
    run = {**variables["params"]["layers_0"], **variables["constants"]["layers_0"]}
    for kernel in (run["feed_forward"]["output"]["kernel"], run["random"]["seq_kernel"]):
        assert kernel.shape[0] == 2
        assert np.any(kernel[0] != kernel[1])


def test_layers_of_a_run_draw_different_dropout():
    config = reference.tiny_config(mixer="ff_only", dropout_rate=0.5, d_model=64)
    encoder, variables, ids, types = build(config)
    _, state = encoder.apply(
        variables,
        ids,
        types,
        False,
        rngs={"dropout": jax.random.key(0)},
        capture_intermediates=lambda module, _: module.name == "feed_forward",
        mutable=["intermediates"],
    )
    (outputs,) = state["intermediates"]["layers_0"]["feed_forward"]["__call__"]
    dropped = np.asarray(outputs) == 0
    assert 0.4 < dropped.mean() < 0.6
    assert np.any(dropped[0] != dropped[1])


def test_remat_changes_neither_values_nor_gradients():
    config = reference.tiny_config(mixer="attention", dropout_rate=0.3, mixing_dropout_rate=0.3)
    encoder, variables, ids, types = build(config)
    again = Encoder(dataclasses.replace(config, remat=True))
    rngs = {"dropout": jax.random.key(3)}

    def value_and_grad(encoder):
        def loss(params):
            sequence, pooled = encoder.apply({"params": params}, ids, types, False, rngs=rngs)
            return jnp.sum(jnp.sin(sequence)) + jnp.sum(pooled)

        traced = jax.jit(jax.value_and_grad(loss)).trace(variables["params"])
        return traced.lower().compile()(variables["params"]), str(traced.jaxpr)

    (plain, plain_jaxpr), (remat, remat_jaxpr) = map(value_and_grad, (encoder, again))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), plain, remat)
    assert remat_jaxpr.count("prevent_cse") > plain_jaxpr.count("prevent_cse")


def test_backward_pass_keeps_few_activations():
    """For each layer the inputs of the two products and the two norms in bfloat16, and the dropout mask."""
    config = reference.tiny_config(dtype="bfloat16", dropout_rate=0.1, num_layers=3)
    encoder, variables, ids, types = build(config)

    def kept(params):
        def loss(params):
            rngs = {"dropout": jax.random.key(1)}
            return jnp.sum(encoder.apply({"params": params}, ids, types, False, rngs=rngs)[0])

        return jax.tree.leaves(jax.vjp(loss, params)[1])

    batch, length = ids.shape
    stacked = [x for x in jax.eval_shape(kept, variables["params"]) if x.shape[:3] == (3, batch, length)]
    assert sorted((str(x.dtype), x.shape[3]) for x in stacked) == [
        *[("bfloat16", config.d_model)] * 3,
        ("bfloat16", config.d_ff),
        ("bool", config.d_model),
    ]


def test_gradients_of_embeddings_are_added_in_float32():
    """4,096 positions share one type; a sum in bfloat16 would stand still long before."""
    config = reference.tiny_config(dtype="bfloat16", max_seq_length=256)
    ids, types = np.full((16, 256), 5), np.zeros((16, 256), np.int32)
    params = Embedder(config).init(jax.random.key(0), ids, types, True)["params"]
    weights_D = np.random.default_rng(0).normal(size=config.d_model)

    def gradient(dtype):
        embedder = Embedder(dataclasses.replace(config, dtype=dtype))

        def loss(params):
            x_BLD = embedder.apply({"params": params}, ids, types, True).astype(jnp.float32)
            return jnp.sum(x_BLD.reshape(-1, config.d_model) @ weights_D.astype(np.float32))

        return jax.grad(loss)(params)["type"]["embedding"][0]

    rms, _ = reference.relative_errors(gradient("bfloat16"), np.asarray(gradient("float32"), np.float64))
    assert rms < 0.02


@pytest.mark.parametrize("mixer", ["fourier", "attention"])
def test_what_stands_in_padding(mixer):
    """Type ids under padding reach the other tokens through Fourier mixing, not through attention."""
    encoder, variables, ids, types = build(reference.tiny_config(mixer=mixer))
    apply, token = jax.jit(encoder.apply), ids != PAD_ID
    assert not token.all()
    a, b = (
        np.asarray(apply(variables, ids, types)[0])[token] for types in (types, np.where(token, types, 2))
    )
    if mixer == "attention":
        np.testing.assert_allclose(a, b, atol=1e-6)
    else:
        assert np.abs(a - b).max() > 1e-3


def test_padding_is_mixed_as_the_original_does():
    """Cutting padding off changes a Fourier encoder's result and not an attention encoder's."""
    for mixer, same in (("fourier", False), ("attention", True)):
        encoder, variables, ids, types = build(reference.tiny_config(mixer=mixer))
        ids = np.where(np.arange(12) < 8, np.maximum(ids, 4), 3)
        apply = jax.jit(encoder.apply)
        long, short = (apply(variables, ids[:, :n], types[:, :n])[0][:, :8] for n in (12, 8))
        assert (np.abs(long - short).max() < 1e-5) == same


def test_bfloat16_computes_in_bfloat16_with_float32_params():
    config = reference.tiny_config(dtype="bfloat16", **HYBRID)
    encoder, variables, ids, types = build(config)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    (sequence, pooled), state = encoder.apply(
        variables,
        ids,
        types,
        True,
        capture_intermediates=lambda module, _: not isinstance(module, LayerNorm | nn.Embed),  # float32
        mutable=["intermediates"],
    )
    assert sequence.dtype == pooled.dtype == jnp.bfloat16
    paths = {path_str(path): leaf.dtype for path, leaf in jax.tree_util.tree_leaves_with_path(state)}
    assert "intermediates/layers_0/feed_forward/intermediate/__call__/0" in paths
    assert set(paths.values()) == {jnp.dtype(jnp.bfloat16)}


def test_layer_norm_statistics_are_float32():
    """256 + {0, 1, 2, 3} has a variance that bfloat16, with steps of 2 up there, would get wrong."""
    x = jnp.asarray([[256.0, 258.0, 260.0, 262.0] * 64], jnp.bfloat16)
    y, _ = LayerNorm(output_dtype="float32").init_with_output(jax.random.key(0), x)
    expected = (np.array([0, 2, 4, 6]) - 3) / np.sqrt(5)
    np.testing.assert_allclose(y[0, :4], expected, rtol=1e-3)


def test_input_longer_than_the_position_table():
    encoder, variables, ids, types = build(reference.tiny_config())
    longer = [np.concatenate([a, a], axis=1) for a in (ids, types)]
    with pytest.raises(ValueError, match="24 positions, max_seq_length is 12"):
        encoder.apply(variables, *longer, True)


def test_initialisation():
    """Standard deviations of the original, and zeros where it has zeros."""
    config = reference.tiny_config(
        d_model=96, d_emb=64, d_ff=256, vocab_size=64, max_seq_length=64, num_attention_layers=1
    )
    _, variables, _, _ = build(config)
    params = variables["params"]
    normal = [
        *(params["embedder"][table]["embedding"] for table in ("word", "position", "type")),
        params["pooler"]["kernel"],
    ]
    zero = [params["pooler"]["bias"], params["embedder"]["hidden_mapping_in"]["bias"]]
    for first in (0, 1):
        feed_forward = params[f"layers_{first}"]["feed_forward"]
        normal += [*feed_forward["intermediate"].values(), feed_forward["output"]["kernel"]]
        zero += [feed_forward["output"]["bias"]]
    for leaf in normal:
        np.testing.assert_allclose(leaf.std(), 0.02, rtol=0.15)
    assert not any(np.any(leaf) for leaf in zero)
    np.testing.assert_allclose(params["embedder"]["hidden_mapping_in"]["kernel"].std(), 64**-0.5, rtol=0.05)


def test_mean_pooling_leaves_padding_out():
    config = reference.tiny_config(pooling="mean", mixer="ff_only")
    batch = reference.tiny_batch(config, 4)
    ids = np.array(batch["input_ids"])
    ids[:, 7:] = PAD_ID
    encoder = Encoder(config)
    variables = jax.jit(encoder.init)(jax.random.key(0), ids, batch["type_ids"])
    sequence, pooled = jax.jit(encoder.apply)(variables, ids, batch["type_ids"])
    mask = ids != PAD_ID
    assert 0 < mask.sum(1).max() <= 7
    kernel, bias = (
        np.asarray(variables["params"]["pooler"][name], np.float64) for name in ("kernel", "bias")
    )
    mean = (np.asarray(sequence, np.float64) * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    np.testing.assert_allclose(pooled, np.tanh(mean @ kernel + bias), rtol=1e-5, atol=1e-6)
