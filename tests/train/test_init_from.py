"""A labelled task that starts from a pretrained encoder."""

import jax
import numpy as np
import pytest

from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.workdir import saved_config
from fnet_jax.data.tokenizer import train_tokenizer
from fnet_jax.train.checkpoints.checkpointer import Checkpointer
from fnet_jax.train.loop import train
from fnet_jax.train.setup import set_up
from tests.conftest import smoke_config
from tests.train.labelled import labelled_config


@pytest.fixture(scope="module")
def pretrained(overrides, tmp_path_factory) -> str:
    workdir = str(tmp_path_factory.mktemp("pretrained"))
    assert (
        train(smoke_config({**overrides, "train.num_train_steps": 2, "optim.num_warmup_steps": 1}), workdir)
        == 0
    )
    return workdir


def encoder_of(workdir: str, config: Config) -> dict:
    abstract = set_up(config, workdir, training=False).abstract
    reader = Checkpointer(workdir, read_only=True)
    (step,) = reader.steps()[-1:]
    return reader.restore_variables(step, abstract.variables)["params"]["encoder"]


def test_starts_from_a_pretrained_encoder(pretrained, table_csv, tmp_path, capsys):
    """Shape, length and tokenizer come along; nothing moves under a learning rate of 0."""
    config = labelled_config(
        table_csv, init_from=pretrained, optim__learning_rate_rules=".*=0", train__num_train_steps=1
    )  # fmt: skip
    source = saved_config(pretrained)
    assert config.model.max_seq_length == source.model.max_seq_length
    assert config.model.vocab_size == source.model.vocab_size > 0
    assert train(config, str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert f"warm start: encoder of step 2 of {pretrained}; fresh classifier and optimizer" in out
    assert "warning: model.max_seq_length" not in out
    old, new = encoder_of(pretrained, source), encoder_of(str(tmp_path), saved_config(str(tmp_path)))
    jax.tree.map(np.testing.assert_array_equal, old, new)


def test_a_shorter_length_takes_the_first_positions_and_says_so(pretrained, table_csv, tmp_path, capsys):
    config = labelled_config(
        table_csv, init_from=pretrained, model__max_seq_length=16, optim__learning_rate_rules=".*=0",
        train__num_train_steps=1,
    )  # fmt: skip
    assert train(config, str(tmp_path)) == 0
    assert "warning: model.max_seq_length=16, but the encoder was trained at 32" in capsys.readouterr().out
    old = encoder_of(pretrained, saved_config(pretrained))["embedder"]["position"]["embedding"]
    new = encoder_of(str(tmp_path), saved_config(str(tmp_path)))["embedder"]["position"]["embedding"]
    np.testing.assert_array_equal(old[:16], new)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"model__max_seq_length": 64}, "exceeds the 32 positions of init_from"),
        ({"model__d_model": 64}, "has shape"),
        ({"model__num_layers": 2}, "has shape"),
        ({"data__tokenizer": "other"}, "is not the tokenizer of init_from"),
    ],
)
def test_what_does_not_fit_the_pretrained_encoder_is_refused(pretrained, table_csv, tmp_path, keys, says):
    if "data__tokenizer" in keys:
        keys = {"data__tokenizer": str(tmp_path / "other.model")}
        train_tokenizer((f"number {i} of other texts" for i in range(500)), keys["data__tokenizer"], 150)
    config = labelled_config(table_csv, init_from=pretrained, **keys)
    with pytest.raises(UserError, match=says):
        train(config, str(tmp_path))


def test_init_from_without_a_run(table_csv, tmp_path):
    with pytest.raises(UserError, match=r"holds no config\.json"):
        labelled_config(table_csv, init_from=str(tmp_path))
