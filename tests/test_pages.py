"""Runs every command of the README and of docs/runs.md on a small model and a small corpus.

A section is one test. What it needs of other sections is made first, once for all workers.
"""

import contextlib
import json
import os
import pathlib
import re
import shlex
import sys

import pytest

from fnet_jax.runtime.lock import FileLock
from tests.conftest import REPOSITORY, run
from tests.made_up import write_choices, write_glue, write_questions, write_table, write_tags

# Section of the README, or page -> the sections whose workdirs it reads.
NEEDS = {
    "Start": [],
    "Pretrain": ["Start"],
    "Fine-tune": ["Pretrain"],
    "GLUE": ["Pretrain"],
    "Use a model": ["Fine-tune"],
    "Convert": ["Pretrain"],
    "Speed": [],
    "docs/runs.md": ["Fine-tune"],
}


def text_of(name: str) -> str:
    if name.startswith("docs/"):
        return (REPOSITORY / name).read_text()
    sections = re.split(r"^## (.*)\n", (REPOSITORY / "README.md").read_text(), flags=re.MULTILINE)
    return dict(zip(sections[1::2], sections[2::2], strict=True))[name]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(text: str) -> list[str]:
    lines = "".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, corpus):
    """Where relative paths of the commands point to, one for all workers: inputs, and what is written."""
    own = tmp_path_factory.getbasetemp()
    path = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "pages"
    path.mkdir(exist_ok=True)
    with once(path, "files") as is_first:
        if is_first:
            write_files(path, corpus)
    return path


def write_files(path: pathlib.Path, corpus: pathlib.Path) -> None:
    (path / "texts").mkdir()
    for number, line in enumerate(corpus.read_text().splitlines()):
        (path / "texts" / f"{number}.txt").write_text(json.loads(line)["text"])
    write_table(path / "my.csv")
    write_table(path / "other.csv")
    write_glue(path / "GLUE_DIR")
    write_tags(path / "my.conll")
    write_choices(path / "my.swag.csv")
    write_questions(path / "my.squad.json")
    (path / "my.txt").write_text("One text.\nAnother one.\n")


@contextlib.contextmanager
def once(folder: pathlib.Path, name: str):
    """Whether the body is to be done: it has not been, by any worker. Others wait meanwhile."""
    place = folder / name.replace("/", "-")
    lock = FileLock(f"{place}.lock")
    lock.acquire(wait=True)
    try:
        done = pathlib.Path(f"{place}.done")
        yield not done.exists()
        done.touch()
    finally:
        lock.close()


def test_every_section_with_commands_is_here():
    readme = (REPOSITORY / "README.md").read_text()
    listed = [
        command for name in NEEDS if not name.startswith("docs/") for command in commands(text_of(name))
    ]
    assert listed == commands(readme) and len(listed) > 20


@pytest.mark.parametrize("section", NEEDS)
def test_every_command(section, folder):
    run_section(section, folder)


def run_section(section: str, folder: pathlib.Path) -> None:
    """Its commands in order, after those of the sections that it needs; nothing if they were run before."""
    for need in NEEDS[section]:
        run_section(need, folder)
    with once(folder, section) as is_first:
        if not is_first:
            return
        text = text_of(section)
        for command in commands(text):
            run_command(command, folder)
        for block in blocks(text, "python"):
            result = run("python", "-c", block.replace('load("', f'load("{folder}/'))
            assert result.returncode == 0, f"{block}\n{result.stderr}"


def run_command(command: str, folder: pathlib.Path) -> None:
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


def make(words: list[str], folder: pathlib.Path) -> list[str]:
    """With this environment in place of a fresh one; `make test` is only looked at, since it runs this."""
    stamp = os.path.join(os.path.dirname(os.path.dirname(sys.executable)))
    settings = [f"VENV={stamp}", "CONFIG=configs/pretrain.py:smoke", f"WORKDIR={folder}/runs/demo"]
    dry = ["--dry-run"] if words[1] == "test" else []
    old = [f"--assume-old={stamp}/.runtime", f"--assume-old={stamp}/.dev"]
    return [*words, *dry, *old, *settings]


def smaller(word: str, folder: pathlib.Path) -> str:
    """The word with the smoke model, and with paths inside `folder`."""
    word = re.sub(r":size=\w+", ":smoke", word)
    word = re.sub(r"(configs/(classify|glue|tag|choose|answer)\.py:.*)", r"\1,smoke", word)
    word = re.sub(r"=([WGSBE]\d*(/|$))", rf"={folder}/\1", word)
    word = re.sub(r"=(texts/|shared/|kept/|other_data|my\.|other\.|GLUE_DIR|runs/)", rf"={folder}/\1", word)
    return (
        word.replace("vocab_size=8000", "vocab_size=800")
        .replace("seeds=3", "seeds=1")
        .replace("1e-5,5e-5,1e-4", "1e-4")
        .replace("lengths=128,512", "lengths=16")
    )


def assert_demo_shows_everything(out: str, folder: pathlib.Path) -> None:
    for text in ("masked LM accuracy", "at [MASK] alone", "next sentence accuracy", "tokens/s", "baseline"):
        assert text in out
    assert out.count("was: ") == 5
    for name in ("checkpoints", "metrics.jsonl", "tensorboard", "loss.png"):
        assert f"{folder}/runs/demo/{name}" in out


def test_every_metric_is_explained(folder):
    """docs/runs.md names every key that the runs of its own and the README's commands have written."""
    run_section("docs/runs.md", folder)
    explained = set(re.findall(r"`([^`]+)`", text_of("docs/runs.md")))
    for path in [*folder.glob("*/metrics.jsonl"), *folder.glob("*/eval.jsonl")]:
        for row in map(json.loads, path.read_text().splitlines()):
            names = {re.sub("^(.*/)?(baseline_)?", "", name) for name in row}
            names = {re.sub("^f1:.*", "f1:TYPE", name) for name in names}
            assert names <= explained, (path, names - explained)
