"""Preparation as a Beam pipeline; skipped where Apache Beam is absent."""

import dataclasses
import subprocess
import sys

import pytest

from fnet_jax.core.errors import UserError
from fnet_jax.data import dataset
from fnet_jax.data.corpus import prepare, sources, workers
from fnet_jax.data.dataset import load_info
from tests.conftest import REPOSITORY
from tests.data.conftest import MAX_SEQ_LENGTH
from tests.data.corpus.test_prepare import SHARD_BYTES, contents, run

pytest.importorskip("apache_beam", reason="Apache Beam is not installed; see docs/data.md")

from fnet_jax.data.corpus import beam


@pytest.fixture(autouse=True)
def many_parts(monkeypatch):
    monkeypatch.setattr(sources, "_MIN_SHARD_BYTES", SHARD_BYTES)
    monkeypatch.setattr(workers, "_SMALL_BYTES", 0)


def with_beam(data, directory, *options, runner="DirectRunner"):
    return beam.prepare_with_beam(data, MAX_SEQ_LENGTH, str(directory), runner, options)


@pytest.mark.parametrize(
    "options",
    [
        ["--direct_running_mode=in_memory"],
        ["--direct_running_mode=multi_processing", "--direct_num_workers=2"],
    ],
    ids=["one process", "two processes"],
)
def test_beam_makes_what_one_machine_makes(small_data, tmp_path, options):
    run(small_data, tmp_path / "whole")
    info = with_beam(small_data, tmp_path / "beam", *options)
    assert len(info.splits["train"].files) > 5
    assert contents(tmp_path / "beam") == contents(tmp_path / "whole")
    assert with_beam(small_data, tmp_path / "beam") == info


def test_beam_makes_only_what_is_missing(small_data, tmp_path, monkeypatch):
    prepare.prepare_share(small_data, MAX_SEQ_LENGTH, str(tmp_path / "begun"), 0, 2, 1, progress=False)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "begun").glob("*.array_record")}
    with_beam(small_data, tmp_path / "begun")
    assert before == {path: path.stat().st_mtime_ns for path in before}
    run(small_data, tmp_path / "whole")
    assert contents(tmp_path / "begun") == contents(tmp_path / "whole")


def test_parts_that_did_not_arrive_are_missing(small_data, tmp_path, monkeypatch):
    """Workers that see another disk than the machine that started them."""
    monkeypatch.setattr(beam, "run_pipeline", lambda *_: None)
    with pytest.raises(UserError, match=r"lacks .* parts"):
        with_beam(small_data, tmp_path)
    assert not dataset.exists(str(tmp_path))


def test_what_beam_does_not_know_is_refused(small_data, tmp_path):
    with pytest.raises(UserError, match="--no_such_option is no pipeline option"):
        with_beam(small_data, tmp_path, "--no_such_option=1")
    with pytest.raises(UserError, match="--runner=NoSuchRunner cannot be used"):
        with_beam(small_data, tmp_path, runner="NoSuchRunner")
    with pytest.raises(UserError, match=r"data\.tokenizer is not given"):
        with_beam(dataclasses.replace(small_data, tokenizer=""), tmp_path)
    assert not contents(tmp_path)


def test_the_command_line(small_data, tmp_path):
    command = [
        *(sys.executable, "-m", "fnet_jax.tools.prepare", "--runner=DirectRunner"),
        f"--config=configs/pretrain.py:size=tiny,corpus={small_data.corpus}",
        *(f"--config.data.tokenizer={small_data.tokenizer}", f"--workdir={tmp_path}"),
        *("--", "--direct_num_workers=1"),
    ]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Next: python train.py" in done.stdout
    assert load_info(f"{tmp_path}/data").max_seq_length == 128
