"""Fine-tune on a task of GLUE.

    python train.py --config=configs/glue.py:task=sst2 --workdir=W \\
        --config.init_from=PRETRAINED --config.data.dir=GLUE_DIR

Arguments after the colon: `task` (cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli; ax to evaluate only),
`size` (of PRETRAINED, for the learning rate; base by default), `smoke` (a few steps). GLUE_DIR holds the
benchmark's folders of .tsv files; --config.data.corpus=tfds:glue reads TFDS instead. Shape, length and
tokenizer are those of PRETRAINED. All tasks at once: python -m fnet_jax.tools.glue.
"""

import ml_collections

from fnet_jax.configs import base, sizes
from fnet_jax.core import sweep
from fnet_jax.core.config_dict import parse_arg
from fnet_jax.tasks.table import GLUE


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The fine-tuning config for `arg`, for example "task=mrpc"."""
    choices = {"task": GLUE, "size": sizes.SIZES}
    args = parse_arg(arg, task="sst2", size="base", smoke=False, choices=choices)
    c = base.get_config()
    c.task = args.task
    c.data.corpus = ""  # the files in data.dir
    fine_tune(c, args.size)
    if args.smoke:
        shrink(c)
    return c


def get_sweep() -> sweep.Sweep:
    """The learning rates of the paper, three seeds each."""
    rates = sweep.values("optim.learning_rate", [1e-5, 5e-5, 1e-4])
    return sweep.product(rates, sweep.values("seed", [0, 1, 2]))


def fine_tune(c: ml_collections.ConfigDict, size: str) -> None:
    """Three epochs of batch 64 as in the paper, the best checkpoint kept."""
    sizes.shape(c, size)
    own = sizes.SIZES[size].fine_tuning
    c.model.pooling = own.pooling
    c.optim.learning_rate = own.learning_rate
    c.optim.learning_rate_rules = own.learning_rate_rules
    c.optim.num_warmup_steps = 0
    c.optim.warmup_proportion = 0.1
    c.train.num_train_epochs = 3.0
    c.train.train_batch_size = 64
    c.train.eval_batch_size = 64
    c.train.eval_proportion = 0.1
    c.train.max_num_eval_steps = 0
    c.train.save_checkpoints_steps = 1_000
    c.train.max_to_keep = 1
    c.train.keep_best = True
    c.train.log_frequency = 20


def shrink(c: ml_collections.ConfigDict) -> None:
    """Makes a run of seconds of any labelled task."""
    fine_tune(c, "smoke")
    c.data.tokenizer_pieces = 1_000
    c.data.max_train_examples = 400
    c.data.max_eval_examples = 50
    c.train.train_batch_size = c.train.eval_batch_size = 16
    c.train.num_train_epochs = 0.0
    c.train.num_train_steps = 12
    c.train.eval_proportion = 0.5
    c.train.log_frequency = 3
