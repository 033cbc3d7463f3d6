"""A config on its way from the command line to the numbers that are compiled."""

import dataclasses

import pytest

from fnet_jax.configs import glue, pretrain
from fnet_jax.core.errors import UserError
from fnet_jax.core.workdir import save_config
from fnet_jax.train.concrete import DataFacts, facts_without_data, make_concrete, make_config
from tests.train import synthetic


def test_a_run_tells_where_its_data_are(tmp_path):
    """So that eval.py needs no more than the config file and the workdir."""

    def make(*overrides, **args):
        c = glue.get_config(",".join(f"{key}={value}" for key, value in args.items()))
        c.update_from_flattened_dict(dict(override.split("=") for override in overrides))
        return make_config(c, [override.split("=")[0] for override in overrides], str(tmp_path))

    save_config(make("data.dir=here", task="cola"), str(tmp_path))
    assert make(task="cola").data.dir == "here"
    assert make("data.dir=there", task="cola").data.dir == "there"
    assert make(task="sst2").data.dir == ""


@pytest.mark.parametrize("task", ["pretrain", "masked_lm"])
def test_pretraining_goes_on_with_the_tokenizer_of_its_start(task, tmp_path):
    """Not with one trained anew, whose tokens the embeddings would not be those of."""
    save_config(make_config(pretrain.get_config("smoke")), str(tmp_path))
    (tmp_path / "tokenizer.model").touch()
    c = pretrain.get_config(f"smoke,task={task}")
    c.init_from = str(tmp_path)
    assert make_config(c).data.tokenizer == f"{tmp_path}/tokenizer.model"
    c.data.tokenizer = "my.model"
    assert make_config(c).data.tokenizer == "my.model"


def test_sizes_and_steps_of_the_data():
    c = synthetic.config(
        model__vocab_size=0,
        train__num_train_epochs=2.0,
        train__train_batch_size=16,
        train__eval_proportion=0.3,
        optim__warmup_proportion=0.1,
    )
    done = make_concrete(c, DataFacts(vocab_size=500, labels=(), num_outputs=0, num_train_examples=330))
    assert done.model.vocab_size == 500
    assert done.train.num_train_steps == 41  # 660 examples, a part of a batch left out
    assert (done.train.eval_frequency, done.optim.num_warmup_steps) == (13, 4)
    uncounted = make_concrete(c, DataFacts(500, (), 0))
    assert uncounted.train.num_train_steps == c.train.num_train_steps


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("model__vocab_size", r"model\.vocab_size=4 does not fit the 500 tokenizer's pieces"),
        ("model__num_outputs", r"model\.num_outputs=4 does not fit the 2 labels of the data"),
    ],
)
def test_a_config_that_says_otherwise_than_the_data(key, says):
    c = synthetic.config(**{"model__vocab_size": 0, key: 4})
    with pytest.raises(UserError, match=says):
        make_concrete(c, DataFacts(500, ("a", "b"), 2))


def test_a_vocabulary_that_the_config_does_not_tell():
    c = synthetic.config(model__vocab_size=0)
    assert facts_without_data(c).vocab_size == c.data.tokenizer_pieces
    with pytest.raises(UserError, match=r"model\.vocab_size=0"):
        facts_without_data(dataclasses.replace(c, data=dataclasses.replace(c.data, tokenizer="x.model")))


def test_labels_that_the_config_does_not_tell():
    c = synthetic.config()
    unknown = dataclasses.replace(c, task="classify")
    with pytest.raises(UserError, match=r"model\.num_outputs=0"):
        facts_without_data(unknown)
    named = dataclasses.replace(unknown, data=dataclasses.replace(c.data, labels=("a", "b", "c")))
    assert facts_without_data(named).num_outputs == 3
    assert facts_without_data(dataclasses.replace(c, task="stsb")).num_outputs == 1
