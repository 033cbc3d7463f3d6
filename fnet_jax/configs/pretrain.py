"""Pretrain with masked LM and next sentence.

    python train.py --config=configs/pretrain.py:size=tiny --workdir=W       # 2 CPU cores, minutes
    python train.py --config=configs/pretrain.py:size=base --workdir=W       # the paper's Base

Arguments after the colon, separated by commas: `size` (tiny, mini, small, medium, base, large),
`mixer` (as `model.mixer`), `corpus` (as `data.corpus`), `task` (pretrain, masked_lm, next_sentence: both
or one of them), `smoke` (a few steps of a toy model, to see that everything works). Any key of
docs/config.md follows as `--config.KEY=VALUE`.
"""

from typing import NamedTuple

import ml_collections

from fnet_jax.configs import base, sizes
from fnet_jax.core.config import PRETRAINING
from fnet_jax.core.config_dict import parse_arg


class Recipe(NamedTuple):
    """How a size is pretrained; names as in `core/config.py`."""

    tokenizer_pieces: int
    learning_rate: float
    train_batch_size: int
    num_train_steps: int
    num_warmup_steps: int


# Those of Base and Large are the paper's.
RECIPES = {
    "tiny": Recipe(8_000, 2e-3, 32, 1_300, 100),
    "mini": Recipe(16_000, 1e-3, 64, 20_000, 1_000),
    "small": Recipe(32_000, 5e-4, 256, 200_000, 10_000),
    "medium": Recipe(32_000, 5e-4, 256, 500_000, 10_000),
    "base": Recipe(32_000, 1e-4, 256, 1_000_000, 10_000),
    "large": Recipe(32_000, 1e-4, 256, 1_000_000, 10_000),
}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The pretraining config for `arg`, for example "size=tiny,mixer=linear"."""
    args = parse_arg(
        arg,
        size="base",
        mixer="fourier",
        corpus="pydocs",
        task="pretrain",
        smoke=False,
        choices={"size": RECIPES, "task": PRETRAINING},
    )
    recipe = RECIPES[args.size]
    c = base.get_config()
    sizes.shape(c, args.size)
    c.task = args.task
    c.model.mixer = args.mixer
    c.data.corpus = args.corpus
    c.data.tokenizer_pieces = recipe.tokenizer_pieces
    c.data.max_predictions_per_seq = max(20, c.model.max_seq_length * 80 // 512)
    c.optim.learning_rate = recipe.learning_rate
    c.optim.num_warmup_steps = recipe.num_warmup_steps
    c.train.train_batch_size = c.train.eval_batch_size = recipe.train_batch_size
    c.train.num_train_steps = recipe.num_train_steps
    if args.size == "tiny":  # a run of minutes: look often, and no time to overfit
        c.model.dropout_rate = 0.0
        c.train.eval_frequency = c.train.save_checkpoints_steps = 325
        c.train.max_num_eval_steps = 20
        c.train.log_frequency = 25
    if args.smoke:  # a run of seconds, with the same parts
        sizes.shape(c, "smoke")
        c.data.tokenizer_pieces = 1_000
        c.data.max_predictions_per_seq = 6
        c.optim.learning_rate = 1e-2
        c.optim.num_warmup_steps = 2
        c.train.train_batch_size = c.train.eval_batch_size = 16
        c.train.num_train_steps = 12
        c.train.eval_frequency = c.train.save_checkpoints_steps = 6
        c.train.max_num_eval_steps = 2
        c.train.log_frequency = 3
    return c
