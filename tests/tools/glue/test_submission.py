"""GLUE's zip: what is written is what the server reads, and every fault has a name."""

import os
import re
import zipfile

import numpy as np
import pytest

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.tasks.classify.glue import read_glue
from fnet_jax.tasks.table import TASKS
from fnet_jax.tools.glue.submission import FILES, TITLES, validate, write_submission
from tests.tools.glue.conftest import OFFICIAL_ROWS, SMALL_ROWS, SPELLINGS, contents, pack, rows_of


def test_the_official_files(tmp_path):
    """All filled: names, counts, header, numbers of rows, spellings."""
    path = str(tmp_path / "new" / "glue.zip")
    warnings = write_submission(path, {})
    assert validate(path) == []
    found = contents(path)
    assert set(found) == {f"{title}.tsv" for title in OFFICIAL_ROWS}
    for title, count in OFFICIAL_ROWS.items():
        content = found[f"{title}.tsv"]
        assert content.startswith(b"index\tprediction\n") and content.endswith(b"\n")
        rows = rows_of(content)
        assert [row["index"] for row in rows] == [str(n) for n in range(count)]
        assert len({row["prediction"] for row in rows}) == 1
    assert len(warnings) == 11
    assert "CoLA.tsv has no predictions; it says acceptable for all 1,063 examples" in warnings
    assert "STS-B.tsv has no predictions; it says 2.5 for all 1,379 examples" in warnings
    assert os.listdir(tmp_path / "new") == ["glue.zip"]


def test_round_trip(tmp_path):
    rng = np.random.default_rng(0)
    given_, expected = {}, {}
    for title, count in OFFICIAL_ROWS.items():
        if title == "STS-B":
            values = rng.normal(2.5, 2, count).astype(np.float32)
            expected[title] = np.clip(values, 0, 5)
        else:
            values = rng.choice(list(SPELLINGS[title]), count).tolist()
            expected[title] = [SPELLINGS[title][value] for value in values]
        given_[title] = values
    path = str(tmp_path / "glue.zip")
    assert write_submission(path, given_) == []
    assert validate(path) == []
    for name, content in contents(path).items():
        title = name.removesuffix(".tsv")
        found = [row["prediction"] for row in rows_of(content)]
        if title == "STS-B":
            np.testing.assert_allclose([float(value) for value in found], expected[title], atol=1e-6)
            assert all(re.fullmatch(r"\d\.\d{3,}", value) for value in found)
        else:
            assert found == expected[title]


def test_equal_predictions_give_equal_bytes(small, tmp_path):
    for name in ("a.zip", "b.zip"):
        write_submission(str(tmp_path / name), {"RTE": ["not_entailment"] * SMALL_ROWS})
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_file_goes_by_its_title(small, tmp_path):
    path = str(tmp_path / "glue.zip")
    answers = ["neutral", "contradiction", "entailment", "neutral"]
    warnings = write_submission(path, {TITLES["mnli", "test_mismatched"]: answers, "AX": answers})
    found = contents(path)
    assert found["MNLI-mm.tsv"] == found["AX.tsv"] == (
        b"index\tprediction\n0\tneutral\n1\tcontradiction\n2\tentailment\n3\tneutral\n"
    )  # fmt: skip
    assert found["MNLI-m.tsv"].count(b"entailment") == SMALL_ROWS
    assert len(warnings) == 9 and not any(warning.startswith(("MNLI-mm", "AX")) for warning in warnings)


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ({"CoLA": ["acceptable"] * 3}, r"^CoLA has 3 predictions, not 4, one for each example of the offic"),
        ({"MNLI": []}, r"^'MNLI' is no file of a submission; valid: CoLA, SST-2, "),
        ({"RTE": ["entailment", "yes"] * 2}, r"^RTE, prediction 1: 'yes' is unknown; valid: entailment, "),
        ({"SST-2": ["1", 1, 0, 0]}, r"^SST-2, prediction 0: '1' is unknown; valid: negative, positive$"),
        ({"SST-2": [1, 1, 0, 0]}, r"^SST-2, prediction 0: 1 is unknown; valid: negative, positive$"),
        ({"STS-B": [1.0, 2, 3, float("nan")]}, r"^STS-B, prediction 3: nan is unknown; valid: finite"),
        ({"STS-B": [1.0, "2", 3, 4]}, r"^STS-B, prediction 1: '2' is unknown; valid: finite numbers$"),
        ({"STS-B": [None] * 4}, r"^STS-B, prediction 0: None is unknown"),
    ],
)  # fmt: skip
def test_wrong_predictions_are_named_and_nothing_is_written(small, tmp_path, predictions, message):
    with pytest.raises(UserError, match=message):
        write_submission(str(tmp_path / "glue.zip"), predictions)
    assert os.listdir(tmp_path) == []


def test_similarities_are_clipped(small, tmp_path):
    path = str(tmp_path / "glue.zip")
    write_submission(path, {"STS-B": [-0.0, -3, 5.0000001, 4.25]})
    found = [row["prediction"] for row in rows_of(contents(path)["STS-B.tsv"])]
    assert found == ["0.000000", "0.000000", "5.000000", "4.250000"]


HEAD = b"index\tprediction\n"


@pytest.mark.parametrize(
    ("name", "content", "faults"),
    [
        ("CoLA", b"", ["line 1: the header is '', not 'index\\tprediction'", "has 0"]),
        ("CoLA", b"id\tlabel\n0\t1\n", ["line 1: the header is 'id\\tlabel', not 'index\\tprediction'"]),
        ("CoLA", b"0\t1\n1\t1\n2\t1\n3\t1\n", ["line 1: the header is '0\\t1'"]),
        ("CoLA", b"index\tprediction \n0\t1\n1\t1\n2\t1\n3\t1\n",
         ["line 1: the header is 'index\\tprediction ', not 'index\\tprediction'"]),
        ("CoLA", HEAD, ["has 0 predictions, not 4"]),
        ("CoLA", HEAD + b"0\t1\n1\t1\n2\t1\n", ["has 3 predictions, not 4"]),
        ("CoLA", HEAD + b"0\t1\n1\t1\n2\t1\n3\t1\n4\t1\n", ["has 5 predictions, not 4"]),
        ("CoLA", HEAD + b"0\t1\n1\t1\n2\t1\n3\t1\n\n", ["has 5 predictions, not 4"]),
        ("CoLA", HEAD + b"1\t1\n2\t1\n3\t1\n4\t1\n", ["line 2: the index is '1', not 0 (and 3 more)"]),
        ("CoLA", HEAD + b"0\t1\n2\t1\n1\t1\n3\t1\n", ["line 3: the index is '2', not 1 (and 1 more)"]),
        ("CoLA", HEAD + b"0\t1\n01\t1\n2\t1\n3\t1\n", ["line 3: the index is '01', not 1"]),
        ("CoLA", HEAD + b"0\t1\n1\tacceptable\n2\t1\n3\t1\n",
         ["line 3: 'acceptable' is no label; valid: 0, 1"]),
        ("CoLA", HEAD + b"0\t1\n1\t1.0\n2\t1\n3\t1\n", ["line 3: '1.0' is no label; valid: 0, 1"]),
        ("CoLA", HEAD + b"0\t1\n1\t\n2\t1\n3\t1\n", ["line 3: '' is no label; valid: 0, 1"]),
        ("CoLA", HEAD + b"0\t1\n1 1\n2\t1\n3\t1\n", ["line 3: '1 1' is not an index, a tab and a"]),
        ("CoLA", HEAD + b"0\t1\t\n1\t1\n2\t1\n3\t1\n", ["line 2: '0\\t1\\t' is not an index, a tab"]),
        ("CoLA", HEAD + b"0\t1\n1\t1\n2\t1 \n3\t1\n", ["line 4: '1 ' has spaces around it"]),
        ("CoLA", HEAD + b" 0\t1\n1\t1\n2\t1\n3\t1\n", ["line 2: ' 0' has spaces around it"]),
        ("CoLA", b"\xef\xbb\xbf" + HEAD + b"0\t1\n", ["begins with a byte order mark"]),
        ("CoLA", HEAD + b"0\t1\n1\t1\r\n2\t1\r\n3\t1\n", ["line 3: ends with a carriage return"]),
        ("CoLA", HEAD + b"0\t1\n1\t1\n2\t\xd9\xa1\n3\t1\n", ["line 4: byte b'\\xd9' is not ASCII"]),
        ("RTE", HEAD + b"0\tentailment\n1\tneutral\n2\tentailment\n3\t0\n",
         ["line 3: 'neutral' is no label; valid: entailment, not_entailment (and 1 more)"]),
        ("AX", HEAD + b"0\tentailment\n1\tneutral\n2\tEntailment\n3\tneutral\n",
         ["line 4: 'Entailment' is no label; valid: contradiction, entailment, neutral"]),
        ("STS-B", HEAD + b"0\t5.001\n1\t1\n2\t1\n3\t1\n", ["line 2: 5.001 is outside 0 to 5"]),
        ("STS-B", HEAD + b"0\t1\n1\t-0.5\n2\t1\n3\t1\n", ["line 3: -0.5 is outside 0 to 5"]),
        *[("STS-B", HEAD + b"0\t1\n1\t1\n2\t1\n3\t%s\n" % value, [f"line 5: '{value.decode()}' is no number"])
          for value in (b"nan", b"inf", b"1_0", b"1,5", b"0x1", b"entailment", b"", b".")],
    ],
)  # fmt: skip
def test_every_fault_of_a_file_is_named(files, scratch, name, content, faults):
    found = validate(pack(scratch, files | {f"{name}.tsv": content}))
    assert found and found[0].startswith(f"{name}.tsv {faults[0]}")
    assert len(found) <= 2 and all(fault.startswith(f"{name}.tsv ") for fault in found)


@pytest.mark.parametrize("value", ["0", "5", "5.0", "2.345", "1e-3", "+1", "4.", ".5", "-0.0"])
def test_numbers_of_all_spellings_pass(files, scratch, value):
    content = HEAD + "".join(f"{n}\t{value}\n" for n in range(SMALL_ROWS)).encode()
    assert validate(pack(scratch, files | {"STS-B.tsv": content})) == []


def test_the_last_line_feed_may_be_missing(files, scratch):
    assert validate(pack(scratch, {name: content[:-1] for name, content in files.items()})) == []


def test_missing_unknown_and_nested_files(files, scratch):
    content = files.pop("WNLI.tsv")
    others = {"wnli.tsv": content, "README": b"", "__MACOSX/._RTE.tsv": b"", "sub\\RTE.tsv": b""}
    assert validate(pack(scratch, files | others)) == [
        "'wnli.tsv' is no file of a submission; did you mean WNLI.tsv?",
        "'README' is no file of a submission",
        "'__MACOSX/._RTE.tsv' lies in a folder; the zip must be flat (zip -j)",
        "'sub\\\\RTE.tsv' lies in a folder; the zip must be flat (zip -j)",
        "WNLI.tsv is missing",
    ]


def test_all_in_a_folder(files, scratch):
    found = validate(pack(scratch, {f"glue/{name}": content for name, content in files.items()}))
    assert found[0] == "'glue/CoLA.tsv' lies in a folder; the zip must be flat (zip -j)"
    assert found[5] == "6 more such files"
    assert [fault for fault in found if fault.endswith(" is missing")] == [
        f"{title}.tsv is missing" for title in FILES
    ]


def test_duplicates(files, scratch):
    pack(scratch, files)
    with (
        zipfile.ZipFile(scratch, "a") as archive,
        pytest.warns(UserWarning, match="Duplicate name"),
    ):
        archive.writestr("QQP.tsv", files["QQP.tsv"])
    assert validate(scratch) == ["QQP.tsv is there 2 times"]


@pytest.mark.parametrize("task", ["cola", "sst2", "mrpc", "stsb", "qnli"])
def test_real_test_splits_fit(real_data, tmp_path, task):
    """The benchmark numbers its test examples from 0, in order; so do the rows of the submission."""
    split = read_glue(TASKS[task], DataConfig(dir=str(real_data / "glue"))).splits["test"]
    title = TASKS[task].title
    rng = np.random.default_rng(0)
    if TASKS[task].regression:
        values = rng.uniform(0, 5, len(split)).round(3).tolist()
    else:
        values = rng.choice(TASKS[task].labels, len(split)).tolist()
    path = str(tmp_path / "glue.zip")
    assert len(write_submission(path, {TITLES[task, split.name]: values})) == 10
    assert validate(path) == []
    rows = rows_of(contents(path)[f"{title}.tsv"])
    assert [int(row["index"]) for row in rows] == split.ids
    spelt = SPELLINGS.get(title)
    assert [spelt[value] if spelt else f"{value:.6f}" for value in values] == [
        row["prediction"] for row in rows
    ]
