"""Points that answer at once: what is run, skipped, retried, refused; signals and locks."""

import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from fnet_jax.configs import pretrain
from fnet_jax.core import sweep
from fnet_jax.core.errors import UserError
from fnet_jax.tools.sweep import run as runner
from fnet_jax.tools.sweep.point import fingerprint, load_result, make_point, make_points
from fnet_jax.tools.sweep.results import SweepResults
from fnet_jax.tools.sweep.run import run_points
from tests.conftest import REPOSITORY

FAKE = str(pathlib.Path(__file__).parent / "fake_point.py")
UNLUCKY, KILLED, SLOW = 13, 14, 15  # seeds that the fake knows


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    monkeypatch.setattr(runner, "PROGRAM", [FAKE])
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))


def points(directory, *sweeps, **fixed):
    config = pretrain.get_config("smoke")
    config.update_from_flattened_dict(fixed)
    return make_points(sweep.product(*sweeps), config, list(fixed), str(directory))


def starts(point) -> int:
    path = os.path.join(point.directory, "starts.txt")
    return pathlib.Path(path).read_text().count("\n") if os.path.exists(path) else 0


def test_done_points_are_skipped_and_failed_ones_retried(tmp_path, capfd):
    todo = points(tmp_path, sweep.values("seed", [1, UNLUCKY, KILLED, 2]))
    run_points(todo)
    shown = capfd.readouterr().out
    assert "4 points: 0 done, 4 to run" in shown
    assert "[1/4] seed=1: loss 0.020 (0 s)" in shown
    assert "[2/4] seed=13: failed with exit code 3: error: this seed is unlucky; see " in shown
    assert "[3/4] seed=14: failed with exit code -9: killed by SIGKILL (out of memory?)" in shown
    assert "[4/4] seed=2: loss 0.030" in shown
    run_points(todo)
    assert "4 points: 2 done, 2 to run" in capfd.readouterr().out
    assert [starts(point) for point in todo] == [1, 2, 2, 1]
    results = SweepResults.read(todo)
    assert (results.failed, results.missing) == (2, 0)
    assert "2 of 4 points failed" in results.summary()


def test_one_index(tmp_path, capfd):
    todo = points(tmp_path, sweep.values("seed", range(3)))
    run_points(todo, index=1)
    assert "[2/3] seed=1" in capfd.readouterr().out
    assert [point.result() is not None for point in todo] == [False, True, False]
    run_points(todo, index=1)
    assert starts(todo[1]) == 1


def test_a_sweep_may_grow(tmp_path):
    run_points(points(tmp_path, sweep.values("seed", [5])))
    todo = points(tmp_path, sweep.values("seed", [4, 5, 6]))
    run_points(todo)
    assert [starts(point) for point in todo] == [1, 1, 1]


def test_another_config_in_the_same_place_is_refused(tmp_path):
    run_points(points(tmp_path, sweep.values("seed", [1])))
    changed = points(tmp_path, sweep.values("seed", [0, 1]), **{"train.num_train_steps": 24})
    with pytest.raises(UserError, match=r"train.num_train_steps: 12 -> 24; give another --workdir"):
        run_points(changed)
    assert starts(changed[0]) == 0, "refused before anything runs"
    assert changed[1].result() is None


def test_a_point_that_failed_at_once_may_be_mended(tmp_path):
    """A config that was refused left nothing behind, so there is nothing to guard."""
    todo = points(tmp_path, sweep.values("seed", [UNLUCKY]))
    run_points(todo)
    os.remove(os.path.join(todo[0].directory, "starts.txt"))
    mended = points(tmp_path, sweep.values("seed", [UNLUCKY]), **{"train.num_train_steps": 24})
    assert mended[0].result() is None
    run_points(mended)
    assert mended[0].result().exit_code == 3
    assert todo[0].result() is None


def test_a_config_from_before_a_key_was_added_is_the_same(tmp_path):
    """Files of an older version, whose hash is that of its own config: neither refused nor run again."""
    (point,) = points(tmp_path, sweep.values("seed", [1]))
    run_points([point])
    for file, change in (
        ("point.json", lambda saved: saved["config"]["train"].pop("early_stop_evals")),
        ("result.json", lambda saved: saved.update(fingerprint=fingerprint(old_config(point)))),
    ):
        path = pathlib.Path(point.path(file))
        saved = json.loads(path.read_text())
        change(saved)
        path.write_text(json.dumps(saved))
    run_points([point])
    assert starts(point) == 1
    assert point.result().is_done


def old_config(point):
    return json.loads(pathlib.Path(point.path("point.json")).read_text())["config"]


def test_a_locked_point_is_left_to_the_other_process(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(runner, "PATIENCE", 0.3)
    todo = points(tmp_path, sweep.values("seed", range(3)))
    os.makedirs(todo[0].directory)
    with open(todo[0].path(".lock"), "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="point 0, seed=0, is being run by another process"):
            run_points(todo, index=0)
        run_points(todo)
    assert "[1/3] seed=0: run by another process" in capfd.readouterr().out
    assert [starts(point) for point in todo] == [0, 1, 1]
    run_points(todo)
    assert [starts(point) for point in todo] == [1, 1, 1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_the_rest_left_for_later(tmp_path, number):
    todo = points(tmp_path, sweep.values("seed", [SLOW, 1]))
    before = signal.getsignal(number)
    watcher = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, sys, time\n"
            "while not os.path.exists(sys.argv[1]): time.sleep(0.02)\n"
            "os.kill(int(sys.argv[2]), int(sys.argv[3]))",
            todo[0].path("ready"),
            str(os.getpid()),
            str(int(number)),
        ]
    )
    with pytest.raises(SystemExit) as stopped:
        run_points(todo)
    watcher.wait(timeout=20)
    assert stopped.value.code == 128 + number
    assert os.path.exists(todo[0].path("saved")), "the child was told, and could save"
    assert load_result(todo[0].directory) is None, "a stopped point did not fail"
    assert starts(todo[1]) == 0
    assert signal.getsignal(number) is before
    run_points(todo)
    assert [starts(point) for point in todo] == [2, 1]


def test_a_killed_runner_takes_its_point_with_it(tmp_path):
    """The child sees its stdin end, saves and lets go of its lock, for which the next runner waits."""
    todo = points(tmp_path, sweep.values("seed", [SLOW]))
    program = (
        "import sys; from fnet_jax.tools.sweep import run as runner\n"
        "from tests.tools.sweep.test_run import points, FAKE\n"
        "from fnet_jax.core import sweep; runner.PROGRAM = [FAKE]\n"
        f"runner.run_points(points(sys.argv[1], sweep.values('seed', [{SLOW}])))"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=REPOSITORY)
    deadline = time.monotonic() + 60
    while not os.path.exists(todo[0].path("ready")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    run_points(todo)
    assert os.path.exists(todo[0].path("saved"))
    assert todo[0].result().is_done


def test_points_of_pretraining_share_data_unless_it_differs(tmp_path):
    todo = points(
        tmp_path,
        sweep.values("data.masking_rate", [0.1, 0.15]),
        sweep.values("data.holdout_fraction", [0.02, 0.05]),
    )
    dirs = [point.config.data.dir for point in todo]
    assert dirs[0] == dirs[2] != dirs[1] == dirs[3]
    assert all(path.startswith(str(tmp_path / "data")) for path in dirs)
    given = points(tmp_path, sweep.values("seed", [0]), **{"data.dir": "/given"})
    assert given[0].config.data.dir == "/given"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"optim.learning_rate": -1.0}, "point optim.learning_rate=-1: optim.learning_rate=-1.0 must be"),
        ({"optim.learning_rate": "x"}, "point optim.learning_rate=x: "),
        ({"optim": 3}, "point optim=3: "),
        ({"model.num_heads": 4}, "has no effect"),
    ],
)
def test_a_point_that_cannot_work_is_named(overrides, says, tmp_path):
    with pytest.raises(UserError) as error:
        make_point(pretrain.get_config("smoke"), [], overrides, str(tmp_path))
    assert says in str(error.value)
    assert "\n" not in str(error.value)
