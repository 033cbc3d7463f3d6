import gzip
import json
import pickle

import pyarrow
import pyarrow.parquet
import pytest
import tensorflow_datasets as tfds

from fnet_jax.core.errors import UserError
from fnet_jax.data.corpus import sources
from fnet_jax.data.corpus.shards import Unreadable
from fnet_jax.data.corpus.sources import Source, open_source

TEXTS = [f"Document {i} says \u00e4 thing.\nThen it says another one." for i in range(50)]


def documents(source: Source) -> list[str | Unreadable]:
    return [document for shard in source.shards for document in shard]


def jsonl(texts, field="text") -> bytes:
    return "".join(
        json.dumps({field: text, "url": "x"}, ensure_ascii=False) + "\n" for text in texts
    ).encode()


def test_text_files_are_a_document_each(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfFirst\r\nline\r\n")
    (tmp_path / "b" / "b.txt").write_text("Second")
    (tmp_path / "readme.md").write_text("Not taken from a folder")
    source = open_source(str(tmp_path))
    assert documents(source) == ["First\r\nline\r\n", "Second"]
    assert len(source.shards) == 1
    assert documents(open_source(str(tmp_path / "*.md"))) == ["Not taken from a folder"]
    assert documents(open_source(str(tmp_path / "**" / "b.txt"))) == ["Second"]


def test_wikitext_is_a_document_per_article(tmp_path):
    path = tmp_path / "wiki.tokens"
    path.write_text(" \n = One = \n \n Text . \n = = Part = = \n More . \n = Two = \n Text . \n")
    assert [" ".join(text.split()) for text in documents(open_source(str(path)))] == [
        "= One = Text . = = Part = = More .",
        "= Two = Text .",
    ]


@pytest.mark.parametrize("shard_bytes", [1, 7, 100, 1 << 20])
@pytest.mark.parametrize("begin", ["", " \n", "\ufeff", "Preface.\n"])
def test_a_large_wikitext_file_is_cut_at_articles(tmp_path, monkeypatch, shard_bytes, begin):
    monkeypatch.setattr(sources, "_MIN_SHARD_BYTES", shard_bytes)
    path = tmp_path / "wiki.txt"
    articles = [f" = \u00c4rticle {i} = \n \n {text} \n = = Part = = \n" for i, text in enumerate(TEXTS)]
    path.write_text(begin + "".join(articles))
    if begin == "Preface.\n":
        articles = [begin, *articles]
    else:
        articles[0] = begin.removeprefix("\ufeff") + articles[0]
    source = open_source(str(path))
    assert documents(source) == articles
    assert (len(source.shards) > 1) == (shard_bytes < path.stat().st_size)


def test_a_large_text_without_articles_is_one_document(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_MIN_SHARD_BYTES", 100)
    (tmp_path / "a.txt").write_text("\n".join(TEXTS))
    assert len(open_source(str(tmp_path)).shards) > 10
    assert documents(open_source(str(tmp_path))) == ["\n".join(TEXTS)]


@pytest.mark.parametrize("shard_bytes", [1, 100, 777, 1 << 20])
def test_jsonl_is_cut_at_lines(tmp_path, monkeypatch, shard_bytes):
    monkeypatch.setattr(sources, "_MIN_SHARD_BYTES", shard_bytes)
    path = tmp_path / "x.jsonl"
    path.write_bytes(jsonl(TEXTS))
    source = open_source(str(path))
    assert documents(source) == TEXTS
    assert len(source.shards) == -(-path.stat().st_size // max(shard_bytes, path.stat().st_size // 512))


def test_gzipped_jsonl_under_both_names(tmp_path):
    for name in ("c4-train.00000-of-01024.json.gz", "y.jsonl.gz"):
        (tmp_path / name).write_bytes(gzip.compress(jsonl(TEXTS)))
    assert documents(open_source(str(tmp_path))) == TEXTS * 2


def test_truncated_gzip_is_a_broken_record(tmp_path):
    (tmp_path / "y.jsonl.gz").write_bytes(gzip.compress(jsonl(TEXTS))[:-20])
    assert isinstance(documents(open_source(str(tmp_path)))[-1], Unreadable)


def test_parquet_by_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_MIN_SHARD_BYTES", 300)
    texts = [*TEXTS, None, ""]
    pyarrow.parquet.write_table(pyarrow.table({"body": texts}), tmp_path / "x.parquet", row_group_size=7)
    source = open_source(str(tmp_path), "body")
    assert len(source.shards) > 1
    assert documents(source) == [*TEXTS, Unreadable("missing field"), Unreadable("empty")]
    with pytest.raises(UserError, match=r"data\.text_field='text' is no column of .*x\.parquet; it has body"):
        open_source(str(tmp_path), "text")


def test_parquet_columns_of_text_only(tmp_path):
    kinds = {"large": pyarrow.large_string(), "bytes": pyarrow.binary()}
    columns = {name: pyarrow.array(["Text."], "string").cast(kind) for name, kind in kinds.items()}
    pyarrow.parquet.write_table(pyarrow.table({**columns, "number": [1]}), tmp_path / "x.parquet")
    for name in kinds:
        assert documents(open_source(str(tmp_path), name)) == ["Text."]
    with pytest.raises(UserError, match=r"data\.text_field='number' of .* holds int64, not text"):
        open_source(str(tmp_path), "number")
    (tmp_path / "x.parquet").write_bytes(b"no Parquet")
    with pytest.raises(UserError, match="is no Parquet file"):
        open_source(str(tmp_path), "number")


def test_mixed_folders(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(jsonl(TEXTS[:2]))
    (tmp_path / "b.txt").write_text("Text")
    pyarrow.parquet.write_table(pyarrow.table({"text": TEXTS[2:4]}), tmp_path / "c.parquet")
    assert set(documents(open_source(str(tmp_path)))) == {*TEXTS[:4], "Text"}


def test_broken_records_are_marked(tmp_path):
    lines = [
        b'{"text": "Good."}',
        b'{"text": "\xff"}',
        b"{",
        b'{"other": 1}',
        b'{"text": " "}',
        b'{"text": 7}',
        b"[1]",
        rb'{"text": "\ud800"}',
    ]
    (tmp_path / "x.jsonl").write_bytes(b"\n".join(lines) + b"\n\n")
    (tmp_path / "y.txt").write_bytes(b"\xff\xfe")
    reasons = [item.reason for item in documents(open_source(str(tmp_path))) if isinstance(item, Unreadable)]
    assert reasons == [
        "invalid UTF-8",
        "invalid JSON",
        "missing field",
        "empty",
        "field is no text",
        "missing field",
        "invalid UTF-8",
        "invalid UTF-8",
    ]


@pytest.mark.parametrize("corpus", ["/no/such/place", "", "/etc/*.parquet"])
def test_nothing_there_is_said(corpus):
    with pytest.raises(UserError, match=r"data\.corpus="):
        open_source(corpus)


def test_shards_are_picklable_and_the_fingerprint_is_stable(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(jsonl(TEXTS))
    source = open_source(str(tmp_path))
    assert [list(shard) for shard in pickle.loads(pickle.dumps(source.shards))] == [
        list(s) for s in source.shards
    ]
    assert open_source(str(tmp_path)).fingerprint == source.fingerprint
    (tmp_path / "a.jsonl").write_bytes(jsonl(TEXTS[:-1]))
    assert open_source(str(tmp_path)).fingerprint != source.fingerprint


def test_the_embedded_corpus_has_a_shard_per_library():
    source = open_source("pydocs")
    assert "numpy" in [shard.library for shard in source.shards]
    assert isinstance(next(iter(source.shards[0])), str)


class TinyText(tfds.core.GeneratorBasedBuilder):
    """A TFDS data set of texts."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"text": tfds.features.Text()})
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(TEXTS), "validation": self._generate_examples(TEXTS[:3])}

    def _generate_examples(self, texts):
        for index, text in enumerate(texts):
            yield index, {"text": text}


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory) -> str:
    builder = TinyText(data_dir=tmp_path_factory.mktemp("tfds"), file_format="array_record")
    builder.download_and_prepare()
    return str(builder.data_dir)


@pytest.mark.parametrize("shard_bytes", [500, 1 << 20])
def test_a_prepared_tfds_data_set_is_read_without_tensorflow(tfds_dir, monkeypatch, shard_bytes):
    monkeypatch.setattr(sources, "_MIN_SHARD_BYTES", shard_bytes)
    source = open_source(f"tfds:{tfds_dir}")
    assert (len(source.shards) > 1) == (shard_bytes == 500)
    assert sorted(documents(source)) == sorted(TEXTS)
    assert sorted(documents(open_source(f"tfds:{tfds_dir}:validation"))) == TEXTS[:3]


def test_a_tfds_data_set_by_name(tfds_dir, monkeypatch):
    data_dir = tfds_dir.split("/tiny_text/")[0]
    monkeypatch.setattr(tfds, "builder_cls", lambda name: lambda **kw: TinyText(data_dir=data_dir, **kw))
    assert sorted(documents(open_source("tfds:tiny_text"))) == sorted(TEXTS)


def test_tfds_mistakes_are_said(tfds_dir, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no split 'test'; it has train, validation"):
        open_source(f"tfds:{tfds_dir}:test")
    with pytest.raises(UserError, match=r"data\.text_field='body' is no field .* it has text"):
        open_source(f"tfds:{tfds_dir}", "body")
    with pytest.raises(UserError, match="holds no TFDS data set"):
        open_source(f"tfds:{tmp_path}")
    with pytest.raises(UserError, match="cannot be opened"):
        open_source("tfds:no_such_data_set")
    with pytest.raises(UserError, match=r"is not prepared in .*tfds build"):
        open_source("tfds:c4/en")
