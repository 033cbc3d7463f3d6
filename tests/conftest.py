"""Strict JAX on eight forced CPU devices, for every test."""

import atexit
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from pydoc_data.topics import topics

from tests import FAST_COMPILE

# Before JAX is imported anywhere.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=8 {FAST_COMPILE}"
os.environ.setdefault("MPLBACKEND", "Agg")
if "PYTEST_XDIST_WORKER" not in os.environ:
    # What one process of this run has compiled, the others find; nothing of the user's is read or written.
    _cache = tempfile.mkdtemp(prefix="fnet_jax_tests_")
    atexit.register(shutil.rmtree, _cache, ignore_errors=True)
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "true"
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax
import pytest

from fnet_jax.configs import pretrain
from fnet_jax.core import config_dict
from fnet_jax.core.config import Config
from fnet_jax.data.corpus import prepare

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

REPOSITORY = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> pathlib.Path:
    """Real English that every Python ships: the language reference, one document a line."""
    path = tmp_path_factory.mktemp("corpus") / "topics.jsonl"
    documents = [
        {"text": text.replace("\n\n", "\0").replace("\n", " ").replace("\0", "\n")}
        for text in topics.values()
    ]
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


@pytest.fixture(scope="session")
def overrides(corpus, tmp_path_factory) -> dict[str, object]:
    """What makes the smoke config train on a small prepared data set, shared by the tests."""
    values = {
        "data.corpus": str(corpus),
        "data.dir": str(tmp_path_factory.mktemp("data") / "prepared"),
        "data.tokenizer_pieces": 600,
        "train.log_frequency": 1,
    }
    config = smoke_config(values)
    prepare.prepare(config.data, config.model.max_seq_length, config.data.dir)
    return values


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder of real data sets that FNET_JAX_TEST_DATA names."""
    folder = os.environ.get("FNET_JAX_TEST_DATA", "")
    if not os.path.isdir(folder):
        pytest.skip("FNET_JAX_TEST_DATA names no folder of real data sets")
    return pathlib.Path(folder)


def smoke_config(overrides: dict[str, object]) -> Config:
    """The smoke config with some keys changed."""
    config = pretrain.get_config("smoke")
    config.update_from_flattened_dict(overrides)
    return config_dict.parse(config)


def command(script: str, overrides: dict[str, object], *flags: str) -> list[str]:
    """A command line for train.py or eval.py on the smoke config."""
    keys = [f"--config.{key}={value}" for key, value in overrides.items()]
    return [sys.executable, script, "--config=configs/pretrain.py:smoke", *keys, *flags]


def environment(devices: int = 1) -> dict[str, str]:
    """Of a process with some CPU devices."""
    flags = f"--xla_force_host_platform_device_count={devices} {FAST_COMPILE}"
    return {**os.environ, "XLA_FLAGS": flags}


def run(*args: str, devices: int = 1, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Runs a command in the repository, on one device by default, and returns what it printed."""
    args = (sys.executable, *args[1:]) if args[0] == "python" else args
    return subprocess.run(
        args, cwd=REPOSITORY, env=environment(devices), capture_output=True, text=True, timeout=timeout,
        check=False,
    )  # fmt: skip
