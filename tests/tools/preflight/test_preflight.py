"""What preflight says of runs that would and would not work, on one process and on two."""

import dataclasses
import json
import os
import shutil

import jax
import pytest

from fnet_jax.data.dataset import INFO_FILE
from fnet_jax.tools.preflight.__main__ import ask, verdict
from fnet_jax.tools.preflight.checks import Finding, Preflight
from fnet_jax.train import memory
from fnet_jax.train.checkpoints.checkpointer import Checkpointer
from tests.conftest import command, run, smoke_config
from tests.distributed.processes import group


@pytest.fixture(autouse=True)
def ordinary_promotion():
    """Which Optax needs."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def results(config, workdir, only=None, topology=None):
    """Verdicts by the name of the check; those not in `only` are taken as passed."""
    found = {}
    with Preflight(config, str(workdir), topology) as preflight:
        for name, check in preflight.checks():
            if only is None or name in only:
                found[name] = ask(check)
            preflight.passed[name] = not found.get(name, Finding()).fault
    return found


def changed(overrides, **keys):
    return smoke_config({**overrides, **{key.replace("__", "."): value for key, value in keys.items()}})


# On one process


def test_a_run_that_can_start_passes_and_leaves_nothing(overrides, tmp_path):
    workdir = tmp_path / "new" / "w"
    found = results(smoke_config(overrides), workdir)
    assert list(found) == ["versions", "config", "data", "devices", "memory", "workdir", "resume"]
    assert not any(finding.fault for finding in found.values()), found
    assert "600 pieces" in found["data"].said
    assert "mesh data=8; 2 of 16 examples on each" in found["devices"].said
    assert found["resume"].said == "starts at step 0 with random parameters"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("keys", "check", "says"),
    [
        ({"data__dir": "/nowhere"}, "data", "data.dir=/nowhere holds no prepared data set"),
        ({"model__max_seq_length": 16}, "data", "model.max_seq_length=32, not 16"),
        ({"train__train_batch_size": 12}, "devices", "train.train_batch_size=12"),
        ({"mesh__fsdp": 3}, "devices", "do not multiply to the 8 devices"),
        ({"init_from": "/nowhere"}, "resume", "init_from=/nowhere holds no complete checkpoint"),
    ],
)
def test_what_cannot_work_is_said(overrides, tmp_path, keys, check, says):
    found = results(changed(overrides, **keys), tmp_path, ("data", "devices", "resume"))
    assert says in found[check].fault
    assert [name for name, finding in found.items() if finding.fault] == [check]


@pytest.fixture
def copied(overrides, tmp_path):
    """A data set of one's own to damage."""
    shutil.copytree(overrides["data.dir"], tmp_path / "data")
    config = smoke_config({**overrides, "data.dir": str(tmp_path / "data")})

    def fault():
        return results(config, tmp_path / "w", ("data",))["data"].fault

    assert not fault()
    return tmp_path / "data", fault


def record_file(data, split):
    return data / json.loads((data / INFO_FILE).read_text())["splits"][split]["files"][0]


def test_a_missing_file_of_the_data_set_is_named(copied):
    data, fault = copied
    path = record_file(data, "train")
    path.unlink()
    assert f"{path.name} cannot be read (No such file or directory)" in fault()


def test_a_file_that_was_cut_is_noticed(copied):
    data, fault = copied
    path = record_file(data, "train")
    os.truncate(path, path.stat().st_size // 2)
    assert "is not whole: a file of 'train' is no array record" in fault()


def test_a_file_of_another_split_is_noticed(copied):
    data, fault = copied
    shutil.copy(record_file(data, "heldout"), record_file(data, "train"))
    assert "is not whole: split 'train' has" in fault()


def test_another_tokenizer_is_noticed(copied):
    data, fault = copied
    info = json.loads((data / INFO_FILE).read_text())
    (data / INFO_FILE).write_text(json.dumps({**info, "tokenizer_sha256": "0"}))
    assert "tokenizer.model is not the tokenizer it was prepared with" in fault()


def test_too_little_memory_is_said_with_both_sizes(overrides, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda device: 2.0**19)
    found = results(smoke_config(overrides), tmp_path, ("data", "devices", "memory"))
    assert "of the 512.0 KiB of a device; make mesh.fsdp greater" in found["memory"].fault


def test_room_for_all_checkpoints_and_one_more_is_needed(overrides, tmp_path, monkeypatch):
    config = changed(overrides, train__max_to_keep=3)
    said = results(config, tmp_path, ("data", "devices", "workdir"))["workdir"].said
    assert "files and folders can be written and renamed" in said
    with Preflight(config, str(tmp_path)) as preflight:
        for name, check in preflight.checks():
            if name in ("data", "devices"):
                check()
            preflight.passed[name] = True
        state = preflight._known_setup().abstract
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves((state.variables, state.opt_state)))
    usage = shutil.disk_usage(tmp_path)

    def fault(free):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=free))
        return results(config, tmp_path, ("data", "devices", "workdir"))["workdir"].fault

    assert not fault(4 * size)
    assert "make room" in fault(4 * size - 1)


def test_a_folder_that_cannot_be_written_is_said(overrides, tmp_path):
    (tmp_path / "file").touch()
    found = results(smoke_config(overrides), tmp_path / "file" / "w", ("workdir",))
    assert "cannot be written" in found["workdir"].fault
    assert "Not a directory" in found["workdir"].fault


def test_where_folders_cannot_be_renamed_a_checkpoint_cannot_be_saved(overrides, tmp_path, monkeypatch):
    """As on a bucket that is mounted without leave to rename folders."""
    rename = os.rename

    def files_only(old, new):
        if os.path.isdir(old):
            raise OSError(24, "Too many open files")
        rename(old, new)

    monkeypatch.setattr(os, "rename", files_only)
    found = results(smoke_config(overrides), tmp_path, ("workdir",))
    assert "cannot be renamed (Too many open files)" in found["workdir"].fault
    assert not list(tmp_path.iterdir())


def test_after_the_devices_have_failed_memory_is_not_checked(overrides, tmp_path):
    found = results(changed(overrides, mesh__fsdp=3), tmp_path, ("data", "devices", "memory"))
    assert found["memory"].fault == "not checked, because the devices have failed"


# Several processes


def on(*findings):
    return verdict([(f"host{number}", finding) for number, finding in enumerate(findings)])


def test_one_verdict_of_all_processes():
    well = Finding("fine", same={"a": 1})
    assert on(well, Finding(same={"a": 1})) == well
    assert on(Finding(fault="bad"), Finding(fault="bad")).fault == "bad"
    assert on(well, Finding(fault="bad"), Finding(fault="bad")).fault == "process 1 (host1) (and 1 more): bad"
    other = dataclasses.replace(well, same={"a": 2})
    assert on(well, well, other, other).fault == (
        "a is 1 on process 0 (host0), but 2 on process 2 (host2) (and 1 more); make all hosts alike"
    )
    assert "a is 1 on process 0 (host0), but None on process 1" in on(well, Finding()).fault


def test_an_unforeseen_error_is_a_finding():
    def check():
        raise ZeroDivisionError("why\nnot")

    assert ask(check).fault == "ZeroDivisionError: why"


PREFLIGHT = ["-m", "fnet_jax.tools.preflight"]


def flags(overrides, workdir):
    return command("", overrides, f"--workdir={workdir}")[2:]


@pytest.fixture(scope="module")
def trained(overrides, tmp_path_factory):
    """A workdir with a checkpoint."""
    workdir = tmp_path_factory.mktemp("trained")
    keys = {**overrides, "train.num_train_steps": 3, "train.eval_frequency": 0}
    result = run(*command("train.py", keys, f"--workdir={workdir}"))
    assert result.returncode == 0, result.stderr
    return workdir


def test_two_processes_pass_together(overrides, trained, tmp_path):
    before = sorted(trained.rglob("*"))
    args = [*PREFLIGHT, *flags({**overrides, "train.num_train_steps": 9}, trained)]
    with group(tmp_path, args, 2, devices=2) as two:
        assert two.codes() == [0, 0], two.all_text()
        lines = [line for line in two.text(0).splitlines() if line.startswith(("ok", "FAIL"))]
        assert "ok" not in two.text(1)
    assert [line.split(":")[0] for line in lines] == [
        "ok   versions", "ok   config", "ok   data", "ok   devices", "ok   memory", "ok   workdir",
        "ok   shared workdir", "ok   resume",
    ]  # fmt: skip
    assert "4 x cpu, 2 on each of 2 processes; mesh data=4" in lines[3]
    assert "goes on from step 3 of 9" in lines[7]
    assert sorted(trained.rglob("*")) == before


def test_a_process_that_differs_is_named(overrides, tmp_path):
    shutil.copytree(overrides["data.dir"], tmp_path / "data")
    args = [
        "-m",
        "tests.tools.preflight.differing_preflight",
        *flags({**overrides, "data.dir": str(tmp_path / "data")}, tmp_path),
    ]
    with group(tmp_path, args, 2) as two:
        assert two.codes() == [2, 2], two.all_text()
        text = two.text(0)
    failed = [line for line in text.splitlines() if line.startswith("FAIL")]
    assert [line.split(":")[0] for line in failed] == ["FAIL versions", "FAIL data", "FAIL shared workdir"]
    assert "version of grain is" in failed[0] and "but 'another' on process 1 (" in failed[0]
    assert "process 1 (" in failed[1] and "holds no prepared data set" in failed[1]
    assert "process 1 (" in failed[2] and "does not see what process 0 writes" in failed[2]
    assert "3 of 8 checks failed" in text


def test_a_checkpoint_of_another_model_is_not_resumed(overrides, trained):
    found = results(changed(overrides, model__d_ff=8), trained, ("data", "devices", "resume"))
    assert f"checkpoint {trained}/checkpoints/3 does not fit the config" in found["resume"].fault
    assert Checkpointer(str(trained), read_only=True).latest() == 3
    done = results(changed(overrides, train__num_train_steps=3), trained, ("data", "devices", "resume"))
    assert done["resume"].said == "step 3 of 3 is there; train.py would do nothing"


# On a slice that is not there


def test_a_topology_is_checked_from_a_laptop(overrides, tmp_path):
    pytest.importorskip("libtpu")
    result = run("python", *PREFLIGHT, *flags(overrides, tmp_path / "w"), "--topology=v5e:2x2")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "ok   devices: 4 x TPU v5 lite; mesh data=4; 4 of 16 examples on each" in result.stdout
    assert "of the 16.0 GiB of a device" in result.stdout
    assert result.stdout.endswith("ready: python train.py\n")


def test_bad_input_ends_in_one_sentence(overrides, tmp_path):
    result = run("python", *PREFLIGHT, *flags(overrides, tmp_path / "w"), "--topology=v5e:3x5")
    assert result.returncode == 2
    assert "FAIL devices: --topology=v5e:3x5 is not known to libtpu" in result.stdout
    nothing = run("python", *PREFLIGHT, "--config=configs/pretrain.py:smoke")
    assert (nothing.returncode, nothing.stderr.count("\n")) == (2, 1)
    assert "--workdir is not given" in nothing.stderr
