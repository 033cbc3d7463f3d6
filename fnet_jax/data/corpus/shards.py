"""Shards: parts of a corpus that are read on their own, wherever they come from."""

import codecs
import dataclasses
import gzip
import json
import mmap
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from fnet_jax.data import pydocs

_LONGEST_TITLE = 1000
# First-level heading of WikiText.
_ARTICLE = re.compile(rb"^ ?= [^=\n]{1,%d} = ?$" % _LONGEST_TITLE, re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Broken:
    """A record that cannot be read; `reason` is one of few, to be counted."""

    reason: str


class Shard(Protocol):
    """A part of a corpus, the unit of parallel and restartable work.

    Picklable, and the same at every iteration.
    """

    @property
    def name(self) -> str:
        """What a person would call it."""

    @property
    def size(self) -> int:
        """Its work in bytes, roughly, for the progress bar."""

    def __iter__(self) -> Iterator[str | Broken]:
        """Documents, or what stands for those that cannot be read."""


@dataclasses.dataclass(frozen=True)
class PydocsShard:
    """The docstrings of one library; its name is the label of its documents."""

    name: str
    size: int = 1 << 20

    def __iter__(self) -> Iterator[str | Broken]:
        """See `Shard`."""
        return pydocs.documents(self.name)


@dataclasses.dataclass(frozen=True)
class TextShard:
    """Text files, a document each; WikiText files, a document per article."""

    paths: tuple[str, ...]
    size: int

    @property
    def name(self) -> str:
        """The first file."""
        return self.paths[0]

    def __iter__(self) -> Iterator[str | Broken]:
        """See `Shard`."""
        for path in self.paths:
            data = Path(path).read_bytes()
            for start, stop in _articles(data, 0, len(data)):
                yield _nonempty(data[start:stop])


@dataclasses.dataclass(frozen=True)
class TextRangeShard:
    """The articles of a large WikiText file that start at a byte in [start, stop).

    Of a text without articles, the whole is the document that starts at 0.
    """

    path: str
    start: int
    stop: int

    @property
    def name(self) -> str:
        """The file and where in it."""
        return f"{self.path}@{self.start}"

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.stop - self.start

    def __iter__(self) -> Iterator[str | Broken]:
        """See `Shard`."""
        with open(self.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for start, stop in _articles(data, self.start, self.stop):
                yield _nonempty(data[start:stop])


def _articles(data: bytes | mmap.mmap, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Where the documents lie that start in [start, stop): at byte 0 and at each heading.

    Blanks before a heading at the beginning are no document.
    """
    headings = _ARTICLE.finditer(data, start, min(stop + 2 * _LONGEST_TITLE, len(data)))
    starts = [heading.start() for heading in headings if heading.start() < stop]
    if start == 0:
        if starts and not data[: starts[0]].removeprefix(codecs.BOM_UTF8).strip():
            starts[0] = 0
        elif not starts or starts[0]:
            starts.insert(0, 0)
    if starts:
        following = _ARTICLE.search(data, stop) if stop < len(data) else None
        yield from zip(starts, [*starts[1:], following.start() if following else len(data)], strict=True)


@dataclasses.dataclass(frozen=True)
class JsonlShard:
    """The lines of a JSONL file that start at a byte in [start, stop); of a gzipped one, all lines."""

    path: str
    text_field: str
    start: int
    stop: int

    @property
    def name(self) -> str:
        """The file and where in it."""
        return f"{self.path}@{self.start}"

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.stop - self.start

    def __iter__(self) -> Iterator[str | Broken]:
        """See `Shard`."""
        for line in self._lines():
            if line.strip():
                yield self._document(line)

    def _lines(self) -> Iterable[bytes]:
        if self.path.endswith(".gz"):
            with gzip.open(self.path) as file:
                try:
                    yield from file
                except (EOFError, gzip.BadGzipFile):
                    yield b"truncated gzip"  # becomes a broken record
            return
        with open(self.path, "rb") as plain:
            if self.start:
                plain.seek(self.start - 1)
                plain.readline()  # the line that the shard before owns
            while plain.tell() < self.stop and (line := plain.readline()):
                yield line

    def _document(self, line: bytes) -> str | Broken:
        text = _decode(line)
        if isinstance(text, Broken):
            return text
        try:
            record = json.loads(text)
        except json.JSONDecodeError:
            return Broken("invalid JSON")
        return _field(record, self.text_field)


@dataclasses.dataclass(frozen=True)
class ParquetShard:
    """Row groups [start, stop) of a Parquet file."""

    path: str
    text_field: str
    start: int
    stop: int
    size: int

    @property
    def name(self) -> str:
        """The file and where in it."""
        return f"{self.path}@{self.start}"

    def __iter__(self) -> Iterator[str | Broken]:
        """See `Shard`."""
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(self.path) as file:
            groups = list(range(self.start, self.stop))
            for batch in file.iter_batches(batch_size=256, row_groups=groups, columns=[self.text_field]):
                for value in batch.column(0).cast("large_binary"):
                    yield _field({self.text_field: value.as_py()}, self.text_field)


@dataclasses.dataclass(frozen=True)
class TfdsShard:
    """Records [start, stop) of a split of a TFDS data set prepared as ArrayRecord."""

    directory: str
    split: str
    text_field: str
    start: int
    stop: int
    size: int

    @property
    def name(self) -> str:
        """The data set and where in it."""
        return f"{self.directory}:{self.split}@{self.start}"

    def __iter__(self) -> Iterator[str | Broken]:
        """See `Shard`."""
        import tensorflow_datasets as tfds

        records = tfds.builder_from_directory(self.directory).as_data_source(split=self.split)
        for index in range(self.start, self.stop):
            yield _field(records[index], self.text_field)


def _decode(data: bytes) -> str | Broken:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Broken("invalid UTF-8")


def _nonempty(value: str | bytes) -> str | Broken:
    text = _decode(value) if isinstance(value, bytes) else value
    if isinstance(text, Broken):
        return text
    if not text.strip():
        return Broken("empty")
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can spell
        return Broken("invalid UTF-8")
    return text


def _field(record: Any, name: str) -> str | Broken:
    """The text in a field, which may hold bytes."""
    if not isinstance(record, dict) or record.get(name) is None:
        return Broken("missing field")
    value = record[name]
    return _nonempty(value) if isinstance(value, str | bytes) else Broken("field is no text")
