"""Checkpoints in the original's layout, written without this project's code, against the NumPy model."""

import functools
import os

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnet_jax.bridge.google import checkpoint as google
from fnet_jax.bridge.google import model as google_model
from fnet_jax.core.errors import UserError
from fnet_jax.nn.heads import make_model
from tests.bridge import numpy_fnet, threefry
from tests.bridge.google import original_checkpoint
from tests.nn.reference import relative_errors, tiny_config

SIZES = dict(layers=3, d_emb=6, d_model=8, d_ff=20, length=12)
SEED = 7  # of the original run
MIXERS = google_model.ARCHITECTURES


def without(params, start):
    return {name: part for name, part in params.items() if not name.startswith(start)}


def moments(x):
    return x + 1, x * x


@functools.cache
def params_of(arch):
    return numpy_fnet.make_params(arch, **SIZES)


@pytest.fixture(scope="module", params=numpy_fnet.ARCHITECTURES)
def checkpoint(request, tmp_path_factory):
    """(architecture, path of its file, what was read)."""
    arch = request.param
    path = tmp_path_factory.mktemp(arch) / f"{arch}_checkpoint"
    original_checkpoint.write(path, original_checkpoint.optimizer_tree(params_of(arch), 998_000, moments))
    return arch, path, google.read(str(path), seed=SEED)


def inputs():
    rng = np.random.default_rng(3)
    ids = rng.integers(4, 30, (4, SIZES["length"]))
    ids[1, 7:] = ids[2, 9:] = numpy_fnet.PAD
    return ids, rng.integers(0, 4, ids.shape), np.tile([0, 2, 5, 6], (4, 1))


def random_matrices(arch):
    return threefry.matrices(SEED, SIZES["layers"], 8, 12) if arch == "random" else ()


def test_logits_equal_the_original(checkpoint):
    arch, _, loaded = checkpoint
    assert loaded.head == "pretrain"
    ids, types, positions = inputs()
    model = make_model(loaded.head, loaded.config.model)
    logits = model.apply(loaded.variables, ids, types, positions, True)
    expected = numpy_fnet.pretrain_logits(params_of(arch), arch, ids, types, positions, random_matrices(arch))
    for ours, theirs in zip(logits, expected, strict=True):
        assert relative_errors(ours, theirs)[1] < 1e-5


def test_every_tensor_is_read_exactly(checkpoint):
    """Their values, reached by our paths: each value once, in float32."""
    arch, _, loaded = checkpoint
    theirs = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(params_of(arch))])
    ours = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(loaded.variables["params"])])
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(np.sort(ours), np.sort(theirs))


def test_config_follows_from_the_tensors(checkpoint):
    arch, _, loaded = checkpoint
    model = loaded.config.model
    assert model.mixer == MIXERS[arch]
    assert (model.num_layers, model.d_emb, model.d_model, model.d_ff) == (3, 6, 8, 20)
    assert (model.vocab_size, model.max_seq_length, model.type_vocab_size) == (30, 12, 4)
    assert (model.num_heads == 2) == (arch == "bert")


def test_moments_are_laid_out_as_the_parameters(checkpoint):
    _, path, loaded = checkpoint
    found = google.read_moments(str(path), loaded)
    assert found.step == 998_000
    for ours, fn in ((found.mean, lambda x: x + 1), (found.square, lambda x: x * x)):
        jax.tree.map(np.testing.assert_array_equal, ours, jax.tree.map(fn, loaded.variables["params"]))


def test_what_is_written_is_what_was_read(checkpoint, tmp_path):
    arch, _, loaded = checkpoint
    google.write(loaded, str(tmp_path / "again"))
    written = flax.serialization.msgpack_restore((tmp_path / "again").read_bytes())
    jax.tree.map(np.testing.assert_array_equal, written, {"target": params_of(arch)})
    assert os.listdir(tmp_path) == ["again"]


def test_random_matrices_are_the_originals():
    """Also where attention layers come first: each layer has used up its keys."""
    model = tiny_config(mixer="random", num_layers=3, num_attention_layers=1, attention_layout="bottom")
    ours = google_model.random_constants(model, SEED)["encoder"]["layers_1"]["random"]
    for layer, theirs in enumerate(threefry.matrices(SEED, 3, 8, 12)[1:]):
        for name, matrix in theirs.items():
            np.testing.assert_allclose(ours[name][layer], matrix, rtol=1e-5, atol=1e-7)


def save(folder, params, name="linear_checkpoint", tree=None, chunk=2**30):
    path = folder / name
    original_checkpoint.write(path, tree or {"target": params}, chunk)
    return str(path)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_other_dtypes_become_float32(tmp_path, dtype):
    params = jax.tree.map(lambda x: x.astype(jnp.dtype(dtype)), params_of("linear"))
    read = google.read(save(tmp_path, params)).variables["params"]
    bias = read["predictions_output"]["output_bias"]
    assert bias.dtype == np.float32
    np.testing.assert_array_equal(bias, params["predictions_output"]["output_bias"].astype("f4"))


def test_arrays_in_pieces(tmp_path):
    """Flax cuts arrays above 1 GiB; here above 100 bytes."""
    read, again = (google.read(save(tmp_path, params_of("linear"), chunk=chunk)) for chunk in (2**30, 100))
    jax.tree.map(np.testing.assert_array_equal, read.variables, again.variables)


def test_sparse_mixers(tmp_path):
    """Other names in linear and attention layers, in a TrainState with optax's Adam inside a chain."""
    params = dict(params_of("linear"), encoder=dict(params_of("linear")["encoder"]))
    encoder = params["encoder"]
    del encoder["linear_transform_2"]
    encoder["attention_2"] = {"self": params_of("bert")["encoder"]["self_attention_2"]}
    for i in range(2):
        kernels = encoder[f"linear_transform_{i}"]
        encoder[f"linear_transform_{i}"] = {
            "hidden_kernel": kernels["hidden_kernel"],
            "input_kernel": kernels["seq_kernel"],
        }
    adam = {"count": np.int32(9), "mu": params, "nu": jax.tree.map(np.square, params)}
    state = {"0": {}, "1": {"0": adam, "1": {}, "2": {"count": np.int32(9)}}}
    path = save(tmp_path, None, tree={"step": 9, "params": params, "opt_state": state})
    loaded = google.read(path)
    model = loaded.config.model
    assert (model.mixer, model.num_attention_layers, model.attention_layout) == ("linear", 1, "top")
    ours = loaded.variables["params"]["encoder"]
    expected = [params_of("linear")["encoder"][f"linear_transform_{i}"]["seq_kernel"] for i in range(2)]
    np.testing.assert_array_equal(ours["layers_0"]["linear"]["seq_kernel"], expected)
    found = google.read_moments(path, loaded)
    assert found.step == 9
    jax.tree.map(np.testing.assert_array_equal, found.mean, loaded.variables["params"])


def test_classifier(tmp_path):
    params = numpy_fnet.make_params("f_net", outputs=3, **SIZES)
    params = {name: params[name] for name in ("encoder", "classification")}
    loaded = google.read(save(tmp_path, params, "f_net_checkpoint"))
    assert (loaded.head, loaded.config.task, loaded.config.model.num_outputs) == ("sequence", "classify", 3)
    ids, types, _ = inputs()
    logits = make_model("sequence", loaded.config.model).apply(loaded.variables, ids, types, True)
    expected = numpy_fnet.class_logits(params, "f_net", ids, types)
    assert relative_errors(logits, expected)[1] < 1e-5


def test_encoder_alone(tmp_path):
    loaded = google.read(save(tmp_path, None, tree={"encoder": params_of("linear")["encoder"]}))
    assert loaded.head == "encoder"


def test_newest_checkpoint_of_a_folder(tmp_path):
    for step in (2000, 10_000, 4000):
        params = dict(params_of("linear"))
        params["predictions_output"] = {"output_bias": np.full(30, step, np.float32)}
        save(tmp_path, params, f"checkpoint_{step}")
    (tmp_path / google.TOKENIZER).touch()
    loaded = google.read(str(tmp_path))
    assert loaded.variables["params"]["predictions_output"]["output_bias"][0] == 10_000
    assert loaded.tokenizer_path == str(tmp_path / google.TOKENIZER)


def test_a_mixer_that_no_tensor_tells(tmp_path):
    path = save(tmp_path, params_of("f_net"), "checkpoint_5")
    with pytest.raises(UserError, match=r"does not tell how its layers mix.*give one of them as --mixer"):
        google.read(path)
    assert google.read(path, mixer="ff_only").config.model.mixer == "ff_only"


def test_every_tensor_at_fault_is_named(tmp_path):
    params = jax.tree.map(lambda x: x, params_of("linear"))
    encoder = params["encoder"]
    del encoder["pooler"]["bias"]
    encoder["extra"] = {"kernel": np.zeros(3, np.float32)}
    encoder["feed_forward_1"]["output"]["bias"] = np.zeros(9, np.float32)
    with pytest.raises(UserError) as error:
        google.read(save(tmp_path, params))
    for fault in (
        "encoder/pooler/bias is missing",
        "encoder/extra/kernel is surplus",
        "encoder/feed_forward_1/output/bias has shape [9] and not [8]",
    ):
        assert str(error.value).count(fault) == 1
    assert str(error.value).count(";") == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda encoder: encoder.pop("embedder"),
            "word/embedding is missing; .*position/embedding is missing",
        ),
        (
            lambda encoder: encoder.update(self_attention_0=encoder["pooler"], attention_2=encoder["pooler"]),
            r"attention in the layers \[0, 2\] of 3, which is none of the layouts bottom, middle",
        ),
    ],
)
def test_no_such_model(tmp_path, change, message):
    params = jax.tree.map(lambda x: x, params_of("linear"))
    change(params["encoder"])
    with pytest.raises(UserError, match=message):
        google.read(save(tmp_path, params))


def test_no_parameters_and_no_optimizer(tmp_path):
    with pytest.raises(UserError, match="no `encoder` in it"):
        google.read(save(tmp_path, None, tree={"target": {"decoder": {}}}))
    path = save(tmp_path, params_of("linear"))
    with pytest.raises(UserError, match="no state of Adam"):
        google.read_moments(path, google.read(path))


def test_what_the_original_cannot_be(tmp_path):
    loaded = google.read(save(tmp_path, params_of("f_net"), "checkpoint_5"), mixer="hartley")
    with pytest.raises(UserError, match="no model of mixer='hartley'"):
        google.write(loaded, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
