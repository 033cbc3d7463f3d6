"""The command itself, on shapes so small that only the way through is tested."""

import json
import re
import shlex
import sys
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from fnet_jax.configs import pretrain
from fnet_jax.core import config_dict
from fnet_jax.core.batch import pretrain_spec
from fnet_jax.core.errors import UserError
from fnet_jax.core.special_tokens import NUM_SPECIAL_IDS
from fnet_jax.tools.bench import __main__ as bench
from fnet_jax.tools.bench import mixing as bench_mixing
from fnet_jax.tools.bench import model as bench_model
from fnet_jax.tools.bench import plan as bench_plan
from tests.conftest import REPOSITORY, run

QUICK = ("--rounds=2", "--warmup=1", "--min_sample_ms=0")
SMOKE = ("--config=configs/pretrain.py:smoke", "--config.model.num_layers=1", "--config.model.vocab_size=96")


# ml_collections loads config files in a way that Python means to drop.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture(scope="module", autouse=True)
def flags_of_the_command():
    """Defines them for this module alone: other programs have flags of the same names."""
    before = set(flags.FLAGS)
    bench.define_flags()
    yield
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)


def main(*args):
    """Runs the command in this process."""
    argv = ["bench", *args]
    with flagsaver.flagsaver(), mock.patch.object(sys, "argv", argv):  # --config.KEY is looked for there
        return bench.main(flags.FLAGS(argv))


def figures(path):
    return json.loads(path.read_text())["rows"]


def test_mixing(tmp_path, capsys):
    """Every implementation that is meant for a CPU, and the files."""
    code = main(
        "mixing", "--lengths=16", "--widths=8", "--batches=2", f"--out={tmp_path}", "--nopeers", *QUICK
    )
    assert code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "mixing-cpu.json",
        "mixing-cpu.md",
        "mixing-cpu.png",
    ]
    rows = figures(tmp_path / "mixing-cpu.json")
    expected = [name for name in bench_mixing.IMPLS if name != "pallas"] + [*bench_mixing.PEERS]
    assert [row["case"] for row in rows] == 2 * expected
    assert not [row["error"] for row in rows if "error" in row]
    assert all(row["seconds"]["median"] > 0 and len(row["samples"]) == 2 for row in rows)
    baselines = [row["times_baseline"] for row in rows if row["case"] == "jnp.fft2"]
    assert baselines == [1.0, 1.0]
    assert "jnp.fft2" in capsys.readouterr().out


def test_a_failing_case_becomes_a_row(tmp_path, monkeypatch, capsys):
    def cannot(x_BLD):
        raise ValueError(f"length {x_BLD.shape[1]} is not for me")

    monkeypatch.setitem(bench_mixing.PEERS, "complex_matmul", cannot)
    shape = ("--lengths=16", "--widths=8", "--tokens=32", "--passes=forward", "--nopeers")
    assert main("mixing", *shape, "--impls=complex_matmul,dft", f"--out={tmp_path}", *QUICK) == 0
    failed, done = figures(tmp_path / "mixing-cpu.json")
    assert failed["error"] == "length 16 is not for me"
    assert done["case"] == "dft"
    assert "length 16 is not for me" in capsys.readouterr().out
    assert main("mixing", *shape, "--impls=complex_matmul", *QUICK) == 1


def test_step(tmp_path):
    """Optax needs the ordinary promotion of dtypes."""
    args = ("--lengths=16", "--batches=8", "--mixers=fourier", "--nopeers", f"--out={tmp_path}")
    with jax.numpy_dtype_promotion("standard"):
        code = main("step", *SMOKE, *args, *QUICK)
    assert code == 0
    (found,) = figures(tmp_path / "step-cpu.json")
    assert found["case"] == "fourier"
    assert found["times_baseline"] == 1.0  # without attention the first is the baseline
    assert found["tokens_per_second"] == pytest.approx(8 * 16 / found["seconds"]["median"])
    assert found["memory_bytes"] > 0


def test_infer(tmp_path):
    code = main(
        "infer", *SMOKE, "--batches=1,3", "--mixers=ff_only", "--nopeers", f"--out={tmp_path}", *QUICK
    )
    assert code == 0
    rows = figures(tmp_path / "infer-cpu.json")
    assert [row["setting"]["batch"] for row in rows] == [1, 3]
    assert not [row["error"] for row in rows if "error" in row]


def test_predict(tmp_path):
    assert main("predict", *SMOKE, "--batches=1,32", "--lengths=16", f"--out={tmp_path}", *QUICK) == 0
    rows = figures(tmp_path / "predict-cpu.json")
    assert [row["case"] for row in rows] == ["one by one", "batches of 1", "batches of 32"]
    assert not [row["error"] for row in rows if "error" in row]


def test_data(tmp_path, overrides):
    """From a prepared data set; nothing but the report is written."""
    keys = [f"--config.{key}={value}" for key, value in overrides.items()]
    code = main(
        "data",
        "--config=configs/pretrain.py:smoke",
        *keys,
        f"--workdir={tmp_path}/w",
        "--workers=0",
        f"--out={tmp_path}/o",
        *QUICK,
    )
    assert code == 0
    (found,) = figures(tmp_path / "o/data-cpu.json")
    assert found["case"] == "thread"
    assert found["examples_per_second"] == pytest.approx(16 / found["seconds"]["median"])
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "one of mixing, step, infer, predict, data"),
        (["mix"], "one of mixing, step, infer, predict, data"),
        (["mixing", "--lengths=16,x"], "--lengths: 'x' is no number of 1 or more"),
        (["mixing", "--widths=0"], "--widths: '0' is no number"),
        (["mixing", "--impls=dft,fast"], "--impls: 'fast' is unknown; valid: auto, "),
        (["mixing", "--mixers=attention"], "--mixers: 'attention' is unknown; valid: fourier"),
        (["mixing", "--dtypes=float16"], "--dtypes: 'float16' is unknown"),
        (["mixing", "--passes=backward"], "--passes: 'backward' is unknown"),
        (["mixing", "--baseline=bert", "--nopeers"], "--baseline: 'bert' is unknown; valid: auto, "),
        (["mixing", "--batches=2", "--tokens=64", "--nopeers"], "exclude each other"),
        (["mixing", "--workers=2"], "--workers has no effect on mixing"),
        (["mixing", "--nopeers", "--impls=torch.fftn"], "there is no case left to time"),
        (["step"], "--config is not given"),
        (["step", *SMOKE, "--widths=8"], "--widths has no effect on step"),
        (["step", "--config=configs/classify.py:task=pydocs,smoke", "--nopeers"], "task='pydocs' cannot be"),
        (["data", *SMOKE], "--workdir is not given"),
    ],
)
def test_bad_input(args, says):
    with pytest.raises(UserError, match=re.escape(says)):
        main(*args)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--out=.*cannot be made \("):
        main("mixing", "--nopeers", f"--out={tmp_path}/file/x")


def test_bad_input_is_one_line_and_exit_code_2():
    result = run("python", "-m", "fnet_jax.tools.bench", "mixing", "--lengths=a")
    assert result.returncode == 2
    assert result.stderr == "error: --lengths: 'a' is no number of 1 or more; separate several by commas\n"


class Planned(Exception):
    """Carries the cases that would be timed."""


def documented():
    """The commands of docs/bench/README.md that need no data."""
    text = (REPOSITORY / "docs/bench/README.md").read_text().replace("\\\n", " ")
    commands = [
        shlex.split(line)[3:] for line in text.splitlines() if line.startswith("    python -m fnet_jax")
    ]
    return [
        pytest.param(args, id=" ".join(args[:6]))
        for args in commands
        if args[0] in ("mixing", "step", "infer")
    ]


@pytest.mark.parametrize("args", documented())
def test_documented_commands_can_be_run(args, tmp_path, monkeypatch):
    def planned(cases, **_):
        raise Planned(cases)

    monkeypatch.setattr(bench, "measure", planned)
    args = [arg for arg in args if not arg.startswith("--out")]
    with pytest.raises(Planned) as found:
        main(*args, "--nopeers", f"--out={tmp_path}")
    assert len(found.value.args[0]) >= 4


@pytest.mark.parametrize("name", list(bench_mixing.PEERS))
def test_what_is_compared_with_computes_the_same(name):
    x_BLD = np.random.default_rng(0).standard_normal((2, 12, 10))
    found = bench_mixing.PEERS[name](jnp.asarray(x_BLD, jnp.float32))
    expected = np.fft.fft2(x_BLD).real
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_random_batch():
    c = pretrain.get_config("smoke")
    c.model.vocab_size = 96
    c = bench_model.variant(config_dict.parse(c), {"length": 32, "batch": 4, "dtype": "float32"}, "fourier")
    spec = pretrain_spec(4, 32, 6)
    batch = bench_model.random_batch(spec, c.model)
    assert {name: (x.shape, x.dtype) for name, x in batch.items()} == {
        name: (x.shape, x.dtype) for name, x in spec.items()
    }
    assert (np.diff(batch["masked_lm_positions"], axis=1) > 0).all()
    assert batch["input_ids"].min() >= NUM_SPECIAL_IDS


def test_variant():
    """Tokens give the batch, predictions grow with the length, names give mixer and implementation."""
    c = config_dict.parse(pretrain.get_config("smoke"))
    found = bench_model.variant(c, {"length": 64, "tokens": 256, "dtype": "bfloat16"}, "hartley/dft")
    assert (found.model.mixer, found.model.fourier_impl) == ("hartley", "dft")
    assert (found.model.max_seq_length, found.train.train_batch_size) == (64, 4)
    assert found.data.max_predictions_per_seq == 2 * c.data.max_predictions_per_seq
    assert found.model.dtype == "bfloat16"
    bert = bench_model.variant(c, {"length": 32, "batch": 4, "dtype": "float32"}, "HF BERT")
    assert bert.model.mixer == "attention"


def test_names():
    assert bench_mixing.names(["fourier", "hartley", "dct"], ["dft", "jnp.fft2"]) == [
        "dft",
        "jnp.fft2",
        "hartley/dft",
        "dct",
    ]
    assert bench_model.names(["fourier", "linear"], ["auto", "dft"]) == ["fourier", "fourier/dft", "linear"]
    assert bench_model.names(["fourier", "attention"], ["auto", "xla", "cudnn"]) == [
        "fourier",
        "attention",
        "attention/xla",
        "attention/cudnn",
    ]


def test_a_missing_peer_is_told_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_plan, "missing", lambda *names: list(names))
    shape = ("--lengths=16", "--widths=8", "--passes=forward")
    assert main("mixing", *shape, "--impls=fft,torch.fftn", f"--out={tmp_path}", *QUICK) == 0
    assert [row["case"] for row in figures(tmp_path / "mixing-cpu.json")] == ["fft"]
    said = 'left out for want of torch: torch.fftn; pip install "fnet_jax[bench]" adds them'
    assert capsys.readouterr().err == said + "\n"
    assert said in (tmp_path / "mixing-cpu.md").read_text()
