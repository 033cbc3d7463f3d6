"""One trainer per workdir."""

import multiprocessing
import os
import signal

import pytest

from fnet_jax.core.errors import UserError
from fnet_jax.runtime.lock import LOCK_FILE, TrainerLock, last_holder


def hold(workdir: str, held) -> None:
    TrainerLock(workdir).note("steps")
    held.set()
    signal.pause()


def test_the_second_is_refused_and_told_who_is_first(tmp_path):
    lock = TrainerLock(str(tmp_path))
    start = last_holder(str(tmp_path))["start"]
    with pytest.raises(UserError, match=f"process {os.getpid()} on .* since {start[:10]}.*name another"):
        TrainerLock(str(tmp_path))
    assert last_holder(str(tmp_path))["phase"] == "start"  # the refused one has changed nothing
    lock.release()
    assert not (tmp_path / LOCK_FILE).exists()
    TrainerLock(str(tmp_path)).release()


def test_a_lock_left_by_a_killed_trainer_is_no_lock(tmp_path):
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=hold, args=(str(tmp_path), held))
    process.start()
    assert held.wait(60)
    with pytest.raises(UserError, match=f"process {process.pid} "):
        TrainerLock(str(tmp_path))
    process.kill()
    process.join()
    assert last_holder(str(tmp_path)) == {**last_holder(str(tmp_path)), "pid": process.pid, "phase": "steps"}
    TrainerLock(str(tmp_path)).release()


def test_a_lock_whose_file_its_holder_removes_is_not_taken(tmp_path, monkeypatch):
    """Between opening and locking, the first one has ended, and a third one has made a new file."""
    first = TrainerLock(str(tmp_path))
    opened = os.open

    def open_then_release(path, *args):
        file = opened(path, *args)
        monkeypatch.undo()
        first.release()
        third.append(TrainerLock(str(tmp_path)))
        return file

    third: list[TrainerLock] = []
    monkeypatch.setattr(os, "open", open_then_release)
    with pytest.raises(UserError, match="is in use"):
        TrainerLock(str(tmp_path))
    third[0].release()
