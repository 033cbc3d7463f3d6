"""From a corpus to a prepared data set: tokenised segments in ArrayRecord files.

Every shard of the source is worked off on its own, by as many processes as there are cores. Its files
get their names only when they are whole, and a small `.part` file then says so; after a kill, shards
that have one are not done again. The result does not depend on the number of processes.
"""

import collections
import contextlib
import dataclasses
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.data import dataset
from fnet_jax.data.dataset import SPLITS, DatasetInfo, SplitInfo, check_info, load_info
from fnet_jax.data.parts import NUM_HASHES, PART_SUFFIX, Job, Part, do_shard, load_part, work_off
from fnet_jax.data.sources import Source, open_source
from fnet_jax.data.tokenizer import Tokenizer, load_tokenizer, train_tokenizer, training_lines

PLAN_FILE = ".plan.json"


def dataset_dir(data: DataConfig, workdir: str) -> str:
    """Where the data set of a run lies: `data.dir`, or WORKDIR/data."""
    return os.path.abspath(os.path.expanduser(data.dir)) if data.dir else os.path.join(workdir, "data")


def ensure(data: DataConfig, max_seq_length: int, workdir: str) -> DatasetInfo:
    """The data set of a run, prepared first if it is absent.

    Raises:
        UserError: if it is there but does not fit, or cannot be prepared.
    """
    return prepare(data, max_seq_length, dataset_dir(data, workdir))


def prepare(
    data: DataConfig,
    max_seq_length: int,
    directory: str,
    num_processes: int | None = None,
    progress: bool = True,
) -> DatasetInfo:
    """Prepares a data set, or finishes one that was interrupted, or checks the one that is there.

    Args:
        data: corpus, tokenizer and held-out share.
        max_seq_length: L.
        directory: of the data set; made if absent.
        num_processes: None: one per core.
        progress: whether to show a bar with an estimate on stderr.

    Raises:
        UserError: if the corpus, the tokenizer or the folder cannot be used, if the folder holds
            something made otherwise, or if nothing is left to learn from.
    """
    if dataset.exists(directory):
        return _check_existing(data, max_seq_length, directory)
    try:
        os.makedirs(directory, exist_ok=True)
        with _lock(directory):
            if dataset.exists(directory):  # another process was quicker
                return _check_existing(data, max_seq_length, directory)
            return _prepare(data, max_seq_length, directory, num_processes, progress)
    except OSError as error:
        raise UserError(_explain(error, directory)) from error


def _explain(error: OSError, directory: str) -> str:
    reason = error.strerror or str(error)
    if error.filename and not str(error.filename).startswith(directory):
        return f"{error.filename} cannot be read ({reason}); mend it or take it out of data.corpus"
    return f"data.dir={directory} cannot be written ({reason}); make room or give another folder"


def _check_existing(data: DataConfig, max_seq_length: int, directory: str) -> DatasetInfo:
    info = load_info(directory)
    # The data set has its own copy: the file it was made with need not be there any more.
    is_gone = data.tokenizer == info.tokenizer_spec and not os.path.exists(os.path.expanduser(data.tokenizer))
    sha256 = load_tokenizer(data.tokenizer).sha256 if data.tokenizer and not is_gone else None
    check_info(info, directory, max_seq_length, sha256)
    wanted = {
        "data.corpus": (info.corpus, data.corpus),
        "data.holdout_fraction": (info.holdout_fraction, data.holdout_fraction),
    }
    if not data.tokenizer:
        wanted["data.tokenizer"] = (info.tokenizer_spec, _tokenizer_spec(data))
    for key, (old, new) in wanted.items():
        _require_same(directory, key, old, new)
    return info


def _require_same(directory: str, key: str, old: Any, new: Any) -> None:
    if old != new:
        raise UserError(
            f"data.dir={directory} was prepared with {key}={old!r}, not {new!r}; give another data.dir"
        )


def _tokenizer_spec(data: DataConfig) -> str:
    return (
        data.tokenizer
        or f"{data.tokenizer_algorithm} of {data.tokenizer_pieces} pieces trained on the corpus"
    )


@contextlib.contextmanager
def _lock(directory: str) -> Iterator[None]:
    """Only one process prepares a folder; a lock of the kernel vanishes with its process."""
    with open(os.path.join(directory, ".lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _prepare(
    data: DataConfig, max_seq_length: int, directory: str, num_processes: int | None, progress: bool
) -> DatasetInfo:
    source = open_source(data.corpus, data.text_field)
    given = load_tokenizer(data.tokenizer) if data.tokenizer else None
    plan = {
        "data.corpus": data.corpus,
        "data.text_field": data.text_field,
        "files of data.corpus": source.fingerprint,
        "data.tokenizer": _tokenizer_spec(data),
        "sha256 of data.tokenizer": given.sha256 if given else "",
        "model.max_seq_length": max_seq_length,
        "data.holdout_fraction": data.holdout_fraction,
    }
    _keep_plan(plan, directory)
    tokenizer = _keep_tokenizer(data, given, source, directory, progress)
    job = Job(directory, tokenizer, max_seq_length, int(data.holdout_fraction * NUM_HASHES))
    work_off(job, source.shards, num_processes or os.cpu_count() or 1, progress)
    parts = [load_part(directory, index) for index in range(len(source.shards))]
    parts = _hold_out_something(job, source, parts)
    _check_splits(data, parts)

    np.save(os.path.join(directory, ".tmp-counts.npy"), sum(part.token_counts for part in parts))
    os.replace(os.path.join(directory, ".tmp-counts.npy"), os.path.join(directory, dataset.TOKEN_COUNTS_FILE))
    info = DatasetInfo(
        format_version=dataset.FORMAT_VERSION,
        corpus=data.corpus,
        text_field=data.text_field,
        source_fingerprint=source.fingerprint,
        tokenizer_sha256=tokenizer.sha256,
        tokenizer_spec=_tokenizer_spec(data),
        vocab_size=tokenizer.vocab_size,
        max_seq_length=max_seq_length,
        holdout_fraction=data.holdout_fraction,
        splits={split: _split_info(split, parts) for split in SPLITS},
        source_tokens=sum(part.source_tokens for part in parts),
        skipped=_skipped(parts),
    )
    dataset.save_info(info, directory)
    for name in os.listdir(directory):
        if name.endswith(PART_SUFFIX) or name == PLAN_FILE:
            os.remove(os.path.join(directory, name))
    return info


def _keep_plan(plan: dict[str, Any], directory: str) -> None:
    """Writes down what is being made, or checks that the interrupted attempt was to make the same."""
    path = os.path.join(directory, PLAN_FILE)
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            begun = json.load(file)
        for key, new in plan.items():
            _require_same(directory, key, begun.get(key), new)
    for name in os.listdir(directory):
        if name.startswith(".tmp-"):
            os.remove(os.path.join(directory, name))
    dataset.write_atomically(path, json.dumps(plan).encode())


def _keep_tokenizer(
    data: DataConfig, given: Tokenizer | None, source: Source, directory: str, progress: bool
) -> Tokenizer:
    """The tokenizer, copied into the data set or trained there; one of an interrupted attempt is kept."""
    path = os.path.join(directory, dataset.TOKENIZER_FILE)
    if given:
        dataset.write_atomically(path, given.model)
        return given
    if os.path.exists(path):
        return load_tokenizer(path)
    if progress:
        print(f"Training a tokenizer: {_tokenizer_spec(data)}", file=sys.stderr)
    return train_tokenizer(
        training_lines(source.shards), path, data.tokenizer_pieces, data.tokenizer_algorithm
    )


def _hold_out_something(job: Job, source: Source, parts: list[Part]) -> list[Part]:
    """With so few documents that none is held out, holds out the one with the smallest hash."""
    documents = sum(sum(part.documents.values()) for part in parts)
    if documents < 2 or any(part.documents["heldout"] for part in parts):
        return parts
    index = min(range(len(parts)), key=lambda i: parts[i].lowest_hash)
    do_shard(dataclasses.replace(job, threshold=parts[index].lowest_hash + 1), index, source.shards[index])
    return [*parts[:index], load_part(job.directory, index), *parts[index + 1 :]]


def _check_splits(data: DataConfig, parts: list[Part]) -> None:
    totals = {split: sum(part.documents[split] for part in parts) for split in SPLITS}
    if not sum(totals.values()):
        reasons = ", ".join(f"{count} {reason}" for reason, count in _skipped(parts).items()) or "it is empty"
        raise UserError(
            f"data.corpus={data.corpus!r} leaves nothing to learn from: {reasons}; see also data.text_field"
        )
    for split, count in totals.items():
        if not count:
            raise UserError(
                f"data.corpus={data.corpus!r} leaves no document for the split {split!r} with "
                f"data.holdout_fraction={data.holdout_fraction}; two documents are the least, better hundreds"
            )


def _split_info(split: str, parts: list[Part]) -> SplitInfo:
    return SplitInfo(
        files=tuple(part.files[split] for part in parts if split in part.files),
        documents=sum(part.documents[split] for part in parts),
        segments=sum(part.segments[split] for part in parts),
        tokens=sum(part.tokens[split] for part in parts),
    )


def _skipped(parts: list[Part]) -> dict[str, int]:
    total: collections.Counter[str] = collections.Counter()
    for part in parts:
        total.update(part.skipped)
    return dict(sorted(total.items()))
