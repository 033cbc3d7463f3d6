"""From a corpus to a prepared data set: tokenised segments in ArrayRecord files.

Every shard of the source is worked off on its own, by as many processes as there are cores. Its files
get their names only when they are whole, and a small `.part` file then says so; after a kill, shards
that have one are not done again. The result does not depend on the number of processes.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import fcntl
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from array_record.python import array_record_module
from tqdm import tqdm

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.data import dataset
from fnet_jax.data.dataset import SPLITS, DatasetInfo, SplitInfo, check_info, load_info
from fnet_jax.data.segments import document_hash, segments, token_dtype
from fnet_jax.data.sources import Broken, Shard, Source, open_source
from fnet_jax.data.tokenizer import Tokenizer, load_tokenizer, train_tokenizer, training_lines

PLAN_FILE = ".plan.json"

_RECORD_OPTIONS = "group_size:1"  # one record per chunk: what random access wants
_HASHES = 2**64


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
        raise UserError(
            f"data.dir={directory} cannot be written ({error.strerror or error}); make room or give another folder"
        ) from error


def _check_existing(data: DataConfig, max_seq_length: int, directory: str) -> DatasetInfo:
    info = load_info(directory)
    sha256 = load_tokenizer(data.tokenizer).sha256 if data.tokenizer else None
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


@dataclasses.dataclass(frozen=True)
class _Job:
    """What a worker needs to know beside the shard."""

    directory: str
    tokenizer: Tokenizer
    max_seq_length: int
    threshold: int  # documents with a smaller hash are held out


def _prepare(
    data: DataConfig, max_seq_length: int, directory: str, num_processes: int | None, progress: bool
) -> DatasetInfo:
    source = open_source(data.corpus, data.text_field)
    plan = {
        "data.corpus": data.corpus,
        "data.text_field": data.text_field,
        "files of data.corpus": source.fingerprint,
        "data.tokenizer": _tokenizer_spec(data),
        "model.max_seq_length": max_seq_length,
        "data.holdout_fraction": data.holdout_fraction,
    }
    _keep_plan(plan, directory)
    tokenizer = _keep_tokenizer(data, source, directory, progress)
    job = _Job(directory, tokenizer, max_seq_length, int(data.holdout_fraction * _HASHES))
    _work_off(job, source.shards, num_processes or os.cpu_count() or 1, progress)
    parts = [_load_part(directory, index) for index in range(len(source.shards))]
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
        broken=_broken(parts),
    )
    dataset.save_info(info, directory)
    for name in os.listdir(directory):
        if name.endswith(".part") or name == PLAN_FILE:
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


def _keep_tokenizer(data: DataConfig, source: Source, directory: str, progress: bool) -> Tokenizer:
    """The tokenizer, copied into the data set or trained there; one of an interrupted attempt is kept."""
    path = os.path.join(directory, dataset.TOKENIZER_FILE)
    if data.tokenizer:
        given = load_tokenizer(data.tokenizer)
        if os.path.exists(path):
            _require_same(directory, "data.tokenizer sha256", load_tokenizer(path).sha256, given.sha256)
        dataset.write_atomically(path, given.model)
        return given
    if os.path.exists(path):
        return load_tokenizer(path)
    if progress:
        print(f"Training a tokenizer: {_tokenizer_spec(data)}", file=sys.stderr)
    return train_tokenizer(
        training_lines(source.shards), path, data.tokenizer_pieces, data.tokenizer_algorithm
    )


def _work_off(job: _Job, shards: tuple[Shard, ...], num_processes: int, progress: bool) -> None:
    """Does all shards that have no `.part` file yet."""
    missing = [index for index in range(len(shards)) if not os.path.exists(_part_path(job.directory, index))]
    bar = tqdm(
        total=sum(shard.size for shard in shards),
        initial=sum(shards[index].size for index in set(range(len(shards))) - set(missing)),
        desc="Tokenising",
        unit="B",
        unit_scale=True,
        disable=not progress,
    )
    with bar:
        if num_processes == 1 or len(missing) <= 1:
            for index in missing:
                _do_shard(job, index, shards[index])
                bar.update(shards[index].size)
            return
        with concurrent.futures.ProcessPoolExecutor(
            min(num_processes, len(missing)), multiprocessing.get_context("spawn"), _keep_job, (job,)
        ) as pool:
            futures = {
                pool.submit(_do_kept_job, index, shards[index]): shards[index].size for index in missing
            }
            try:
                for future in concurrent.futures.as_completed(futures):
                    future.result()
                    bar.update(futures[future])
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


_kept_job: _Job | None = None  # of a worker process: sent once, not with every shard


def _keep_job(job: _Job) -> None:
    global _kept_job
    _kept_job = job


def _do_kept_job(index: int, shard: Shard) -> None:
    assert _kept_job is not None
    _do_shard(_kept_job, index, shard)


@dataclasses.dataclass
class _Part:
    """What came out of one shard."""

    documents: dict[str, int]
    segments: dict[str, int]
    tokens: dict[str, int]
    files: dict[str, str]
    source_tokens: int
    broken: dict[str, int]
    lowest_hash: int
    token_counts: np.ndarray  # int64[V], of the training split


def _part_path(directory: str, index: int) -> str:
    return os.path.join(directory, f"{index:05}.part")


def _load_part(directory: str, index: int) -> _Part:
    with np.load(_part_path(directory, index)) as arrays:
        return _Part(**json.loads(arrays["facts"].item()), token_counts=arrays["token_counts"])


def _do_shard(job: _Job, index: int, shard: Shard) -> None:
    """Writes the files of one shard and, last of all, its `.part` file."""
    part = _Part(
        dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0), {}, 0, {}, _HASHES,
        np.zeros(job.tokenizer.vocab_size, np.int64),
    )  # fmt: skip
    broken: collections.Counter[str] = collections.Counter()
    dtype = token_dtype(job.tokenizer.vocab_size)
    writers: dict[str, Any] = {}

    def temporary(split: str) -> str:
        return os.path.join(job.directory, f".tmp-{split}-{index:05}")

    for document in shard:
        if isinstance(document, Broken):
            broken[document.reason] += 1
            continue
        found, source_tokens = segments(document, job.tokenizer, job.max_seq_length)
        part.source_tokens += source_tokens
        if not found:
            broken["single sentence"] += 1
            continue
        digest = document_hash(document)
        part.lowest_hash = min(part.lowest_hash, digest)
        split = "heldout" if digest < job.threshold else "train"
        if split not in writers:
            writers[split] = array_record_module.ArrayRecordWriter(temporary(split), _RECORD_OPTIONS)
        part.documents[split] += 1
        for segment in found:
            writers[split].write(segment.to_bytes(dtype))
            part.segments[split] += 1
            part.tokens[split] += len(segment.tokens)
            if split == "train":
                part.token_counts += np.bincount(segment.tokens, minlength=len(part.token_counts))
    for split, writer in writers.items():
        writer.close()
        part.files[split] = f"{split}-{index:05}.array_record"
        os.replace(temporary(split), os.path.join(job.directory, part.files[split]))
    part.broken = dict(broken)
    _save_part(part, job.directory, index)


def _save_part(part: _Part, directory: str, index: int) -> None:
    facts = {
        field.name: getattr(part, field.name)
        for field in dataclasses.fields(part)
        if field.name != "token_counts"
    }
    temporary = os.path.join(directory, f".tmp-{index:05}.npz")
    np.savez(temporary, facts=json.dumps(facts), token_counts=part.token_counts)
    os.replace(temporary, _part_path(directory, index))


def _hold_out_something(job: _Job, source: Source, parts: list[_Part]) -> list[_Part]:
    """With so few documents that none is held out, holds out the one with the smallest hash."""
    documents = sum(sum(part.documents.values()) for part in parts)
    if documents < 2 or any(part.documents["heldout"] for part in parts):
        return parts
    index = min(range(len(parts)), key=lambda i: parts[i].lowest_hash)
    _do_shard(dataclasses.replace(job, threshold=parts[index].lowest_hash + 1), index, source.shards[index])
    return [*parts[:index], _load_part(job.directory, index), *parts[index + 1 :]]


def _check_splits(data: DataConfig, parts: list[_Part]) -> None:
    totals = {split: sum(part.documents[split] for part in parts) for split in SPLITS}
    if not sum(totals.values()):
        reasons = ", ".join(f"{count} {reason}" for reason, count in _broken(parts).items()) or "it is empty"
        raise UserError(
            f"data.corpus={data.corpus!r} leaves nothing to learn from: {reasons}; see also data.text_field"
        )
    for split, count in totals.items():
        if not count:
            raise UserError(
                f"data.corpus={data.corpus!r} leaves no document for the split {split!r} with data.holdout_fraction="
                f"{data.holdout_fraction}; at least two documents are needed, better hundreds"
            )


def _split_info(split: str, parts: list[_Part]) -> SplitInfo:
    return SplitInfo(
        files=tuple(part.files[split] for part in parts if split in part.files),
        documents=sum(part.documents[split] for part in parts),
        segments=sum(part.segments[split] for part in parts),
        tokens=sum(part.tokens[split] for part in parts),
    )


def _broken(parts: list[_Part]) -> dict[str, int]:
    total: collections.Counter[str] = collections.Counter()
    for part in parts:
        total.update(part.broken)
    return dict(sorted(total.items()))
