"""The part of a data set that a worker makes from one shard: files of records, and a manifest.

What a part holds depends on the corpus and the settings alone. Files get their names only when they are
complete, and the manifest comes last, so a part may be made at any time, anywhere, and more than once.
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

from fnet_jax.data.corpus.shards import Shard, Unreadable
from fnet_jax.data.dataset import SPLITS
from fnet_jax.data.segments import document_hash, segments, token_dtype
from fnet_jax.data.tokenizer import Tokenizer

MANIFEST_SUFFIX = ".part"
NUM_HASHES = 2**64

_RECORD_OPTIONS = "group_size:1"  # one record per chunk: what random access wants
_REPORT_EVERY = 64  # records of the source


@dataclasses.dataclass(frozen=True)
class WorkerConfig:
    """What a worker needs to know beside its shard.

    Attributes:
        directory: of the data set.
        tokenizer: of the data set.
        max_seq_length: L.
        heldout_below: documents with a smaller hash are held out.
        settings: digest of all that the records depend on; a part with another one does not count.
    """

    directory: str
    tokenizer: Tokenizer
    max_seq_length: int
    heldout_below: int
    settings: str


def _zeros() -> dict[str, int]:
    return dict.fromkeys(SPLITS, 0)


@dataclasses.dataclass
class Manifest:
    """What a part holds.

    Attributes:
        settings: see `WorkerConfig`.
        token_counts: i64[V], of the training split.
        documents: their number, by split.
        segments: their number, by split.
        tokens: their number, by split.
        files: name and bytes, by split; none where the split is empty.
        source_tokens: of all documents, before they were cut into segments.
        skipped: number of records and documents that gave no segment, by reason.
        lowest_hash: of the documents.
    """

    settings: str
    token_counts: np.ndarray
    documents: dict[str, int] = dataclasses.field(default_factory=_zeros)
    segments: dict[str, int] = dataclasses.field(default_factory=_zeros)
    tokens: dict[str, int] = dataclasses.field(default_factory=_zeros)
    files: dict[str, tuple[str, int]] = dataclasses.field(default_factory=dict)
    source_tokens: int = 0
    skipped: dict[str, int] = dataclasses.field(default_factory=collections.Counter)
    lowest_hash: int = NUM_HASHES


def _manifest_path(directory: str, index: int) -> str:
    return os.path.join(directory, f"{index:05}{MANIFEST_SUFFIX}")


def load_manifest(directory: str, index: int) -> Manifest:
    """The manifest of a finished part."""
    with np.load(_manifest_path(directory, index)) as arrays:
        return Manifest(**json.loads(arrays["facts"].item()), token_counts=arrays["token_counts"])


def is_done(config: WorkerConfig, index: int) -> bool:
    """Whether a part is there, made with the same settings, with all its files."""
    try:
        manifest = load_manifest(config.directory, index)
        return manifest.settings == config.settings and all(
            os.path.getsize(os.path.join(config.directory, name)) == size
            for name, size in manifest.files.values()
        )
    except (FileNotFoundError, zipfile.BadZipFile, ValueError, EOFError, KeyError, TypeError):
        return False


def make_part(
    config: WorkerConfig,
    index: int,
    shard: Shard,
    report: Callable[[int, int], None] = lambda records, size: None,
) -> None:
    """Writes the files of one part and, last of all, its manifest.

    Args:
        config: common to all parts.
        index: of the part.
        shard: its records.
        report: told now and then, and at the end, how many records and characters have been read.
    """
    vocab_size = config.tokenizer.vocab_size
    manifest = Manifest(config.settings, np.zeros(vocab_size, np.int64))
    writers: dict[str, Any] = {}
    suffix = uuid.uuid4().hex  # another machine may be making the same part
    count = size = 0

    def temporary(split: str) -> str:
        return os.path.join(config.directory, f".tmp-{split}-{index:05}-{suffix}")

    for count, document in enumerate(shard, start=1):
        if not count % _REPORT_EVERY:
            report(count, size)
        if isinstance(document, Unreadable):
            manifest.skipped[document.reason] += 1
            continue
        size += len(document)
        found, source_tokens = segments(document, config.tokenizer, config.max_seq_length)
        manifest.source_tokens += source_tokens
        if not found:
            manifest.skipped["single sentence"] += 1
            continue
        digest = document_hash(document)
        manifest.lowest_hash = min(manifest.lowest_hash, digest)
        split = "heldout" if digest < config.heldout_below else "train"
        if split not in writers:
            writers[split] = array_record_module.ArrayRecordWriter(temporary(split), _RECORD_OPTIONS)
        manifest.documents[split] += 1
        for segment in found:
            writers[split].write(segment.to_bytes(token_dtype(vocab_size)))
            manifest.segments[split] += 1
            manifest.tokens[split] += len(segment.tokens)
            if split == "train":
                manifest.token_counts += np.bincount(segment.tokens, minlength=vocab_size)
    report(count, size)
    for split, writer in writers.items():
        try:
            writer.close()
        except RuntimeError as error:  # ArrayRecord's way to say that the disk is full
            raise OSError(errno.EIO, str(error)) from error
        name = f"{split}-{index:05}.array_record"
        manifest.files[split] = name, os.path.getsize(temporary(split))
        os.replace(temporary(split), os.path.join(config.directory, name))
    _save_manifest(manifest, config.directory, index)


def _save_manifest(manifest: Manifest, directory: str, index: int) -> None:
    facts = dict(vars(manifest))
    counts = facts.pop("token_counts")
    temporary = os.path.join(directory, f".tmp-{index:05}-{uuid.uuid4().hex}.npz")
    np.savez(temporary, facts=json.dumps(facts), token_counts=counts)
    os.replace(temporary, _manifest_path(directory, index))
