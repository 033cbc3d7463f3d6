"""One machine, array jobs and Beam: the same bytes, whoever makes them, however often it is interrupted."""

import dataclasses
import gzip
import json
import pathlib
import pickle
import signal
import subprocess
import sys
import threading

import pyarrow
import pyarrow.parquet
import pytest

from fnet_jax.core.errors import UserError
from fnet_jax.data import dataset
from fnet_jax.data.corpus import parts, preparation, prepare, sources, workers
from fnet_jax.data.dataset import load_info
from fnet_jax.data.tokenizer import train_tokenizer
from tests.conftest import REPOSITORY
from tests.data.conftest import MAX_SEQ_LENGTH, make_documents
from tests.data.corpus.test_prepare import SHARD_BYTES, contents, run

NUM_PARTS = 14


@pytest.fixture(autouse=True)
def many_parts(monkeypatch):
    monkeypatch.setattr(sources, "_MIN_SHARD_BYTES", SHARD_BYTES)
    monkeypatch.setattr(workers, "_SMALL_BYTES", 0)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory, small_data):
    """The config of a corpus with every kind of file."""
    folder = tmp_path_factory.mktemp("mixed")
    texts = make_documents(300, seed=3)
    for name, some in (("a.jsonl", texts[:100]), ("b.jsonl.gz", texts[100:150])):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in some).encode()
        (folder / name).write_bytes(gzip.compress(lines, mtime=0) if name.endswith(".gz") else lines)
    pyarrow.parquet.write_table(
        pyarrow.table({"text": texts[150:220]}), folder / "c.parquet", row_group_size=20
    )
    for index, text in enumerate(texts[220:280]):
        (folder / f"{index:03}.txt").write_text(text)
    articles = [f" = Article {index} = \n\n {text} \n" for index, text in enumerate(texts[280:])]
    (folder / "wiki.txt").write_text(" \n" + "".join(articles))
    return dataclasses.replace(small_data, corpus=str(folder))


@pytest.fixture(scope="module")
def whole(mixed, tmp_path_factory):
    """What one process of one machine makes of it."""
    directory = tmp_path_factory.mktemp("whole") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "_MIN_SHARD_BYTES", SHARD_BYTES)
        run(mixed, directory)
    found = contents(directory)
    assert sum(name.startswith("train-") for name in found) >= NUM_PARTS
    return found


def make_shard(data, directory, shard, num_shards, **options):
    options = {"num_processes": 1, "progress": False, **options}
    return prepare.prepare_share(data, MAX_SEQ_LENGTH, str(directory), shard, num_shards, **options)


def merge(data, directory):
    return prepare.merge(data, MAX_SEQ_LENGTH, str(directory))


@pytest.mark.parametrize(("num_shards", "num_processes"), [(1, 2), (3, 1), (7, 1)])
def test_shards_make_what_one_machine_makes(mixed, whole, tmp_path, num_shards, num_processes):
    for shard in reversed(range(num_shards)):
        missing = make_shard(mixed, tmp_path, shard, num_shards, num_processes=num_processes)
        assert missing == list(range(shard))
    assert not dataset.exists(str(tmp_path))
    merge(mixed, tmp_path)
    assert contents(tmp_path) == whole


def test_more_shards_than_parts(mixed, whole, tmp_path):
    for shard in range(40):
        make_shard(mixed, tmp_path, shard, 40)
    merge(mixed, tmp_path)
    assert contents(tmp_path) == whole


def test_a_shard_made_twice_and_a_merge_made_twice_change_nothing(mixed, whole, tmp_path):
    make_shard(mixed, tmp_path, 0, 2)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.array_record")}
    assert make_shard(mixed, tmp_path, 0, 2) == [1]
    assert make_shard(mixed, tmp_path, 1, 2) == []
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert merge(mixed, tmp_path) == merge(mixed, tmp_path) == load_info(str(tmp_path))
    assert make_shard(mixed, tmp_path, 1, 2) == []
    assert contents(tmp_path) == whole


def test_one_machine_finishes_what_shards_have_begun(mixed, whole, tmp_path):
    make_shard(mixed, tmp_path, 1, 3)
    run(mixed, tmp_path)
    assert contents(tmp_path) == whole


def test_a_merge_names_the_shards_that_are_missing(mixed, tmp_path):
    with pytest.raises(UserError, match="holds no parts yet; run --shard=0/N"):
        merge(mixed, tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    assert make_shard(mixed, tmp_path, 1, 4) == [0, 2, 3]
    with pytest.raises(UserError, match=r"lacks .* parts; run again --shard=0/4 --shard=2/4 --shard=3/4"):
        merge(mixed, tmp_path)
    assert not dataset.exists(str(tmp_path))


@pytest.mark.parametrize("harm", ["remove", "truncate", "garble the .part", "empty the .part"])
def test_a_part_that_has_lost_something_is_made_again_alone(mixed, whole, tmp_path, harm):
    make_shard(mixed, tmp_path, 0, 1)
    record, part = tmp_path / "train-00003.array_record", tmp_path / "00003.part"
    others = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*-?????.array_record") if "00003" not in p.name}
    if harm == "remove":
        record.unlink()
    elif harm == "truncate":
        record.write_bytes(record.read_bytes()[:-1])
    else:
        part.write_bytes(b"no archive" if harm == "garble the .part" else b"")
    with pytest.raises(UserError, match="lacks 1 of"):
        merge(mixed, tmp_path)
    make_shard(mixed, tmp_path, 3, 5)
    merge(mixed, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in others} == others
    assert contents(tmp_path) == whole


def test_shards_with_other_settings_than_their_siblings_are_refused(mixed, tokenizer_path, tmp_path):
    make_shard(mixed, tmp_path, 0, 3)
    before = contents(tmp_path)
    copy = tmp_path.parent / "copy.model"
    copy.write_bytes(pathlib.Path(tokenizer_path).read_bytes())
    same_name = dataclasses.replace(mixed, tokenizer=str(copy))
    with pytest.raises(UserError, match=r"data\.tokenizer=.*small\.model', not .*copy\.model"):
        make_shard(same_name, tmp_path, 1, 3)
    with pytest.raises(UserError, match=r"model\.max_seq_length=64, not 32"):
        prepare.prepare_share(mixed, 32, str(tmp_path), 1, 3, progress=False)
    with pytest.raises(UserError, match=r"data\.holdout_fraction=0\.2, not 0\.5"):
        make_shard(dataclasses.replace(mixed, holdout_fraction=0.5), tmp_path, 1, 3)
    with pytest.raises(UserError, match=r"data\.corpus=.*, not 'pydocs'"):
        make_shard(dataclasses.replace(mixed, corpus="pydocs"), tmp_path, 1, 3)
    with pytest.raises(UserError, match=r"model\.max_seq_length=64, not 32"):
        prepare.merge(mixed, 32, str(tmp_path))
    assert contents(tmp_path) == before


def test_a_corpus_or_tokenizer_exchanged_between_shards_is_noticed(mixed, tokenizer_path, tmp_path):
    model, corpus = tmp_path / "x.model", tmp_path / "x.jsonl"
    model.write_bytes(pathlib.Path(tokenizer_path).read_bytes())
    corpus.write_text(json.dumps({"text": make_documents(1)[0]}) + "\n")
    data = dataclasses.replace(mixed, tokenizer=str(model), corpus=str(corpus))
    make_shard(data, tmp_path / "data", 0, 2)
    text = corpus.read_text()
    corpus.write_text(text * 2)
    with pytest.raises(UserError, match=r"files of data\.corpus="):
        make_shard(data, tmp_path / "data", 1, 2)
    corpus.write_text(text)
    lines = [line for text in make_documents(30) for line in text.splitlines()]
    train_tokenizer(lines, str(model), 300)
    with pytest.raises(UserError, match=r"sha256 of data\.tokenizer="):
        make_shard(data, tmp_path / "data", 1, 2)


def test_a_part_made_at_the_same_time_with_other_settings_does_not_count(mixed, whole, tmp_path):
    """Two jobs that begin in the same moment on a file system without locks."""
    make_shard(dataclasses.replace(mixed, holdout_fraction=0.5), tmp_path, 0, 2)
    (tmp_path / preparation.SETTINGS_FILE).unlink()
    make_shard(mixed, tmp_path, 1, 2)
    with pytest.raises(UserError, match="run again --shard=0/2"):
        merge(mixed, tmp_path)
    make_shard(mixed, tmp_path, 0, 2)
    merge(mixed, tmp_path)
    assert contents(tmp_path) == whole


def test_shards_do_not_train_a_tokenizer(mixed, tmp_path):
    without = dataclasses.replace(mixed, tokenizer="")
    for attempt in (lambda: make_shard(without, tmp_path, 0, 2), lambda: merge(without, tmp_path)):
        with pytest.raises(UserError, match=r"data\.tokenizer is not given.*train_tokenizer once"):
            attempt()
    assert not contents(tmp_path)


def test_a_killed_shard_is_made_again_and_nothing_else_is_touched(mixed, whole, tmp_path):
    directory = tmp_path / "data"
    make_shard(mixed, directory, 0, 2)
    (tmp_path / "args").write_bytes(pickle.dumps((mixed, MAX_SEQ_LENGTH, str(directory), 1, 2)))
    command = [
        sys.executable,
        "-m",
        "tests.data.corpus.killed_prepare",
        str(tmp_path / "args"),
        str(SHARD_BYTES),
    ]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        half = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
    (directory / f".tmp-train-{half:05}-x").write_bytes(b"half a file")
    done = {path.name[-18:-13]: path.stat().st_mtime_ns for path in directory.glob("*.array_record")}
    assert f"{half:05}" in done and not (directory / f"{half:05}.part").exists()
    assert [(directory / f"{index:05}.part").exists() for index in (1, 3)] == [True, half != 3]
    del done[f"{half:05}"]

    with pytest.raises(UserError, match="run again --shard=1/2"):
        merge(mixed, directory)
    assert make_shard(mixed, directory, 1, 2) == []
    merge(mixed, directory)
    assert contents(directory) == whole
    after = {path.name[-18:-13]: path.stat().st_mtime_ns for path in directory.glob("*.array_record")}
    assert {name: after[name] for name in done} == done


def test_whoever_waits_for_another_process_says_so(mixed, tmp_path, capfd):
    with preparation.Preparation.open(mixed, MAX_SEQ_LENGTH, str(tmp_path)).lock(shared=True):
        waiting = threading.Thread(target=lambda: run(mixed, tmp_path))
        waiting.start()
        while "Waiting for another process that prepares" not in capfd.readouterr().err:
            assert waiting.is_alive()
        assert not list(tmp_path.glob("*.part"))
    waiting.join()
    assert dataset.exists(str(tmp_path))


def test_too_little_space_is_said_before_anything_is_made(mixed, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "_LEAST_RATIO", 1e15)
    monkeypatch.setattr(parts, "make_part", lambda *_: pytest.fail("begun"))
    with pytest.raises(UserError, match=r"has .* GB free, and what is to be prepared takes at least"):
        make_shard(mixed, tmp_path, 0, 2)


def test_object_stores_are_refused_by_name(mixed, tmp_path):
    for data in (dataclasses.replace(mixed, dir="gs://bucket/data"), mixed):
        with pytest.raises(UserError, match=r"gs://bucket.*mount the object store"):
            prepare.dataset_dir(data, "gs://bucket")
    with pytest.raises(UserError, match=r"gs://bucket/.*mount the object store"):
        run(dataclasses.replace(mixed, corpus="gs://bucket/*.jsonl"), tmp_path)


def test_that_beam_is_missing_is_said(tmp_path):
    """In the name of the package that a person is to install."""
    program = (
        "import sys; sys.modules['apache_beam'] = None; import runpy; "
        "runpy.run_module('fnet_jax.tools.prepare', run_name='__main__', alter_sys=True)"
    )
    flags = ("--config=configs/pretrain.py:size=tiny", f"--workdir={tmp_path}", "--runner=DirectRunner")
    done = subprocess.run(
        [sys.executable, "-c", program, *flags], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert 'pip install "fnet_jax[beam]"' in done.stderr and len(done.stderr.splitlines()) == 1
