"""Tasks that there are not, and keys that a task does not read."""

import dataclasses

import pytest

from fnet_jax.configs import base
from fnet_jax.core.config import PRETRAINING, Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.keys import declared
from fnet_jax.tasks.check import check_task
from fnet_jax.tasks.kinds import KINDS, kind_of
from fnet_jax.tasks.table import TASKS
from fnet_jax.train.concrete import make_config


@pytest.mark.parametrize("check", [check_task, kind_of])
def test_a_task_that_there_is_not(check):
    with pytest.raises(
        UserError, match=r"task='clasify' is unknown; did you mean classify\? \(valid: pretrain, "
    ):
        check(Config(task="clasify"))


@pytest.mark.parametrize(
    ("task", "key", "value", "why"),
    [
        ("pretrain", "data.labels", ("a", "b"), "does not read it"),
        ("tag", "data.doc_stride", 9, "does not read it"),
        ("tag", "data.label_field", "x", "does not read it"),
        ("answer", "data.truncation", "tail", "cuts no text"),
        ("choose", "data.swap_texts", True, "has no pairs of texts to swap"),
        ("choose", "data.labels", ("a", "b"), "does not read it"),
        ("classify", "data.choice_fields", ("a", "b"), "does not read it"),
        ("sst2", "data.validation", "x", "does not read it"),
    ],
)
def test_keys_without_effect_are_refused(task, key, value, why):
    overrides = {"task": task, key: value}
    config = base.get_config()
    config.update_from_flattened_dict(overrides)
    with pytest.raises(UserError, match=f"{key} was set but has no effect: task='{task}' {why}; remove it"):
        make_config(config, overrides)
    make_config(config)  # not set by hand: whoever wrote the config file may


def test_rows_name_keys_and_kinds_that_there_are():
    keys = {key.name for key in declared(Config)}
    for name, task in TASKS.items():
        assert name == task.name and name not in PRETRAINING
        assert set(task.reads) <= keys
        check_task(dataclasses.replace(Config(), task=name), task.reads)
    assert set(KINDS) == {*PRETRAINING, *(task.kind for task in TASKS.values())}
