"""The kinds of tasks, one row each: head, loss, files, data set. A new kind is a folder and a row."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn

from fnet_jax.core.config import Config, DataConfig, Head
from fnet_jax.nn.heads import make_model
from fnet_jax.tasks.answer.dataset import AnswerDataset
from fnet_jax.tasks.answer.files import read_answer
from fnet_jax.tasks.answer.objective import answer_objective
from fnet_jax.tasks.answer.pydocs import read_answer_pydocs
from fnet_jax.tasks.choose.dataset import ChooseDataset
from fnet_jax.tasks.choose.files import read_choose
from fnet_jax.tasks.choose.objective import choose_objective
from fnet_jax.tasks.choose.pydocs import read_choose_pydocs
from fnet_jax.tasks.classify.dataset import ClassifyDataset
from fnet_jax.tasks.classify.objective import classify_objective
from fnet_jax.tasks.classify.read import read_classify
from fnet_jax.tasks.interface import Dataset, Objective
from fnet_jax.tasks.pretrain.dataset import PretrainDataset
from fnet_jax.tasks.pretrain.objective import (
    masked_lm_objective,
    next_sentence_objective,
    pretrain_objective,
)
from fnet_jax.tasks.splits import TaskData
from fnet_jax.tasks.table import TASKS, Task
from fnet_jax.tasks.tag.dataset import TagDataset
from fnet_jax.tasks.tag.files import read_tag
from fnet_jax.tasks.tag.objective import tag_objective
from fnet_jax.tasks.tag.pydocs import read_tag_pydocs

Reader = Callable[[Task, DataConfig], TaskData]


@dataclasses.dataclass(frozen=True)
class Kind:
    """One row.

    Attributes:
        head: of the model, as `nn/heads.py` and saved models name it.
        objective: what to learn; takes the config and the model.
        dataset: of a pretraining task: takes config and workdir; otherwise these and the opened data.
        read_files: reads the labelled splits of a task of this kind.
        read_pydocs: the same from the embedded corpus, data.corpus='pydocs'.
    """

    head: Head
    objective: Callable[[Config, nn.Module], Objective]
    dataset: Callable[..., Dataset]
    read_files: Reader | None = None
    read_pydocs: Reader | None = None


# By the name of a pretraining task, or `Task.kind`.
KINDS: dict[str, Kind] = {
    "pretrain": Kind("pretrain", pretrain_objective, PretrainDataset),
    "masked_lm": Kind("masked_lm", masked_lm_objective, PretrainDataset),
    "next_sentence": Kind("next_sentence", next_sentence_objective, PretrainDataset),
    "classify": Kind("sequence", classify_objective, ClassifyDataset, read_classify),
    "tag": Kind("tokens", tag_objective, TagDataset, read_tag, read_tag_pydocs),
    "choose": Kind("choice", choose_objective, ChooseDataset, read_choose, read_choose_pydocs),
    "answer": Kind("span", answer_objective, AnswerDataset, read_answer, read_answer_pydocs),
}


def kind_of(config: Config) -> Kind:
    """The row of the config's task."""
    return KINDS[config.task if config.is_pretraining else TASKS[config.task].kind]


def make_objective(config: Config) -> Objective:
    """The objective of the config's task; `vocab_size` and `num_outputs` are filled in."""
    kind = kind_of(config)
    return kind.objective(config, make_model(kind.head, config.model))
