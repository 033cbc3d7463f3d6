"""The commands of `tools.predict` on files."""

import dataclasses
import gzip
import json
import os
import pathlib
import tracemalloc

import numpy as np
import pytest

from fnet_jax.core.errors import MachineError, UserError
from fnet_jax.core.files import atomic_file
from fnet_jax.inference.preprocessing import Counts
from fnet_jax.tasks.classify.predictions import Prediction
from fnet_jax.tools.predict import files as predict_files
from fnet_jax.tools.predict.commands import COMMANDS
from fnet_jax.tools.predict.files import Source
from fnet_jax.tools.predict.writers import REJECTED_SUFFIX, check_output
from tests.inference.answering import LONG, TEXTS, model


def predict(name, head, path, output, form="jsonl", columns=None, asked=None, **options):
    """What `tools.predict` does with a file; the rows of the output."""
    answer_file(name, asked or model(head), path, output, form, columns, **options)
    return rows(output) if str(output).endswith(".jsonl") else None


def answer_file(name, asked, path, output, form="jsonl", columns=None, **options):
    arguments = {key: options.pop(key) for key in COMMANDS[name].arguments if key in options}
    names = COMMANDS[name].trained_on(asked.config)._replace(**options)
    predict_files.answer_file(asked, name, arguments, names, Source(str(path), form, columns), str(output))


def rows(path) -> list[dict]:
    return [json.loads(line) for line in pathlib.Path(path).read_text(encoding="utf-8").split("\n")[:-1]]


def write_jsonl(path, records) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def test_good_lines_are_answered_in_order_and_bad_ones_set_aside(tmp_path, capfd):
    source, output = tmp_path / "x.csv", tmp_path / "o.jsonl"
    lines = [f'"{text}",{number}' for number, text in enumerate(TEXTS)]
    lines[3:3] = ["too,many,columns"]
    lines[9:9] = ["", '" ",9', f"{LONG},7"]
    source.write_bytes("\n".join(["text,id", *lines]).encode() + b"\n\xff,1\n")
    found = predict("classify", "sequence", source, output, "csv", long="refuse")
    wanted = [answer.as_json() for answer in model("sequence").classify(TEXTS)]
    assert [(row["text"], row["id"]) for row in found] == [(text, str(n)) for n, text in enumerate(TEXTS)]
    assert [row["line"] for row in found[:8]] == [2, 3, 4, 6, 7, 8, 9, 10]
    for row, answer in zip(found, wanted, strict=True):
        assert row["prediction"] == answer["prediction"]
        assert row["scores"] == pytest.approx(answer["scores"], abs=2e-6)
    rejected = {row["line"]: row for row in rows(str(output) + REJECTED_SUFFIX)}
    starts = {
        5: "3 columns", 11: "empty line", 12: "empty text (text)", 13: "text has", len(lines) + 2: "bytes",
    }  # fmt: skip
    assert rejected.keys() == starts.keys()
    assert all(rejected[line]["reason"].startswith(start) for line, start in starts.items())
    assert rejected[5]["content"] == "too,many,columns\n"
    assert rejected[12]["content"] == {"text": " ", "id": "9"}
    said = capfd.readouterr().err
    assert f"rejected lines: 5; see {output}{REJECTED_SUFFIX}" in said
    assert "rejected line 5: 3 columns, not 2 (text, id)" in said
    assert "texts/s" in said and "tokens/s" in said


def test_each_command_reads_its_fields_and_writes_its_own(tmp_path):
    path, output = tmp_path / "x.jsonl", tmp_path / "o.jsonl"
    write_jsonl(path, [{"text": "a [MASK] and a [MASK]", "id": 7}])
    (row,) = predict("fill-mask", "masked_lm", path, output, top_k=2)
    assert [row["line"], row["id"], len(row["guesses"]), len(row["guesses"][0])] == [1, 7, 2, 2]
    assert row["guesses"][0][0].keys() == {"piece", "probability"}

    write_jsonl(path, [{"text": "a dog", "text_b": "a cat"}])
    (row,) = predict("next-sentence", "next_sentence", path, output)
    assert row["probability"] == pytest.approx(
        model("next_sentence").next_sentence(("a dog", "a cat")), abs=1e-6
    )

    write_jsonl(path, [{"words": ["a", "dog"]}, {"words": "a dog"}, {"words": []}])
    first, second = predict("tag", "tokens", path, output, text="words")
    assert first["words"] == ["a", "dog"] and first["tags"] == second["tags"]
    assert first["tags"] == [tag.tag for tag in model("tokens").tag(["a", "dog"])]

    write_jsonl(path, [{"text": "I have", "a": "a dog", "b": "a saw"}, {"text": "I have", "a": "a dog"}])
    (row,) = predict("choose", "choice", path, output, choices=("a", "b"))
    assert row["prediction"] == model("choice").choose("I have", ["a dog", "a saw"]).prediction
    write_jsonl(path, [{"text": "I have", "b": "a", "list": ["dog", "saw"]}, {"text": "I", "list": "dog"}])
    (row,) = predict("choose", "choice", path, output, choices=("list",), text_b="b")
    assert row["prediction"] == model("choice").choose("I have", ["a dog", "a saw"]).prediction

    write_jsonl(path, [{"question": "a what?", "context": "I have a dog"}])
    (row,) = predict("answer", "span", path, output)
    assert row["answer"] == model("span").answer("a what?", "I have a dog").text
    assert row["score"] == pytest.approx(model("span").answer("a what?", "I have a dog").score, rel=1e-5)

    write_jsonl(path, [{"a": "a dog", "b": "a cat"}, {"a": 1, "b": None}, {"b": "a"}])
    (row,) = predict("classify", "sequence", path, output, text="a", text_b="b")
    assert row["prediction"] == model("sequence").classify(("a dog", "a cat")).prediction
    reasons = [row["reason"] for row in rows(str(output) + REJECTED_SUFFIX)]
    assert reasons == ["field 'b' is null, not text or a number", "no field 'a'; it has 'b'"]


def test_sentences_in_columns_are_tagged_into_columns(tmp_path):
    path, output = tmp_path / "x.conll", tmp_path / "o.conll"
    path.write_bytes(
        b"# a comment about it\n-DOCSTART- O\n\na O\ndog B-X\n\n\nan O\nodd\n\nb\xff O\n\na\tO\nsaw\tO"
    )
    predict("tag", "tokens", path, output, "conll", text="words")
    first, second = (
        [tag.tag for tag in model("tokens").tag(words)] for words in (["a", "dog"], ["a", "saw"])
    )
    wanted = [["a", first[0]], ["dog", first[1]], [""], ["a", second[0]], ["saw", second[1]], [""], [""]]
    assert [line.split("\t") for line in output.read_text().split("\n")] == wanted
    bad, worse = rows(str(output) + REJECTED_SUFFIX)
    assert [bad["line"], bad["reason"]] == [8, "line 9 has 1 columns, not 2 as the lines before"]
    assert bad["content"] == "an\tO\nodd"
    assert worse["line"] == 11 and worse["reason"].startswith("bytes b'\\xff' are not UTF-8")
    predict("tag", "tokens", path, tmp_path / "o.jsonl", "conll", text="words")
    assert rows(tmp_path / "o.jsonl")[0] == {"line": 4, "words": ["a", "dog"], "tags": first}


def test_questions_of_squad_are_answered_as_its_scripts_read_it(tmp_path, capfd):
    path, output = tmp_path / "x.json", tmp_path / "o.json"
    contexts = {"I have a dog": ["a what?", "who?"], "a saw": ["what?"]}
    paragraphs = [
        {"context": context, "qas": [{"id": f"{question} é", "question": question} for question in questions]}
        for context, questions in contexts.items()
    ]
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    predict("answer", "span", path, output, "squad")
    pairs = [(question, context) for context, questions in contexts.items() for question in questions]
    wanted = {f"{question} é": model("span").answer(question, context).text for question, context in pairs}
    assert json.loads(output.read_text(encoding="utf-8")) == wanted
    path.write_text('{"data": [{"paragraphs": [{"qas": []}]}]}')
    with pytest.raises(UserError, match="a paragraph has no text 'context'"):
        predict("answer", "span", path, output, "squad")
    assert json.loads(output.read_text(encoding="utf-8")) == wanted, "an output of before is kept"


def test_fields_have_the_names_of_training():
    config = model("sequence").config
    assert COMMANDS["classify"].trained_on(config)[:2] == ("text", "")
    for task, names in (("mnli", ("sentence1", "sentence2")), ("sst2", ("sentence", ""))):
        assert COMMANDS["classify"].trained_on(dataclasses.replace(config, task=task))[:2] == names
    data = dataclasses.replace(config.data, text_field="a", text_b_field="b", choice_fields=("c", "d"))
    found = COMMANDS["choose"].trained_on(dataclasses.replace(config, data=data))
    assert (found.text, found.text_b, found.choices) == ("a", "b", ("c", "d"))


def test_vectors(tmp_path):
    path = tmp_path / "x.txt.gz"
    path.write_bytes(gzip.compress("\n".join([*TEXTS[:9], "", TEXTS[9]]).encode()))
    wanted_ND = model("tokens").encode(TEXTS[:10])
    predict("encode", "tokens", path, tmp_path / "o.npz", "lines")
    with np.load(tmp_path / "o.npz") as found:
        np.testing.assert_array_equal(found["lines"], [*range(1, 10), 11])
        np.testing.assert_allclose(found["vectors"], wanted_ND, rtol=1e-5, atol=1e-6)
        assert found["vectors"].dtype == np.float32
    found = predict("encode", "tokens", path, tmp_path / "o.jsonl", "lines")
    np.testing.assert_allclose([row["vector"] for row in found], wanted_ND, rtol=1e-5, atol=1e-6)


class Parrot:
    """A model that answers at once, to see what the rest does."""

    def __init__(self, fails_at: int = -1):
        self.info, self.config = model("sequence").info, model("sequence").config
        self.counts, self.seconds_compiling = Counts(), 0.0
        self._fails_at = fails_at

    def stream(self, predictor, items):
        for number, item in enumerate(items):
            if number == self._fails_at:
                raise OSError(28, "No space left on device")
            yield item, Prediction("yes", {})


def test_memory_does_not_grow_with_the_file(tmp_path):
    path, output = tmp_path / "x.jsonl", tmp_path / "o.jsonl"

    def peak(count: int) -> int:
        write_jsonl(path, ({"text": "word " * 20, "id": n} if n % 9 else [n] for n in range(count)))
        tracemalloc.start()
        try:
            answer_file("classify", Parrot(), path, output)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few = peak(100)
    assert peak(4000) < few + 100_000
    assert len(rows(output)) == 4000 - len(rows(str(output) + REJECTED_SUFFIX)) == 4000 - 445


def test_nothing_is_left_half_written(tmp_path):
    path, output = tmp_path / "x.jsonl", tmp_path / "o.jsonl"
    output.write_text("the old one")
    write_jsonl(path, [{"text": "a"}] * 5)
    with pytest.raises(MachineError, match=r"o\.jsonl cannot be written \(No space left on device\)"):
        predict("classify", "sequence", path, output, asked=Parrot(fails_at=3))
    write_jsonl(path, [{"other": "a"}] * 5)
    with pytest.raises(UserError, match="nothing to work on: line 1: no field 'text'; it has 'other'"):
        predict("classify", "sequence", path, output, asked=Parrot())
    path.write_text("")
    with pytest.raises(UserError, match=r"x\.jsonl has nothing to work on$"):
        predict("classify", "sequence", path, output, asked=Parrot())
    assert output.read_text() == "the old one"
    assert sorted(os.listdir(tmp_path)) == ["o.jsonl", "x.jsonl"]
    write_jsonl(path, [{"text": "a"}])
    assert [row["prediction"] for row in predict("classify", "sequence", path, output, asked=Parrot())] == [
        "yes"
    ]
    assert sorted(os.listdir(tmp_path)) == ["o.jsonl", "x.jsonl"]  # nothing was rejected


def test_fields_that_utf8_cannot_hold_are_passed_on(tmp_path):
    path, output = tmp_path / "x.jsonl", tmp_path / "o.jsonl"
    write_jsonl(path, [{"text": "a", "note": "\ud800"}])
    (row,) = predict("classify", "sequence", path, output, asked=Parrot())
    assert row["note"] == "\ud800"


def test_atomic_file(tmp_path):
    with pytest.raises(KeyError), atomic_file(str(tmp_path / "a")) as file:
        file.write(b"x")
        raise KeyError
    assert os.listdir(tmp_path) == []
    with atomic_file(str(tmp_path / "a")) as file:
        file.write(b"x")
        assert not os.path.exists(tmp_path / "a")
    assert os.listdir(tmp_path) == ["a"]


def test_outputs_that_cannot_be(tmp_path):
    source = write_jsonl(tmp_path / "x.jsonl", [])
    os.symlink(source, tmp_path / "same.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    for output, command, says in (
        ("o.csv", "classify", r"must end in \.jsonl$"),
        ("o.npz", "classify", r"must end in \.jsonl$"),
        ("o.csv", "encode", r"must end in \.jsonl or \.npz"),
        ("o.conll", "answer", r"must end in \.jsonl or \.json$"),
        ("gone/o.jsonl", "classify", "gone is no folder"),
        ("folder.jsonl", "classify", "is a folder"),
        ("same.jsonl", "classify", "would overwrite --input"),
    ):
        with pytest.raises(UserError, match=says):
            check_output(str(tmp_path / output), source, command)
    for output, command in (("o.npz", "encode"), ("o.conll", "tag"), ("o.json", "answer")):
        check_output(str(tmp_path / output), source, command)
