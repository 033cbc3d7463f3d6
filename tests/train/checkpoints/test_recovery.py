"""Checkpoints that are damaged, half written, copied, or opened elsewhere than they were saved."""

import dataclasses
import os
import pathlib
import shutil

import jax
import numpy as np
import pytest

from fnet_jax.core.errors import UserError
from fnet_jax.core.mesh import create_mesh
from fnet_jax.tasks.kinds import make_objective
from fnet_jax.train.checkpoints import checksums
from fnet_jax.train.checkpoints.checkpointer import Checkpointer
from fnet_jax.train.checkpoints.find import find_checkpoint
from fnet_jax.train.optim import make_optimizer
from fnet_jax.train.start import restore_newest
from fnet_jax.train.state import TrainState, abstract_state, create_state
from tests.train.synthetic import config

STEPS = (2, 4, 6)


def abstract(num_devices: int = 8, fsdp: int = 1, **overrides: object) -> TrainState:
    """The state of the toy model as shapes, spread over so many devices."""
    cfg = config(**overrides)
    mesh = create_mesh(fsdp=fsdp, devices=jax.devices()[:num_devices])
    with jax.set_mesh(mesh):
        return abstract_state(mesh, make_objective(cfg), make_optimizer(cfg.optim, cfg.train.num_train_steps))


def at_step(state: TrainState, step: int) -> TrainState:
    """The state with a trace of the step in every array, laid where the state lies."""
    moved = jax.tree.map(
        lambda x: jax.device_put(np.asarray(x) + np.asarray(step, x.dtype), x.sharding), state
    )
    return dataclasses.replace(moved, step=jax.device_put(np.int32(step), state.step.sharding))


@pytest.fixture(scope="module")
def state() -> TrainState:
    cfg = config()
    return create_state(
        abstract(), make_objective(cfg), make_optimizer(cfg.optim, cfg.train.num_train_steps), 0
    )


@pytest.fixture(scope="module")
def original(state, tmp_path_factory) -> pathlib.Path:
    """A workdir with three checkpoints; tests work on copies."""
    workdir = tmp_path_factory.mktemp("original")
    checkpointer = Checkpointer(str(workdir))
    for step in STEPS:
        checkpointer.save(step, at_step(state, step))
    checkpointer.wait()
    checkpointer.close()
    return workdir


@pytest.fixture
def workdir(original, tmp_path) -> pathlib.Path:
    shutil.copytree(original, tmp_path / "copy")
    return tmp_path / "copy"


def restored(workdir: pathlib.Path, wanted: TrainState | None = None) -> tuple[TrainState, int]:
    checkpointer = Checkpointer(str(workdir))
    found = restore_newest(checkpointer, wanted or abstract())
    checkpointer.close()
    assert found is not None
    return found


def assert_same(left: TrainState, right: TrainState) -> None:
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(left), jax.device_get(right))


def flip(path: pathlib.Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGES = {flip: "is not what was saved", cut: "of .* bytes", os.remove: "is missing"}


def largest(folder: pathlib.Path) -> pathlib.Path:
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("file", ["arrays", "metadata"])
def test_goes_on_from_the_one_before_and_keeps_the_damaged_one(workdir, state, capsys, damage, file):
    folder = workdir / "checkpoints" / "6"
    path = largest(folder / "optimizer") if file == "arrays" else folder / "variables" / "_METADATA"
    damage(path)
    found, step = restored(workdir)
    assert step == 4
    assert_same(found, at_step(state, 4))
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert f"checkpoint {folder} is damaged ({path.relative_to(folder)} " in out
    assert DAMAGES[damage].partition(" ")[2].split(".*")[-1] in out
    assert (workdir / "damaged" / "6").is_dir()
    assert sorted(os.listdir(workdir / "checkpoints")) == ["2", "4"]


def test_every_file_of_an_item_is_guarded(workdir):
    """Orbax alone reads flipped bytes of arrays as if nothing were wrong."""
    folder = workdir / "checkpoints" / "6"
    files = [path for path in folder.glob("*/**/*") if path.is_file() and path.name != "commit_success.txt"]
    assert len(files) > 10
    for path in files:
        whole = path.read_bytes()
        flip(path)
        assert checksums.fault(str(folder)) == f"{path.relative_to(folder)} is not what was saved"
        path.write_bytes(whole)
    assert checksums.fault(str(folder)) == ""


def test_two_damaged_ones_are_both_passed_over(workdir):
    for step in (6, 4):
        cut(largest(workdir / "checkpoints" / str(step)))
    (workdir / "damaged" / "6").mkdir(parents=True)  # of an earlier fault
    assert restored(workdir)[1] == 2
    assert sorted(os.listdir(workdir / "damaged")) == ["4", "6", "6-2"]


def test_never_starts_anew_where_none_is_whole(workdir):
    for step in STEPS:
        flip(largest(workdir / "checkpoints" / str(step)))
    for _ in range(2):  # the second start does not find an empty folder
        with pytest.raises(
            UserError, match=r"no checkpoint of .* can be read: 6: .*; 4: .*; 2: .*; put back"
        ):
            restored(workdir)
    assert not (workdir / "damaged").exists()


def test_a_checkpoint_without_checksums_is_opened_or_passed_over(workdir):
    for step in STEPS:
        os.remove(workdir / "checkpoints" / str(step) / checksums.CHECKSUM_FILE)
    assert restored(workdir)[1] == 6
    (workdir / "checkpoints" / "6" / "variables" / "_METADATA").unlink()
    assert restored(workdir)[1] == 4


def test_an_unreadable_score_does_not_keep_the_run_from_going_on(workdir):
    for step, text in ((2, "{"), (4, '{"score": 1.0, "step": 4}')):
        (workdir / "checkpoints" / str(step) / "metrics").mkdir()
        (workdir / "checkpoints" / str(step) / "metrics" / "metrics").write_text(text)
    assert find_checkpoint(str(workdir)) == (str(workdir), 4)
    assert restored(workdir)[1] == 6
    assert os.listdir(workdir / "damaged") == ["2"]


def test_readers_fall_back_and_touch_nothing(workdir, capsys):
    flip(largest(workdir / "checkpoints" / "6" / "variables"))
    assert find_checkpoint(str(workdir)) == (str(workdir), 4)
    assert "checkpoints/6 is damaged" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"checkpoints/6 is damaged .* name another --step"):
        find_checkpoint(str(workdir), 6)
    assert not (workdir / "damaged").exists()
    assert sorted(os.listdir(workdir / "checkpoints")) == ["2", "4", "6"]


def test_a_half_written_one_is_ignored_and_cleaned_by_the_trainer_alone(workdir):
    half = workdir / "checkpoints" / "8.orbax-checkpoint-tmp"
    shutil.copytree(workdir / "checkpoints" / "6", half)
    reader = Checkpointer(str(workdir), read_only=True)
    assert reader.latest() == 6
    reader.close()
    assert half.exists()
    assert restored(workdir)[1] == 6
    assert not half.exists()


def test_a_copy_without_markers_opens(workdir, tmp_path, state):
    """As object stores and `cp -r` make them."""
    shutil.copytree(workdir, tmp_path / "b", ignore=shutil.ignore_patterns("commit_success.txt"))
    assert_same(restored(tmp_path / "b")[0], at_step(state, 6))


@pytest.mark.parametrize(
    ("saved_on", "opened_on"),
    [((8, 8), (1, 1)), ((1, 1), (8, 8)), ((8, 4), (2, 2)), ((4, 1), (2, 1))],
    ids=lambda mesh: "{} devices, fsdp={}".format(*mesh),
)
def test_opens_on_another_mesh(state, tmp_path, saved_on, opened_on):
    there = jax.tree.map(lambda x, like: jax.device_put(x, like.sharding), state, abstract(*saved_on))
    if saved_on[1] > 1:
        table = there.params["encoder"]["embedder"]["word"]["embedding"]
        assert table.addressable_shards[0].data.size == table.size // saved_on[1]
    checkpointer = Checkpointer(str(tmp_path))
    checkpointer.save(5, at_step(there, 5))
    checkpointer.close()
    wanted = abstract(*opened_on)
    found, step = restored(tmp_path, wanted)
    assert step == 5
    assert_same(found, at_step(state, 5))
    jax.tree.map(lambda leaf, like: assert_equal(leaf.sharding, like.sharding), found, wanted)


def assert_equal(left: object, right: object) -> None:
    assert left == right


def test_opens_for_bfloat16_computation(workdir, state):
    found, _ = restored(workdir, abstract(model__dtype="bfloat16"))
    assert_same(found, at_step(state, 6))
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(found.params)} == {"float32"}


def test_another_optimizer_takes_the_parameters_alone(workdir, state):
    """What `init_from` reads; resuming with it is refused."""
    other = abstract(optim__learning_rate_rules="encoder/pooler=2", optim__clipped_grad_norm=1.0)
    reader = Checkpointer(str(workdir), read_only=True)
    variables = reader.restore_variables(6, other.variables)
    reader.close()
    wanted = at_step(state, 6).variables
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(variables), jax.device_get(wanted))
    with pytest.raises(UserError, match="does not fit the config"):
        restored(workdir, other)


def test_a_score_can_be_added_later(workdir, state):
    """For a run that a signal stopped between a save and its evaluation."""
    checkpointer = Checkpointer(str(workdir), max_to_keep=1)
    found = restore_newest(checkpointer, abstract())
    assert found is not None
    checkpointer.save(6, found[0], score=0.5)
    assert checkpointer.best() == (6, 0.5)
    checkpointer.save(8, at_step(state, 8), score=0.25)
    checkpointer.wait()
    assert checkpointer.steps() == [6, 8]  # the best and the newest
    checkpointer.close()
    assert checksums.fault(str(workdir / "checkpoints" / "6")) == ""
