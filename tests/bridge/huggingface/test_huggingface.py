"""Hugging Face's files without transformers: round trips, what it computes, what is refused."""

import dataclasses
import json
import pathlib
import re
import typing

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fnet_jax.bridge import verify
from fnet_jax.bridge.huggingface import folder as huggingface
from fnet_jax.bridge.loaded import flat
from fnet_jax.bridge.read import read
from fnet_jax.core.config import Head
from fnet_jax.core.errors import UserError
from tests.bridge import goldens
from tests.bridge.made import changed, made

HEADS = typing.get_args(Head)
WEIGHTS = "model.safetensors"


def assert_same_variables(one, other):
    one, other = flat(one.variables), flat(other.variables)
    assert one.keys() == other.keys()
    for path, array in one.items():
        np.testing.assert_array_equal(array, other[path], err_msg=path)
        assert array.dtype == other[path].dtype


@pytest.mark.parametrize("head", HEADS)
def test_round_trip_is_bit_exact(head, tmp_path):
    loaded = made(head)
    huggingface.write(loaded, str(tmp_path))
    back = read(str(tmp_path))
    assert_same_variables(loaded, back)
    assert back.head == head
    assert back.config.task == loaded.config.task
    assert back.config.data.labels == loaded.config.data.labels
    # Theirs has dropout before the classifier, at the encoder's rate, but none before spans; no attention.
    dropout = 0.25 if head in ("sequence", "tokens", "choice") else 0.0
    default_heads = back.config.model.num_heads
    assert back.config.model == dataclasses.replace(
        loaded.config.model, classifier_dropout_rate=dropout, num_heads=default_heads
    )


def test_regression_comes_back_as_regression(tmp_path):
    huggingface.write(made("sequence", num_outputs=1), str(tmp_path))
    assert json.loads((tmp_path / "config.json").read_text())["problem_type"] == "regression"
    assert read(str(tmp_path)).config.task == "regress"


@pytest.mark.parametrize("head", HEADS)
def test_logits_are_those_of_transformers(head):
    """Stored outputs of transformers for the same weights; test_transformers.py checks that they are."""
    stored = json.loads(goldens.PATH.read_text())
    loaded = made(head)
    for length in goldens.LENGTHS:
        outputs = goldens.cut(verify.ours(loaded, verify.probe(loaded, length)))
        for one, other in zip(outputs, stored[f"{head} {length}"], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)


# What is read.


def with_config(folder: pathlib.Path, **changes):
    values = json.loads((folder / "config.json").read_text()) | changes
    values = {key: value for key, value in values.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(values))


def with_tensors(folder: pathlib.Path, edit):
    tensors = load_file(folder / WEIGHTS)
    edit(tensors)
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, folder / WEIGHTS)


def test_names_without_prefix_old_buffers_and_tied_copies(folder):
    def old(tensors):
        for name in [name for name in tensors if name.startswith("fnet.")]:
            tensors[name.removeprefix("fnet.")] = tensors.pop(name)
        tensors["embeddings.position_ids"] = np.arange(24)[None]
        tensors["fnet.encoder.layer.0.fourier.self.dft_mat_seq"] = np.zeros((4, 4), np.complex64)
        tensors["cls.predictions.decoder.weight"] = tensors["embeddings.word_embeddings.weight"]
        tensors["cls.predictions.decoder.bias"] = tensors.pop("cls.predictions.bias")

    with_tensors(folder, old)
    assert_same_variables(made("pretrain"), read(str(folder)))


@pytest.mark.parametrize("head", ["pretrain", "masked_lm", "next_sentence", "span", "encoder"])
def test_the_tensors_tell_the_head_where_the_config_does_not(head, tmp_path):
    huggingface.write(made(head), str(tmp_path))
    with_config(tmp_path, architectures=...)
    assert read(str(tmp_path)).head == head


@pytest.mark.parametrize("head", ["sequence", "tokens"])
def test_the_user_tells_the_head_where_nothing_does(head, tmp_path):
    huggingface.write(made(head), str(tmp_path))
    with_config(tmp_path, architectures=None)
    with pytest.raises(UserError, match="--head=sequence, tokens or choice"):
        read(str(tmp_path))
    assert huggingface.read(str(tmp_path), head).head == head


# What is refused, by name.


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mixer": "hartley"}, "no model.mixer='hartley'"),
        ({"num_attention_layers": 1}, "no model.mixer='attention'"),
        ({"d_emb": 8}, "no model.d_emb=8 other than model.d_model=16"),
        ({"pooling": "mean"}, "no model.pooling='mean'"),
        ({"mixer": "linear", "d_emb": 8}, "'linear', no model.d_emb=8"),
    ],
)
def test_what_transformers_cannot_express(changes, says, tmp_path):
    with pytest.raises(UserError, match=re.escape(says) + ".*--to=fnet_jax"):
        huggingface.write(changed(made("pretrain"), **changes), str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_heads_that_do_not_pool_may_pool_as_they_like(tmp_path):
    loaded = made("tokens", pooling="mean")
    huggingface.write(loaded, str(tmp_path))
    back = read(str(tmp_path))
    assert_same_variables(loaded, back)
    inputs = verify.probe(loaded, loaded.config.model.max_seq_length)
    assert verify.largest_difference(verify.ours(loaded, inputs), verify.ours(back, inputs)) == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "bert"}, ["model_type='bert'"]),
        ({"hidden_act": "gelu"}, ["hidden_act='gelu'", "gelu_new"]),
        ({"layer_norm_eps": 1e-5, "hidden_act": "relu"}, ["layer_norm_eps=1e-05", "hidden_act='relu'"]),
        ({"tie_word_embeddings": False}, ["tie_word_embeddings=False"]),
        ({"pad_token_id": 0}, ["pad_token_id=0"]),
        ({"hidden_dropout_prob": 1.5}, ["hidden_dropout_prob=1.5"]),
        ({"architectures": ["FNetForRanking"]}, ["FNetForRanking", "FNetForMaskedLM"]),
        ({"architectures": "FNetModel"}, ["architectures='FNetModel' is none of"]),
        ({"hidden_size": "768"}, ["hidden_size='768'"]),
        ({"hidden_size": True}, ["hidden_size=True"]),
        ({"hidden_size": -4}, ["hidden_size=-4"]),
        ({"num_hidden_layers": 10**9}, ["num_hidden_layers=1000000000"]),
        ({"vocab_size": 10**18, "hidden_size": 10**18}, ["vocab_size=10", "hidden_size=10"]),
        # Within bounds, but not what the file holds.
        ({"vocab_size": 2**24, "intermediate_size": 2**24}, ["word_embeddings.weight has shape [50, 16]"]),
        ({"num_hidden_layers": 2}, ["fnet.encoder.layer.2.output.dense.weight is surplus"]),
        ({"num_hidden_layers": 4}, ["fnet.encoder.layer.3.output.dense.weight is missing"]),
        ({"max_position_embeddings": 4}, ["max_seq_length=4"]),
    ],
)
def test_configs_that_are_refused(folder, changes, says):
    with_config(folder, **changes)
    with pytest.raises(UserError) as error:
        read(str(folder))
    assert all(word in str(error.value) for word in says), str(error.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"id2label": {"0": "a", "2": "b"}}, "id2label"),
        ({"id2label": {"0": "a", "1": "a"}}, "id2label"),
        ({"id2label": ["a", "b"]}, "id2label"),
        ({"id2label": {"0": 1, "1": 2}}, "id2label"),
        ({"id2label": {"0": "a", "1": "b"}}, "classifier.weight has shape [5, 16] and not [2, 16]"),
        ({"problem_type": "multi_label_classification"}, "multi_label_classification"),
        ({"id2label": None, "num_labels": 10**12}, "num_labels=10"),
    ],
)
def test_labels_that_are_refused(tmp_path, changes, says):
    huggingface.write(made("sequence"), str(tmp_path))
    with_config(tmp_path, **changes)
    with pytest.raises(UserError, match=re.escape(says)):
        read(str(tmp_path))


def test_every_wrong_tensor_is_named_in_one_error(folder):
    def spoil(tensors):
        del tensors["fnet.pooler.dense.bias"], tensors["cls.seq_relationship.weight"]
        tensors["fnet.pooler.extra"] = np.zeros(3, np.float32)
        tensors["fnet.embeddings.LayerNorm.bias"] = np.zeros(15, np.float32)

    with_tensors(folder, spoil)
    with pytest.raises(UserError) as error:
        read(str(folder))
    for says in (
        "fnet.pooler.dense.bias is missing",
        "cls.seq_relationship.weight is missing",
        "fnet.pooler.extra is surplus",
        "fnet.embeddings.LayerNorm.bias has shape [15] and not [16]",
    ):
        assert says in str(error.value)
    assert str(error.value).count("\n") == 0


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda t: t.update({"cls.predictions.decoder.bias": t["cls.predictions.bias"] + 1}), "another"),
        (lambda t: t.update({"pooler.dense.bias": t["fnet.pooler.dense.bias"]}), "twice"),
        (lambda t: t.update({"fnet.pooler.dense.bias": np.zeros(16, np.int64)}), "no floating-point numbers"),
    ],
    ids=["untied", "twice", "integers"],
)  # fmt: skip
def test_tensors_that_are_refused(folder, edit, says):
    with_tensors(folder, edit)
    with pytest.raises(UserError, match=says):
        read(str(folder))


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"model_type": "fnet"'])
def test_configs_that_are_no_json_object(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json"):
        read(str(folder))


def test_folders_that_hold_no_model(tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        read(str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"config\.json cannot be read"):
        read(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="neither a config of fnet_jax nor one of transformers"):
        read(str(tmp_path))
    with_config(tmp_path, model_type="fnet")
    with pytest.raises(UserError, match=re.escape(f"neither {WEIGHTS} nor {WEIGHTS}.index.json")):
        read(str(tmp_path))
