import contextlib
import dataclasses
import json
import pathlib
import pickle
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from array_record.python import array_record_module

from fnet_jax.core.errors import UserError
from fnet_jax.data import dataset
from fnet_jax.data.corpus import parts, prepare, sources, workers
from fnet_jax.data.dataset import check_info, load_info
from fnet_jax.data.segments import Segment, document_hash
from fnet_jax.data.tokenizer import load_tokenizer, train_tokenizer
from tests.conftest import REPOSITORY
from tests.data.conftest import MAX_SEQ_LENGTH, NUM_DOCUMENTS, make_documents

SHARD_BYTES = 10_000  # the small corpus gives about ten


def run(data, directory, **options):
    options = {"num_processes": 1, "progress": False, **options}
    return prepare.prepare(data, options.pop("max_seq_length", MAX_SEQ_LENGTH), str(directory), **options)


def contents(directory) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in pathlib.Path(directory).iterdir() if path.name != ".lock"
    }


def read_segments(directory, split) -> list[Segment]:
    info = load_info(str(directory))
    found = []
    for name in info.splits[split].files:
        with contextlib.closing(array_record_module.ArrayRecordReader(f"{directory}/{name}")) as reader:
            found += [Segment.from_bytes(record, info.dtype) for record in reader.read_all()]
    return found


@pytest.fixture
def many_shards(monkeypatch):
    monkeypatch.setattr(sources, "_MIN_SHARD_BYTES", SHARD_BYTES)
    monkeypatch.setattr(workers, "_SMALL_BYTES", 0)


def test_the_counts_are_true(dataset_dir, tokenizer_path):
    info = load_info(dataset_dir)
    tokenizer = load_tokenizer(tokenizer_path)
    assert info.tokenizer_sha256 == tokenizer.sha256
    assert info.vocab_size == 500 and info.dtype == np.uint16 and info.max_seq_length == MAX_SEQ_LENGTH
    for split in dataset.SPLITS:
        found = read_segments(dataset_dir, split)
        assert len(found) == info.splits[split].segments > 0
        assert sum(len(segment.tokens) for segment in found) == info.splits[split].tokens
        assert len({segment.document for segment in found}) == info.splits[split].documents
    skipped = info.skipped["single sentence"]
    assert sum(split.documents for split in info.splits.values()) + skipped == NUM_DOCUMENTS
    assert 0.95 < info.kept_share <= 1
    counts = np.bincount(
        np.concatenate([s.tokens for s in read_segments(dataset_dir, "train")]), minlength=500
    )
    assert np.array_equal(np.load(f"{dataset_dir}/token_counts.npy"), counts)
    assert load_tokenizer(f"{dataset_dir}/tokenizer.model").sha256 == tokenizer.sha256
    assert not [name for name in contents(dataset_dir) if name.startswith(".") or name.endswith(".part")]


def test_documents_are_held_out_by_their_hash_whatever_their_order(small_data, dataset_dir, tmp_path):
    path = tmp_path / "reversed.jsonl"
    path.write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in reversed(make_documents(NUM_DOCUMENTS)))
    )
    run(dataclasses.replace(small_data, corpus=str(path)), tmp_path / "data")
    for split in dataset.SPLITS:
        here = {segment.document for segment in read_segments(tmp_path / "data", split)}
        assert here == {segment.document for segment in read_segments(dataset_dir, split)}
    assert {document_hash(text) < 0.2 * 2**64 for text in make_documents(NUM_DOCUMENTS)} == {True, False}


def test_any_number_of_processes_writes_the_same_bytes(small_data, tmp_path, many_shards):
    run(small_data, tmp_path / "one", num_processes=1)
    run(small_data, tmp_path / "two", num_processes=2)
    assert len(load_info(str(tmp_path / "one")).splits["train"].files) > 5
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_killed_run_is_finished_without_doing_anything_twice(small_data, tmp_path, many_shards):
    directory = tmp_path / "killed"
    (tmp_path / "args").write_bytes(pickle.dumps((small_data, MAX_SEQ_LENGTH, str(directory))))
    command = [
        sys.executable,
        "-m",
        "tests.data.corpus.killed_prepare",
        str(tmp_path / "args"),
        str(SHARD_BYTES),
    ]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        workers = {int(process.stdout.readline()) for _ in range(3)}
        process.send_signal(signal.SIGKILL)
        process.wait()
    for worker in workers:
        wait_until_gone(worker)
    assert not dataset.exists(str(directory))
    with pytest.raises(UserError, match="holds no prepared data set"):
        load_info(str(directory))
    (directory / ".tmp-train-00009-1").write_bytes(b"half a file")
    done = {path.name: path.stat().st_mtime_ns for path in directory.glob("*.array_record")}
    finished = {path.name[:5] for path in directory.glob("*.part")}
    assert 3 <= len(finished) < 9

    run(small_data, directory)
    for name, modified in done.items():
        if name[-18:-13] in finished:
            assert (directory / name).stat().st_mtime_ns == modified
    run(small_data, tmp_path / "uninterrupted")
    assert contents(directory) == contents(tmp_path / "uninterrupted")


def wait_until_gone(process_id: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            state = pathlib.Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.05)
    raise AssertionError(f"worker {process_id} outlived its parent")


def test_an_interrupted_run_is_not_finished_differently(small_data, tmp_path, many_shards, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(parts, "_save_manifest", stop)
    with pytest.raises(KeyboardInterrupt):
        run(small_data, tmp_path)
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"data\.dir=.*model\.max_seq_length=64, not 32"):
        run(small_data, tmp_path, max_seq_length=32)
    with pytest.raises(UserError, match=r"data\.dir=.*data\.tokenizer='.*small\.model', not 'bpe of 32000"):
        run(dataclasses.replace(small_data, tokenizer=""), tmp_path)
    with pytest.raises(UserError, match=r"data\.dir=.*data\.corpus=.*not 'pydocs'"):
        run(dataclasses.replace(small_data, corpus="pydocs"), tmp_path)


def test_a_finished_data_set_is_taken_as_it_is(small_data, dataset_dir):
    before = contents(dataset_dir)
    assert run(small_data, dataset_dir) == load_info(dataset_dir)
    assert contents(dataset_dir) == before


def test_a_finished_data_set_made_otherwise_is_refused(small_data, dataset_dir, tmp_path):
    other = str(tmp_path / "other.model")
    lines = [line for text in make_documents(30) for line in text.splitlines()]
    train_tokenizer(lines, other, 300)
    with pytest.raises(UserError, match=r"data\.dir=.*model\.max_seq_length=64, not 128"):
        run(small_data, dataset_dir, max_seq_length=128)
    with pytest.raises(UserError, match=r"data\.dir=.*another tokenizer than data\.tokenizer \(sha256"):
        run(dataclasses.replace(small_data, tokenizer=other), dataset_dir)
    with pytest.raises(UserError, match=r"data\.tokenizer='.*', not 'bpe of 32000 pieces"):
        run(dataclasses.replace(small_data, tokenizer=""), dataset_dir)
    with pytest.raises(UserError, match=r"data\.corpus='.*', not 'pydocs'"):
        run(dataclasses.replace(small_data, corpus="pydocs"), dataset_dir)
    with pytest.raises(UserError, match=r"data\.holdout_fraction=0\.2, not 0\.5"):
        run(dataclasses.replace(small_data, holdout_fraction=0.5), dataset_dir)


def test_check_info(dataset_dir):
    info = load_info(dataset_dir)
    check_info(info, dataset_dir, MAX_SEQ_LENGTH)
    check_info(info, dataset_dir, MAX_SEQ_LENGTH, info.tokenizer_sha256)
    with pytest.raises(UserError, match=r"data\.tokenizer"):
        check_info(info, dataset_dir, MAX_SEQ_LENGTH, "0" * 64)


def test_damaged_and_foreign_data_sets_are_refused(tmp_path):
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        load_info(str(tmp_path))
    (tmp_path / "dataset.json").write_text('{"format_version": 99}')
    with pytest.raises(UserError, match="format version 99"):
        load_info(str(tmp_path))


def test_broken_records_are_counted(small_data, tmp_path):
    good = [json.dumps({"text": text}).encode() for text in make_documents(20)]
    bad = [b'{"text": "\xff"}', b"{", b'{"other": 1}', b'{"text": ""}', b'{"text": ""}', b'{"text": "Bana."}']
    (tmp_path / "x.jsonl").write_bytes(b"\n".join(good + bad))
    info = run(dataclasses.replace(small_data, corpus=str(tmp_path / "x.jsonl")), tmp_path / "data")
    skipped = dict(info.skipped)
    assert skipped.pop("single sentence") >= 1
    assert skipped == {"invalid UTF-8": 1, "invalid JSON": 1, "missing field": 1, "empty": 2}


def test_nothing_left_is_an_error(small_data, tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b'{"other": 1}\n{"text": ""}\n{"text": "Bana."}\n')
    with pytest.raises(
        UserError, match="leaves nothing to learn from: 1 empty, 1 missing field, 1 single sentence"
    ):
        run(dataclasses.replace(small_data, corpus=str(tmp_path / "x.jsonl")), tmp_path / "data")
    assert not dataset.exists(str(tmp_path / "data"))


def test_one_document_is_too_few(small_data, tmp_path):
    (tmp_path / "x.txt").write_text("Bana bena. Bina bona.")
    with pytest.raises(UserError, match="leaves no document for the split"):
        run(dataclasses.replace(small_data, corpus=str(tmp_path / "x.txt")), tmp_path / "data")


def test_of_few_documents_the_one_with_the_smallest_hash_is_held_out(small_data, tmp_path):
    texts = [f"Bana bena. Bina bona {i}." for i in range(3)]
    for i, text in enumerate(texts):
        (tmp_path / f"{i}.txt").write_text(text)
    data = dataclasses.replace(small_data, corpus=str(tmp_path / "*.txt"), holdout_fraction=1e-9)
    info = run(data, tmp_path / "data")
    assert (info.splits["train"].documents, info.splits["heldout"].documents) == (2, 1)
    assert {s.document for s in read_segments(tmp_path / "data", "heldout")} == {
        min(map(document_hash, texts))
    }
    assert sum(np.load(tmp_path / "data" / "token_counts.npy")) == info.splits["train"].tokens


def test_a_tokenizer_is_trained_when_none_is_given(small_data, tmp_path):
    data = dataclasses.replace(small_data, tokenizer="", tokenizer_pieces=300)
    assert prepare.dataset_dir(data, str(tmp_path)) == str(tmp_path / "data")
    info = run(data, tmp_path / "data")
    assert info.vocab_size == load_tokenizer(str(tmp_path / "data" / "tokenizer.model")).vocab_size == 300
    assert run(data, tmp_path / "data") == info


def test_a_given_tokenizer_may_go_once_it_is_copied(small_data, tmp_path):
    path = tmp_path / "mine.model"
    path.write_bytes(pathlib.Path(small_data.tokenizer).read_bytes())
    data = dataclasses.replace(small_data, tokenizer=str(path))
    info = run(data, tmp_path / "data")
    path.unlink()
    assert run(data, tmp_path / "data") == info


def test_a_folder_that_cannot_be_made_is_said(small_data, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"data\.dir=.*cannot be written \(Not a directory\)"):
        run(small_data, tmp_path / "file" / "data")


@pytest.mark.parametrize("file_size", [1_000, 400_000])
def test_a_full_disk_is_said(small_data, tmp_path, file_size):
    """The smaller limit stops the tokenizer's copy, the larger one the records."""
    (tmp_path / "x.txt").write_text(". ".join(make_documents(1_000)))
    data = dataclasses.replace(small_data, corpus=str(tmp_path / "x.txt"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, before[1]))
    try:
        with pytest.raises(UserError, match=r"data\.dir=.*cannot be written \(.*File too large"):
            run(data, tmp_path / "data")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not dataset.exists(str(tmp_path / "data"))


def test_a_corpus_that_cannot_be_read_is_not_blamed_on_the_folder(small_data, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied", "/corpus/x.txt")

    monkeypatch.setattr(prepare, "make_parts", refuse)
    with pytest.raises(UserError, match=r"/corpus/x\.txt cannot be read \(Permission denied\)"):
        run(small_data, tmp_path / "data")


def test_only_one_process_prepares_a_folder(small_data, tmp_path, monkeypatch):
    """Whoever waited for the lock finds the data set and does nothing."""
    info = run(small_data, tmp_path / "data")
    answers = iter([False, True])
    monkeypatch.setattr(dataset, "exists", lambda directory: next(answers, True))
    monkeypatch.setattr(prepare, "make_parts", lambda *_: pytest.fail("prepared twice"))
    assert run(small_data, tmp_path / "data") == info
