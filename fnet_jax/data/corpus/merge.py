"""Makes a data set of all its parts: adds up their counts, and writes `dataset.json` last."""

import collections
import dataclasses
import os
from collections.abc import Collection, Sequence

import numpy as np

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.core.files import atomic_file, remove
from fnet_jax.data import dataset
from fnet_jax.data.corpus.parts import MANIFEST_SUFFIX, Manifest, WorkerConfig, load_manifest, make_part
from fnet_jax.data.corpus.preparation import SETTINGS_FILE, Preparation, tokenizer_spec
from fnet_jax.data.corpus.sources import Source
from fnet_jax.data.dataset import SPLITS, DatasetInfo, SplitInfo


def merge_parts(config: WorkerConfig, preparation: Preparation) -> DatasetInfo:
    """Adds up the parts and writes `dataset.json`.

    Raises:
        UserError: if there is nothing to learn from, or nothing to evaluate on.
    """
    data, source, directory = preparation.data, preparation.source, preparation.directory
    parts = [load_manifest(directory, index) for index in range(len(source.shards))]
    _hold_out_something(config, source, parts)
    _check_splits(data, parts)
    with atomic_file(os.path.join(directory, dataset.TOKEN_COUNTS_FILE)) as file:
        np.save(file, sum(part.token_counts for part in parts))
    info = DatasetInfo(
        format_version=dataset.FORMAT_VERSION,
        corpus=data.corpus,
        text_field=data.text_field,
        source_fingerprint=source.fingerprint,
        tokenizer_sha256=config.tokenizer.sha256,
        tokenizer_spec=tokenizer_spec(data),
        vocab_size=config.tokenizer.vocab_size,
        max_seq_length=preparation.max_seq_length,
        holdout_fraction=data.holdout_fraction,
        splits={split: _split_info(split, parts) for split in SPLITS},
        source_tokens=sum(part.source_tokens for part in parts),
        skipped=_skipped(parts),
    )
    _remove_files(
        directory, ".array_record", keep={name for split in info.splits.values() for name in split.files}
    )
    dataset.save_info(info, directory)
    _remove_files(directory, MANIFEST_SUFFIX)
    remove(os.path.join(directory, SETTINGS_FILE))
    return info


def _remove_files(directory: str, suffix: str, keep: Collection[str] = ()) -> None:
    """Removes files that are no longer needed, or that no part has written."""
    for name in os.listdir(directory):
        if name.endswith(suffix) and name not in keep:
            os.remove(os.path.join(directory, name))


def _hold_out_something(config: WorkerConfig, source: Source, parts: list[Manifest]) -> None:
    """With so few documents that none is held out, holds out the one with the smallest hash."""
    documents = sum(sum(part.documents.values()) for part in parts)
    if documents < 2 or any(part.documents["heldout"] for part in parts):
        return
    index = min(range(len(parts)), key=lambda i: parts[i].lowest_hash)
    config = dataclasses.replace(config, heldout_below=parts[index].lowest_hash + 1)
    make_part(config, index, source.shards[index])
    parts[index] = load_manifest(config.directory, index)


def _check_splits(data: DataConfig, parts: Sequence[Manifest]) -> None:
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


def _split_info(split: str, parts: Sequence[Manifest]) -> SplitInfo:
    return SplitInfo(
        files=tuple(part.files[split][0] for part in parts if split in part.files),
        documents=sum(part.documents[split] for part in parts),
        segments=sum(part.segments[split] for part in parts),
        tokens=sum(part.tokens[split] for part in parts),
    )


def _skipped(parts: Sequence[Manifest]) -> dict[str, int]:
    total: collections.Counter[str] = collections.Counter()
    for part in parts:
        total.update(part.skipped)
    return dict(sorted(total.items()))
