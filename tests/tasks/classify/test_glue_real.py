"""GLUE from the real files."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.text import glue as tfds_glue

from fnet_jax.tasks.open import open_labelled
from fnet_jax.tasks.table import TASKS

# Counts by label of the official files, by cut | sort | uniq -c; validation counts agree with the majority
# baselines that are published: CoLA 69.1 %, SST-2 50.9 %, MRPC 68.4 %, QNLI 50.5 %.
BALANCE = {
    ("cola", "train"): [2528, 6023],
    ("cola", "validation"): [322, 721],
    ("sst2", "train"): [29780, 37569],
    ("sst2", "validation"): [428, 444],
    ("mrpc", "train"): [1194, 2474],
    ("mrpc", "validation"): [129, 279],
    ("qnli", "validation"): [2702, 2761],
}


@pytest.fixture(scope="module")
def open_real(real_data, make_data):
    """A function that opens a task of the real GLUE folder."""
    return lambda name, **changes: open_labelled(
        name, make_data(corpus="", dir=str(real_data / "glue"), **changes), 0
    )


@pytest.mark.parametrize("task", ["cola", "sst2", "mrpc", "stsb"])
def test_real_tasks_are_whole(open_real, task):
    data = open_real(task)
    assert {name: len(split) for name, split in data.splits.items()} == dict(TASKS[task].rows)
    assert data.warnings == () and not data.missing
    assert data.split("test").labels is None
    assert data.split("test").ids == list(range(len(data.split("test"))))
    for name in ("train", "validation"):
        if (task, name) in BALANCE:
            assert np.bincount(data.split(name).labels).tolist() == BALANCE[task, name]


@pytest.mark.parametrize(
    ("task", "split", "row", "texts", "label"),
    [
        ("cola", "train", 2, ("One more pseudo generalization or I'm giving up.",), "acceptable"),
        ("cola", "train", 2999, ("Tourists admire paintings.",), "acceptable"),
        ("cola", "validation", 1042, ("John talked to Bill about himself.",), "acceptable"),
        ("cola", "test", 0, ("Bill whistled past the house.",), None),
        ("sst2", "train", 0, ("hide new secretions from the parental units ",), "negative"),
        ("sst2", "train", 4998, (", touching , dramatically forceful , and beautifully shot ",), "positive"),
        ("sst2", "validation", 1, ("unflinchingly bleak and desperate ",), "negative"),
        ("mrpc", "train", 91, (
            'Officials at Brandeis said this was an "extremely heartrending" time for the campus.',
            '"This is an extremely heartrending time for the entire Brandeis University community.',
        ), "equivalent"),
        ("mrpc", "validation", 407, (
            "Ex-KGB agent Putin added that the Beatles were considered 'propaganda of an alien ideology'.",
            'In Soviet times the Beatles\' music "was considered propaganda of an alien ideology.',
        ), "equivalent"),
        ("stsb", "train", 1, (
            "A man is playing a large flute.", "A man is playing a flute."), 3.8),
        ("stsb", "train", 5748, (
            "Putin spokesman: Doping charges appear unfounded",
            "The Latest on Severe Weather: 1 Dead in Texas After Tornado"), 0.0),
        ("qnli", "validation", 1, (
            "What is the first major city in the stream of the Rhine?",
            "The most important tributaries in this area are the Ill below of Strasbourg, the Neckar in "
            "Mannheim and the Main across from Mainz."), "not_entailment"),
        ("qqp", "validation", 1, (
            "If I want to change my name what should I do?", "I want to change my name, how do I do it?"),
         "duplicate"),
        ("mnli", "validation_matched", 0, (
            "Salt kept the town fed.", "Salt kept the town thriving."), "entailment"),
    ],
)  # fmt: skip
def test_real_examples(open_real, task, split, row, texts, label):
    data = open_real(task)
    found = data.split(split)
    assert (found.texts[row], *([found.texts_b[row]] if found.texts_b else [])) == texts
    if label is None:
        assert found.labels is None
    elif data.labels:
        assert data.labels[found.labels[row]] == label
    else:
        assert found.labels[row] == np.float32(label)


def test_real_subsets_are_marked(open_real):
    for task, whole in (("qqp", []), ("mnli", []), ("qnli", ["validation", "test"])):
        data = open_real(task)
        assert [name for name, split in data.splits.items() if split.is_whole] == whole
        assert any(f"{TASKS[task].title} train:" in warning for warning in data.warnings)
    assert np.bincount(open_real("qnli").split("validation").labels).tolist() == BALANCE["qnli", "validation"]


def test_both_forms_of_the_real_mrpc_agree(open_real, real_data, tmp_path, make_data):
    (tmp_path / "MRPC").mkdir()
    for name in ("msr_paraphrase_train.txt", "msr_paraphrase_test.txt", "dev_ids.tsv"):
        (tmp_path / "MRPC" / name).symlink_to(real_data / "glue" / "MRPC" / name)
    official = open_real("mrpc")
    made = open_labelled("mrpc", make_data(corpus="", dir=str(tmp_path)), 0)
    for name in official.splits:
        left, right = official.split(name), made.split(name)
        assert len(left) == len(right)
        rows = [
            sorted(zip(s.texts, s.texts_b, [None] * len(s) if s.labels is None else s.labels, strict=True))
            for s in (left, right)
        ]
        assert rows[0] == rows[1]
    assert made.warnings == ()


@pytest.mark.parametrize("task", ["cola", "stsb"])
def test_our_reading_and_that_of_tfds_agree(open_real, real_data, make_data, tmp_path, monkeypatch, task):
    """TFDS's own Glue builder, given the real files for its download."""
    builder = tfds_glue.Glue(config=task, data_dir=tmp_path, file_format="array_record")
    monkeypatch.setattr(
        tfds.download.DownloadManager, "download_and_extract", lambda self, url: str(real_data / "glue")
    )
    builder.download_and_prepare()
    ours = open_real(task)
    theirs = open_labelled(task, make_data(corpus=f"tfds:{builder.data_dir}"), 0)
    assert theirs.labels == ours.labels and theirs.warnings == ()
    for name, split in ours.splits.items():
        other = theirs.split(name)
        order = np.argsort(other.ids)
        assert split.texts == [other.texts[row] for row in order]
        assert split.is_whole and other.is_whole
        if name == "test":
            assert other.labels is None
        else:
            np.testing.assert_array_equal(split.labels, other.labels[order])
