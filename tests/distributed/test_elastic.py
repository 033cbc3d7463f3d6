"""One run on four, two, one and four processes, stopped, killed and its checkpoint damaged in between."""

import os
import pathlib
import signal

import numpy as np
import pytest

from fnet_jax.core import jsonl
from fnet_jax.train.logs import example_ids
from fnet_jax.train.logs.writers import read_jsonl
from tests.conftest import command, run
from tests.distributed.processes import group

KEYS = {
    "model.num_layers": 1, "train.max_to_keep": 100,
    "train.eval_frequency": 0, "train.max_num_eval_steps": 1, "optim.num_warmup_steps": 2,
    "optim.schedule": "constant", "optim.learning_rate": 1e-3, "log.example_ids": True,
}  # fmt: skip
ENDLESS = 1_000_000


class Story:
    """What happened, for the tests to look at."""


@pytest.fixture(scope="module")
def story(overrides, tmp_path_factory):
    """The run with everything happening to it, and an undisturbed one of as many steps on one process."""
    folder = tmp_path_factory.mktemp("elastic")
    story = Story()
    story.damaged = -1
    story.whole, story.broken = str(folder / "whole"), str(folder / "broken")

    def args(workdir: str, steps: int, save_every: int = 2, **more: object) -> list[str]:
        keys = {**overrides, **KEYS, "train.num_train_steps": steps, **more}
        keys["train.save_checkpoints_steps"] = save_every
        return command("train.py", keys, f"--workdir={workdir}")[1:]

    def saved() -> int:
        """Step of the newest complete checkpoint; only those have a number alone for a name."""
        checkpoints = os.path.join(story.broken, "checkpoints")
        names = os.listdir(checkpoints) if os.path.isdir(checkpoints) else []
        steps = [int(name) for name in names if name.isdigit()]
        return max((step for step in steps if step != story.damaged), default=0)

    with group(folder, args(story.broken, ENDLESS), 4) as four:
        four.wait_for(lambda: saved() >= 2, "checkpoint of step 2")
        four.processes[2].send_signal(signal.SIGTERM)
        story.stopped_codes, story.stopped_texts = four.codes(), four.texts()
        story.stopped_at = saved()
    # Killed outside of a save, and with one device each: else heartbeats tell, after minutes (docs/hosts.md).
    with group(folder, args(story.broken, ENDLESS, ENDLESS), 2) as two:
        two.wait_for(lambda: max(losses(story.broken)) >= story.stopped_at + 3, "later step")
        two.processes[1].kill()
        story.killed_codes, story.killed_texts = two.codes(), two.texts()
        story.killed_at = saved()
    alone_until, story.steps = story.killed_at + 3, story.killed_at + 6
    alone = run("python", *args(story.broken, alone_until))
    assert alone.returncode == 0, alone.stderr
    damage(os.path.join(story.broken, "checkpoints", str(alone_until)))
    story.damaged = alone_until
    story.resumed_at = saved()
    mesh = {"mesh.data": 2, "mesh.seq": 2}
    with group(folder, args(story.broken, story.steps, **mesh), 4) as four:
        story.last_codes, story.last_texts = four.codes(), four.texts()
    whole = run("python", *args(story.whole, story.steps))
    assert whole.returncode == 0, whole.stderr
    return story


def damage(checkpoint):
    """Flips a bit of the largest file, as a bad disk does; nothing but a checksum can tell."""
    files = [path for path in pathlib.Path(checkpoint).rglob("*") if path.is_file()]
    path = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def losses(workdir):
    return {row["step"]: row["loss"] for row in read_jsonl(workdir) if row["split"] == "train"}


def test_a_signal_to_one_process_stops_all_at_the_same_step(story):
    assert story.stopped_codes == [143] * 4, story.stopped_texts
    assert f"stopped at step {story.stopped_at} of {ENDLESS}, saved" in story.stopped_texts[0]
    assert "SIGTERM" in story.stopped_texts[2]


def test_when_one_process_is_killed_the_other_ends_with_a_sentence(story):
    assert story.killed_codes == [1, -signal.SIGKILL], story.killed_texts
    errors = [line for line in story.killed_texts[0].splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "process 0 of 2 has lost another one" in errors[0]
    assert "Traceback" not in story.killed_texts[0]


def test_the_run_goes_on_on_any_number_of_processes(story):
    assert story.last_codes == [0] * 4, story.last_texts
    assert 2 <= story.stopped_at == story.killed_at  # the steps up to the kill were taken again


def test_a_damaged_checkpoint_is_left_out_by_all(story):
    newest = f"{story.broken}/checkpoints/{story.damaged}"
    assert f"checkpoint {newest} is damaged" in story.last_texts[0]
    assert story.killed_at <= story.resumed_at < story.damaged
    assert f"resume: {story.broken}/checkpoints/{story.resumed_at}" in story.last_texts[0]


def test_no_example_is_lost_and_none_comes_twice(story):
    ids = example_ids.read(story.broken)
    assert ids == example_ids.read(story.whole)
    assert sorted(ids) == list(range(1, story.steps + 1))


def test_each_process_reads_its_share_alone(story):
    """The last steps were taken on a mesh of two by two: two processes have the same half of the 16 rows."""
    folder = os.path.join(story.broken, "example_ids")
    first, last = list(range(8)), list(range(8, 16))
    for number, rows in enumerate([first, first, last, last]):
        lines = jsonl.read(os.path.join(folder, f"{number:05}.jsonl"))
        assert lines[-1]["rows"] == rows
        assert lines[0]["rows"] == list(range(4 * number, 4 * number + 4))


def test_losses_are_those_of_the_run_on_one_process(story):
    one, many = losses(story.whole), losses(story.broken)
    assert list(one) == list(many) == list(range(1, story.steps + 1))
    np.testing.assert_allclose(list(many.values()), list(one.values()), rtol=1e-4)


def test_what_is_said_and_written_comes_from_process_0_alone(story):
    assert "process 0 of 4: 4 devices, 1 here; hosts " in story.last_texts[0]
    assert "done: step" in story.last_texts[0]
    for text in story.last_texts[1:]:
        assert not [line for line in text.splitlines() if "[Gloo]" not in line]
    steps = [row["step"] for row in read_jsonl(story.broken)]
    assert steps == sorted(steps)
