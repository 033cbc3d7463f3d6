"""What `pip install` leaves: a package that works from any folder, without the checkout."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import venv

import pytest

from fnet_jax.__main__ import COMMANDS
from tests import FAST_COMPILE
from tests.conftest import REPOSITORY

SITE = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> pathlib.Path:
    """A fresh environment with the wheel; the dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    shutil.copytree(
        REPOSITORY / "fnet_jax", source / "fnet_jax", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
    offline = ["--no-deps", "--no-index"]
    subprocess.run(
        [*pip, "wheel", *offline, "--no-build-isolation", f"--wheel-dir={folder}", source], check=True
    )
    venv.create(folder / "env")
    (wheel,) = folder.glob("fnet_jax-*.whl")
    python = folder / "env" / "bin" / "python"
    subprocess.run([*pip, f"--python={python}", "install", *offline, wheel], check=True)
    (folder / "env" / SITE / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "env"


def run(environment: pathlib.Path, folder: pathlib.Path, *args: str) -> str:
    """The output of a program of the environment, started in a folder."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [environment / "bin" / args[0], *args[1:]],
        cwd=folder, env={**variables, "XLA_FLAGS": FAST_COMPILE}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_wheel_brings_one_package(installed, tmp_path):
    folder = installed / SITE
    assert {path.name for path in folder.iterdir() if not path.name.startswith("fnet_jax-")} == {
        "fnet_jax", "dependencies.pth",
    }  # fmt: skip
    says = "import fnet_jax; print(fnet_jax.__file__, fnet_jax.load.__name__)"
    assert run(installed, tmp_path, "python", "-c", says) == f"{folder}/fnet_jax/__init__.py load\n"


def test_the_smoke_config_trains_in_an_empty_folder(installed, corpus, tmp_path):
    """Also with an input process, which starts from the program's own module."""
    keys = (f"--config.data.corpus={corpus}", "--config.data.num_workers=1")
    train = ("fnet", "train", "--config=configs/pretrain.py:smoke", *keys, "--workdir=W")
    said = run(installed, tmp_path, *train)
    assert f"checkpoint {tmp_path}/W/checkpoints/12" in said
    config = json.loads(run(installed, tmp_path, "fnet", "eval", "--workdir=W", "--print_config"))
    assert config["data"]["corpus"] == str(corpus)
    assert [path.name for path in tmp_path.iterdir()] == ["W"]


def test_a_config_of_the_folder_comes_before_a_shipped_one(installed, tmp_path):
    show = ("fnet", "train", "--print_config")
    assert json.loads(run(installed, tmp_path, *show, "--config=glue:task=rte"))["task"] == "rte"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "glue.py").write_text(
        "from fnet_jax.configs import pretrain\nget_config = lambda: pretrain.get_config('mixer=linear')\n"
    )
    printed = json.loads(run(installed, tmp_path, *show, "--config=configs/glue.py"))
    assert printed["model"]["mixer"] == "linear"


def test_every_tool_is_a_command(installed, tmp_path):
    tools = REPOSITORY / "fnet_jax" / "tools"
    programs = [path for path in tools.rglob("*.py") if "cli.run(" in path.read_text()]
    names = {path.parent.name if path.stem == "__main__" else path.stem for path in programs}
    assert names == {*COMMANDS, "run_point"}  # one of a sweep is started by `sweep`
    listed = run(installed, tmp_path, "fnet", "--help")
    assert all(f"    {name} " in listed for name in COMMANDS)
    assert "--top_k" in run(installed, tmp_path, "fnet", "predict", "--help")
