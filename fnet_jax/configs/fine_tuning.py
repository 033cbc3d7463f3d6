"""What all configs of labelled tasks share: three epochs of batch 64 as in the paper, the best checkpoint."""

from typing import NamedTuple

import ml_collections

from fnet_jax.configs import base, sizes
from fnet_jax.tasks.table import GLUE


class Recipe(NamedTuple):
    """How a size is fine-tuned; names as in `core/config.py`."""

    learning_rate: float
    pooling: str
    learning_rate_rules: str


# Pretraining of minutes or hours leaves [CLS] almost the same for every text, and in a narrow model the two
# small matrices of the head take long to grow: docs/results.md has the figures.
HEAD_FIRST = "encoder/pooler=10,classification=10"

RECIPES = {
    "smoke": Recipe(1e-2, "mean", ""),
    "tiny": Recipe(1e-3, "mean", HEAD_FIRST),
    "mini": Recipe(1e-3, "mean", HEAD_FIRST),
    "small": Recipe(3e-4, "mean", HEAD_FIRST),
    "medium": Recipe(2e-4, "mean", HEAD_FIRST),
    "base": Recipe(5e-5, "first", ""),
    "large": Recipe(5e-5, "first", ""),
}


def make_config(task: str, corpus: str, size: str, smoke: bool) -> ml_collections.ConfigDict:
    """The fine-tuning config of a labelled task.

    Args:
        task: as `task`.
        corpus: as `data.corpus`.
        size: tells the learning rate, and the shape of a model that starts from nothing.
        smoke: make it a run of seconds of a toy model.
    """
    c = base.get_config()
    c.task = task
    size = "smoke" if smoke else size
    recipe = RECIPES[size]
    sizes.shape(c, size)
    c.model.pooling = recipe.pooling
    c.data.corpus = corpus
    if task not in GLUE:
        c.data.holdout_fraction = 0.1  # where there is no validation file
    c.optim.learning_rate = recipe.learning_rate
    c.optim.learning_rate_rules = recipe.learning_rate_rules
    c.optim.num_warmup_steps = 0
    c.optim.warmup_proportion = 0.1
    c.train.num_train_epochs = 3.0
    c.train.train_batch_size = c.train.eval_batch_size = 64
    c.train.eval_proportion = 0.1
    c.train.max_num_eval_steps = 0
    c.train.save_checkpoints_steps = 1_000
    c.train.max_to_keep = 1
    c.train.keep_best = True
    c.train.log_frequency = 20
    if smoke:
        c.data.tokenizer_pieces = 1_000
        c.data.max_train_examples = 400
        c.data.max_eval_examples = 50
        c.train.train_batch_size = c.train.eval_batch_size = 16
        c.train.num_train_epochs = 0.0
        c.train.num_train_steps = 12
        c.train.eval_proportion = 0.5
        c.train.log_frequency = 3
    return c
