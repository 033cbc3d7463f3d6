"""A prepared data set on disk: its files, what it was made from, and whether it fits a config.

| file | what |
|---|---|
| `dataset.json` | `DatasetInfo`, written last: without it there is no data set |
| `tokenizer.model` | the tokenizer |
| `token_counts.npy` | int64[V]: how often each token occurs in the training split |
| `train-NNNNN.array_record`, `heldout-NNNNN.array_record` | segments; NNNNN is the shard of the source |
"""

import dataclasses
import json
import os
from typing import Any

import numpy as np

from fnet_jax.core.errors import UserError
from fnet_jax.core.files import write_atomically
from fnet_jax.data.segments import token_dtype

INFO_FILE = "dataset.json"
TOKEN_COUNTS_FILE = "token_counts.npy"
SPLITS = ("train", "heldout")
FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class SplitInfo:
    """One split: its files in order, and the numbers of documents, segments and tokens in them."""

    files: tuple[str, ...]
    documents: int
    segments: int
    tokens: int


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What a data set was made from and what came out.

    Attributes:
        format_version: of the records.
        corpus: as in the config, with `text_field`.
        text_field: as in the config.
        source_fingerprint: see `corpus.sources.Source`.
        tokenizer_sha256: of the tokenizer's file.
        tokenizer_spec: how it came about: the config's path, or algorithm and vocabulary size.
        vocab_size: V.
        max_seq_length: L.
        holdout_fraction: as in the config.
        splits: "train" and "heldout".
        source_tokens: of all documents, before they were cut into segments.
        skipped: records and documents that gave no segment, by reason.
    """

    format_version: int
    corpus: str
    text_field: str
    source_fingerprint: str
    tokenizer_sha256: str
    tokenizer_spec: str
    vocab_size: int
    max_seq_length: int
    holdout_fraction: float
    splits: dict[str, SplitInfo]
    source_tokens: int
    skipped: dict[str, int]

    @property
    def dtype(self) -> np.dtype:
        """The type of the tokens in the records."""
        return token_dtype(self.vocab_size)

    @property
    def tokens(self) -> int:
        """Number of tokens in both splits."""
        return sum(split.tokens for split in self.splits.values())

    @property
    def kept_share(self) -> float:
        """Share of the tokens of the source that the segments hold."""
        return self.tokens / max(self.source_tokens, 1)


def exists(directory: str) -> bool:
    """Whether a complete data set is there."""
    return os.path.exists(os.path.join(directory, INFO_FILE))


def load_info(directory: str) -> DatasetInfo:
    """Reads `dataset.json`.

    Raises:
        UserError: if there is no complete data set of this format.
    """
    if not exists(directory):
        raise UserError(
            f"data.dir={directory} holds no prepared data set; run python -m fnet_jax.tools.prepare"
        )
    path = os.path.join(directory, INFO_FILE)
    try:
        with open(path, encoding="utf-8") as file:
            values: dict[str, Any] = json.load(file)
        version = values["format_version"]
        if version != FORMAT_VERSION:
            raise UserError(
                f"data.dir={directory} has format version {version}, this program reads {FORMAT_VERSION}; "
                "prepare it anew in another folder"
            )
        splits = {
            name: SplitInfo(**{**split, "files": tuple(split["files"])})
            for name, split in values["splits"].items()
        }
        return DatasetInfo(**{**values, "splits": splits})
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error}); delete data.dir={directory} and prepare it anew"
        ) from error


def save_info(info: DatasetInfo, directory: str) -> None:
    """Writes `dataset.json`: from now on the data set exists."""
    content = json.dumps(dataclasses.asdict(info), indent=2) + "\n"
    write_atomically(os.path.join(directory, INFO_FILE), content)


def check_info(
    info: DatasetInfo, directory: str, max_seq_length: int, tokenizer_sha256: str | None = None
) -> None:
    """Refuses a data set made with another length or tokenizer.

    Args:
        info: of the data set.
        directory: where it lies, for the message.
        max_seq_length: L that is asked for.
        tokenizer_sha256: of the tokenizer that is asked for; None accepts any.

    Raises:
        UserError: naming both values and the key to change.
    """
    if info.max_seq_length != max_seq_length:
        raise UserError(
            f"data.dir={directory} was prepared with model.max_seq_length={info.max_seq_length}, not "
            f"{max_seq_length}; set it so or give another data.dir"
        )
    if tokenizer_sha256 not in (None, info.tokenizer_sha256):
        raise UserError(
            f"data.dir={directory} was prepared with another tokenizer than data.tokenizer (sha256 "
            f"{info.tokenizer_sha256[:12]}, not {str(tokenizer_sha256)[:12]}); give another data.dir"
        )
