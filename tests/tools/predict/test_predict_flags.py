"""The command line of `tools.predict`: its flags, texts on it, signals."""

import io
import json
import os
import signal
import subprocess
import sys

import pytest

from fnet_jax.bridge import portable
from fnet_jax.tools.predict.writers import REJECTED_SUFFIX
from tests.conftest import REPOSITORY, run
from tests.inference.answering import loaded, model

CASES = [
    (["guess", "--model=M", "a"], "command 'guess' is unknown; valid: fill-mask, classify, "),
    ([], "command '' is unknown"),
    (["classify", "a"], "--model is not given"),
    (["classify", "--model=M"], "classify works on texts given after it, or - for stdin, or --input=FILE; "),
    (["fill-mask", "--model=M"], "or --held_out=N; give one of these"),
    (["classify", "--model=M", "a", "--input=x.csv"], "give one of these"),
    (["classify", "--model=M", "--input=gone.csv"], "--input=gone.csv is no file"),
    (["tag", "--model=M", "-", "--format=squad"], "--format=squad is for answer; tag does not read it"),
    (["answer", "--model=M", "-", "--format=squad"], "--format=squad needs --input=FILE"),
    (["tag", "--model=M", "-", "--format=conll", "--text=a"], "--text has no effect on conll"),
    (["classify", "--model=M", "--input=README.md"], "README.md has none of the suffixes .txt, .jsonl, .csv"),
    (["classify", "--model=M", "--top_k=3", "a"], "--top_k has no effect on classify; it is for fill-mask"),
    (["tag", "--model=M", "--long=stride", "a"], "--long has no effect on tag"),
    (["classify", "--model=M", "--output=o.jsonl", "a"], "--output is for files"),
    (
        ["classify", "--model=M", "--columns=a,b", "-"],
        "--columns is for csv and tsv; the format",
    ),
    (["classify", "--model=M", "--pairs", "-"], "--pairs is for texts on the command line"),
    (["fill-mask", "--model=M", "a"], "text 'a' has no [MASK]"),
    (["classify", "--model=M", "--output=o.txt", "-"], "--output=o.txt of classify must end in .jsonl"),
]
RUN_CASES = """
import json, sys
from absl import flags
from absl.testing import flagsaver
from fnet_jax.tools.predict import __main__ as predict
for args in json.loads(sys.argv[1]):
    with flagsaver.flagsaver():
        try:
            predict.main(flags.FLAGS(["predict", *args]))
        except ValueError as error:
            print(type(error).__name__, error)
"""


def test_flags_that_do_not_go_together():
    """All in one process; each is said in one sentence before a model is looked for."""
    result = run("python", "-c", RUN_CASES, json.dumps([args for args, _ in CASES]))
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    for line, (args, says) in zip(lines, CASES, strict=True):
        assert line.startswith("UserError ") and says in line, (args, line)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("model")
    portable.write(loaded("sequence"), str(path))
    return str(path)


def test_texts_on_the_command_line(folder):
    predict = ["python", "-m", "fnet_jax.tools.predict", "classify", f"--model={folder}"]
    result = run(*predict, "--pairs", "a dog", "a cat", "a saw", "a cow")
    assert result.returncode == 0, result.stderr
    found = [json.loads(line) for line in result.stdout.splitlines()]
    wanted = model("sequence").classify([("a dog", "a cat"), ("a saw", "a cow")])
    assert [row["prediction"] for row in found] == [answer.prediction for answer in wanted]
    assert [(row["text"], row["text_b"]) for row in found] == [("a dog", "a cat"), ("a saw", "a cow")]
    result = run(*predict, "--step=3", "a")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "leave out step=3" in result.stderr


def test_a_signal_leaves_nothing(folder, tmp_path):
    """Sent while stdin is still open and the first answers are written."""
    args = [sys.executable, "-m", "fnet_jax.tools.predict", "classify", f"--model={folder}", "-"]
    process = subprocess.Popen(
        [*args, "--batch_size=2", f"--output={tmp_path}/o.jsonl"],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert isinstance(process.stdin, io.TextIOBase) and process.stderr is not None
    process.stdin.write("a dog\na cat\n" * 8)
    process.stdin.flush()
    for line in process.stderr:
        if line.startswith("compiled"):
            break
    assert sorted(os.listdir(tmp_path)) == [".tmp-o.jsonl", f".tmp-o.jsonl{REJECTED_SUFFIX}"]
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=200)
    assert process.returncode == 143
    assert f"SIGTERM: stopped; {tmp_path}/o.jsonl was not written" in said
    assert os.listdir(tmp_path) == []
