"""GLUE from made-up files."""

import numpy as np
import pytest

from fnet_jax.core.errors import UserError
from fnet_jax.tasks.open import open_labelled
from fnet_jax.tasks.table import TASKS

MNLI_COLUMNS = ["index", *"abcdefg", "sentence1", "sentence2"]  # seven that nobody reads


def tsv(header, rows) -> str:
    return "".join("\t".join(map(str, row)) + "\n" for row in ([header] if header else []) + list(rows))


@pytest.fixture
def write(tmp_path):
    """A function that writes a file of a made-up GLUE folder."""

    def write(name: str, header, rows, encoding="utf-8") -> None:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(tsv(header, rows), encoding=encoding)

    return write


@pytest.fixture
def open_task(tmp_path, make_data):
    """A function that opens a task of the made-up folder."""

    def open_task(name: str, folder="", **changes):
        return open_labelled(name, make_data(corpus="", dir=str(tmp_path / folder), **changes), seed=0)

    return open_task


def test_cola_has_a_header_in_test_alone(write, open_task):
    write("CoLA/train.tsv", None, [("gj04", 1, "", 'He said "fine.'), ("gj04", 0, "*", "Fine he said.")])
    write("CoLA/dev.tsv", None, [("gj04", 1, "", "")])
    write("CoLA/test.tsv", ("index", "sentence"), [(3, "One."), (7, "Two.")])
    data = open_task("cola")
    train, validation, test = (data.split(name) for name in ("train", "validation", "test"))
    assert train.texts == ['He said "fine.', "Fine he said."] and train.texts_b is None
    assert [data.labels[i] for i in train.labels] == ["acceptable", "unacceptable"]
    assert train.ids == [0, 1]
    assert validation.texts == [""]  # which official files may have
    assert test.texts == ["One.", "Two."] and test.labels is None and test.ids == [3, 7]
    assert open_task("cola", "CoLA").split("train").texts == train.texts


@pytest.mark.parametrize(
    ("task", "header", "rows", "labels"),
    [
        ("sst2", ("sentence", "label"), [("a", 1), ("b", 0)], ["positive", "negative"]),
        ("sst2", ("label", "sentence"), [(1, "a"), (0, "b")], ["positive", "negative"]),
        (
            "qqp",
            ("id", "qid1", "qid2", "question1", "question2", "is_duplicate"),
            [(9, 1, 2, "a", "A", 1), (8, 3, 4, "b", "B", 0)],
            ["duplicate", "not_duplicate"],
        ),
        (
            "wnli",
            ("index", "sentence1", "sentence2", "label"),
            [(0, "a", "A", 1), (1, "b", "B", 0)],
            ["entailment", "not_entailment"],
        ),
        (
            "rte",
            ("index", "sentence1", "sentence2", "label"),
            [(0, "a", "A", "not_entailment"), (1, "b", "B", "entailment")],
            ["not_entailment", "entailment"],
        ),
        (
            "qnli",
            ("index", "question", "sentence", "label"),
            [(0, "a", "A", "entailment"), (1, "b", "B", "not_entailment")],
            ["entailment", "not_entailment"],
        ),
        (
            "mrpc",
            ("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"),
            [(0, 5, 6, "a", "A"), (1, 7, 8, "b", "B")],
            ["not_equivalent", "equivalent"],
        ),
    ],
)
def test_columns_and_labels_go_by_name(write, open_task, task, header, rows, labels):
    write(f"{TASKS[task].title}/train.tsv", header, rows, encoding="utf-8-sig")
    data = open_task(task)
    train = data.split("train")
    assert train.texts == ["a", "b"]
    assert train.texts_b == (["A", "B"] if TASKS[task].has_pairs else None)
    assert [data.labels[i] for i in train.labels] == labels
    assert train.labels.dtype == np.int32
    assert not train.is_whole


def test_scores_of_stsb_are_numbers(write, open_task):
    header = ["index", *"abcdef", "sentence1", "sentence2", "score"]
    write("STS-B/train.tsv", header, [[0, *["x"] * 6, "a", "A", "3.800"], [1, *["x"] * 6, "b", "B", "0"]])
    data = open_task("stsb")
    np.testing.assert_array_equal(data.split("train").labels, np.array([3.8, 0], np.float32))
    assert data.split("train").labels.dtype == np.float32 and data.labels == ()
    write("STS-B/dev.tsv", header, [[0, *["x"] * 6, "a", "A", "nan"]])
    with pytest.raises(UserError, match=r"dev\.tsv:2: label 'nan' is no finite number"):
        open_task("stsb")


def test_mnli_has_two_of_each(write, open_task):
    train = [*MNLI_COLUMNS, "label1", "gold_label"]
    dev = [*MNLI_COLUMNS, "label1", "label2", "label3", "label4", "label5", "gold_label"]

    def row(index, label, votes):
        return [
            index,
            *["x"] * 7,
            f"premise {index}",
            f"hypothesis {index}",
            *["contradiction"] * votes,
            label,
        ]

    write("MNLI/train.tsv", train, [row(0, "neutral", 1), row(1, "entailment", 1)])
    write("MNLI/dev_matched.tsv", dev, [row(0, "entailment", 5), row(1, "-", 5), row(2, "contradiction", 5)])
    write("MNLI/dev_mismatched_subset.tsv", dev, [row(5, "neutral", 5)])
    write("MNLI/test_matched.tsv", MNLI_COLUMNS, [row(0, "", 0)[:-1]])
    data = open_task("mnli")
    matched = data.split("validation_matched")
    assert data.labels == ("entailment", "neutral", "contradiction")
    assert data.split("train").labels.tolist() == [1, 0]
    assert matched.texts == ["premise 0", "premise 2"] and matched.texts_b[1] == "hypothesis 2"
    assert matched.labels.tolist() == [0, 2] and matched.ids == [0, 2]
    assert data.split("validation_mismatched").labels.tolist() == [1]
    assert data.split("test_matched").labels is None
    text = "\n".join(data.warnings)
    assert "1 examples of" in text and "no gold label ('-')" in text
    assert "test_mismatched" not in text  # it is missed when it is asked for
    assert "1 of 9,832 official examples" in text and "dev_mismatched_subset.tsv" in text
    with pytest.raises(UserError, match=r"no split 'test_mismatched' here: no file test_mismatched\.tsv in"):
        data.split("test_mismatched")
    with pytest.raises(UserError, match="task='mnli' has no split 'validation'; it has train, validation_m"):
        data.split("validation")


@pytest.mark.parametrize("name", ["AX/AX.tsv", "AX/diagnostic.tsv", "diagnostic/diagnostic.tsv"])
def test_ax_under_its_names(write, open_task, name):
    write(name, ("index", "sentence1", "sentence2"), [(0, "a", "A"), (1, "b", "B")])
    data = open_task("ax")
    assert data.split("test").texts_b == ["A", "B"]
    assert list(data.splits) == ["test"] and data.labels == TASKS["mnli"].labels


def test_official_names_come_before_subsets(write, open_task):
    write("SST-2/train.tsv", ("sentence", "label"), [("official", 1)])
    write("SST-2/train_subset.tsv", ("sentence", "label"), [("subset", 1)])
    assert open_task("sst2").split("train").texts == ["official"]


def test_mrpc_from_the_corpus_itself(write, open_task):
    header = ("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String")
    rows = [(1, 1, 2, "a", "A"), (0, 2, 1, "b", '"B'), (1, 3, 4, "c", "C")]
    write("MRPC/msr_paraphrase_train.txt", header, rows, encoding="utf-8-sig")
    write("MRPC/msr_paraphrase_test.txt", header, [(1, 5, 6, "d", "D")], encoding="utf-8-sig")
    write("MRPC/dev_ids.tsv", None, [(2, 1)])
    data = open_task("mrpc")
    assert data.split("train").texts == ["a", "c"] and data.split("train").labels.tolist() == [1, 1]
    assert data.split("validation").texts_b == ['"B'] and data.split("validation").labels.tolist() == [0]
    assert data.split("validation").name == "validation"
    assert data.split("test").labels is None
    write("MRPC/train.tsv", header, [(1, 1, 2, "official", "A")])
    assert open_task("mrpc").split("train").texts == ["official"]
    assert open_task("mrpc").split("validation").texts == ["b"]


def test_broken_rows_are_passed_over_in_qqp_alone(write, open_task):
    header = ("id", "qid1", "qid2", "question1", "question2", "is_duplicate")
    write("QQP/train.tsv", header, [(1, 2, 3, "a", "A", 1), (4, 5, 6, "cut"), ("here", "B", 0)])
    data = open_task("qqp")
    assert data.split("train").texts == ["a"]
    assert any("2 broken rows" in warning for warning in data.warnings)
    write("SST-2/train.tsv", ("sentence", "label"), [("a", 1), ("cut",)])
    with pytest.raises(UserError, match=r"SST-2/train\.tsv:3: 1 columns, not 2"):
        open_task("sst2")


@pytest.mark.parametrize(
    ("name", "header", "rows", "message"),
    [
        ("RTE/train.tsv", ("index", "sentence1", "sentence2", "label"), [(0, "a", "b", "0")],
         r"RTE/train\.tsv:2: label '0' is unknown; valid: entailment, not_entailment"),
        ("RTE/train.tsv", ("index", "sentence1", "sentence2", "gold"), [(0, "a", "b", "entailment")],
         r"RTE/train\.tsv:1: no column 'label'; it has 'index', 'sentence1', 'sentence2', 'gold'"),
        ("RTE/train.tsv", ("index", "sentence1", "sentence2", "label"), [("x", "a", "b", "entailment")],
         r"RTE/train\.tsv:2: index 'x' is no whole number"),
        ("RTE/notes.txt", ("x",), [], r"no file train\.tsv or train_subset\.tsv in .*RTE; no file dev\.tsv"),
        ("CoLA/train.tsv", None, [("a", 1, "", "b")], "has no folder RTE, where GLUE's RTE lies"),
    ],
)  # fmt: skip
def test_mistakes_are_said(write, open_task, name, header, rows, message):
    write(name, header, rows)
    with pytest.raises(UserError, match=message):
        open_task("rte")


def test_where_glue_is_must_be_said(make_data):
    with pytest.raises(
        UserError, match=r"task='rte' needs data\.dir, the folder with GLUE's files \(RTE/train"
    ):
        open_labelled("rte", make_data(corpus="", dir=""), 0)
    with pytest.raises(UserError, match=r"data\.corpus='x\.txt' is not read by task='rte'; give the folder"):
        open_labelled("rte", make_data(corpus="x.txt", dir=""), 0)
