"""The kinds of tasks. A new kind is a folder, and its row here."""

from fnet_jax.core.config import Config
from fnet_jax.nn.heads import make_model
from fnet_jax.tasks.answer.kind import ANSWER
from fnet_jax.tasks.check import check_task
from fnet_jax.tasks.choose.kind import CHOOSE
from fnet_jax.tasks.classify.kind import CLASSIFY
from fnet_jax.tasks.interface import Kind, Objective
from fnet_jax.tasks.pretrain.kind import MASKED_LM, NEXT_SENTENCE, PRETRAIN
from fnet_jax.tasks.table import TASKS
from fnet_jax.tasks.tag.kind import TAG

# By the name of a pretraining task, or `Task.kind`.
KINDS: dict[str, Kind] = {
    "pretrain": PRETRAIN,
    "masked_lm": MASKED_LM,
    "next_sentence": NEXT_SENTENCE,
    "classify": CLASSIFY,
    "tag": TAG,
    "choose": CHOOSE,
    "answer": ANSWER,
}


def kind_of(config: Config) -> Kind:
    """The kind of the config's task.

    Raises:
        UserError: if there is no such task.
    """
    check_task(config)
    return KINDS[config.task if config.is_pretraining else TASKS[config.task].kind]


def make_objective(config: Config) -> Objective:
    """The objective of the config's task; `vocab_size` and `num_outputs` are filled in."""
    kind = kind_of(config)
    return kind.objective(config, make_model(kind.head, config.model))
