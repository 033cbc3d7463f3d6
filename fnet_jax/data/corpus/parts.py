"""One part of a data set: the records of one shard of the source, and a `.part` file that says so.

What a part holds depends on the corpus and the settings alone. Files get their names only when they are
whole, and the `.part` file comes last, so a part may be made at any time, anywhere, and more than once.
"""

import collections
import dataclasses
import errno
import json
import os
import uuid
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from array_record.python import array_record_module

from fnet_jax.data.corpus.shards import Broken, Shard
from fnet_jax.data.dataset import SPLITS
from fnet_jax.data.segments import document_hash, segments, token_dtype
from fnet_jax.data.tokenizer import Tokenizer

PART_SUFFIX = ".part"
NUM_HASHES = 2**64

_RECORD_OPTIONS = "group_size:1"  # one record per chunk: what random access wants
_REPORT_EVERY = 64  # records of the source


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker needs to know beside the shard.

    Attributes:
        directory: of the data set.
        tokenizer: of the data set.
        max_seq_length: L.
        threshold: documents with a smaller hash are held out.
        settings: digest of all that the records depend on; a part with another one does not count.
    """

    directory: str
    tokenizer: Tokenizer
    max_seq_length: int
    threshold: int
    settings: str


@dataclasses.dataclass
class Part:
    """What came out of one shard.

    Attributes:
        settings: see `Job`.
        documents: by split; segments and tokens likewise.
        files: name and bytes, by split; none where the split is empty.
        source_tokens: of all documents.
        skipped: records and documents that gave no segment, by reason.
        lowest_hash: of the documents.
        token_counts: int64[V], of the training split.
    """

    settings: str
    documents: dict[str, int]
    segments: dict[str, int]
    tokens: dict[str, int]
    files: dict[str, tuple[str, int]]
    source_tokens: int
    skipped: dict[str, int]
    lowest_hash: int
    token_counts: np.ndarray


def _part_path(directory: str, index: int) -> str:
    return os.path.join(directory, f"{index:05}{PART_SUFFIX}")


def load_part(directory: str, index: int) -> Part:
    """What a finished shard left behind."""
    with np.load(_part_path(directory, index)) as arrays:
        return Part(**json.loads(arrays["facts"].item()), token_counts=arrays["token_counts"])


def is_done(job: Job, index: int) -> bool:
    """Whether a part is there, made with the same settings, with all its files."""
    try:
        part = load_part(job.directory, index)
        return part.settings == job.settings and all(
            os.path.getsize(os.path.join(job.directory, name)) == size for name, size in part.files.values()
        )
    except (FileNotFoundError, zipfile.BadZipFile, ValueError, EOFError, KeyError, TypeError):
        return False


def make_part(
    job: Job, index: int, shard: Shard, report: Callable[[int, int], None] = lambda records, size: None
) -> None:
    """Writes the files of one part and, last of all, its `.part` file.

    Args:
        job: what all parts have in common.
        index: of the part.
        shard: its records.
        report: told now and then, and at the end, how many records and characters have been read.
    """
    part = Part(
        job.settings, dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0), {}, 0, {},
        NUM_HASHES, np.zeros(job.tokenizer.vocab_size, np.int64),
    )  # fmt: skip
    skipped: collections.Counter[str] = collections.Counter()
    dtype = token_dtype(job.tokenizer.vocab_size)
    writers: dict[str, Any] = {}
    mark = uuid.uuid4().hex  # another machine may be making the same part
    count = size = 0

    def temporary(split: str) -> str:
        return os.path.join(job.directory, f".tmp-{split}-{index:05}-{mark}")

    for count, document in enumerate(shard, start=1):
        if not count % _REPORT_EVERY:
            report(count, size)
        if isinstance(document, Broken):
            skipped[document.reason] += 1
            continue
        size += len(document)
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
    report(count, size)
    for split, writer in writers.items():
        try:
            writer.close()
        except RuntimeError as error:  # ArrayRecord's way to say that the disk is full
            raise OSError(errno.EIO, str(error)) from error
        name = f"{split}-{index:05}.array_record"
        part.files[split] = name, os.path.getsize(temporary(split))
        os.replace(temporary(split), os.path.join(job.directory, name))
    part.skipped = dict(skipped)
    _save_part(part, job.directory, index)


def _save_part(part: Part, directory: str, index: int) -> None:
    facts = {
        field.name: getattr(part, field.name)
        for field in dataclasses.fields(part)
        if field.name != "token_counts"
    }
    temporary = os.path.join(directory, f".tmp-{index:05}-{uuid.uuid4().hex}.npz")
    np.savez(temporary, facts=json.dumps(facts), token_counts=part.token_counts)
    os.replace(temporary, _part_path(directory, index))
