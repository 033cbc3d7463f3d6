"""Fine-tune on labelled texts: files of your own, AG News, or the embedded task.

    python train.py --config=configs/classify.py:data=my.csv --workdir=W --config.init_from=PRETRAINED
    python train.py --config=configs/classify.py:task=ag_news --workdir=W --config.data.dir=AG_NEWS_DIR
    python train.py --config=configs/classify.py:task=pydocs --workdir=W

Arguments after the colon: `task` (classify, regress, ag_news, pydocs), `data` (a .csv, .tsv or .jsonl file
with fields `text` and `label`, or a folder with train, validation and test files), `size` (for the
learning rate, and the shape of a model that starts from nothing), `smoke` (a few steps).
"""

import ml_collections

from fnet_jax.configs import fine_tuning, sizes
from fnet_jax.core.config_dict import parse_arg

TASKS = ("classify", "regress", "ag_news", "pydocs")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The fine-tuning config for `arg`, for example "data=my.csv"."""
    choices = {"task": TASKS, "size": sizes.SIZES}
    args = parse_arg(arg, task="classify", data="", size="base", smoke=False, choices=choices)
    return fine_tuning.make_config(args.task, args.data, args.size, args.smoke)
