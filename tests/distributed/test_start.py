"""How processes come together, and what they say where they do not."""

import json
import os
import socket

import pytest

from fnet_jax.core.errors import UserError
from fnet_jax.runtime import distributed, hosts, lock
from tests.conftest import run
from tests.distributed.processes import free_port, group

TALK = ["-m", "tests.distributed.talk"]


def errors(text):
    return [line.removeprefix("error: ") for line in text.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize(
    ("named", "auto", "says"),
    [
        (("a:1", 2, None), True, "--coordinator_address=a:1, --num_processes=2 without --process_id"),
        ((None, None, 0), True, "--process_id=0 without --coordinator_address, --num_processes"),
        (("a:1", 2, 2), True, "--process_id=2 must be below --num_processes=2"),
        (("a", 2, 1), True, "--coordinator_address=a must be HOST:PORT"),
        (("a:99999", 2, 1), True, "must be HOST:PORT"),
        (("a:1", 2, 1), False, "--coordinator_address=a:1 and --distributed=off exclude each other"),
    ],
)
def test_flags_that_do_not_go_together(named, auto, says):
    with pytest.raises(UserError, match=says):
        distributed.start(*named, auto)


def test_alone_nothing_is_waited_for(tmp_path):
    assert hosts.count() == 1
    assert hosts.all_gather("x") == ["x"]
    assert hosts.broadcast(3) == 3
    assert hosts.processes_without(str(tmp_path / "new")) == []
    assert not (tmp_path / "new").exists()


def test_without_an_environment_a_program_starts_alone(tmp_path):
    result = run("python", *TALK, f"--folder={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["count"] == 1


def test_processes_talk(tmp_path):
    with group(tmp_path, [*TALK, f"--folder={tmp_path}"], 3) as three:
        assert three.codes() == [0, 0, 0], three.all_text()
        heard = [json.loads(text.splitlines()[-1]) for text in three.texts()]
    for said in heard:
        assert said == {
            "count": 3,
            "all_gather": ["from 0", "from 1", "from 2"],
            "broadcast": ["mine", 0],
            "processes_without": [],
            "processes_without own": [1, 2],
            "run_on_primary": "no such thing",
        }


def test_processes_that_differ_all_say_so(tmp_path):
    with group(tmp_path, [*TALK, "--story=differ"], 2) as two:
        assert two.codes() == [2, 2], two.all_text()
        for text in two.texts():
            assert errors(text) == [
                "optim.learning_rate is 0.0 on process 0, 0.1 on process 1; start the same program with the "
                "same flags on every host"
            ]


def test_a_workdir_in_use_is_refused_by_all(tmp_path):
    held = lock.TrainerLock(str(tmp_path))
    with group(tmp_path, [*TALK, "--story=lock", f"--folder={tmp_path}"], 2) as two:
        assert two.codes() == [2, 2], two.all_text()
        for text in two.texts():
            (said,) = errors(text)
            assert f"--workdir={tmp_path} is in use: process {os.getpid()} on " in said
    held.release()


def test_when_one_process_fails_the_others_end(tmp_path):
    with group(tmp_path, [*TALK, "--story=fail"], 2) as two:
        assert two.codes() == [1, 1], two.all_text()
        assert "ValueError: something broke" in two.text(1)
        assert errors(two.text(1)) == ["ValueError: something broke"]
        assert errors(two.text(0)) == ["process 1 of 2 has failed: ValueError: something broke"]


def test_a_missing_process_is_waited_for_in_vain(tmp_path):
    with group(tmp_path, [*TALK, "--init_timeout_s=4"], 3, missing=1) as two:
        assert two.codes() == [1, 1], two.all_text()
        for text in two.texts():
            (said,) = errors(text)
            assert "answers, but not all 3 processes have come" in said


def test_a_coordinator_that_is_not_there():
    flags = [f"--coordinator_address=127.0.0.1:{free_port()}", "--num_processes=2", "--process_id=1"]
    result = run("python", *TALK, *flags, "--init_timeout_s=3")
    assert result.returncode == 1, result.stderr
    (said,) = errors(result.stderr)
    assert "process 1 of 2 waited 3 s: nothing answers at 127.0.0.1:" in said
    assert "firewall" in said


def test_a_port_that_is_taken():
    with socket.socket(socket.AF_INET6) as other:
        other.bind(("::", 0))
        other.listen()
        port = other.getsockname()[1]
        flags = [f"--coordinator_address=127.0.0.1:{port}", "--num_processes=2", "--process_id=0"]
        result = run("python", *TALK, *flags)
    assert result.returncode == 1, result.stderr
    assert errors(result.stderr) == [
        f"port {port} of this machine is taken; let process 0 use another one (docs/hosts.md)"
    ]
