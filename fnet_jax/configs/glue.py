"""Fine-tune on a task of GLUE.

    python train.py --config=configs/glue.py:task=sst2 --workdir=W \\
        --config.init_from=PRETRAINED --config.data.dir=GLUE_DIR

Arguments after the colon: `task` (cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli; ax to evaluate only),
`size` (of PRETRAINED, for the learning rate; base by default), `smoke` (a few steps). GLUE_DIR holds the
benchmark's folders of .tsv files; --config.data.corpus=tfds:glue reads TFDS instead. Shape, length and
tokenizer are those of PRETRAINED. All tasks at once: python -m fnet_jax.tools.glue.
"""

import ml_collections

from fnet_jax.configs import fine_tuning, sizes
from fnet_jax.core import sweep
from fnet_jax.core.config_dict import parse_arg
from fnet_jax.tasks.table import GLUE


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The fine-tuning config for `arg`, for example "task=mrpc"."""
    choices = {"task": GLUE, "size": sizes.SIZES}
    args = parse_arg(arg, task="sst2", size="base", smoke=False, choices=choices)
    return fine_tuning.make_config(args.task, "", args.size, args.smoke)  # the files in data.dir


def get_sweep() -> sweep.Sweep:
    """The learning rates of the paper, three seeds each."""
    rates = sweep.values("optim.learning_rate", [1e-5, 5e-5, 1e-4])
    return sweep.product(rates, sweep.values("seed", [0, 1, 2]))
