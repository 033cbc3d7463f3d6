"""Whole runs in this process, on eight devices."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal

import jax
import numpy as np
import pytest

from fnet_jax.core.errors import MachineError, UserError
from fnet_jax.train import batches, evaluate, loop
from fnet_jax.train.checkpoints.checkpointer import Checkpointer
from fnet_jax.train.logs import example_ids, results
from fnet_jax.train.logs.writers import read_jsonl
from fnet_jax.train.loop import train
from fnet_jax.train.setup import set_up
from tests.conftest import smoke_config


@pytest.fixture(scope="module")
def finished(overrides, tmp_path_factory):
    """A run of the smoke config that came to its end: its config and workdir."""
    workdir = str(tmp_path_factory.mktemp("finished"))
    config = smoke_config({**overrides, "train.max_num_eval_steps": 0, "log.example_ids": True})
    assert train(config, workdir) == 0
    return config, workdir


def test_a_run_leaves_what_it_says(finished):
    _, workdir = finished
    rows = read_jsonl(workdir)
    train_rows = [row for row in rows if row["split"] == "train"]
    assert [row["step"] for row in train_rows] == list(range(1, 13))
    assert [row["step"] for row in rows if row["split"] == "eval"] == [6, 12]
    wanted = {
        "loss", "masked_lm_loss", "masked_lm_accuracy", "next_sentence_loss", "next_sentence_accuracy",
        "grad_norm", "learning_rate", "tokens_per_second", "examples_per_second", "data_wait_share",
    }  # fmt: skip
    assert wanted <= train_rows[0].keys()
    assert train_rows[-1]["loss"] < train_rows[0]["loss"] - 0.2
    assert train_rows[0]["learning_rate"] == 0.0
    assert set(os.listdir(workdir)) == {
        "checkpoints",
        "config.json",
        "example_ids",
        "metrics.jsonl",
        "tensorboard",
        "tokenizer.model",
    }
    assert os.listdir(os.path.join(workdir, "tensorboard"))
    assert Checkpointer(workdir, read_only=True).steps() == [6, 12]
    ids = example_ids.read(workdir)
    assert list(ids) == list(range(1, 13))
    assert {len(row) for row in ids.values()} == {16}


def test_a_second_run_says_that_it_is_complete(finished, capsys):
    config, workdir = finished
    before = pathlib.Path(workdir, "metrics.jsonl").read_text()
    assert train(config, workdir) == 0
    assert "complete" in capsys.readouterr().out
    assert pathlib.Path(workdir, "metrics.jsonl").read_text() == before


def test_more_steps_go_on_from_the_end(finished, tmp_path, capsys):
    config, workdir = finished
    os.symlink(os.path.join(workdir, "config.json"), tmp_path / "config.json")
    shutil.copytree(f"{workdir}/checkpoints/12", tmp_path / "checkpoints" / "12")  # a plain copy opens
    longer = dataclasses.replace(config, train=dataclasses.replace(config.train, num_train_steps=14))
    assert train(longer, str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "config changed since the last start: train.num_train_steps: 12 -> 14" in out
    assert [row["step"] for row in read_jsonl(str(tmp_path)) if row["split"] == "train"] == [13, 14]


def test_evaluation_of_a_checkpoint_repeats_the_one_in_training(finished):
    config, workdir = finished
    values = evaluate.evaluate_checkpoint(config, workdir, step=6)
    row = next(row for row in read_jsonl(workdir) if row["split"] == "eval" and row["step"] == 6)
    for name in ("loss", "masked_lm_accuracy", "next_sentence_loss"):
        np.testing.assert_allclose(values[name], row[name], rtol=1e-6)
    assert "held-out split, " in results.table(values)
    assert not os.path.exists(os.path.join(workdir, "eval.jsonl"))


@pytest.mark.parametrize("batch_size", [8, 40])
def test_evaluation_does_not_depend_on_the_batch_size(finished, batch_size):
    config, workdir = finished
    other = dataclasses.replace(config, train=dataclasses.replace(config.train, eval_batch_size=batch_size))
    values, again = (evaluate.evaluate_checkpoint(c, workdir) for c in (config, other))
    assert values.keys() == again.keys()
    for name, value in values.items():
        if isinstance(value, str):
            assert again[name] == value
        else:
            np.testing.assert_allclose(again[name], value, rtol=1e-5, err_msg=name)


def test_restores_on_one_device_bit_by_bit(finished):
    config, workdir = finished
    setup = set_up(config, workdir)
    reader = Checkpointer(workdir, read_only=True)
    wide = reader.restore(12, setup.abstract)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    narrow = reader.restore(
        12, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), setup.abstract)
    )
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(wide), jax.device_get(narrow))
    assert int(wide.step) == 12
    assert all(leaf.sharding == device for leaf in jax.tree.leaves(narrow))


def test_a_checkpoint_of_another_model_is_named(finished, overrides):
    _, workdir = finished
    wider = smoke_config({**overrides, "model.d_ff": 128})
    with pytest.raises(UserError, match=r"feed_forward/intermediate/\w+ has shape .* the config needs"):
        train(wider, workdir)
    other = smoke_config({**overrides, "model.mixer": "linear"})
    with pytest.raises(UserError, match=r"hidden_kernel is not in the checkpoint"):
        train(other, workdir)


def test_warm_start_takes_params_only(finished, overrides, tmp_path):
    _, source = finished
    config = smoke_config(
        {**overrides, "init_from": source, "train.num_train_steps": 3, "optim.num_warmup_steps": 1}
    )
    assert train(config, str(tmp_path)) == 0
    first = read_jsonl(str(tmp_path))[0]
    scratch = read_jsonl(source)[0]
    assert first["step"] == 1
    assert first["loss"] < scratch["loss"] - 0.2
    with pytest.raises(UserError, match="holds no complete checkpoint"):
        train(dataclasses.replace(config, init_from=str(tmp_path / "nothing")), str(tmp_path / "new"))


def test_a_loss_that_is_not_finite_stops_the_run(overrides, tmp_path, capsys):
    config = smoke_config(
        {
            **overrides,
            "optim.learning_rate": 1e30,
            "optim.num_warmup_steps": 4,
            "train.save_checkpoints_steps": 1,
        }
    )
    assert train(config, str(tmp_path)) == 3
    out = capsys.readouterr().out
    assert "at step 3" in out  # step 1 has learning rate 0; step 2 ruins the parameters, still finite
    kept = Checkpointer(str(tmp_path), read_only=True).latest()
    assert kept == 2
    assert f"last good checkpoint is step {kept}" in out
    state = Checkpointer(str(tmp_path), read_only=True).restore(kept, set_up(config, str(tmp_path)).abstract)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_a_failed_save_ends_the_run(overrides, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orbax.checkpoint.CheckpointManager.save", fail)
    says = "could not be saved .*No space left.*; there is none before; make room"
    with pytest.raises(MachineError, match=says):
        train(smoke_config(overrides), str(tmp_path))


def test_metrics_after_the_resumed_step_are_dropped(finished, tmp_path):
    config, workdir = finished
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "checkpoints" / "12")
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 12, "split": "tr')  # cut by a kill
    assert train(config, str(tmp_path)) == 0
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == sorted(steps)
    before = {row["step"]: row["loss"] for row in read_jsonl(workdir) if row["split"] == "train"}
    after = {row["step"]: row["loss"] for row in read_jsonl(str(tmp_path)) if row["split"] == "train"}
    assert after == before  # every step after the resumed one, bit by bit
    assert example_ids.read(str(tmp_path)) == example_ids.read(workdir)


@pytest.mark.parametrize("num_steps", [4, 6])
def test_profiler_window(overrides, tmp_path, num_steps):
    """Closed when it is over, and also when the run ends inside it."""
    config = smoke_config(
        {**overrides, "log.profile_start": 3, "log.profile_steps": 2, "train.num_train_steps": num_steps}
    )
    assert train(config, str(tmp_path)) == 0
    assert list((tmp_path / "profile").rglob("*.trace.json.gz"))


@pytest.mark.parametrize("interrupted", [True, False])
def test_input_that_breaks_off(overrides, tmp_path, monkeypatch, interrupted):
    """Because of Ctrl-C: saved, 130. Otherwise the run ends with the cause."""

    def broken(*args):
        whole = batches.train_batches(*args)
        yield from (next(whole) for _ in range(3))
        if interrupted:
            signal.raise_signal(signal.SIGINT)
        raise RuntimeError("a worker died")

    monkeypatch.setattr(loop, "train_batches", broken)
    if interrupted:
        assert train(smoke_config(overrides), str(tmp_path)) == 130
        assert Checkpointer(str(tmp_path), read_only=True).latest() == 3
    else:
        with pytest.raises(RuntimeError, match="a worker died"):
            train(smoke_config(overrides), str(tmp_path))
