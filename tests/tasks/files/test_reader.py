import gzip
import io

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from fnet_jax.core.errors import UserError
from fnet_jax.tasks.files import reader
from fnet_jax.tasks.files.reader import Record, open_bytes, read_records, scalar


def read(content: bytes, form, header=None) -> list[Record]:
    return list(read_records(io.BytesIO(content), "FILE", form, header))


def good(found: list[Record]) -> list[tuple[int, dict]]:
    return [(record.line, record.fields) for record in found if not record.fault]


def bad(found: list[Record]) -> list[tuple[int, str]]:
    return [(record.line, record.fault) for record in found if record.fault]


def test_csv_goes_on_after_each_kind_of_damage():
    found = read(
        b"\xef\xbb\xbftext,n\r\n"
        b"a,1\r\n"
        b"\r\n"
        b'"b\n\n""c""",2\n'  # one row, lines 4 to 6
        b'"x"y,3\n'
        b"z,4\n"
        b"\xff,5\n"
        b'q,"6\n'  # a quote that nobody closes
        b"w,7\n"
        b"one,two,three\n"
        b'"open,8\n'
        b"last,9",
        "csv",
    )
    rows = [(2, "a", "1"), (4, 'b\n\n"c"', "2"), (8, "z", "4"), (11, "w", "7"), (14, "last", "9")]
    assert good(found) == [(line, {"text": text, "n": n}) for line, text, n in rows]
    assert [line for line, _ in bad(found)] == [3, 7, 9, 10, 12, 13]
    faults = dict(bad(found))
    assert faults[3] == "empty line"
    assert faults[7].startswith("the row that begins here is no CSV")
    assert faults[9] == "bytes b'\\xff' are not UTF-8; save the file as UTF-8"
    assert faults[12] == "3 columns, not 2 (text, n)"
    assert [record.raw for record in found if record.line == 10] == [b'q,"6\n']


def test_tsv_jsonl_and_lines():
    found = read(b'text\tn\na\t1\r\n\nb\n"c\t2\n\xff\t3\n', "tsv")
    assert good(found) == [(2, {"text": "a", "n": "1"}), (5, {"text": '"c', "n": "2"})]
    assert bad(found)[:2] == [(3, "empty line"), (4, "1 columns, not 2 (text, n)")]
    assert len(bad(found)) == 3

    found = read(b'{"a": 1}\n[]\n{"a"\n\n{"a": [2]}\n' + b"[" * 100_000 + b"\n" + b"1" * 5000, "jsonl")
    assert good(found) == [(1, {"a": 1}), (5, {"a": [2]})]
    assert [line for line, _ in bad(found)] == [2, 3, 4, 6, 7]

    found = read(b"\xef\xbb\xbfa\tb\n \n\xff\nd\xe2\x80\xa8e\r\n", "lines")
    assert good(found) == [(1, {"text": "a\tb"}), (4, {"text": "d\u2028e"})]


def test_columns_can_be_named_by_hand():
    assert good(read(b"a\tb\n", "tsv", ["x", "y"])) == [(1, {"x": "a", "y": "b"})]
    with pytest.raises(UserError, match="FILE:1: two columns have the same name"):
        read(b"a,a\n1,2\n", "csv")
    for empty in (b"", b"\n\n"):
        with pytest.raises(UserError, match="FILE:1: empty line; the first line has to name the columns"):
            read(empty, "csv")


def test_an_endless_line_takes_no_memory(monkeypatch):
    monkeypatch.setattr(reader, "MAX_BYTES", 100)
    for form, first in (("lines", b""), ("tsv", b"text\n"), ("jsonl", b"")):
        found = read(first + b"x" * 1000 + b'\n{"text": "a"}\n', form)
        assert [record.fault[:12] for record in found] == ["the line has", ""]
        assert len(found[0].raw) == 101


@pytest.mark.parametrize("content", [b"text\na\n", gzip.compress(b"text\na\n" * 99, mtime=0)[:-9]])
def test_a_damaged_archive_is_said(tmp_path, content):
    path = tmp_path / "x.tsv.gz"
    path.write_bytes(content)
    with open_bytes(str(path)) as file, pytest.raises(UserError, match=r"x\.tsv\.gz is damaged"):
        list(read_records(file, str(path), "tsv"))
    with pytest.raises(UserError, match=r"gone cannot be read \(No such file"):
        open_bytes(str(tmp_path / "gone"))


def test_scalars():
    assert [scalar("x", value) for value in ("a", 1, 2.5, True)] == ["a", "1", "2.5", "true"]
    for value in (None, [], {}, "\ud800"):
        with pytest.raises(UserError, match="field 'x' "):
            scalar("x", value)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["csv", "tsv", "jsonl", "lines"]))
def test_any_bytes_are_records_in_the_order_of_their_lines(content, form):
    """Whatever a file holds, each of its lines is read once, and nothing but UserError is raised."""
    found = read(content, form, ["a", "b"] if form in ("csv", "tsv") else None)
    lines = [record.line for record in found]
    assert lines == sorted(set(lines))
    assert set(lines) <= set(range(1, content.count(b"\n") + 2))
    if form != "csv":
        assert len(lines) == content.count(b"\n") + (not content.endswith(b"\n") and bool(content))
