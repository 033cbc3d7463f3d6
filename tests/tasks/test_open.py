"""Tables of one's own, and how many examples are used."""

import json

import numpy as np
import pytest

from fnet_jax.core.errors import UserError
from fnet_jax.tasks.open import open_labelled

ROWS = [(f"Text number {i} says a thing.", ("yes", "no", "maybe")[i % 3]) for i in range(200)]


def tsv(rows, header=("text", "label")) -> str:
    return "".join("\t".join(row) + "\n" for row in [header, *rows])


@pytest.fixture
def open_own(tmp_path, make_data):
    """A function that opens the folder of the test, or a file in it."""

    def open_own(name="", task="classify", seed=0, **changes):
        changes = {
            key: str(tmp_path / v) if key in ("test", "validation") else v for key, v in changes.items()
        }
        return open_labelled(task, make_data(corpus=str(tmp_path / name), **changes), seed)

    return open_own


def pairs_of(data, name) -> list[tuple[str, str]]:
    """Texts and names of labels of a split."""
    split = data.split(name)
    return [(text, data.labels[label]) for text, label in zip(split.texts, split.labels, strict=True)]


def test_one_file_is_divided_by_the_hash_of_the_text(tmp_path, open_own):
    (tmp_path / "x.tsv").write_text(tsv(ROWS))
    data = open_own("x.tsv", holdout_fraction=0.2)
    train, validation = pairs_of(data, "train"), pairs_of(data, "validation")
    assert sorted(train + validation) == sorted(ROWS)
    assert 20 <= len(validation) <= 60
    assert data.labels == ("maybe", "no", "yes")
    assert f"validation: {len(validation)} of the 200 examples of" in data.warnings[0]
    (tmp_path / "y.csv").write_text(
        "\n".join(f"{label},{text}" for text, label in [("text", "label"), *ROWS[::-1]])
    )
    assert sorted(pairs_of(open_own("y.csv", holdout_fraction=0.2), "validation")) == sorted(validation)


def test_equal_texts_are_held_out_together(tmp_path, open_own):
    (tmp_path / "x.tsv").write_text(tsv([(text, label) for text, _ in ROWS for label in ("a", "b")]))
    data = open_own("x.tsv", holdout_fraction=0.5)
    assert not set(data.split("train").texts) & set(data.split("validation").texts)
    assert len(data.split("train")) % 2 == 0


def test_one_example_at_least_is_held_out(tmp_path, open_own):
    (tmp_path / "x.tsv").write_text(tsv(ROWS[:3]))
    data = open_own("x.tsv", holdout_fraction=1e-9)
    assert len(data.split("train")) == 2 and len(data.split("validation")) == 1
    (tmp_path / "x.tsv").write_text(tsv([("same", "a"), ("same", "b")]))
    with pytest.raises(UserError, match=r"x\.tsv has 2 examples, too few to hold out .*data\.validation"):
        open_own("x.tsv")


@pytest.mark.parametrize("name", ["validation.csv", "valid.csv", "dev.csv"])
def test_a_folder_with_a_file_per_split(tmp_path, open_own, name):
    (tmp_path / "train.tsv").write_text(tsv(ROWS))
    (tmp_path / name).write_text(
        'label,text\nno,"A new text, with a comma."\nyes,Text number 0 says a thing.\n'
    )
    (tmp_path / "test.jsonl").write_text(json.dumps({"text": "Unlabelled."}) + "\n")
    (tmp_path / "README.md").write_text("Not a table")
    data = open_own()
    assert pairs_of(data, "validation")[0] == ("A new text, with a comma.", "no")
    assert data.split("test").texts == ["Unlabelled."] and data.split("test").labels is None
    assert data.warnings == (
        "validation: 1 of 2 examples have their text in the training split too, so scores flatter",
    )


def test_files_given_by_hand_come_first(tmp_path, open_own):
    (tmp_path / "train.tsv").write_text(tsv(ROWS))
    (tmp_path / "test.tsv").write_text(tsv([("From the folder.", "yes")]))
    (tmp_path / "mine.tsv").write_text(tsv([("By hand.", "no")]))
    data = open_own(test="mine.tsv", validation="mine.tsv")
    assert pairs_of(data, "test") == pairs_of(data, "validation") == [("By hand.", "no")]
    assert pairs_of(open_own(), "test") == [("From the folder.", "yes")]


def test_pairs_fields_and_labels_by_name(tmp_path, open_own):
    (tmp_path / "x.jsonl").write_text(
        "".join(
            json.dumps({"q": f"Q{i}?", "a": ["", "A."][i % 2], "ok": i % 2 == 1}) + "\n" for i in range(20)
        )
    )
    data = open_own("x.jsonl", text_field="q", text_b_field="a", label_field="ok", labels=("true", "false"))
    split = data.split("train")
    assert data.labels == ("true", "false")
    for text, text_b, label in zip(split.texts, split.texts_b, split.labels, strict=True):
        odd = int(text[1:-1]) % 2 == 1
        assert (text_b, data.labels[label]) == (("A.", "true") if odd else ("", "false"))


def test_whole_numbers_are_ordered_by_size(tmp_path, open_own):
    (tmp_path / "x.tsv").write_text(tsv([(text, str(i % 12)) for i, (text, _) in enumerate(ROWS)]))
    assert open_own("x.tsv").labels == tuple(str(i) for i in range(12))


def test_regression(tmp_path, open_own):
    (tmp_path / "train.tsv").write_text(tsv([(text, f"{i / 8}") for i, (text, _) in enumerate(ROWS)]))
    (tmp_path / "test.tsv").write_text(tsv([("Text.", "-1"), ("Text.", "-1")]))
    data = open_own(task="regress")
    train = data.split("train")
    assert data.labels == () and train.labels.dtype == np.float32
    assert all(
        int(text.split()[2]) / 8 == label for text, label in zip(train.texts, train.labels, strict=True)
    )
    assert data.split("test").labels.tolist() == [-1, -1]  # which are numbers like any other


def test_a_test_split_of_minus_ones_is_unlabelled(tmp_path, open_own):
    (tmp_path / "train.tsv").write_text(tsv(ROWS))
    (tmp_path / "test.tsv").write_text(tsv([("Text.", "-1"), ("Text.", "-1")]))
    assert open_own().split("test").labels is None


@pytest.mark.parametrize(
    ("files", "changes", "message"),
    [
        ({"train.tsv": [*ROWS], "dev.tsv": [ROWS[0], ("New.", "perhaps")]}, {},
         r"dev\.tsv:3: label 'perhaps' is unknown; valid: maybe, no, yes"),
        ({"train.tsv": ROWS}, {"labels": ("no", "yes")},
         r"train\.tsv:4: label 'maybe' is unknown; valid: no, yes"),
        ({"train.tsv": [("Text.", "yes"), (" ", "no")]}, {}, r"train\.tsv:3: empty text \(text\)"),
        ({"train.tsv": [("Text.", "yes"), ("Text.", "")]}, {}, r"train\.tsv:3: empty label \(label\)"),
        ({"train.tsv": ROWS[:1]}, {}, r"train\.tsv: all labels are 'yes'; a classifier needs two"),
        ({"train.tsv": []}, {}, r"train\.tsv has no rows"),
        ({"train.tsv": ROWS}, {"text_field": "body"},
         r"train\.tsv:1: no column 'body'; it has 'text', 'label'"),
        ({"train.tsv": ROWS}, {"task": "regress"}, r"train\.tsv:2: label 'yes' is no finite number"),
        ({"train.tsv": ROWS, "train.csv": ROWS}, {}, r"has train\.csv and train\.tsv for train; keep one"),
        ({"test.tsv": ROWS}, {}, r"has no train file; names: train, validation \(or dev, valid\), test"),
        ({"train.tsv": ROWS}, {"test": "gone.tsv"}, r"data\.test=.*gone\.tsv' is no file"),
        ({"train.tsv": ROWS}, {"name": "gone"},
         r"gone' is no file or folder; task='classify' reads \.tsv, \.txt"),
    ],
)  # fmt: skip
def test_mistakes_are_said(tmp_path, open_own, files, changes, message):
    for name, rows in files.items():
        (tmp_path / name).write_text(tsv(rows))
    with pytest.raises(UserError, match=message):
        open_own(**changes)


def test_fewer_examples_are_chosen_by_seed(tmp_path, open_own):
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.tsv").write_text(tsv([(f"{name} {text}", label) for text, label in ROWS]))

    def chosen(count, seed=0):
        return open_own(seed=seed, max_train_examples=count, max_eval_examples=7)

    few, more = chosen(10), chosen(50)
    assert len(few.split("train")) == 10 and few.split("train").ids == sorted(few.split("train").ids)
    assert set(pairs_of(few, "train")) < set(pairs_of(more, "train")) < set(pairs_of(open_own(), "train"))
    assert set(few.split("train").ids) != set(chosen(10, seed=1).split("train").ids)
    validation = few.split("validation").ids
    assert len(validation) == 7 and validation == sorted(validation) and max(validation) > 50
    assert validation == chosen(10, seed=1).split("validation").ids
    assert len(few.split("test")) == len(ROWS)  # a file to be handed in has all rows
    assert few.warnings == (
        "classify train: 10 of 200 examples (data.max_train_examples)",
        "classify validation: 7 of 200 examples (data.max_eval_examples)",
    )
    assert open_own(max_train_examples=500, max_eval_examples=500).warnings == ()
