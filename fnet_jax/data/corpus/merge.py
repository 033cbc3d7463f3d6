"""From all parts to a data set: counts are added up, and `dataset.json` is written last."""

import collections
import dataclasses
import os
from collections.abc import Collection

import numpy as np

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.data import dataset
from fnet_jax.data.corpus.parts import PART_SUFFIX, Job, Part, load_part, make_part
from fnet_jax.data.corpus.plan import PLAN_FILE, Plan, tokenizer_spec
from fnet_jax.data.corpus.sources import Source
from fnet_jax.data.dataset import SPLITS, DatasetInfo, SplitInfo


def merge_parts(job: Job, plan: Plan) -> DatasetInfo:
    """Adds up the parts and writes down that the data set is complete.

    Raises:
        UserError: if there is nothing to learn from, or nothing to evaluate on.
    """
    data, source, directory = plan.data, plan.source, plan.directory
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
        tokenizer_sha256=job.tokenizer.sha256,
        tokenizer_spec=tokenizer_spec(data),
        vocab_size=job.tokenizer.vocab_size,
        max_seq_length=plan.max_seq_length,
        holdout_fraction=data.holdout_fraction,
        splits={split: _split_info(split, parts) for split in SPLITS},
        source_tokens=sum(part.source_tokens for part in parts),
        skipped=_skipped(parts),
    )
    _remove_unless(
        directory, ".array_record", {name for split in info.splits.values() for name in split.files}
    )
    dataset.save_info(info, directory)
    _remove_unless(directory, PART_SUFFIX)
    _remove_unless(directory, PLAN_FILE)
    return info


def _remove_unless(directory: str, suffix: str, wanted: Collection[str] = ()) -> None:
    """Removes what no part has written, or nobody needs any more."""
    for name in os.listdir(directory):
        if name.endswith(suffix) and name not in wanted:
            os.remove(os.path.join(directory, name))


def _hold_out_something(job: Job, source: Source, parts: list[Part]) -> list[Part]:
    """With so few documents that none is held out, holds out the one with the smallest hash."""
    documents = sum(sum(part.documents.values()) for part in parts)
    if documents < 2 or any(part.documents["heldout"] for part in parts):
        return parts
    index = min(range(len(parts)), key=lambda i: parts[i].lowest_hash)
    make_part(dataclasses.replace(job, threshold=parts[index].lowest_hash + 1), index, source.shards[index])
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
        files=tuple(part.files[split][0] for part in parts if split in part.files),
        documents=sum(part.documents[split] for part in parts),
        segments=sum(part.segments[split] for part in parts),
        tokens=sum(part.tokens[split] for part in parts),
    )


def _skipped(parts: list[Part]) -> dict[str, int]:
    total: collections.Counter[str] = collections.Counter()
    for part in parts:
        total.update(part.skipped)
    return dict(sorted(total.items()))
