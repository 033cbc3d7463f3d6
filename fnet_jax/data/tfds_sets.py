"""TFDS data sets without TensorFlow: opened by their builder class, stored as ArrayRecord."""

import contextlib
import functools
import importlib
import os
from typing import Any

from fnet_jax.core.errors import UserError

PREFIX = "tfds:"


@functools.cache
def open_builder(corpus: str, place: str) -> Any:
    """The builder of a data set.

    Args:
        corpus: as in the config, for messages.
        place: NAME, NAME/CONFIG, or the folder with `dataset_info.json`.

    Raises:
        UserError: if there is no such data set.
    """
    import tensorflow_datasets as tfds

    folder = os.path.expanduser(place)
    if os.path.isdir(folder):
        if not os.path.exists(os.path.join(folder, "dataset_info.json")):
            raise UserError(f"data.corpus={corpus!r} holds no TFDS data set (no dataset_info.json there)")
        return tfds.builder_from_directory(folder)
    name, _, config = place.partition("/")
    with contextlib.suppress(ImportError):  # older builders register at import, newer ones are found by name
        importlib.import_module(f"tensorflow_datasets.text.{name}")
    try:
        builder_class = tfds.builder_cls(name)
        return builder_class(config=config or None, file_format="array_record")
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise UserError(
            f"data.corpus={corpus!r} cannot be opened ({first}); give tfds:NAME/CONFIG or tfds:FOLDER"
        ) from error


def check_prepared(builder: Any, corpus: str, place: str) -> None:
    """Refuses a data set that is not on disk, or not as ArrayRecord.

    Raises:
        UserError: saying how to prepare it.
    """
    if not builder.info.splits:
        raise UserError(
            f"data.corpus={corpus!r} is not prepared in {builder.data_dir}; run `tfds build {place} "
            "--file_format=array_record` on a machine that can, or give tfds:FOLDER of a prepared one"
        )
    if builder.info.file_format.value != "array_record":
        raise UserError(
            f"data.corpus={corpus!r} is stored as {builder.info.file_format.value}, which needs TensorFlow; "
            "prepare it with file_format='array_record'"
        )
