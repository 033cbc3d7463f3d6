"""Every mixer of the table against float64 NumPy: values, gradients, parameter names, masks, dropout."""

import functools
import typing

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnet_jax.core.config import Mixer
from fnet_jax.core.mesh import create_mesh, param_shardings
from fnet_jax.nn.mixers import MIXERS, dropout_attention, library_attention
from tests.nn import reference

each_mixer = pytest.mark.parametrize("name", MIXERS)
MATRIX_MIXERS = ["linear", "random"]


def inputs(config, batch=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batch, config.max_seq_length, config.d_model)).astype(np.float32)
    lengths = rng.integers(config.max_seq_length // 2, config.max_seq_length, (batch, 1))
    return x, np.arange(config.max_seq_length) < lengths


@functools.cache
def build(name, **overrides):
    config = reference.tiny_config(mixer=name, **overrides)
    mixer = MIXERS[name](config, name=name)
    x, mask = inputs(config)
    return mixer, jax.jit(mixer.init, static_argnums=3)(jax.random.key(0), x, mask, True), x, mask


def own(variables):
    """Params or constants of a mixer as float64 NumPy."""
    merged = {**variables.get("params", {}), **variables.get("constants", {})}
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), merged)


def test_table_is_the_list_of_the_config():
    assert tuple(MIXERS) == typing.get_args(Mixer)


@each_mixer
@pytest.mark.parametrize("size", [{}, dict(max_seq_length=7, d_model=10)], ids=["even", "odd length"])
def test_value_matches_float64(name, size):
    mixer, variables, x, mask = build(name, **size)
    y = mixer.apply(variables, x, mask, True)
    assert y.dtype == jnp.float32
    expected = reference.mix(name, x.astype(np.float64), own(variables), mask)
    assert reference.relative_errors(y, expected)[1] < 2e-6


@each_mixer
def test_gradient_matches_float64(name):
    """Along a random direction in inputs and params, against a central difference in float64."""
    mixer, variables, x, mask = build(name)
    params = variables.get("params", {})
    rng = np.random.default_rng(1)
    g = rng.normal(size=x.shape).astype(np.float32)

    def loss(params, x):
        return jnp.sum(mixer.apply({**variables, "params": params}, x, mask, True) * g)

    gradients = jax.grad(loss, argnums=(0, 1))(params, x)
    point = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, x))
    direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), point)
    epsilon = 1e-5

    def loss_at(step):
        params, x = jax.tree.map(lambda p, d: p + step * d, point, direction)
        return np.sum(reference.mix(name, x, {**own(variables), **params}, mask) * g)

    slope = (loss_at(epsilon) - loss_at(-epsilon)) / (2 * epsilon)
    products = jax.tree.map(lambda a, b: np.sum(np.asarray(a, np.float64) * b), gradients, direction)
    # The tolerance is relative to the sizes of what is summed, of which much may cancel.
    size = np.linalg.norm(jax.tree.leaves(jax.tree.map(lambda a: np.linalg.norm(a), gradients)))
    assert abs(sum(jax.tree.leaves(products)) - slope) < 5e-6 * size


@pytest.mark.parametrize("name", MATRIX_MIXERS)
def test_matrix_mixers_input_gradient_is_the_adjoint(name):
    mixer, variables, x, mask = build(name)
    y, vjp = jax.vjp(lambda x: mixer.apply(variables, x, mask, True), x)
    adjoint = reference.adjoint(lambda x: reference.matrices(x, own(variables)), np.asarray(y, np.float64))
    assert reference.relative_errors(vjp(y)[0], adjoint)[1] < 2e-6


@each_mixer
def test_bfloat16(name):
    mixer, variables, x, mask = build(name, dtype="bfloat16")
    x = jnp.asarray(x, jnp.bfloat16)
    y = mixer.apply(variables, x, mask, True)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} <= {jnp.dtype(jnp.float32)}
    expected = reference.mix(name, np.asarray(x, np.float64), own(variables), mask)
    assert reference.relative_errors(y, expected)[0] < 5e-3


@each_mixer
def test_every_param_has_a_sharding_rule(name):
    """Under the path it has in the model; with the two leading names left out no rule would match."""
    _, variables, _, _ = build(name)
    expected = {
        "linear": {"hidden_kernel", "seq_kernel"},
        "random": {"hidden_kernel", "seq_kernel"},
        "attention": {"query", "key", "value", "out"},
    }
    assert set(own(variables)) == expected.get(name, set())
    for collection in variables.values():
        param_shardings(create_mesh(), {"encoder": {"layers_0": {name: collection}}})


@pytest.mark.parametrize("name", MATRIX_MIXERS)
def test_matrix_mixers_refuse_another_length(name):
    mixer, variables, x, mask = build(name)
    with pytest.raises(ValueError, match=f"mixer='{name}' mixes exactly max_seq_length=12 .* has 11"):
        mixer.apply(variables, x[:, :11], mask[:, :11], True)


@pytest.mark.parametrize("name", ["fourier", "hartley", "dct", "hadamard", "attention", "ff_only"])
def test_others_take_another_length(name):
    mixer, variables, x, mask = build(name)
    y = mixer.apply(variables, x[:, :11], mask[:, :11], True)
    expected = reference.mix(name, x[:, :11].astype(np.float64), own(variables), mask[:, :11])
    assert reference.relative_errors(y, expected)[1] < 2e-6


@each_mixer
def test_only_attention_leaves_padding_out(name):
    mixer, variables, x, mask = build(name)
    other = np.where(mask[:, :, None], x, x + 1)
    y, y_other = (np.asarray(mixer.apply(variables, x, mask, True))[mask] for x in (x, other))
    if name in ("attention", "ff_only"):
        np.testing.assert_array_equal(y, y_other)
    else:
        assert np.abs(y - y_other).max() > 0.1 * y.std()


def test_attention_of_an_example_that_is_all_padding_is_finite():
    mixer, variables, x, _ = build("attention")
    assert np.isfinite(mixer.apply(variables, x, np.zeros(x.shape[:2], bool), True)).all()


def test_random_matrices_are_not_trained_and_differ_by_key():
    mixer, variables, x, mask = build("random", max_seq_length=64, d_model=48)
    assert set(variables) == {"constants"}
    other = mixer.init(jax.random.key(1), x, mask, True)
    for name, size in (("hidden_kernel", 48), ("seq_kernel", 64)):
        matrix = variables["constants"][name]
        assert matrix.shape == (size, size)
        np.testing.assert_allclose(matrix.std(), size**-0.5, rtol=0.05)  # lecun_normal
        assert np.any(matrix != other["constants"][name])


def test_linear_and_attention_initialisation():
    _, variables, _, _ = build("linear", max_seq_length=64, d_model=48)
    for kernel in variables["params"].values():
        np.testing.assert_allclose(kernel.std(), 0.02, rtol=0.1)
    _, variables, _, _ = build("attention", d_model=128)
    for dense in variables["params"].values():
        np.testing.assert_allclose(dense["kernel"].std(), 0.02, rtol=0.1)
        np.testing.assert_allclose(dense["bias"].std(), 0.02, rtol=0.3)


def test_attention_refuses_heads_that_do_not_divide():
    with pytest.raises(ValueError, match="d_model=8 is not a multiple of num_heads=3"):
        build("attention", num_heads=3)


# Attention dropout: the library function has none, so a second path computes the same thing.


def attention_inputs(dtype=np.float32):
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.normal(size=(2, 6, 3, 4)), dtype) for _ in range(3))
    return q, k, v, jnp.asarray(np.arange(6) < np.array([[4], [6]]))[:, None, None, :]


def test_both_attention_paths_agree_at_rate_zero():
    q, k, v, mask = attention_inputs()
    library = jax.nn.dot_product_attention(q, k, v, mask=mask)
    np.testing.assert_allclose(dropout_attention(q, k, v, mask, lambda p: p), library, atol=1e-6)


def test_cudnn_is_called_where_there_is_a_gpu(monkeypatch):
    q = jnp.ones((2, 128, 3, 64), jnp.bfloat16)
    mask = jnp.ones((2, 1, 1, 128), bool)

    def lowered(platform):
        def loss(q):
            return jnp.sum(library_attention(q, q, q, mask, "cudnn").astype(jnp.float32))

        with jax.numpy_dtype_promotion("standard"):  # the library's backward pass needs it too
            return jax.jit(jax.grad(loss)).trace(q).lower(lowering_platforms=(platform,)).as_text()

    assert "cudnn" not in lowered("cpu")
    # Tracing asks the driver for its version; lowering for a GPU needs none.
    monkeypatch.setattr("jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    text = lowered("cuda")
    assert text.count("@__cudnn$fmhaSoftmax(") == text.count("@__cudnn$fmhaSoftmaxBackward(") == 1
    assert "tensor<2x3x128x128" not in text  # no probabilities


def test_dropout_acts_on_the_probabilities():
    q, k, v, mask = attention_inputs()
    keep = np.random.default_rng(1).integers(0, 2, (2, 3, 6, 6)).astype(np.float32)
    y = dropout_attention(q, k, v, mask, lambda probs: probs * keep)
    scores = np.einsum("blhx,bmhx->bhlm", q, k) / 2
    probs = np.exp(scores) * np.asarray(mask)
    probs = probs / probs.sum(-1, keepdims=True) * keep
    np.testing.assert_allclose(y, np.einsum("bhlm,bmhx->blhx", probs, v), atol=1e-5)


def test_attention_dropout_is_drawn_only_in_training():
    mixer, variables, x, mask = build("attention", mixing_dropout_rate=0.5)

    def apply(deterministic, seed):
        return mixer.apply(variables, x, mask, deterministic, rngs={"dropout": jax.random.key(seed)})

    np.testing.assert_array_equal(apply(True, 0), apply(True, 1))
    np.testing.assert_array_equal(apply(False, 0), apply(False, 0))
    assert np.any(apply(False, 0) != apply(False, 1))


def test_mixers_share_one_signature():
    mixers = [make(reference.tiny_config(), name=name) for name, make in MIXERS.items()]
    assert all(isinstance(mixer, nn.Module) for mixer in mixers)
    assert len({str(typing.get_type_hints(type(mixer).__call__)) for mixer in mixers}) == 1


@each_mixer
def test_mask_and_determinism_have_defaults(name):
    mixer, variables, x, mask = build(name)
    expected = mixer.apply(variables, x, np.ones_like(mask), True)
    np.testing.assert_array_equal(mixer.apply(variables, x), expected)
