"""Runs every command of the README, in order, on a small model and a small corpus."""

import json
import os
import re
import shlex
import sys

import pytest

from tests.conftest import REPOSITORY, run
from tests.made_up import write_choices, write_glue, write_questions, write_table, write_tags


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)


def commands() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, corpus):
    """Where the commands' relative paths point to: a corpus of text files, and all that is written."""
    path = tmp_path_factory.mktemp("readme")
    (path / "texts").mkdir()
    for number, line in enumerate(corpus.read_text().splitlines()):
        (path / "texts" / f"{number}.txt").write_text(json.loads(line)["text"])
    write_table(path / "my.csv")
    write_glue(path / "GLUE_DIR")
    write_tags(path / "my.conll")
    write_choices(path / "my.swag.csv")
    write_questions(path / "my.squad.json")
    (path / "my.txt").write_text("One text.\nAnother one.\n")
    return path


def test_there_are_commands():
    assert len(commands()) >= 10


def test_every_command_of_the_readme(folder):
    """In one test: later commands use what earlier ones made."""
    for command in commands():
        words = shlex.split(command)
        if words[0] == "make":
            words = make(words, folder)
        words = [smaller(word, folder) for word in words]
        if "fnet_jax.tools.sweep" in words:
            words.append("--index=0")
        if words[1] == "train.py" and "pretrain.py" in command and "corpus=" not in command:
            words.append(f"--config.data.dir={folder}/runs/demo/data")  # what `make demo` has prepared
        result = run(*words)
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
        if words[1:2] == ["demo"]:
            assert_demo_shows_everything(result.stdout, folder)
    for block in blocks("python"):
        result = run("python", "-c", block.replace('load("', f'load("{folder}/'))
        assert result.returncode == 0, f"{block}\n{result.stderr}"


def make(words: list[str], folder: os.PathLike[str]) -> list[str]:
    """With this environment in place of a fresh one; `make test` is only looked at, since it runs this."""
    stamp = os.path.join(os.path.dirname(os.path.dirname(sys.executable)))
    settings = [f"VENV={stamp}", "CONFIG=configs/pretrain.py:smoke", f"WORKDIR={folder}/runs/demo"]
    dry = ["--dry-run"] if words[1] == "test" else []
    old = [f"--assume-old={stamp}/.runtime", f"--assume-old={stamp}/.dev"]
    return [*words, *dry, *old, *settings]


def smaller(word: str, folder: os.PathLike[str]) -> str:
    """The word with the smoke model, and with paths inside `folder`."""
    word = re.sub(r":size=\w+", ":smoke", word)
    word = re.sub(r"(configs/(classify|glue|tag|choose|answer)\.py:.*)", r"\1,smoke", word)
    word = re.sub(r"=([WGSBE]\d?(/|$))", rf"={folder}/\1", word)
    word = re.sub(r"=(texts/|shared/|my\.|GLUE_DIR|runs/)", rf"={folder}/\1", word)
    return (
        word.replace("vocab_size=8000", "vocab_size=800")
        .replace("seeds=3", "seeds=1")
        .replace("1e-5,5e-5,1e-4", "1e-4")
        .replace("lengths=128,512", "lengths=16")
    )


def assert_demo_shows_everything(out: str, folder: os.PathLike[str]) -> None:
    for text in ("masked LM accuracy", "at [MASK] alone", "next sentence accuracy", "tokens/s", "baseline"):
        assert text in out
    assert out.count("was: ") == 5
    for name in ("checkpoints", "metrics.jsonl", "tensorboard", "loss.png"):
        assert f"{folder}/runs/demo/{name}" in out
