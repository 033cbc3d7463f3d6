"""The sweep tool as a user starts it, on real runs of seconds."""

import json
import sys

import pytest

from fnet_jax.tools.sweep.point import PointResult
from fnet_jax.tools.sweep.results import SweepResults
from tests.conftest import REPOSITORY, run
from tests.in_process import run_in_process
from tests.test_entry_points import LONG, start, wait_for_step

CONFIG = """
from fnet_jax.configs import pretrain
from fnet_jax.core import sweep


def get_config(arg=""):
    c = pretrain.get_config(arg)
    c.update_from_flattened_dict({overrides!r})
    return c


def get_sweep():
    return sweep.values("optim.learning_rate", {rates!r})
"""


@pytest.fixture(scope="module")
def config(overrides, tmp_path_factory):
    """A config file with two points."""
    values = {**overrides, **LONG, "train.num_train_steps": 100}
    del values["optim.learning_rate"]
    path = tmp_path_factory.mktemp("configs") / "x.py"
    path.write_text(CONFIG.format(overrides=values, rates=[1e-3, 1e-2]))
    return str(path)


def sweep_command(config, workdir, *flags):
    args = [f"--config={config}:smoke", f"--workdir={workdir}", *flags]
    return [sys.executable, "-m", "fnet_jax.tools.sweep", *args]


def only_table(config, workdir):
    return run_in_process(*sweep_command(config, workdir, "--only_table")[2:])


def results(workdir):
    rows = json.loads((workdir / "results.json").read_text())
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_a_killed_sweep_goes_on_and_ends_with_the_same_table(config, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    uninterrupted = run(*sweep_command(config, whole, "--index=1"))
    assert uninterrupted.returncode == 0, uninterrupted.stderr
    assert "[2/2] optim.learning_rate=0.01: loss " in uninterrupted.stdout
    table = only_table(config, whole)
    assert "1 of 2 points have not run yet" in table.stdout
    assert table.returncode == 1
    rows = results(whole)
    assert [row["state"] for row in rows] == ["not run", "done"]
    assert rows[1]["values"]["step"] == 100
    assert 0 < rows[1]["values"]["loss"] < rows[1]["values"]["baseline_masked_lm_loss"] + 2
    assert (whole / "table.md").read_text().splitlines()[0] in table.stdout
    assert (whole / "table.png").stat().st_size > 5_000

    point = cut / "points" / "optim.learning_rate=0.01"
    process = start(sweep_command(config, cut, "--index=1"))
    wait_for_step(str(point), 25, process)
    process.kill()
    process.communicate(timeout=60)
    rerun = run(*sweep_command(config, cut, "--index=1"))
    assert rerun.returncode == 0, rerun.stderr
    assert "resume: " in (point / "log.txt").read_text()
    only_table(config, cut)
    assert results(cut) == rows


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--config=configs/pretrain.py:smoke"], "defines no get_sweep()"),
        (["--config={config}:smoke", "--index=2"], "--index=2 names no point; the sweep has points 0 to 1"),
        (["--config={config}:smoke", "--config.optim.learning_rate=1.0"], "varies optim.learning_rate"),
        (["--config={config}:smoke", "--config.model.d_modl=1"], "did you mean d_model"),
        ([], "--config is not given"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(flags, says, config, tmp_path):
    args = [flag.format(config=config) for flag in flags]
    result = run_in_process("fnet_jax.tools.sweep", f"--workdir={tmp_path}/S", *args)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert says in result.stderr
    assert not (tmp_path / "S").exists()


def test_the_waiting_process_leaves_the_devices_alone(tmp_path, monkeypatch):
    """On a TPU they belong to one process, which must be the point's."""
    program = (
        "import sys; from fnet_jax.core import sweep\n"
        "from fnet_jax.tools.sweep import run as runner\n"
        "from fnet_jax.tools.sweep.__main__ import conclude\n"
        "from tests.tools.sweep.test_run import points, FAKE\n"
        "runner.PROGRAM = [FAKE]\n"
        "todo = points(sys.argv[1], sweep.values('seed', [0]))\n"
        "runner.run_points(todo); conclude(todo, sys.argv[1])\n"
        "from jax._src import xla_bridge\n"
        "print(xla_bridge.backends_are_initialized())"
    )
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    result = run(sys.executable, "-c", program, str(tmp_path))
    assert result.stdout.splitlines()[-1:] == ["False"], result.stdout + result.stderr
    assert (tmp_path / "table.png").exists()


def of(score, **overrides):
    overrides = {key.replace("__", "."): value for key, value in overrides.items()}
    values = {"step": 3, "score": score, "accuracy": score, "loss": 1.0, "baseline_accuracy": 0.5}
    return overrides, PointResult(overrides, "", 0, 120.0, "", values)


def test_table_and_best_setting():
    failed = {"optim.learning_rate": 1e-4, "seed": 1, "train.train_batch_size": 8}
    table = SweepResults(
        [
            of(0.60, optim__learning_rate=1e-5, seed=0, train__train_batch_size=8),
            of(0.90, optim__learning_rate=1e-5, seed=1, train__train_batch_size=8),
            of(0.61, optim__learning_rate=1e-5, seed=2, train__train_batch_size=8),
            of(0.75, optim__learning_rate=1e-4, seed=0, train__train_batch_size=8),
            (failed, PointResult(failed, "", 3, 5.0, "error: loss is nan")),
            ({**failed, "seed": 2}, None),
        ]
    )
    assert table.table() == (
        "| learning_rate | seed | score | accuracy | state      |  time |\n"
        "|--------------:|-----:|------:|---------:|------------|------:|\n"
        "|         1e-05 |    0 |  60.0 |     60.0 | done       | 2 min |\n"
        "|         1e-05 |    1 |  90.0 |     90.0 | done       | 2 min |\n"
        "|         1e-05 |    2 |  61.0 |     61.0 | done       | 2 min |\n"
        "|        0.0001 |    0 |  75.0 |     75.0 | done       | 2 min |\n"
        "|        0.0001 |    1 |     - |        - | failed (3) |   5 s |\n"
        "|        0.0001 |    2 |     - |        - | not run    |     - |"
    )
    assert table.summary() == (
        "best: score 75.0 at optim.learning_rate=0.0001\n"
        "1 of 6 points failed; the same command tries them again\n"
        "1 of 6 points have not run yet"
    )


def test_a_lower_loss_is_better():
    def of_loss(loss, seed):
        return {"model.mixer": seed}, PointResult({"model.mixer": seed}, "", 0, 1.0, "", {"loss": loss})

    assert (
        "best: loss 5.000 at model.mixer=dct"
        in SweepResults([of_loss(6.0, "fourier"), of_loss(5.0, "dct")]).summary()
    )
