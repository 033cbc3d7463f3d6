"""How a config becomes concrete, from the command line to the numbers that are compiled. Read top to bottom.

1. `read_config`: what the user asks for, a config file with keys set by hand, or the config that a run left.
2. `inherit`: what the run that it goes on from tells: shape of the model, tokenizer, place of the data.
   `--print_config` shows the config as it is now; nothing has looked at the data or the devices yet.
3. `make_concrete`: what the data tell: sizes of the vocabulary and the classifier, steps instead of epochs.

`train/setup.py` goes on from here: mesh, model, optimizer, compiled step.
"""

import dataclasses
import json
import math
import os
import sys
from collections.abc import Collection

import ml_collections
from absl import flags
from ml_collections import config_flags

from fnet_jax.core import config_dict
from fnet_jax.core.checks import check
from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.workdir import CONFIG_FILE, TOKENIZER_FILE, saved_config, workdir_of
from fnet_jax.runtime import cli
from fnet_jax.tasks.check import check_task
from fnet_jax.tasks.table import TASKS

# The keys of `data` that say where a labelled task reads.
_DATA_PLACES = ("dir", "corpus", "validation", "test")

# The keys of `model` that say which parameters it has.
_MODEL_SHAPE = (
    "mixer", "num_attention_layers", "attention_layout", "num_layers", "d_model", "d_emb", "d_ff",
    "num_heads", "max_seq_length", "type_vocab_size", "vocab_size",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """What only the data of a run tell.

    Attributes:
        vocab_size: V, the number of tokens of the tokenizer.
        labels: names of the classes in the order of their ids; () without classes.
        num_outputs: C of the classifier; 0 without one.
        num_train_examples: in the training split; None if nobody has counted them. Then the config says how
            many steps there are.
    """

    vocab_size: int
    labels: tuple[str, ...]
    num_outputs: int
    num_train_examples: int | None = None


def read_config() -> Config:
    """The checked config of `--config`; with `--print_config` prints it and exits.

    Without `--config`, the config saved in `--workdir` by an earlier run.

    Raises:
        UserError: if neither is there, or the config cannot work.
    """
    given = flags.FLAGS.config
    if given is not None:
        overrides = config_flags.get_override_values(flags.FLAGS["config"])
        config = make_config(given, overrides, cli.workdir() if flags.FLAGS.workdir else None)
    else:
        saved = saved_config(cli.workdir())
        if saved is None:
            raise UserError(f"--config is not given and --workdir={cli.workdir()} holds no {CONFIG_FILE}")
        check_task(saved)
        config = saved
    if flags.FLAGS.print_config:
        print(json.dumps(config_dict.to_dict(config), indent=2))
        sys.exit(0)
    return config


def make_config(
    config: ml_collections.ConfigDict, overrides: Collection[str] = (), workdir: str | None = None
) -> Config:
    """The checked config of a run, with what it inherits.

    Args:
        config: as a config file gives it, with the overrides applied.
        overrides: dotted keys that the user set by hand.
        workdir: of the run, if it has one.

    Raises:
        UserError: if the config cannot work.
    """
    parsed = config_dict.parse(config, overrides)
    check_task(parsed, overrides)
    return inherit(parsed, overrides, workdir)


def inherit(config: Config, overrides: Collection[str], workdir: str | None) -> Config:
    """Takes over what belongs to the parameters that the run goes on from; keys set by hand stay.

    Every task but pretrain takes the shape of the model: from the run in `workdir` if there is one, else from
    the run that `init_from` names. If a key set by hand does not fit the checkpoint, restoring it says so. A
    run in `workdir` of the same task also tells where the data are.

    Pretraining takes the tokenizer of `init_from`, since with another one the embeddings would be those of
    other tokens. (The data set of a labelled task finds its tokenizer itself.)

    Raises:
        UserError: if `init_from` names a folder without a config.
    """
    if config.is_pretraining and config.init_from and not config.data.tokenizer:
        tokenizer = os.path.join(workdir_of(config.init_from), TOKENIZER_FILE)
        if os.path.exists(tokenizer):
            config = dataclasses.replace(config, data=dataclasses.replace(config.data, tokenizer=tokenizer))
    if config.task == "pretrain":
        return config
    source = saved_config(workdir) if workdir else None
    if source is not None and source.task == config.task:
        unsaid = [
            key for key in _DATA_PLACES if not getattr(config.data, key) and f"data.{key}" not in overrides
        ]
        places = {key: getattr(source.data, key) for key in unsaid}
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, **places))
    if source is None and config.init_from:
        source = saved_config(workdir_of(config.init_from))
        if source is None:
            raise UserError(
                f"init_from={config.init_from} holds no {CONFIG_FILE}; name the --workdir of a training run"
            )
    if source is None:
        return config
    shape = {key: getattr(source.model, key) for key in _MODEL_SHAPE if f"model.{key}" not in overrides}
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, **shape))
    check(config)
    return config


def facts_without_data(config: Config) -> DataFacts:
    """What the config itself tells of its data: enough to compile a step, but not to count epochs.

    Raises:
        UserError: if the config leaves the vocabulary or the labels open.
    """
    model, task = config.model, TASKS.get(config.task)
    vocab_size = model.vocab_size or (0 if config.data.tokenizer else config.data.tokenizer_pieces)
    if not vocab_size:
        raise UserError(
            "model.vocab_size=0 leaves the number of pieces open; set it to that of the tokenizer"
        )
    num_outputs = model.num_outputs
    if task is not None and not num_outputs:
        num_outputs = task.num_outputs(config.data.labels)
        if not num_outputs:
            raise UserError(
                f"model.num_outputs=0 leaves open how many labels task={config.task!r} has; set it"
            )
    return DataFacts(vocab_size, config.data.labels, num_outputs)


def make_concrete(config: Config, facts: DataFacts) -> Config:
    """Fills in what the data tell.

    Raises:
        UserError: if the config says otherwise than the data, or cannot work with them.
    """
    config = _fill_sizes(config, facts)
    if facts.num_train_examples is not None:
        config = _count_steps(config, facts.num_train_examples)
    check(config)
    return config


def _fill_sizes(config: Config, facts: DataFacts) -> Config:
    """Sizes of the embeddings and the classifier, and the names of the classes."""
    for key, value, whose in (
        ("vocab_size", facts.vocab_size, "tokenizer's pieces"),
        ("num_outputs", facts.num_outputs, "labels of the data"),
    ):
        if getattr(config.model, key) not in (0, value):
            raise UserError(
                f"model.{key}={getattr(config.model, key)} does not fit the {value} {whose}; set it to 0"
            )
    if config.data.labels not in ((), facts.labels):
        raise UserError(
            f"data.labels={config.data.labels} are not the labels of task={config.task!r}, {facts.labels}"
        )
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, vocab_size=facts.vocab_size, num_outputs=facts.num_outputs),
        data=dataclasses.replace(config.data, labels=facts.labels),
    )


def _count_steps(config: Config, num_train_examples: int) -> Config:
    """Steps of the epochs, and what is given as a share of all steps."""
    train, optim = config.train, config.optim
    steps, eval_frequency, warmup_steps = train.num_train_steps, train.eval_frequency, optim.num_warmup_steps
    if train.num_train_epochs:
        steps = max(1, int(train.num_train_epochs * num_train_examples / train.train_batch_size))
    if train.eval_proportion:
        eval_frequency = max(1, math.ceil(train.eval_proportion * steps))
    if optim.warmup_proportion:
        warmup_steps = int(optim.warmup_proportion * steps)
    return dataclasses.replace(
        config,
        train=dataclasses.replace(train, num_train_steps=steps, eval_frequency=eval_frequency),
        optim=dataclasses.replace(optim, num_warmup_steps=warmup_steps),
    )
