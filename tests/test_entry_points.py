"""The programs as a user starts them."""

import json
import os
import signal
import subprocess
import time

import pytest

from fnet_jax.train.checkpoints.checkpointer import Checkpointer
from fnet_jax.train.logs.writers import read_jsonl
from tests import FAST_COMPILE
from tests.conftest import REPOSITORY, command, run


def start(args: list[str], start_new_session: bool = False) -> subprocess.Popen[str]:
    environment = {**os.environ, "XLA_FLAGS": FAST_COMPILE}
    return subprocess.Popen(
        args,
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=start_new_session,
    )


def wait_for_step(workdir: str, step: int, process: subprocess.Popen[str]) -> None:
    """Returns when the run has a complete checkpoint of `step` or later."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if (Checkpointer(workdir, read_only=True).latest() or 0) >= step:
            return
        time.sleep(0.05)
    raise AssertionError(
        f"no checkpoint of step {step}: {process.communicate()[0] if process.poll() is not None else ''}"
    )


def losses(workdir: str) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in read_jsonl(workdir) if row["split"] == "train"}


LONG = {
    "train.num_train_steps": 600, "train.save_checkpoints_steps": 25, "train.eval_frequency": 0,
    "optim.num_warmup_steps": 20, "optim.learning_rate": 1e-3,
}  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(overrides, tmp_path_factory):
    """The losses of a run that nothing disturbed."""
    workdir = str(tmp_path_factory.mktemp("uninterrupted"))
    result = run(*command("train.py", {**overrides, **LONG}, f"--workdir={workdir}"))
    assert result.returncode == 0, result.stderr
    assert f"checkpoint {workdir}/checkpoints/600" in result.stdout
    return losses(workdir)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_killed_run_goes_on_as_if_nothing_had_been(overrides, tmp_path, uninterrupted, number, code):
    """Killed, then started anew in a fresh process: every loss equals the undisturbed run's."""
    workdir = str(tmp_path)
    args = command("train.py", {**overrides, **LONG}, f"--workdir={workdir}")
    process = start(args)
    wait_for_step(workdir, 50, process)
    process.send_signal(number)
    out, _ = process.communicate(timeout=200)
    assert process.returncode == code, out
    saved = Checkpointer(workdir, read_only=True).latest()
    assert saved is not None
    assert 50 <= saved < 600
    if number != signal.SIGKILL:
        assert f"stopped at step {saved} of 600, saved" in out
    result = run(*args)
    assert result.returncode == 0, result.stderr
    assert f"resume: {workdir}/checkpoints/{saved}" in result.stdout
    assert losses(workdir) == uninterrupted


def test_ctrl_c_reaches_input_processes_too(overrides, tmp_path):
    """A terminal sends it to the whole group; the state is saved although the batches have ended."""
    args = command("train.py", {**overrides, **LONG, "data.num_workers": 2}, f"--workdir={tmp_path}")
    process = start(args, start_new_session=True)
    wait_for_step(str(tmp_path), 25, process)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 130, out
    saved = Checkpointer(str(tmp_path), read_only=True).latest()
    assert f"stopped at step {saved} of 600, saved" in out


def test_sigterm_while_compiling_saves_too(overrides, tmp_path):
    process = start(command("train.py", {**overrides, **LONG}, f"--workdir={tmp_path}"))
    assert process.stdout is not None
    for line in process.stdout:
        if "compiling the step" in line:
            break
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=200)
    assert process.returncode == 143
    assert Checkpointer(str(tmp_path), read_only=True).latest() is not None


def test_input_workers_change_nothing(overrides, tmp_path):
    for workers in (0, 2):
        args = command(
            "train.py", {**overrides, "data.num_workers": workers}, f"--workdir={tmp_path}/{workers}"
        )
        result = run(*args)
        assert result.returncode == 0, result.stderr
    assert losses(f"{tmp_path}/0") == losses(f"{tmp_path}/2")


def test_eval_predict_and_report(overrides, tmp_path):
    workdir = str(tmp_path)
    assert run(*command("train.py", overrides, f"--workdir={workdir}")).returncode == 0

    result = run(*command("eval.py", overrides, f"--workdir={workdir}"))
    assert result.returncode == 0, result.stderr
    values = json.loads(result.stdout.splitlines()[-1])
    assert values["step"] == 12
    assert 0 < values["baseline_masked_lm_accuracy"] < 1
    assert "masked LM accuracy" in result.stdout
    recorded = [json.loads(line) for line in (tmp_path / "eval.jsonl").read_text().splitlines()]
    assert recorded == [values]

    saved = run("python", "eval.py", f"--workdir={workdir}", "--step=6")  # the workdir's own config
    assert json.loads(saved.stdout.splitlines()[-1])["step"] == 6, saved.stderr

    predict = [*PREDICT, f"--model={workdir}"]
    filled = run(*predict, "--held_out=2")
    assert filled.returncode == 0, filled.stderr
    assert filled.stdout.count("[MASK]") == filled.stdout.count("was: ") == 2
    filled = run(*predict, "--top_k=3", "the [MASK] of a [MASK].")
    assert filled.returncode == 0, filled.stderr
    none = run(*predict, "no mask here")
    assert (none.returncode, none.stderr.count("\n")) == (2, 1)
    long = run(*predict, "word " * 200 + "[MASK]")
    assert (long.returncode, long.stderr.count("\n")) == (2, 1)

    report = run("python", "-m", "fnet_jax.tools.report", f"--workdir={workdir}")
    assert report.returncode == 0, report.stderr
    assert (tmp_path / "loss.png").stat().st_size > 10_000
    for line in report.stdout.splitlines()[1:]:
        assert os.path.exists(line.split()[-1])


PREDICT = ["python", "-m", "fnet_jax.tools.predict", "fill-mask"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--config=configs/none.py", "--workdir=W"], "configs/none.py is no file"),
        (["--config=configs/pretrain.py:size=huge", "--workdir=W"], "size='huge' is unknown"),
        (
            ["--config=configs/pretrain.py:smoke", "--config.model.dmodel=3", "--workdir=W"],
            "did you mean d_model",
        ),
        (
            ["--config=configs/pretrain.py:smoke", "--config.model.d_model=x", "--workdir=W"],
            "model.d_model=x",
        ),
        (["--config=configs/pretrain.py:smoke", "--config.model.mixer=x", "--workdir=W"], "model.mixer='x'"),
        (
            ["--config=configs/pretrain.py:smoke", "--config.data.corpus=/none.txt", "--workdir=W"],
            "/none.txt",
        ),
        (
            ["--config=configs/pretrain.py:smoke", "--config.data.tokenizer=/none.model", "--workdir=W"],
            "/none.model",
        ),
        (["--config=configs/pretrain.py:smoke", "--workdir=/proc/nowhere"], "cannot be written"),
        (["--config=configs/pretrain.py:smoke", "--workdir=gs://b/w"], "mount the bucket"),
        (["--config=configs/pretrain.py:smoke"], "--workdir is not given"),
        (["--workdir=W"], "--config is not given"),
        (["--wordkir=W"], "workdir"),
        (["--config=configs/pretrain.py:smoke", "--workdir=W", "stray"], "stray"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(args, says, tmp_path):
    args = [arg.replace("=W", f"={tmp_path}/new") for arg in args]
    result = run("python", "train.py", *args)
    assert result.returncode == 2, result.stdout + result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert says in result.stderr


def test_eval_without_a_checkpoint(tmp_path):
    result = run("python", "eval.py", "--config=configs/pretrain.py:smoke", f"--workdir={tmp_path}")
    assert result.returncode == 2
    assert "holds no complete checkpoint" in result.stderr


def test_print_config(tmp_path):
    result = run("python", "train.py", "--config=configs/pretrain.py:size=large", "--print_config")
    assert result.returncode == 0
    assert json.loads(result.stdout)["model"]["num_layers"] == 24
