"""One run on four, two, one and four processes, stopped and killed in between: nothing lost, nothing twice."""

import os
import signal

import numpy as np
import pytest

from fnet_jax.train import example_ids
from fnet_jax.train.writers import read_jsonl
from tests.conftest import command, run
from tests.distributed.processes import group

STEPS = 120
LONG = {
    "train.num_train_steps": STEPS, "train.save_checkpoints_steps": 10, "train.max_to_keep": 100,
    "train.eval_frequency": 0, "optim.num_warmup_steps": 10, "optim.learning_rate": 1e-3,
    "model.dropout_rate": 0.0, "log.example_ids": True,
}  # fmt: skip


class Story:
    """What happened, for the tests to look at."""


@pytest.fixture(scope="module")
def story(overrides, tmp_path_factory):
    """The uninterrupted run on one process, and the same run with everything happening to it."""
    folder = tmp_path_factory.mktemp("elastic")
    whole, broken = str(folder / "whole"), str(folder / "broken")
    keys = {**overrides, **LONG}
    story = Story()
    story.whole, story.broken = whole, broken

    result = run(*command("train.py", keys, f"--workdir={whole}"))
    assert result.returncode == 0, result.stderr

    args = command("train.py", keys, f"--workdir={broken}")[1:]

    def saved() -> int:
        """Step of the newest complete checkpoint; only those have a number alone for a name."""
        folder = os.path.join(broken, "checkpoints")
        names = os.listdir(folder) if os.path.isdir(folder) else []
        return max((int(name) for name in names if name.isdigit()), default=0)

    with group(folder, args, 4) as four:
        four.wait_for(lambda: saved() >= 10, "checkpoint of step 10")
        four.processes[2].send_signal(signal.SIGTERM)
        story.stopped_codes = four.codes()
        story.stopped_texts = [four.text(number) for number in range(4)]
        story.stopped_at = saved()
    with group(folder, args, 2, devices=2) as two:
        two.wait_for(lambda: saved() >= story.stopped_at + 10, "later checkpoint")
        two.processes[1].kill()
        story.killed_codes = two.codes()
        story.killed_texts = [two.text(number) for number in range(2)]
        story.killed_at = saved()
    with group(folder, args, 1) as one:
        one.wait_for(lambda: saved() >= story.killed_at + 10, "later checkpoint")
        one.processes[0].terminate()
        story.one_codes = one.codes()
    with group(folder, args, 4) as four:
        story.last_codes = four.codes()
        story.last_texts = [four.text(number) for number in range(4)]
    return story


def losses(workdir):
    return {row["step"]: row["loss"] for row in read_jsonl(workdir) if row["split"] == "train"}


def test_a_signal_to_one_process_stops_all_at_the_same_step(story):
    assert story.stopped_codes == [143] * 4, story.stopped_texts
    assert f"stopped at step {story.stopped_at} of {STEPS}, saved" in story.stopped_texts[0]
    assert "SIGTERM" in story.stopped_texts[2]


def test_when_one_process_is_killed_the_other_ends_with_a_sentence(story):
    assert story.killed_codes == [1, -signal.SIGKILL], story.killed_texts
    errors = [line for line in story.killed_texts[0].splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "process 0 of 2 has lost another one" in errors[0]
    assert "Traceback" not in story.killed_texts[0]


def test_the_run_goes_on_on_any_number_of_processes(story):
    assert story.one_codes == [143]
    assert story.last_codes == [0] * 4, story.last_texts
    assert 10 <= story.stopped_at < story.killed_at < STEPS


def test_no_example_is_lost_and_none_comes_twice(story):
    ids = example_ids.read(story.broken)
    assert ids == example_ids.read(story.whole)
    assert sorted(ids) == list(range(1, STEPS + 1))


def test_losses_are_those_of_the_run_on_one_process(story):
    one, many = losses(story.whole), losses(story.broken)
    assert list(one) == list(many) == list(range(1, STEPS + 1))
    np.testing.assert_allclose(list(many.values()), list(one.values()), rtol=1e-4)


def test_what_is_said_and_written_comes_from_process_0_alone(story):
    assert "process 0 of 4: 4 devices, 1 here; hosts " in story.last_texts[0]
    assert "done: step" in story.last_texts[0]
    for text in story.last_texts[1:]:
        assert not [line for line in text.splitlines() if "[Gloo]" not in line]
    steps = [row["step"] for row in read_jsonl(story.broken)]
    assert steps == sorted(steps)
