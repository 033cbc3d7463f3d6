"""Where the data of a task of this kind come from: the benchmark's own files, TFDS, or files of one's own."""

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.data.tfds_sets import PREFIX
from fnet_jax.tasks.classify.ag_news import read_ag_news, with_held_out
from fnet_jax.tasks.classify.files import read_tables
from fnet_jax.tasks.classify.glue import read_glue
from fnet_jax.tasks.classify.pydocs import read_pydocs
from fnet_jax.tasks.classify.tfds import read_tfds
from fnet_jax.tasks.splits import TaskData
from fnet_jax.tasks.table import Task


def read_classify(task: Task, data: DataConfig) -> TaskData:
    """Reads the splits of a task.

    Raises:
        UserError: if there are no files, or one is damaged; names file and line.
    """
    if task.name in ("classify", "regress"):
        return read_tables(task, data)
    if task.name == "pydocs":
        return read_pydocs(task, data)
    if data.corpus.startswith(PREFIX) and task.tfds_fields:
        found = read_tfds(task, data)
    elif data.corpus not in ("", "pydocs"):  # pydocs is the default of the key
        raise UserError(
            f"data.corpus={data.corpus!r} is not read by task={task.name!r}; give the folder of its files as "
            "data.dir, or data.corpus='tfds:NAME'"
        )
    else:
        found = read_ag_news(task, data) if task.name == "ag_news" else read_glue(task, data)
    return with_held_out(found, data.holdout_fraction) if task.name == "ag_news" else found
