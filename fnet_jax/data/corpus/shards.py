"""Shards of a corpus: what reads text, JSONL, Parquet and TFDS files, and yields their documents."""

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
class Unreadable:
    """Stands for a record that gives no document; `reason` is one of a few, so that they can be counted."""

    reason: str


class Shard(Protocol):
    """A part of a corpus that one worker reads from beginning to end.

    It can be pickled, and yields the same documents at every iteration.
    """

    @property
    def size(self) -> int:
        """Bytes to read, roughly, for the progress bar."""

    def __iter__(self) -> Iterator[str | Unreadable]:
        """The documents, and what stands for those that cannot be read."""


@dataclasses.dataclass(frozen=True)
class PydocsShard:
    """The docstrings of one library of `pydocs.LIBRARIES`."""

    library: str
    size: int = 1 << 20

    def __iter__(self) -> Iterator[str | Unreadable]:
        """See `Shard`."""
        return pydocs.documents(self.library)


@dataclasses.dataclass(frozen=True)
class TextShard:
    """Whole text files, a document each; of WikiText files, a document per article."""

    paths: tuple[str, ...]
    size: int

    def __iter__(self) -> Iterator[str | Unreadable]:
        """See `Shard`."""
        for path in self.paths:
            data = Path(path).read_bytes()
            for start, stop in _articles(data, 0, len(data)):
                yield _nonempty(data[start:stop])


@dataclasses.dataclass(frozen=True)
class _ByteRange:
    """What starts at a byte in [start, stop) of a file."""

    path: str
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Bytes of the range."""
        return self.stop - self.start


@dataclasses.dataclass(frozen=True)
class TextRangeShard(_ByteRange):
    """The articles of a large WikiText file that start in a range of bytes.

    A text without articles is a single document, which starts at byte 0.
    """

    def __iter__(self) -> Iterator[str | Unreadable]:
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
class JsonlShard(_ByteRange):
    """The lines of a JSONL file that start in a range of bytes; all lines of a gzipped one."""

    text_field: str

    def __iter__(self) -> Iterator[str | Unreadable]:
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
                    yield b"truncated gzip"  # counts as invalid JSON
            return
        with open(self.path, "rb") as plain:
            if self.start:
                plain.seek(self.start - 1)
                plain.readline()  # the line that belongs to the shard before
            while plain.tell() < self.stop and (line := plain.readline()):
                yield line

    def _document(self, line: bytes) -> str | Unreadable:
        text = _decode(line)
        if isinstance(text, Unreadable):
            return text
        try:
            record = json.loads(text)
        except json.JSONDecodeError:
            return Unreadable("invalid JSON")
        return _field(record, self.text_field)


@dataclasses.dataclass(frozen=True)
class ParquetShard:
    """Row groups [start, stop) of a Parquet file."""

    path: str
    text_field: str
    start: int
    stop: int
    size: int

    def __iter__(self) -> Iterator[str | Unreadable]:
        """See `Shard`."""
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(self.path) as file:
            groups = list(range(self.start, self.stop))
            for batch in file.iter_batches(batch_size=256, row_groups=groups, columns=[self.text_field]):
                for value in batch.column(0).cast("large_binary"):
                    yield _field({self.text_field: value.as_py()}, self.text_field)


@dataclasses.dataclass(frozen=True)
class TfdsShard:
    """Records [start, stop) of a split of a TFDS data set that is prepared as ArrayRecord."""

    directory: str
    split: str
    text_field: str
    start: int
    stop: int
    size: int

    def __iter__(self) -> Iterator[str | Unreadable]:
        """See `Shard`."""
        import tensorflow_datasets as tfds

        records = tfds.builder_from_directory(self.directory).as_data_source(split=self.split)
        for index in range(self.start, self.stop):
            yield _field(records[index], self.text_field)


def _decode(data: bytes) -> str | Unreadable:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Unreadable("invalid UTF-8")


def _nonempty(value: str | bytes) -> str | Unreadable:
    text = _decode(value) if isinstance(value, bytes) else value
    if isinstance(text, Unreadable):
        return text
    if not text.strip():
        return Unreadable("empty")
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can spell
        return Unreadable("invalid UTF-8")
    return text


def _field(record: Any, name: str) -> str | Unreadable:
    """The text of a field, which may be stored as bytes."""
    if not isinstance(record, dict) or record.get(name) is None:
        return Unreadable("missing field")
    value = record[name]
    return _nonempty(value) if isinstance(value, str | bytes) else Unreadable("field is no text")
