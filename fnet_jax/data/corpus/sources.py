"""Where documents come from: the embedded corpus, text, JSONL and Parquet files, TFDS data sets."""

import dataclasses
import glob
import hashlib
import os
from pathlib import Path

from fnet_jax.core.errors import UserError
from fnet_jax.data import pydocs
from fnet_jax.data.corpus.shards import (
    JsonlShard,
    ParquetShard,
    PydocsShard,
    Shard,
    TextRangeShard,
    TextShard,
    TfdsShard,
)
from fnet_jax.data.tfds_sets import check_prepared, open_builder

SUFFIXES = (".txt", ".jsonl", ".jsonl.gz", ".json.gz", ".parquet")  # what is looked for in folders

_MIN_SHARD_BYTES = 8 << 20  # some seconds of work
_MAX_SHARDS = 512  # roughly; a very large corpus gets larger shards instead


@dataclasses.dataclass(frozen=True)
class Source:
    """A corpus that has been found, but not read.

    Attributes:
        shards: in an order that depends on the corpus alone.
        fingerprint: hash of names, sizes and versions; another one means that the corpus was exchanged.
    """

    shards: tuple[Shard, ...]
    fingerprint: str


def open_source(corpus: str, text_field: str = "text") -> Source:
    """Opens a corpus without reading it.

    Args:
        corpus: "pydocs"; a file, folder or glob; "tfds:NAME[/CONFIG][:SPLIT]" or "tfds:FOLDER[:SPLIT]".
        text_field: field of JSONL, Parquet and TFDS records that holds the document.

    Raises:
        UserError: if nothing is there.
    """
    if "://" in corpus:
        raise UserError(
            f"data.corpus={corpus!r} is no file or folder; mount the object store and give the folder where "
            "it is mounted, or copy the files"
        )
    shards: list[Shard]
    if corpus == "pydocs":
        shards = [PydocsShard(library) for library in pydocs.LIBRARIES]
        facts = [f"{library} {pydocs.version(library)}" for library in pydocs.LIBRARIES]
    elif corpus.startswith("tfds:"):
        shards, facts = _tfds_shards(corpus, text_field)
    else:
        paths = _find_files(corpus)
        shards = _file_shards(paths, text_field)
        facts = [f"{path.name} {path.stat().st_size}" for path in paths]
    facts.append(text_field)
    return Source(tuple(shards), hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16])


def _find_files(corpus: str) -> list[Path]:
    """The files of a path, folder or glob, sorted by path; empty ones are left out."""
    place = os.path.expanduser(corpus)
    if os.path.isfile(place):
        return [Path(place)]
    if os.path.isdir(place):
        found = [path for path in Path(place).rglob("*") if path.name.endswith(SUFFIXES) and path.is_file()]
    else:
        found = [Path(path) for path in glob.glob(place, recursive=True) if os.path.isfile(path)]
    found = [path for path in found if path.stat().st_size]
    if not found:
        raise UserError(
            f"data.corpus={corpus!r} matches no file; give 'pydocs', tfds:NAME, or a file, folder or glob "
            f"with {' '.join(SUFFIXES)}"
        )
    return sorted(found)


def _file_shards(paths: list[Path], text_field: str) -> list[Shard]:
    """Shards of about equal size: small text files together, large files cut, unless they are compressed."""
    total = sum(path.stat().st_size for path in paths)
    goal = max(_MIN_SHARD_BYTES, total // _MAX_SHARDS)
    shards: list[Shard] = []
    texts: list[Path] = []
    for path in paths:
        size = path.stat().st_size
        ranges = [(start, min(start + goal, size)) for start in range(0, size, goal)]
        if path.name.endswith((".jsonl.gz", ".json.gz")):
            shards.append(JsonlShard(str(path), 0, size, text_field))
        elif path.name.endswith((".jsonl", ".json")):
            shards += [JsonlShard(str(path), *byte_range, text_field) for byte_range in ranges]
        elif path.suffix == ".parquet":
            shards += _parquet_shards(path, text_field, goal)
        elif size > goal:
            shards += [TextRangeShard(str(path), *byte_range) for byte_range in ranges]
        else:
            texts.append(path)
    group: list[str] = []
    group_size = 0
    for path in texts:
        group.append(str(path))
        group_size += path.stat().st_size
        if group_size >= goal or path == texts[-1]:
            shards.append(TextShard(tuple(group), group_size))
            group, group_size = [], 0
    return shards


def _parquet_shards(path: Path, text_field: str, goal: int) -> list[Shard]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            metadata, schema = file.metadata, file.schema_arrow
    except pyarrow.ArrowInvalid as error:
        raise UserError(f"data.corpus: {path} is no Parquet file ({error})") from error
    if text_field not in schema.names:
        names = ", ".join(schema.names)
        raise UserError(f"data.text_field={text_field!r} is no column of {path}; it has {names}")
    kind = schema.field(text_field).type
    try:
        pyarrow.array([], kind).cast("large_binary")
    except pyarrow.ArrowNotImplementedError:
        raise UserError(f"data.text_field={text_field!r} of {path} holds {kind}, not text") from None
    shards: list[Shard] = []
    start = size = 0
    for group in range(metadata.num_row_groups):
        size += metadata.row_group(group).total_byte_size
        if size >= goal or group == metadata.num_row_groups - 1:
            shards.append(ParquetShard(str(path), text_field, start, group + 1, size))
            start, size = group + 1, 0
    return shards


def _tfds_shards(corpus: str, text_field: str) -> tuple[list[Shard], list[str]]:
    """Shards and facts of "tfds:NAME[/CONFIG][:SPLIT]"."""
    place, _, split = corpus.removeprefix("tfds:").partition(":")
    builder = open_builder(corpus, place)
    check_prepared(builder, corpus, place)
    split = split or "train"
    if split not in builder.info.splits:
        raise UserError(
            f"data.corpus={corpus!r} has no split {split!r}; it has {', '.join(builder.info.splits)}"
        )
    if text_field not in builder.info.features:
        fields = ", ".join(builder.info.features)
        raise UserError(f"data.text_field={text_field!r} is no field of {corpus}; it has {fields}")
    info = builder.info.splits[split]
    count, total = info.num_examples, max(info.num_bytes, 1)
    step = max(1, count * max(_MIN_SHARD_BYTES, total // _MAX_SHARDS) // total)
    directory = os.fspath(builder.data_dir)
    shards: list[Shard] = [
        TfdsShard(directory, split, text_field, at, min(at + step, count), total * min(step, count) // count)
        for at in range(0, count, step)
    ]
    return shards, [builder.info.full_name, split, str(count), str(total)]
