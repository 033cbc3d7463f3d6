"""The command lines of `prepare` and `train_tokenizer`, in processes of their own."""

import subprocess
import sys

from fnet_jax.data.dataset import load_info
from fnet_jax.data.tokenizer import load_tokenizer
from tests.conftest import REPOSITORY


def run(tool: str, *flags: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", f"fnet_jax.tools.{tool}", *flags]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)


def test_a_tokenizer_then_a_data_set(corpus, tmp_path):
    model = str(tmp_path / "x.model")
    trained = run("train_tokenizer", f"--corpus={corpus}", f"--output={model}", "--vocab_size=400")
    assert trained.returncode == 0, trained.stderr
    assert "400 pieces" in trained.stdout and f"--config.data.tokenizer={model}" in trained.stdout
    assert load_tokenizer(model).vocab_size == 400

    flags = (f"--config=configs/pretrain.py:size=tiny,corpus={corpus}", f"--config.data.tokenizer={model}")
    prepared = run("prepare", *flags, "--config.data.holdout_fraction=0.2", f"--workdir={tmp_path}/run")
    assert prepared.returncode == 0, prepared.stderr
    assert "of the corpus kept" in prepared.stdout and "Next: python train.py" in prepared.stdout
    assert "Tokenising" in prepared.stderr
    assert load_info(f"{tmp_path}/run/data").max_seq_length == 128


def test_shards_then_a_merge(corpus, tokenizer_path, tmp_path):
    flags = (f"--config=configs/pretrain.py:size=tiny,corpus={corpus}", f"--workdir={tmp_path}")
    flags = (*flags, f"--config.data.tokenizer={tokenizer_path}")
    missing = run("prepare", *flags, "--shard=1/2", "--num_processes=1")
    assert missing.returncode == 0, missing.stderr
    assert "--shard=1/2 is done" in missing.stdout and "Not there yet: --shard=0/2" in missing.stdout
    refused = run("prepare", *flags, "--merge")
    assert refused.returncode == 2
    assert "lacks 1 of 1 parts; run again --shard=0/2" in refused.stderr
    done = run("prepare", *flags, "--shard=0/2")
    assert "All parts are there. Next: the same command with --merge" in done.stdout
    assert "1 of 1 parts" in done.stderr
    merged = run("prepare", *flags, "--merge")
    assert "Next: python train.py" in merged.stdout
    assert load_info(f"{tmp_path}/data").max_seq_length == 128


def test_preparation_needs_no_jax():
    """It may run on machines without one, and starts quickly."""
    program = (
        "import sys; from fnet_jax.tools import prepare; "
        "print({'jax', 'flax', 'orbax', 'grain', 'apache_beam'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_mistakes_are_one_line_and_exit_code_2(tmp_path):
    for tool, flags, complaint in (
        ("train_tokenizer", ("--corpus=pydocs",), "--output is not given"),
        ("train_tokenizer", ("--corpus=/nowhere", f"--output={tmp_path}/x.model"), "matches no file"),
        (
            "prepare",
            ("--config=configs/pretrain.py:corpus=/nowhere", f"--workdir={tmp_path}"),
            "matches no file",
        ),
        ("prepare", ("--shard=4/4",), "--shard=4/4 is no share; give i/n"),
        ("prepare", ("--shard=0/4", "--merge"), "--shard and --merge exclude each other"),
        ("prepare", ("--merge", "--num_processes=2"), "--num_processes has no effect with --merge"),
        ("prepare", ("more",), "unexpected argument more"),
    ):
        done = run(tool, *flags)
        assert done.returncode == 2
        assert complaint in done.stderr and len(done.stderr.splitlines()) == 1
