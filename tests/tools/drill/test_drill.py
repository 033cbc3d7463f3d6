"""A short drill, and that it would notice a loss."""

import json
import pathlib
import random
import shutil

import pytest

from fnet_jax.core.errors import UserError
from fnet_jax.train.checkpoints.checksums import fault
from tests.tools.drill.check import differences, lost_steps
from tests.tools.drill.run import drill
from tests.tools.drill.trainer import damage_newest


@pytest.fixture(scope="module")
def drilled(tmp_path_factory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("drill") / "out"
    assert drill(str(out), num_kills=4, seed=1) == 0
    return out


def test_nothing_is_lost(drilled):
    result = json.loads((drilled / "drill.json").read_text())
    assert result["faults"] == []
    assert [kill["aimed"] for kill in result["kills"]] == ["steps", "save", "evaluate", "compile"]
    assert all(kill["code"] in (-9, 130, 143, -15, -2) for kill in result["kills"])


def test_a_loss_would_be_noticed(drilled, tmp_path):
    whole = drilled / "undisturbed"
    for name in ("metrics.jsonl", "example_ids/00000.jsonl"):
        worse = tmp_path / name.replace("/", "-")
        shutil.copytree(drilled / "killed", worse)
        lines = (worse / name).read_text().splitlines()
        (worse / name).write_text("\n".join([*lines[:40], *lines[41:]]) + "\n")
        assert len(differences(str(whole), str(worse))) == 1
    worse = tmp_path / "parameters"
    shutil.copytree(drilled / "killed", worse)
    newest = max((worse / "checkpoints").iterdir(), key=lambda folder: int(folder.name))
    shutil.rmtree(newest)
    assert any("final variables" in text for text in differences(str(whole), str(worse)))
    assert lost_steps(str(worse)) == int(newest.name) - int(max(map(int, steps_of(worse))))


def steps_of(workdir: pathlib.Path) -> list[str]:
    return [folder.name for folder in (workdir / "checkpoints").iterdir()]


def test_damages_are_damages(drilled, tmp_path):
    for seed in range(6):
        workdir = tmp_path / str(seed)
        shutil.copytree(drilled / "undisturbed", workdir)
        newest = max(map(int, steps_of(workdir)))
        assert str(newest) in damage_newest(str(workdir), random.Random(seed))
        assert fault(str(workdir / "checkpoints" / str(newest)))


def test_leaves_other_folders_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match="is no drill's"):
        drill(str(tmp_path), num_kills=1, seed=0)
    assert (tmp_path / "thesis.tex").exists()
