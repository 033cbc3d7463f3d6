"""What befalls a run in the middle: signals, broken input, full disks, numbers that are not finite."""

import dataclasses
import math
import os
import pathlib
import signal
import time

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from fnet_jax.core.errors import MachineError, UserError
from fnet_jax.runtime import compile_cache
from fnet_jax.runtime.lock import TrainerLock
from fnet_jax.tasks.kinds import make_objective
from fnet_jax.train import loop
from fnet_jax.train.checkpoints.checkpointer import Checkpointer
from fnet_jax.train.evaluate import Interrupted, evaluate_split
from fnet_jax.train.logs import writers
from fnet_jax.train.logs.writers import read_jsonl
from fnet_jax.train.loop import train
from fnet_jax.train.optim import make_optimizer, make_schedule
from fnet_jax.train.step import make_train_step
from tests.conftest import command, run, smoke_config
from tests.test_entry_points import LONG, start, wait_for_step
from tests.train.synthetic import Trainer, config, random_batch


def eval_rows(workdir: pathlib.Path) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in read_jsonl(str(workdir)) if row["split"] == "eval"}


def test_an_evaluation_is_cut_short_and_made_up_for(overrides, tmp_path, monkeypatch, capsys):
    """A signal during the evaluation of step 6 saves step 6; the next start evaluates it first."""
    cfg = smoke_config({**overrides, "train.num_train_steps": 7})
    batches: list[int] = []

    def interrupted(*args, stopped, **kwargs):
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted):
            evaluate_split(*args, stopped=lambda: batches.append(1) or stopped(), **kwargs)
        raise Interrupted

    monkeypatch.setattr(loop, "evaluate_split", interrupted)
    assert train(cfg, str(tmp_path)) == 143
    assert len(batches) == 1  # asked before the first batch, which was never evaluated
    assert "stopped at step 6 of 7, saved" in capsys.readouterr().out
    assert eval_rows(tmp_path) == {}
    monkeypatch.undo()
    assert train(cfg, str(tmp_path)) == 0
    assert eval_rows(tmp_path).keys() == {6, 7}
    times = [row for row in read_jsonl(str(tmp_path)) if row["split"] == "time"]
    assert [row["step"] for row in times] == [6, 7]
    assert sum(value for name, value in times[-1].items() if name not in ("step", "split")) == pytest.approx(
        1
    )
    assert times[-1].keys() >= {"steps", "compile", "data", "save", "evaluate", "prepare", "restart"}
    assert "time: compile" in capsys.readouterr().out


def test_metrics_that_cannot_be_written_end_the_run_with_its_state_saved(overrides, tmp_path, monkeypatch):
    whole = writers.TensorBoardWriter.write

    def write(self, step, split, values):
        if step == 4:
            raise OSError(28, "No space left on device")
        whole(self, step, split, values)

    monkeypatch.setattr(writers.TensorBoardWriter, "write", write)
    says = r"metrics of step 4 .*TensorBoardWriter: No space left on device\); step 5 is saved"
    with pytest.raises(MachineError, match=says):
        train(smoke_config(overrides), str(tmp_path))
    assert Checkpointer(str(tmp_path), read_only=True).latest() == 5
    assert not (tmp_path / ".trainer").exists()


def test_a_full_disk_ends_the_run_and_harms_nothing(overrides, tmp_path):
    """The kernel lets no file grow above the limit: a real error in the middle of a save."""
    keys = {**overrides, "train.num_train_steps": 4, "train.save_checkpoints_steps": 2}
    trained = run(*command("train.py", keys, f"--workdir={tmp_path}"))
    assert trained.returncode == 0, trained.stderr
    before = fault_free(tmp_path, 4)
    keys["train.num_train_steps"] = 8
    shell = 'ulimit -f 24 && exec "$0" "$@"'  # in KiB: metrics fit, arrays do not
    full = run("bash", "-c", shell, *command("train.py", keys, f"--workdir={tmp_path}"))
    assert full.returncode == 1, full.stdout + full.stderr
    # Orbax's own threads may have their say too, before or after.
    (said,) = [line for line in full.stderr.splitlines() if line.startswith("error: ")]
    assert said.startswith(f"error: checkpoint {tmp_path}/checkpoints/6 could not be saved (")
    assert "File too large" in said
    assert "the last good checkpoint is step 4; make room, and the same command goes on from there" in said
    assert fault_free(tmp_path, 4) == before
    again = run(*command("train.py", keys, f"--workdir={tmp_path}"))
    assert again.returncode == 0, again.stderr
    assert f"resume: {tmp_path}/checkpoints/4" in again.stdout


def fault_free(workdir: pathlib.Path, step: int) -> set[str]:
    """The files of the newest checkpoint, which is that of `step` and whole."""
    reader = Checkpointer(str(workdir), read_only=True)
    assert (reader.latest(), reader.fault(step, "")) == (step, "")
    reader.close()
    return {str(path) for path in (workdir / "checkpoints" / str(step)).rglob("*")}


def test_tensorboard_says_when_the_disk_is_full(tmp_path):
    """/dev/full takes no byte; the writer of tensorboardX itself would say nothing."""
    writer = writers.TensorBoardWriter(str(tmp_path), 0)
    file = writer._events._py_recordio_writer._writer
    file.flush()
    disk = os.dup(file.fileno())
    with open("/dev/full", "wb") as full:
        os.dup2(full.fileno(), file.fileno())
    with pytest.raises(OSError, match="No space left"):
        writer.write(1, "train", {"loss": 1.0})
    os.dup2(disk, file.fileno())
    os.close(disk)
    writer.close()


def test_a_second_trainer_is_refused(overrides, tmp_path):
    lock = TrainerLock(str(tmp_path))
    with pytest.raises(UserError, match="is in use"):
        train(smoke_config(overrides), str(tmp_path))
    lock.release()
    assert os.listdir(tmp_path) == []


class Toy(Trainer):
    """The toy trainer with the step that skips, as the loop compiles it."""

    def __init__(self):
        cfg = config()
        super().__init__(cfg)
        optimizer = make_optimizer(cfg.optim, cfg.train.num_train_steps)
        schedule = make_schedule(cfg.optim, cfg.train.num_train_steps)
        self.skipping = jax.jit(
            make_train_step(make_objective(cfg), optimizer, schedule, cfg.seed, skip_nonfinite=True)
        )


def test_a_skipped_step_changes_the_step_number_alone():
    toy = Toy()
    batch = toy.put(random_batch(config(), 8))
    with jax.set_mesh(toy.mesh):
        warm, _ = toy.step(toy.state, batch)
        plain, sums = toy.step(warm, batch)
        same, skipping = toy.skipping(warm, batch)
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(plain), jax.device_get(same))
        assert float(skipping["skipped_steps"][0]) == 0
        assert float(skipping["loss"][0]) == float(sums["loss"][0])
        ruined = dataclasses.replace(warm, params=jax.tree.map(lambda x: x * math.nan, warm.params))
        after, sums = toy.skipping(ruined, batch)
    assert int(after.step) == int(warm.step) + 1
    jax.tree.map(np.testing.assert_array_equal, after.opt_state, warm.opt_state)
    assert float(sums["skipped_steps"][0]) == 1
    assert [float(x) for x in sums["loss"]] == [0, 0]
    assert [float(x) for x in sums["masked_lm_loss"]] == [0, 0]


def test_skips_so_many_and_then_stops(overrides, tmp_path, capsys):
    """Step 2 ruins the parameters; 3 to 5 are left out; the state saved is still that of step 2's update."""
    keys = {
        "optim.learning_rate": 1e30, "optim.num_warmup_steps": 4, "train.save_checkpoints_steps": 1,
        "train.on_nan": "skip", "train.max_skipped_steps": 3,
    }  # fmt: skip
    assert train(smoke_config({**overrides, **keys}), str(tmp_path)) == 3
    assert "3 steps in a row up to step 5 had no finite loss or gradient; the last" in capsys.readouterr().out
    rows = {row["step"]: row for row in read_jsonl(str(tmp_path)) if row["split"] == "train"}
    assert {step: row["skipped_steps"] for step, row in rows.items()} == {1: 0, 2: 0, 3: 1, 4: 1}
    assert rows[3]["loss"] is None


def test_the_cache_finds_a_program_again(tmp_path, monkeypatch):
    settings = {
        "jax_enable_compilation_cache": True,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_compilation_cache_dir": None,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    try:
        for name, value in settings.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()  # JAX decides once per process
        compile_cache.enable()
        assert str(jax.config.values["jax_compilation_cache_dir"]).startswith(str(tmp_path / "fnet_jax"))
        compile_cache._events.clear()
        for _ in range(2):
            jax.jit(lambda x: x * 3 + 1).lower(np.float32(2)).compile()
            jax.clear_caches()
        assert compile_cache.summary() == "compilation cache: 1 hits, 1 misses"
        jax.config.update("jax_compilation_cache_dir", None)
        monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
        compile_cache.enable()
        assert compile_cache.summary() == "no compilation cache"
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


def test_sigterm_while_data_are_prepared_ends_at_once(overrides, tmp_path):
    keys = {**overrides, "data.dir": "", "data.corpus": "pydocs", "data.tokenizer_pieces": 8000}
    process = start(command("train.py", keys, f"--workdir={tmp_path}"))
    assert process.stdout is not None
    for line in process.stdout:
        if "Training a tokenizer" in line:  # in C++, for many seconds
            break
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 143, out
    assert "SIGTERM: stopped; nothing has been trained since the start" in out
    assert not (tmp_path / "data" / "dataset.json").exists()


def test_a_second_signal_stops_at_once(overrides, tmp_path):
    """The first one is being obeyed, but the input hangs."""
    python, *flags = command("-m", {**overrides, **LONG}, f"--workdir={tmp_path}")
    process = start([python, flags[0], "tests.hanging_train", *flags[1:]])
    assert process.stdout is not None
    for line in process.stdout:
        if "hanging" in line:
            break
    process.send_signal(signal.SIGTERM)
    time.sleep(1.5)  # what comes within a second is taken for the same signal
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert "SIGINT: stopped at once" in out


def children(pid: int) -> list[int]:
    lists = [path.read_text() for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for child in " ".join(lists).split()]


def cmdline(pid: int) -> bytes:
    return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_dead_input_process_is_named_and_the_state_saved(overrides, tmp_path):
    keys = {**overrides, **LONG, "data.num_workers": 1}
    process = start(command("train.py", keys, f"--workdir={tmp_path}"))
    wait_for_step(str(tmp_path), 25, process)
    workers = [pid for pid in children(process.pid) if b"spawn_main" in cmdline(pid)]
    assert len(workers) == 1
    os.kill(workers[0], signal.SIGKILL)
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 1, out
    saved = Checkpointer(str(tmp_path), read_only=True).latest()
    assert f"; step {saved} is saved, the same command goes on from there" in out
    assert "error: the input broke off at step" in out
