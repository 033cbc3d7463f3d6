"""The whole pretraining model against float64 NumPy; every head; parameter counts; sharding."""

import dataclasses
import functools
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnet_jax.core.config import Config, Head
from fnet_jax.core.mesh import batch_sharding, create_mesh, param_shardings, path_str, replicated
from fnet_jax.nn.encoder import layer_runs
from fnet_jax.nn.heads import PretrainModel, SequenceModel, make_model, param_count
from fnet_jax.nn.losses import pretrain_sums
from fnet_jax.tasks.kinds import make_objective
from tests.hlo import collective_kinds
from tests.nn import reference

INPUTS = ("input_ids", "type_ids", "masked_lm_positions")
HYBRID = dict(num_layers=3, num_attention_layers=1, attention_layout="top")
BASE = dict(num_layers=12, d_model=768, d_emb=768, d_ff=3072, num_heads=12)
LARGE = dict(num_layers=24, d_model=1024, d_emb=1024, d_ff=4096, num_heads=16)


def build(config, batch_size=4):
    batch = reference.tiny_batch(config, batch_size)
    model = PretrainModel(config)
    return model, stir(jax.jit(model.init)(jax.random.key(0), *(batch[name] for name in INPUTS))), batch


def stir(variables):
    """Moves every parameter off its initial value, so that a scale of 1 or a bias of 0 is put to work."""
    rng = np.random.default_rng(5)
    return jax.tree.map(lambda leaf: leaf + rng.normal(0, 0.1, leaf.shape).astype("f4"), variables)


def double(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def layers_of(config, variables):
    """(mixer, its variables, params of its block) of each layer, for the reference."""
    layers = []
    for first, count, mixer in layer_runs(config):
        run = {name: tree["encoder"].get(f"layers_{first}", {}) for name, tree in variables.items()}
        for i in range(count):
            layer = jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i], np.float64), run)
            own = layer["params"] | layer.get("constants", {})
            layers.append((mixer, own.get(mixer), layer["params"]))
    return layers


def pretrain_logits(config):
    """The logits of a model with stirred parameters, and those of the reference, in float64."""
    model, variables, batch = build(config)
    expected = reference.pretrain_logits(layers_of(config, variables), double(variables["params"]), batch)
    return jax.jit(model.apply)(variables, *(batch[name] for name in INPUTS)), expected


@pytest.mark.parametrize(
    "overrides",
    [
        dict(mixer="fourier", fourier_impl="fft"),
        dict(mixer="fourier", fourier_impl="dft"),
        dict(mixer="hadamard"),
        dict(mixer="linear", **HYBRID),
        dict(mixer="random"),
    ],
    ids=lambda overrides: "-".join(str(value) for value in overrides.values()),
)
def test_logits_match_float64(overrides):
    for actual, expected in zip(*pretrain_logits(reference.tiny_config(**overrides)), strict=True):
        assert actual.dtype == jnp.float32
        assert reference.relative_errors(actual, expected)[1] < 2e-5


def test_bfloat16_logits_are_float32_and_near():
    logits, exact = pretrain_logits(reference.tiny_config(dtype="bfloat16", **HYBRID))
    for actual, expected in zip(logits, exact, strict=True):
        assert actual.dtype == jnp.float32
        assert reference.relative_errors(actual, expected)[0] < 2e-2
    # Had they been rounded to bfloat16, the lower 16 bits would all be zero.
    assert np.any(np.asarray(logits.masked_lm_BPV).view(np.uint32) & 0xFFFF)


@pytest.mark.parametrize(
    ("size", "encoder", "with_heads"),
    [(BASE, 82_861_056, 83_486_722), (LARGE, 236_945_408, 238_031_106)],
    ids=["base", "large"],
)
def test_parameter_counts_of_the_published_models(size, encoder, with_heads):
    params = shapes(reference.tiny_config(max_seq_length=512, vocab_size=32_000, **size))["params"]
    assert param_count(params["encoder"]) == encoder
    assert param_count(params) == with_heads


@pytest.mark.parametrize("mixer", ["fourier", "linear", "random", "attention"])
def test_every_param_of_the_model_has_a_sharding_rule(mixer):
    variables = shapes(reference.tiny_config(mixer=mixer, **HYBRID))
    for collection in variables.values():
        param_shardings(create_mesh(), collection)


def test_names_of_the_original():
    params = shapes(reference.tiny_config())["params"]
    paths = {path_str(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    assert paths == {
        "encoder/embedder/word/embedding": (30, 6),
        "encoder/embedder/position/embedding": (12, 6),
        "encoder/embedder/type/embedding": (4, 6),
        "encoder/embedder/layer_norm/scale": (6,),
        "encoder/embedder/layer_norm/bias": (6,),
        "encoder/embedder/hidden_mapping_in/kernel": (6, 8),
        "encoder/embedder/hidden_mapping_in/bias": (8,),
        "encoder/layers_0/mixing_layer_norm/scale": (2, 8),
        "encoder/layers_0/mixing_layer_norm/bias": (2, 8),
        "encoder/layers_0/feed_forward/intermediate/kernel": (2, 8, 20),
        "encoder/layers_0/feed_forward/intermediate/bias": (2, 20),
        "encoder/layers_0/feed_forward/output/kernel": (2, 20, 8),
        "encoder/layers_0/feed_forward/output/bias": (2, 8),
        "encoder/layers_0/output_layer_norm/scale": (2, 8),
        "encoder/layers_0/output_layer_norm/bias": (2, 8),
        "encoder/pooler/kernel": (8, 8),
        "encoder/pooler/bias": (8,),
        "predictions_dense/kernel": (8, 6),
        "predictions_dense/bias": (6,),
        "predictions_layer_norm/scale": (6,),
        "predictions_layer_norm/bias": (6,),
        "predictions_output/output_bias": (30,),
        "classification/output_kernel": (2, 8),
        "classification/output_bias": (2,),
    }


def test_initialisation_of_the_heads():
    config = reference.tiny_config(num_layers=1, d_model=96, d_emb=64, vocab_size=512)
    inputs = inputs_of("pretrain", config, batch_size=1)
    params = jax.jit(PretrainModel(config).init)(jax.random.key(0), *inputs)["params"]
    for leaf in (
        params["predictions_dense"]["kernel"],
        params["predictions_output"]["output_bias"],
        params["classification"]["output_kernel"],
    ):
        np.testing.assert_allclose(leaf.std(), 0.02, rtol=0.2)
    assert np.all(params["classification"]["output_bias"] != 0)
    assert not np.any(params["predictions_dense"]["bias"])


@pytest.mark.parametrize("overrides", [dict(fourier_impl="fft"), dict(mixer="attention")], ids=str)
def test_sharded_gradient_equals_whole_and_gathers_nothing(overrides):
    """Batch over 8 devices: only sums over examples cross them, so all-reduce is the only collective."""
    config = reference.tiny_config(**overrides)
    model, variables, batch = build(config, batch_size=16)

    objective = make_objective(Config(model=config))

    def loss(params, batch):
        logits = model.apply({**variables, "params": params}, *(batch[name] for name in INPUTS))
        return objective.loss(pretrain_sums(logits, batch), objective.normalizers(batch))

    expected = jax.jit(jax.value_and_grad(loss))(variables["params"], batch)
    mesh = create_mesh()
    with jax.set_mesh(mesh):
        params = jax.device_put(variables["params"], replicated(mesh))
        batch = jax.device_put(batch, batch_sharding(mesh))
        step = jax.jit(jax.value_and_grad(loss), out_shardings=replicated(mesh))
        compiled = step.lower(params, batch).compile()
        actual = compiled(params, batch)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), actual, expected)
    assert collective_kinds(compiled.as_text()) == {"all-reduce"}


def shapes(config):
    inputs = inputs_of("pretrain", config, batch_size=1)
    return jax.eval_shape(PretrainModel(config).init, jax.random.key(0), *inputs)


def test_classifier_matches_float64_and_has_the_names_of_the_original():
    config = reference.tiny_config(num_outputs=3)
    batch = reference.tiny_batch(config, 4)
    model = SequenceModel(config)
    variables = stir(jax.jit(model.init)(jax.random.key(0), batch["input_ids"], batch["type_ids"]))
    assert variables["params"].keys() == {"encoder", "classification"}
    logits = jax.jit(model.apply)(variables, batch["input_ids"], batch["type_ids"])
    # The same encoder under the pretraining heads, whose reference is written out in NumPy.
    _, params, _ = build(config)
    params = double(params["params"] | variables["params"])
    expected = reference.pretrain_logits(layers_of(config, variables), params, batch)[1]
    assert logits.shape == (4, 3)
    assert reference.relative_errors(logits, expected)[1] < 2e-5


def with_and_without_dropout(model, inputs):
    """The logits of a fresh model: deterministic, and not."""
    variables = jax.jit(model.init)(jax.random.key(0), *inputs)
    apply = jax.jit(model.apply, static_argnums=3)
    return [apply(variables, *inputs, mode, rngs={"dropout": jax.random.key(1)}) for mode in (True, False)]


def test_classifier_dropout_is_an_option():
    config = reference.tiny_config(num_outputs=3, dropout_rate=0.0)
    inputs = inputs_of("sequence", config)
    still, moved = with_and_without_dropout(SequenceModel(config), inputs)
    np.testing.assert_array_equal(still, moved)
    config = dataclasses.replace(config, classifier_dropout_rate=0.5)
    still, moved = with_and_without_dropout(SequenceModel(config), inputs)
    assert np.abs(still - moved).max() > 0


def inputs_of(head, config, batch_size=4):
    """The arrays that the model of a head is called with."""
    batch = reference.tiny_batch(config, batch_size)
    if head == "choice":  # K = 2
        return [batch[name].reshape(batch_size // 2, 2, -1) for name in INPUTS[:2]]
    return [batch[name] for name in (INPUTS if head in ("pretrain", "masked_lm") else INPUTS[:2])]


@functools.cache
def head_outputs(head, config, batch_size=4):
    """Variables with stirred parameters, and what the model makes of a batch, a list."""
    model, inputs = make_model(head, config), inputs_of(head, config, batch_size)
    variables = stir(jax.jit(model.init)(jax.random.key(0), *inputs))
    outputs = jax.jit(model.apply)(variables, *inputs)
    return variables, list(outputs) if isinstance(outputs, tuple) else [outputs]


CONFIG = reference.tiny_config(num_outputs=3)
PREDICTIONS = {"predictions_dense", "predictions_layer_norm", "predictions_output"}
HEADS = {  # names beside the encoder, shapes for B = 4, L = 12, D = 8, P = 5, V = 30, C = 3, K = 2
    "encoder": (set(), [(4, 12, 8), (4, 8)]),
    "pretrain": (PREDICTIONS | {"classification"}, [(4, 5, 30), (4, 2)]),
    "masked_lm": (PREDICTIONS, [(4, 5, 30)]),
    "next_sentence": ({"classification"}, [(4, 2)]),
    "sequence": ({"classification"}, [(4, 3)]),
    "tokens": ({"classification"}, [(4, 12, 3)]),
    "choice": ({"classification"}, [(2, 2)]),
    "span": ({"classification"}, [(4, 12), (4, 12)]),
}


def test_every_head_has_names_and_shapes_and_sharding_rules():
    assert set(HEADS) == set(typing.get_args(Head))
    for head, (names, expected) in HEADS.items():
        variables, outputs = head_outputs(head, CONFIG)
        assert variables["params"].keys() == {"encoder", *names}, head
        assert [output.shape for output in outputs] == expected, head
        assert all(output.dtype == jnp.float32 for output in outputs)
        param_shardings(create_mesh(), variables["params"])


def test_logits_of_positions_and_choices_are_the_encoders_outputs_projected():
    """The encoder is checked above; here its outputs meet the projection in float64."""

    def expected(variables, take):
        encoder = {"params": {"encoder": variables["params"]["encoder"]}}
        ids, types = inputs_of("sequence", CONFIG)
        outputs = jax.jit(make_model("encoder", CONFIG).apply)(encoder, ids, types)
        head = double(variables["params"]["classification"])
        return np.asarray(outputs[take], np.float64) @ head["output_kernel"].T + head["output_bias"]

    variables, (tokens_BLC,) = head_outputs("tokens", CONFIG)
    np.testing.assert_allclose(tokens_BLC, expected(variables, 0), rtol=2e-5, atol=2e-5)
    variables, span = head_outputs("span", CONFIG)
    np.testing.assert_allclose(np.stack(span, -1), expected(variables, 0), rtol=2e-5, atol=2e-5)
    variables, (choice_BK,) = head_outputs("choice", CONFIG)
    np.testing.assert_allclose(choice_BK.reshape(4, 1), expected(variables, 1), rtol=2e-5, atol=2e-5)


def test_masked_lm_alone_is_the_pretraining_model_without_its_classifier():
    model, variables, batch = build(config := reference.tiny_config())
    inputs = [batch[name] for name in INPUTS]
    without = {name: value for name, value in variables["params"].items() if name != "classification"}
    alone = make_model("masked_lm", config).apply({**variables, "params": without}, *inputs)
    np.testing.assert_array_equal(alone, model.apply(variables, *inputs).masked_lm_BPV)


@pytest.mark.parametrize("head", ["tokens", "choice", "span"])
def test_the_heads_are_the_same_on_any_mesh(head):
    config = dataclasses.replace(CONFIG, d_ff=16)
    model, inputs = make_model(head, config), inputs_of(head, config, 8)
    variables = stir(jax.jit(model.init)(jax.random.key(0), *inputs))

    def loss(variables, inputs):
        return sum(jnp.sum(jnp.sin(logits)) for logits in jax.tree.leaves(model.apply(variables, *inputs)))

    expected = jax.jit(jax.value_and_grad(loss))(variables, inputs)
    mesh = create_mesh(data=2, seq=2, tensor=2)
    with jax.set_mesh(mesh):
        placed = jax.device_put(inputs, batch_sharding(mesh))
        actual = jax.jit(jax.value_and_grad(loss))(jax.device_put(variables, replicated(mesh)), placed)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-4), actual, expected)


def test_next_sentence_alone_takes_no_notice_of_the_classifiers_config():
    config = reference.tiny_config(dropout_rate=0.0, num_outputs=7, classifier_dropout_rate=0.5)
    model, inputs = make_model("next_sentence", config), inputs_of("next_sentence", config)
    still, moved = with_and_without_dropout(model, inputs)
    np.testing.assert_array_equal(still, moved)
