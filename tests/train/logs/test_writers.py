import json
import math
import sys
import types

import pytest
from tensorboardX.proto import event_pb2

from fnet_jax.core.errors import UserError
from fnet_jax.train.logs import writers
from fnet_jax.train.loop import train
from tests.conftest import smoke_config


def test_jsonl_drops_what_comes_after_the_resumed_step(tmp_path):
    first = writers.JsonlWriter(str(tmp_path), 0)
    for step in (1, 2, 3):
        first.write(step, "train", {"loss": float(step)})
    first.close()
    second = writers.JsonlWriter(str(tmp_path), 2)
    second.write(3, "train", {"loss": math.nan})
    second.close()
    rows = writers.read_jsonl(str(tmp_path))
    assert [(row["step"], row["loss"]) for row in rows] == [(1, 1.0), (2, 2.0), (3, None)]
    json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])  # null, not NaN, is JSON


def scalars(folder) -> dict[tuple[str, int], float]:
    """What TensorBoard would show: every scalar of the event files, read from their records."""
    found = {}
    for path in folder.iterdir():
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            event = event_pb2.Event.FromString(data[12 : 12 + length])
            for value in event.summary.value:
                found[value.tag, event.step] = value.simple_value
            data = data[12 + length + 4 :]
    return found


def test_tensorboard_files_hold_the_scalars(tmp_path):
    writer = writers.TensorBoardWriter(str(tmp_path), 0)
    writer.write(7, "eval", {"loss": 1.5})
    writer.close()
    assert scalars(tmp_path / "tensorboard")["eval/loss", 7] == 1.5


def test_wandb_keeps_its_run_after_a_resume(tmp_path, monkeypatch):
    """The module is a stand-in: only how it is called can be checked without an account."""
    calls = []
    run = types.SimpleNamespace(log=lambda values, step: calls.append((step, values)), finish=lambda: None)
    fake = types.ModuleType("wandb")
    fake.util = types.SimpleNamespace(generate_id=lambda: "abc")
    fake.init = lambda **kwargs: calls.append(kwargs["id"]) or run
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for step in (1, 2):
        writer = writers.WandbWriter(str(tmp_path), "project", {})
        writer.write(step, "train", {"loss": 0.5})
        writer.close()
        fake.util.generate_id = None  # a second id must not be asked for
    assert calls == ["abc", (1, {"train/loss": 0.5}), "abc", (2, {"train/loss": 0.5})]


def test_wandb_that_is_not_installed_is_said_first(overrides, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="pip install wandb"):
        train(smoke_config({**overrides, "log.wandb_project": "x"}), str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()
