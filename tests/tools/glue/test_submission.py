"""GLUE's zip: what is written is what the server reads, and every fault has a name."""

import csv
import dataclasses
import io
import os
import re
import stat
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fnet_jax.core.errors import UserError
from fnet_jax.tasks.classify.glue import read_glue
from fnet_jax.tasks.table import TASKS
from fnet_jax.tools.glue import submission
from fnet_jax.tools.glue.submission import FILES, TITLES, validate, write_submission

OFFICIAL_ROWS = {
    "AX": 1104, "CoLA": 1063, "MNLI-m": 9796, "MNLI-mm": 9847, "MRPC": 1725, "QNLI": 5463, "QQP": 390965,
    "RTE": 3000, "SST-2": 1821, "STS-B": 1379, "WNLI": 146,
}  # fmt: skip
SPELLINGS = {
    "CoLA": {"unacceptable": "0", "acceptable": "1"},
    "SST-2": {"negative": "0", "positive": "1"},
    "MRPC": {"not_equivalent": "0", "equivalent": "1"},
    "QQP": {"not_duplicate": "0", "duplicate": "1"},
    "WNLI": {"not_entailment": "0", "entailment": "1"},
    **{title: {name: name for name in ("entailment", "neutral", "contradiction")}
       for title in ("MNLI-m", "MNLI-mm", "AX")},
    **{title: {name: name for name in ("entailment", "not_entailment")} for title in ("QNLI", "RTE")},
}  # fmt: skip
SMALL_ROWS = 4


@pytest.fixture
def small(monkeypatch):
    """Every file has four examples."""
    files = {
        title: dataclasses.replace(
            file, task=dataclasses.replace(file.task, rows={**file.task.rows, file.split: SMALL_ROWS})
        )
        for title, file in FILES.items()
    }
    monkeypatch.setattr(submission, "FILES", files)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("submission") / "glue.zip")


def contents(path: str) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline=""), delimiter="\t"))


def pack(path: str, files: dict[str, bytes], **options) -> str:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def files(small, tmp_path) -> dict[str, bytes]:
    """A valid small submission, by name of the file."""
    path = str(tmp_path / "valid.zip")
    write_submission(path, {})
    return contents(path)


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


@pytest.mark.parametrize("content", [b"", b"PK", b"index\tprediction\n" * 9, b"\x1f\x8b" + bytes(50)])
def test_what_is_no_zip(tmp_path, content):
    path = tmp_path / "glue.zip"
    path.write_bytes(content)
    (found,) = validate(str(path))
    assert found.startswith(f"{path} is no zip that can be read")


def test_what_is_not_there(tmp_path):
    (found,) = validate(str(tmp_path / "none.zip"))
    assert "cannot be read (No such file" in found
    (found,) = validate(str(tmp_path))
    assert "cannot be read (Is a directory" in found


def test_a_file_that_is_too_large_is_not_read(files, scratch, monkeypatch):
    """A kilobyte of zip can hold a megabyte, and claim anything."""
    files["QQP.tsv"] = bytes(submission.MAX_FILE_BYTES + 1)
    pack(scratch, files, compression=zipfile.ZIP_DEFLATED)
    read = zipfile.ZipFile.read
    names = []
    monkeypatch.setattr(
        zipfile.ZipFile, "read", lambda self, entry: (names.append(entry.filename), read(self, entry))[1]
    )
    (found,) = validate(scratch)
    assert found == "QQP.tsv claims 8,388,609 bytes; a file has less than 8,388,608"
    assert len(names) == 10 and "QQP.tsv" not in names


def test_a_file_that_lies_about_its_size(files, scratch):
    """It claims to be small: no more than that is unpacked, and the checksum tells."""
    files["QQP.tsv"] = bytes(2**24)
    pack(scratch, files, compression=zipfile.ZIP_DEFLATED)
    with open(scratch, "rb") as file:
        content = file.read()
    content = content.replace(struct.pack("<I", 2**24), struct.pack("<I", 40))
    with open(scratch, "wb") as file:
        file.write(content)
    (found,) = validate(scratch)
    assert found.startswith("QQP.tsv is damaged (Bad CRC-32")


def test_a_zip_that_is_too_large_is_not_opened(scratch, monkeypatch):
    with open(scratch, "wb") as file:
        file.truncate(submission.MAX_ZIP_BYTES + 1)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    (found,) = validate(scratch)
    assert found.endswith("has 16,777,217 bytes; a submission has less than 16,777,216")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(files, scratch, method):
    found = validate(pack(scratch, files, compression=method))
    assert len(found) == 11
    assert all(f"is compressed by method {method}; use deflate (8) or none (0)" in fault for fault in found)


def test_encryption_is_refused(files, scratch):
    pack(scratch, files)
    with open(scratch, "rb") as file:
        content = bytearray(file.read())
    at = content.index(b"PK\x01\x02")  # the first entry of the directory; its flags are at 8
    content[at + 8] |= 1
    with open(scratch, "wb") as file:
        file.write(content)
    (found,) = validate(scratch)
    assert found.endswith(".tsv is encrypted")


def test_nothing_is_extracted(files, tmp_path):
    path = tmp_path / "glue.zip"
    entry = zipfile.ZipInfo("../out")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    assert validate(str(path))[0] == "'../out' lies in a folder; the zip must be flat (zip -j)"
    assert sorted(os.listdir(tmp_path)) == ["glue.zip", "valid.zip"]


@given(data=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_zip_with_changed_bytes_never_passes(small, scratch, data):
    """Unless only what is around the files has changed, such as a date."""
    write_submission(scratch, {})
    original = contents(scratch)
    with open(scratch, "rb") as file:
        content = file.read()
    start = data.draw(st.integers(0, len(content) - 1))
    end = data.draw(st.integers(start, min(start + 8, len(content))))
    changed = content[:start] + data.draw(st.binary(max_size=8)) + content[end:]
    with open(scratch, "wb") as file:
        file.write(changed)
    if not validate(scratch):
        assert contents(scratch) == original


PIECES = ["0", "1", "2", "3", "00", "10", "\t", "\n", "\r", " ", ".", "-", "e", "x", "entailment", "not_",
          "\ufeff", "\x00", "\x0b", "\u0661", "index\tprediction\n", "0\t1\n"]  # fmt: skip
LABELLED = {title: list(names.values()) for title, names in SPELLINGS.items()}


@pytest.mark.parametrize("title", ["SST-2", "RTE", "MNLI-m", "STS-B"])
@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_file_passes_only_if_it_still_is_one(small, scratch, title, data):
    """Told by one regular expression of the whole file."""
    write_submission(scratch, {})
    files = contents(scratch)
    text = files[f"{title}.tsv"].decode()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 20, len(text))))
    text = text[:start] + "".join(data.draw(st.lists(st.sampled_from(PIECES), max_size=4))) + text[end:]
    labels = "|".join(LABELLED.get(title, [r"[+-]?[0-9.]+(?:e[+-]?[0-9]+)?"]))
    rows = [rf"{n}\t(?P<value{n}>{labels})" for n in range(SMALL_ROWS)]
    match = re.fullmatch("index\tprediction\n" + "\n".join(rows) + "\n?", text)
    expected = match is not None and (
        title in LABELLED or all(map(is_similarity, match.groupdict().values()))
    )
    assert (validate(pack(scratch, files | {f"{title}.tsv": text.encode()})) == []) == expected


def is_similarity(text: str) -> bool:
    try:
        return 0 <= float(text) <= 5
    except ValueError:
        return False


@pytest.mark.parametrize("task", ["cola", "sst2", "mrpc", "stsb", "qnli"])
def test_real_test_splits_fit(real_data, make_data, tmp_path, task):
    """The benchmark numbers its test examples from 0, in order; so do the rows of the submission."""
    split = read_glue(TASKS[task], make_data(dir=str(real_data / "glue"))).splits["test"]
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
