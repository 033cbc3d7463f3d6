import re
import typing

import ml_collections
import pytest

from fnet_jax.configs import base, pretrain
from fnet_jax.core import config_dict
from fnet_jax.core.checks import check_mesh
from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.keys import declared
from tests.conftest import REPOSITORY

KEYS = list(declared(Config))
NUMBERS = (-2, -1, 0, 1, 7, 2**24 + 1, 2**32, -0.5, 0.0, 0.5, 1.0, 1.5)


def changed(key: str, value: object) -> ml_collections.ConfigDict:
    config = base.get_config()
    with config.ignore_type():
        section, _, name = key.rpartition(".")
        (config[section] if section else config)[name] = value
    return config


def test_every_key_has_a_meaning_and_a_valid_default():
    for key in KEYS:
        assert len(key.meaning) > 5 and key.meaning == key.meaning.strip(), key.name
        assert all(rule.holds(key.default) for rule in key.rules), key.name
    assert config_dict.parse(base.get_config()) == Config()
    assert list(config_dict.flat(Config())) == [key.name for key in KEYS]


def test_the_table_of_keys_is_up_to_date():
    table = (REPOSITORY / "docs" / "config.md").read_text()
    assert table == base.describe() + "\n", "python -m fnet_jax.configs.base > docs/config.md"
    rows = [re.split(r" *\| *", line)[1:-1] for line in table.splitlines() if line.startswith("| `")]
    assert [row[0] for row in rows] == [f"`{key.name}`" for key in KEYS]
    assert {len(row) for row in rows} == {5}


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_every_declared_type_and_range_is_enforced(key):
    def refusals(bad):
        for value in bad:
            values = config_dict.to_dict(Config())
            section, _, name = key.name.rpartition(".")
            (values[section] if section else values)[name] = value
            with pytest.raises(UserError, match=f"^{re.escape(key.name)}=") as error:
                config_dict.from_dict(values)
            yield str(error.value)

    kind = type(key.default)
    others = [value for value in ("", 3, True, (), None) if type(value) is not kind]
    if kind is float:
        others.remove(3)  # an int will do
    if kind is tuple:
        others.append((3,))
    assert all("must be" in message or "is unknown" in message for message in refusals(others))
    if typing.get_origin(key.type) is typing.Literal:
        assert all("is unknown; " in message for message in refusals(["", "no such word"]))
    valid = [()] if kind is tuple else [number for number in NUMBERS if type(number) is kind]
    for rule in key.rules:
        outside = [value for value in valid if not rule.holds(value)]
        assert outside, f"no value breaks {rule.words!r}"
        assert all(f"must be {rule.words}" in message for message in refusals(outside))
        valid = [value for value in valid if rule.holds(value)]


def test_round_trip():
    config = config_dict.parse(pretrain.get_config("size=mini,mixer=linear"))
    assert config_dict.from_dict(config_dict.to_dict(config)) == config
    assert config.model.mixer == "linear"
    assert config.model.d_model == 256


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("model.mixer", "fouier", "did you mean fourier"),
        ("model.d_modle", 3, "did you mean d_model"),
        ("model.d_model", "768", "must be of type int"),
        ("model.d_model", True, "must be of type int"),
        ("model.num_layers", 0, "greater than 0"),
        ("model.dropout_rate", 1.0, "below 1"),
        ("model.max_seq_length", 4, "at least 8"),
        ("model.type_vocab_size", 1, "at least 2"),
        ("model.num_attention_layers", 13, "exceeds model.num_layers=12"),
        ("model.dtype", "float16", "bfloat16"),
        ("data.max_predictions_per_seq", 75, "use 76 or more"),
        ("data.max_predictions_per_seq", 512, "below model.max_seq_length"),
        ("data.random_token_proportion", 0.3, "must not exceed 1"),
        ("data.holdout_fraction", 0.0, "data.holdout_fraction=0.0"),
        ("data.next_sentence", "bert", "swap, random"),
        ("optim.schedule", "linar", "did you mean linear"),
        ("optim.num_warmup_steps", 1_000_000, "must be below"),
        ("train.gradient_accum_steps", 3, "does not divide"),
        ("train.log_frequency", 0, "greater than 0"),
        ("mesh.data", 0, "-1 (all devices that are left)"),
        ("seed", -1, "seed=-1"),
        ("sed", 1, "did you mean seed"),
    ],
)
def test_bad_values_are_named(key, value, says):
    with pytest.raises(UserError) as error:
        config_dict.parse(changed(key, value))
    message = str(error.value)
    assert says in message
    assert key.rpartition(".")[2] in message
    assert "\n" not in message


def test_values_that_do_not_fit_together():
    attention = base.get_config()
    attention.model.mixer = "attention"
    attention.model.num_heads = 7
    with pytest.raises(UserError, match=r"not divisible by model\.num_heads=7"):
        config_dict.parse(attention)
    hadamard = base.get_config()
    hadamard.model.mixer = "hadamard"
    hadamard.model.d_model = 767
    with pytest.raises(UserError, match="must be even"):
        config_dict.parse(hadamard)
    attention.model.mixer = "fourier"
    config_dict.parse(attention)  # heads do not matter without attention


@pytest.mark.parametrize(
    ("overrides", "dead"),
    [
        ({"model.mixer": "linear", "model.fourier_impl": "dft"}, "model.fourier_impl"),
        ({"model.attention_layout": "bottom"}, "model.attention_layout"),
        ({"model.mixer": "attention", "model.num_attention_layers": 2}, "model.num_attention_layers"),
        ({"model.mixing_dropout_rate": 0.2}, "model.mixing_dropout_rate"),
        ({"data.tokenizer": "x.model", "data.tokenizer_pieces": 9_000}, "data.tokenizer_pieces"),
        ({"data.text_field": "body"}, "data.text_field"),
        ({"log.profile_steps": 3}, "log.profile_steps"),
        ({"task": "next_sentence", "data.masking_rate": 0.2}, "data.masking_rate"),
        ({"task": "masked_lm", "data.next_sentence": "random"}, "data.next_sentence"),
        ({"task": "masked_lm", "data.max_train_examples": 9}, "data.max_train_examples"),
    ],
)
def test_keys_without_effect_are_refused(overrides, dead):
    config = base.get_config()
    config.update_from_flattened_dict(overrides)
    with pytest.raises(UserError, match=f"{dead} was set but has no effect"):
        config_dict.parse(config, overrides)
    config_dict.parse(config)  # not set by hand: whoever wrote the config file may


def mesh_sizes(**sizes):
    return {"data": 1, "fsdp": 1, "seq": 1, "tensor": 1, **sizes}


def test_batches_must_divide_over_devices():
    config = config_dict.parse(changed("train.train_batch_size", 12))
    with pytest.raises(UserError, match=r"train.train_batch_size=12 .* 8 devices; try 16"):
        check_mesh(config, mesh_sizes(data=8))
    with pytest.raises(UserError, match=r"12 does not divide over mesh.data·mesh.fsdp=8 devices; try 16"):
        check_mesh(config, mesh_sizes(data=2, fsdp=4))
    check_mesh(config, mesh_sizes(data=4, tensor=2))


@pytest.mark.parametrize(
    ("values", "sizes", "says"),
    [
        (
            {"model.max_seq_length": 500},
            {"seq": 8},
            "model.max_seq_length=500 does not divide over mesh.seq=8",
        ),
        ({"model.d_model": 776}, {"seq": 8}, "model.d_model=776 does not divide over 2·mesh.seq=16"),
        ({"data.max_predictions_per_seq": 81}, {"seq": 4}, "mesh.seq=4; try 84"),
        (
            {"model.mixer": "attention"},
            {"seq": 4, "tensor": 2},
            "num_heads=12 does not divide over mesh.seq·mes",
        ),
        ({"model.fourier_impl": "pallas"}, {"seq": 2}, "needs whole examples, and mesh.seq=2 divides them"),
    ],
)
def test_models_must_divide_over_the_mesh(values, sizes, says):
    config = base.get_config()
    config.update_from_flattened_dict(values)
    config = config_dict.parse(config)
    with pytest.raises(UserError, match=re.escape(says)):
        check_mesh(config, mesh_sizes(**sizes))
    check_mesh(config, mesh_sizes(data=8))


def test_config_arguments():
    with pytest.raises(UserError, match="size='huge' is unknown"):
        pretrain.get_config("size=huge")
    with pytest.raises(UserError, match="did you mean size"):
        pretrain.get_config("sizes=base")
    with pytest.raises(UserError, match="must be true or false"):
        pretrain.get_config("smoke=maybe")
    assert pretrain.get_config("smoke").train.num_train_steps == 12


def test_differences_name_the_key():
    old = config_dict.parse(base.get_config())
    new = config_dict.parse(changed("optim.learning_rate", 2e-4))
    assert config_dict.differences(old, new) == ["optim.learning_rate: 0.0001 -> 0.0002"]
