"""What is no zip of eleven plain files, and files with changed bytes, are refused."""

import os
import re
import stat
import struct
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fnet_jax.tools.glue import submission
from fnet_jax.tools.glue.submission import validate, write_submission
from tests.tools.glue.conftest import SMALL_ROWS, SPELLINGS, contents, pack


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
