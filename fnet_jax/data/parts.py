"""The parallel half of preparing: shards in, ArrayRecord files and a `.part` file each out."""

import collections
import concurrent.futures
import dataclasses
import errno
import json
import multiprocessing
import os
import sys
import threading
from typing import Any

import numpy as np
from array_record.python import array_record_module
from tqdm import tqdm

from fnet_jax.data.dataset import SPLITS
from fnet_jax.data.segments import document_hash, segments, token_dtype
from fnet_jax.data.shards import Broken, Shard
from fnet_jax.data.tokenizer import Tokenizer

PART_SUFFIX = ".part"
NUM_HASHES = 2**64

_SMALL_BYTES = 16 << 20  # done before other processes have started
_RECORD_OPTIONS = "group_size:1"  # one record per chunk: what random access wants


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker needs to know beside the shard."""

    directory: str
    tokenizer: Tokenizer
    max_seq_length: int
    threshold: int  # documents with a smaller hash are held out


def work_off(job: Job, shards: tuple[Shard, ...], num_processes: int, progress: bool) -> None:
    """Does all shards that have no `.part` file yet; raises what a worker raised, or that it died."""
    missing = [index for index in range(len(shards)) if not os.path.exists(_part_path(job.directory, index))]
    bar = tqdm(
        total=sum(shard.size for shard in shards),
        initial=sum(shards[index].size for index in set(range(len(shards))) - set(missing)),
        desc="Tokenising",
        unit="B",
        unit_scale=True,
        disable=not progress,
        mininterval=0.5 if sys.stderr.isatty() else 60,  # seconds; a log wants few lines
    )
    with bar:
        small = sum(shards[index].size for index in missing) < _SMALL_BYTES
        if num_processes == 1 or len(missing) <= 1 or small:
            for index in missing:
                do_shard(job, index, shards[index])
                bar.update(shards[index].size)
            return
        with concurrent.futures.ProcessPoolExecutor(
            min(num_processes, len(missing)), multiprocessing.get_context("spawn"), _start_worker, (job,)
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


_kept_job: Job | None = None  # of a worker process: sent once, not with every shard


def _start_worker(job: Job) -> None:
    global _kept_job
    _kept_job = job
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do_kept_job(index: int, shard: Shard) -> None:
    assert _kept_job is not None
    do_shard(_kept_job, index, shard)


@dataclasses.dataclass
class Part:
    """What came out of one shard."""

    documents: dict[str, int]
    segments: dict[str, int]
    tokens: dict[str, int]
    files: dict[str, str]
    source_tokens: int
    skipped: dict[str, int]
    lowest_hash: int
    token_counts: np.ndarray  # int64[V], of the training split


def _part_path(directory: str, index: int) -> str:
    return os.path.join(directory, f"{index:05}{PART_SUFFIX}")


def load_part(directory: str, index: int) -> Part:
    """What a finished shard left behind."""
    with np.load(_part_path(directory, index)) as arrays:
        return Part(**json.loads(arrays["facts"].item()), token_counts=arrays["token_counts"])


def do_shard(job: Job, index: int, shard: Shard) -> None:
    """Writes the files of one shard and, last of all, its `.part` file."""
    part = Part(
        dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0), {}, 0, {}, NUM_HASHES,
        np.zeros(job.tokenizer.vocab_size, np.int64),
    )  # fmt: skip
    skipped: collections.Counter[str] = collections.Counter()
    dtype = token_dtype(job.tokenizer.vocab_size)
    writers: dict[str, Any] = {}

    def temporary(split: str) -> str:
        return os.path.join(job.directory, f".tmp-{split}-{index:05}-{os.getpid()}")

    for document in shard:
        if isinstance(document, Broken):
            skipped[document.reason] += 1
            continue
        found, source_tokens = segments(document, job.tokenizer, job.max_seq_length)
        part.source_tokens += source_tokens
        if not found:
            skipped["single sentence"] += 1
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
        try:
            writer.close()
        except RuntimeError as error:  # ArrayRecord's way to say that the disk is full
            raise OSError(errno.EIO, str(error)) from error
        part.files[split] = f"{split}-{index:05}.array_record"
        os.replace(temporary(split), os.path.join(job.directory, part.files[split]))
    part.skipped = dict(skipped)
    _save_part(part, job.directory, index)


def _save_part(part: Part, directory: str, index: int) -> None:
    facts = {
        field.name: getattr(part, field.name)
        for field in dataclasses.fields(part)
        if field.name != "token_counts"
    }
    temporary = os.path.join(directory, f".tmp-{index:05}-{os.getpid()}.npz")
    np.savez(temporary, facts=json.dumps(facts), token_counts=part.token_counts)
    os.replace(temporary, _part_path(directory, index))
