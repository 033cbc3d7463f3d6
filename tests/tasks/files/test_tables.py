import csv
import gzip
import io
import json

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from fnet_jax.core.errors import UserError
from fnet_jax.tasks.files.tables import read_table

# Signs that end a line for str.splitlines, but not in a file.
ODD_SIGNS = "a\x0bb\x1cc\u2028d\x85e"


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last_end", [True, False])
def test_tsv_of_any_editor(tmp_path, bom, end, last_end):
    path = tmp_path / "x.tsv"
    rows = ["label\ttext", '1\tHe said "yes', f"0\t{ODD_SIGNS}", "1\t", '0\t"quoted" end"']
    path.write_bytes(bom + end.join(row.encode() for row in rows) + (end if last_end else b""))
    table = read_table(str(path), ["text", "label"])
    assert table.columns == {
        "text": ['He said "yes', ODD_SIGNS, "", '"quoted" end"'],
        "label": ["1", "0", "1", "0"],
    }
    assert table.lines == [2, 3, 4, 5]
    assert table.where(2) == f"{path}:4"


def test_csv_has_quotes_line_breaks_and_the_line_each_row_begins_on(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b'text,label\r\n"two\nlines, ""quoted""",a\r\n\r\nplain,b\r\n"x\n\n\ny",c')
    table = read_table(str(path), ["text"], ["label", "other"])
    assert table.columns["text"] == ['two\nlines, "quoted"', "plain", "x\n\n\ny"]
    assert table.columns["label"] == ["a", "b", "c"]
    assert "other" not in table.columns
    assert table.lines == [2, 5, 6]


def test_csv_of_old_macs(tmp_path):
    """A carriage return alone ends a line; in quotes it is part of the text."""
    path = tmp_path / "x.csv"
    path.write_bytes(b'text,label\ra,b\r\r"c\rd",e\rf,g')
    table = read_table(str(path), ["text", "label"])
    assert table.columns == {"text": ["a", "c\rd", "f"], "label": ["b", "e", "g"]}
    assert table.lines == [2, 4, 6]


def test_texts_may_be_longer_than_the_csv_module_likes(tmp_path):
    path = tmp_path / "x.csv"
    text = "word " * 100_000
    path.write_text(f'text,label\n"{text}",a\n')
    assert read_table(str(path), ["text"]).columns["text"] == [text]


def test_jsonl_and_gzip(tmp_path):
    records = [{"text": "one\ntwo", "n": 1, "x": None}, {"n": 2.5, "text": ODD_SIGNS}]
    content = "\n".join(json.dumps(record, ensure_ascii=False) for record in records) + "\n\n"
    (tmp_path / "x.jsonl").write_text(content)
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(content.encode()))
    for name in ("x.jsonl", "x.jsonl.gz"):
        table = read_table(str(tmp_path / name), ["text"], ["n", "absent"])
        assert table.columns == {"text": ["one\ntwo", ODD_SIGNS], "n": ["1", "2.5"]}
        assert table.lines == [1, 2]


def test_files_without_header(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("a\tb\nc\td\n")
    table = read_table(str(path), ["second"], header=["first", "second"])
    assert table.columns == {"second": ["b", "d"]}
    assert table.lines == [1, 2]


def test_short_rows_are_counted_where_they_are_known(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("a\tb\tc\n1\t2\t3\nrest of\t4\n\n5\t6\t7\n")
    table = read_table(str(path), ["a", "c"], skip_short_rows=True)
    assert table.columns == {"a": ["1", "5"], "c": ["3", "7"]}
    assert table.lines == [2, 5] and table.skipped == 2
    path.write_text("a\tb\tc\n1\t2\t3\t4\n")
    with pytest.raises(UserError, match=":2: 4 columns, not 3"):
        read_table(str(path), ["a"], skip_short_rows=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.tsv", b"text\tlabel\na\tb\nc\n", r"x\.tsv:3: 1 columns, not 2 \(text, label\)"),
        ("x.tsv", b"text\tlabel\na\tb\n\nc\td\n", r"x\.tsv:3: 1 columns"),
        ("x.tsv", b"texts\tlabel\na\tb\n", r"x\.tsv:1: no column 'text'; it has 'texts', 'label'"),
        ("x.tsv", b"", r"x\.tsv:1: no column 'text'"),
        ("x.tsv", b"text\ttext\na\tb\n", r"x\.tsv:1: 2 columns are named 'text'"),
        ("x.txt", b"text\na\nb\xff\n", r"x\.txt:3: bytes b'\\xff' are not UTF-8"),
        ("x.csv", b'text,label\n"a,b\nc,d\n', r"x\.csv:2: the row that begins here is no CSV"),
        ("x.csv", b'text,label\na,b\n"c"d,e\n', r"x\.csv:3: the row that begins here is no CSV"),
        ("x.csv", b"text,label\na,b,c\n", r"x\.csv:2: 3 columns, not 2"),
        ("x.jsonl", b'{"text": "a"}\n{"text": \n', r"x\.jsonl:2: no JSON"),
        ("x.jsonl", b'{"text": "a"}\n["a"]\n', r"x\.jsonl:2: '\[\"a\"\]' is no JSON object"),
        ("x.jsonl", b'{"other": "a"}\n', r"x\.jsonl:1: no field 'text'; it has 'other'"),
        ("x.jsonl", b'{"text": "a"}\n{"text": "b", "label": 1}\n', r"x\.jsonl:2: field 'label' is new here"),
        ("x.jsonl", b'{"text": "a", "label": 1}\n{"text": "b"}\n', r"x\.jsonl:2: no field 'label'"),
        ("x.jsonl", b'{"text": null}\n', r"x\.jsonl:1: field 'text' is null, not text"),
        ("x.jsonl", rb'{"text": "\ud800"}', r"x\.jsonl:1: field 'text' holds half a surrogate pair"),
        ("x.tsv.gz", b"text\na\n", r"x\.tsv\.gz is damaged"),
        ("x.tsv.gz", gzip.compress(b"text\na\n" * 99, mtime=0)[:-9], r"x\.tsv\.gz is damaged"),
        ("x.md", b"text\n", r"x\.md is no table that can be read; valid suffixes: \.tsv"),
    ],
)
def test_mistakes_are_said_with_their_place(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_table(str(tmp_path / name), ["text"], ["label"])


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"gone\.tsv cannot be read \(No such file"):
        read_table(str(tmp_path / "gone.tsv"), ["text"])


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(TEXT, TEXT.filter(str.strip)), min_size=1, max_size=8))
def test_what_was_written_is_read(tmp_path, rows):
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([("text", "label"), *rows])
    (tmp_path / "x.csv").write_bytes(buffer.getvalue().encode())
    records = [json.dumps({"text": text, "label": label}) for text, label in rows]
    (tmp_path / "x.jsonl").write_text("\n".join(records))
    for name in ("x.csv", "x.jsonl"):
        table = read_table(str(tmp_path / name), ["text", "label"])
        assert list(zip(table.columns["text"], table.columns["label"], strict=True)) == rows
