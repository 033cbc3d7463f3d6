"""Classification and regression: one label for a text or a pair of texts."""

import functools

import flax.linen as nn
import jax

from fnet_jax.core.batch import Batch, labelled_spec
from fnet_jax.core.config import Config, DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.data.tfds_sets import PREFIX
from fnet_jax.nn.losses import label_sums
from fnet_jax.tasks.classify.ag_news import read_ag_news
from fnet_jax.tasks.classify.dataset import ClassifyDataset
from fnet_jax.tasks.classify.files import read_tables
from fnet_jax.tasks.classify.glue import read_glue
from fnet_jax.tasks.classify.pydocs import read_pydocs
from fnet_jax.tasks.classify.tfds import read_tfds
from fnet_jax.tasks.interface import Kind, Objective, Outputs
from fnet_jax.tasks.metrics import Sums
from fnet_jax.tasks.splits import TaskData
from fnet_jax.tasks.table import TASKS, Task


def _objective(config: Config, model: nn.Module) -> Objective:
    """Cross-entropy over the classes, or the squared error of a number."""
    regression, length = TASKS[config.task].regression, config.model.max_seq_length
    spec = functools.partial(labelled_spec, max_seq_length=length, regression=regression)
    losses = {"squared_error" if regression else "cross_entropy": "example_weights"}
    return Objective(model, spec, sums_and_logits, losses)


def sums_and_logits(logits: jax.Array, batch: Batch) -> tuple[Sums, Outputs]:
    """Output `logits` f32[B, C]; of multiple choice, f32[B, K]."""
    return label_sums(logits, batch), {"logits": logits}


def _read(task: Task, data: DataConfig) -> TaskData:
    """Files of one's own, the embedded corpus, TFDS, or the benchmark's own files."""
    if task.name in ("classify", "regress"):
        return read_tables(task, data)
    if task.name == "pydocs":
        return read_pydocs(task, data)
    if data.corpus.startswith(PREFIX) and task.tfds_fields:
        return read_tfds(task, data)
    if data.corpus not in ("", "pydocs"):  # pydocs is the default of the key
        raise UserError(
            f"data.corpus={data.corpus!r} is not read by task={task.name!r}; give the folder of its files as "
            "data.dir, or data.corpus='tfds:NAME'"
        )
    return read_ag_news(task, data) if task.name == "ag_news" else read_glue(task, data)


CLASSIFY = Kind("sequence", _objective, ClassifyDataset, _read)
