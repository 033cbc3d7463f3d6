"""Which task a config may name, and which keys that task reads; for whoever has made or read a config."""

from collections.abc import Collection

from fnet_jax.core.config import PRETRAINING, Config
from fnet_jax.core.config_dict import closest
from fnet_jax.core.errors import UserError
from fnet_jax.tasks.table import TASKS

_WITHOUT_EFFECT = {
    "data.truncation": "cuts no text",
    "data.swap_texts": "has no pairs of texts to swap",
}  # else: does not read it


def check_task(config: Config, overrides: Collection[str] = ()) -> None:
    """Refuses a task that there is not, and keys that it does not read.

    Args:
        config: that passed the checks of `core/checks.py`.
        overrides: dotted keys that the user set by hand.

    Raises:
        UserError: naming the task, or the key and why it has no effect.
    """
    name = config.task
    if name not in (*PRETRAINING, *TASKS):
        raise UserError(f"task={name!r} is unknown; {closest(name, (*PRETRAINING, *TASKS))}")
    reads = ("data.text_field",) if config.is_pretraining else TASKS[name].reads
    read_by_some = {key for task in TASKS.values() for key in task.reads}
    for key in overrides:
        if key in read_by_some and key not in reads:
            why = _WITHOUT_EFFECT.get(key, "does not read it")
            raise UserError(f"config key {key} was set but has no effect: task={name!r} {why}; remove it")
