"""The GLUE job: which setting counts, averages, table, stages, submission."""

import json
import os
import pathlib
import statistics
import sys
import zipfile

import jax
import pytest

from fnet_jax.configs import pretrain
from fnet_jax.core import config_dict
from fnet_jax.core.errors import UserError
from fnet_jax.core.workdir import save_config
from fnet_jax.tools.glue.conclude import conclude
from fnet_jax.tools.glue.job import GlueJob, GlueOptions
from fnet_jax.tools.glue.submission import validate
from fnet_jax.tools.sweep import run as runner
from fnet_jax.train.loop import train
from tests.conftest import REPOSITORY, run, smoke_config
from tests.in_process import run_in_process
from tests.made_up import write_glue
from tests.tools.sweep.test_run import FAKE


@pytest.fixture
def options(tmp_path, monkeypatch):
    """A job over four tasks with files of a line or two; its runs answer at once."""
    monkeypatch.setattr(runner, "PROGRAM", [FAKE])
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    files = tmp_path / "glue"
    pair, nli = ["index", "sentence1", "sentence2"], ["entailment", "neutral"]
    for name in ("train", "dev", "test"):
        single = name != "test"
        cola = [["x", 1, "", "Good."], ["x", 0, "", "Bad the."]] if single else [["0", "Good."]]
        write(files / "CoLA" / f"{name}.tsv", None if single else ["index", "sentence"], cola)
        label = ["label"] if single else []
        write(files / "RTE" / f"{name}.tsv", [*pair, *label], [[0, "a", "b", *["entailment"] * single]])
    for name in ("train", "dev_matched", "dev_mismatched", "test_matched", "test_mismatched"):
        label = ["gold_label"] if not name.startswith("test") else []
        write(
            files / "MNLI" / f"{name}.tsv",
            [*pair, *label],
            [[i, "a", "b", *([text] if label else [])] for i, text in enumerate(nli)],
        )
    write(files / "diagnostic" / "diagnostic.tsv", pair, [[0, "a", "b"]])
    start = tmp_path / "pretrained"
    os.makedirs(start)
    save_config(config_dict.parse(pretrain.get_config("smoke")), str(start))
    return GlueOptions(
        config_file=str(REPOSITORY / "configs" / "glue.py"),
        config_arg="smoke",
        overrides={},
        workdir=str(tmp_path / "W"),
        init_from=str(start),
        data_dir=str(files),
        tasks=("cola", "sst2", "mnli", "rte"),
        from_mnli=("rte",),
        learning_rates=[1e-5, 5e-5],
        batch_sizes=[],
        seeds=2,
        epochs=None,
    )


def write(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in ([header] if header else []) + rows))


def starts(workdir):
    return sum(path.read_text().count("\n") for path in pathlib.Path(workdir).rglob("starts.txt"))


def submitted(workdir, name):
    with zipfile.ZipFile(os.path.join(workdir, "submission.zip")) as archive:
        return archive.read(f"{name}.tsv").decode().splitlines()


def test_a_whole_job(options, capsys):
    job = GlueJob(options)
    os.makedirs(options.workdir)
    job.run()
    assert conclude(job) == 0
    shown = capsys.readouterr().out
    assert "SST-2 is skipped: data.dir=" in shown
    assert starts(options.workdir) == 3 * 2 * 2

    best = os.path.join(options.workdir, "mnli", "optim.learning_rate=5e-05,seed=1", "checkpoints", "7")
    assert {point.config.init_from for point in job.points["rte"]} == {best}
    assert {point.config.init_from for point in job.points["cola"]} == {options.init_from}

    content = json.loads((pathlib.Path(options.workdir) / "results.json").read_text())
    by_title = {row["title"]: row for row in content["tasks"]}
    assert list(by_title) == ["CoLA", "MNLI-m", "MNLI-mm", "RTE"]
    assert by_title["MNLI-m"]["score"] == pytest.approx(0.61)
    assert by_title["MNLI-mm"]["score"] == pytest.approx(0.66)
    assert by_title["CoLA"]["learning_rate"] == 1e-5, "the other one has a run that is no result"
    average = content["averages"]["glue"]
    assert average["value"] == pytest.approx(statistics.fmean([0.595, (0.61 + 0.66) / 2, 0.61]))
    assert (average["of"], average["total"]) == (["CoLA", "MNLI", "RTE"], 8)
    assert "of 3 of 8 tasks (CoLA, MNLI, RTE)" in shown

    assert validate(os.path.join(options.workdir, "submission.zip")) == []
    assert "submission: SST-2.tsv has no predictions" in shown
    assert "submission: AX.tsv" not in shown
    assert submitted(options.workdir, "AX")[1:3] == ["0\tneutral", "1\tentailment"], "of seed 1 of MNLI"
    assert submitted(options.workdir, "CoLA")[1:3] == ["0\t1", "1\t0"], "of seed 1"
    assert (pathlib.Path(options.workdir) / "table.png").stat().st_size > 5_000

    again = GlueJob(options)
    again.run()
    assert conclude(again) == 0
    assert starts(options.workdir) == 3 * 2 * 2, "nothing is run twice"
    assert json.loads((pathlib.Path(options.workdir) / "results.json").read_text()) == content


def test_tasks_from_mnli_wait_for_it(options, monkeypatch, capsys):
    """One run of MNLI failed, so what comes after it is not run, and not lost either."""
    job = GlueJob(options)
    os.makedirs(options.workdir)
    monkeypatch.setattr(runner, "PROGRAM", ["-c", "raise SystemExit(5)"])
    job.run()
    assert starts(options.workdir) == 0
    assert conclude(job) == 1
    shown = capsys.readouterr().out
    assert "RTE is not in the table: it starts from MNLI, whose runs are not all done" in shown
    assert "task=mnli,optim.learning_rate=1e-05,seed=0 failed (5)" in shown


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"overrides": {"seed": 3}}, "--config.seed is what a flag of this tool sets"),
        ({"tasks": ("sst2", "qqp"), "from_mnli": ()}, "has the data of none of sst2, qqp"),
        ({"init_from": "/none"}, "init_from=/none holds no config.json"),
        ({"learning_rates": [-1.0]}, "optim.learning_rate=-1.0 must be greater than 0"),
    ],
)
def test_options_that_cannot_work_are_refused(options, change, says):
    with pytest.raises(UserError) as error:
        GlueJob(GlueOptions(**{**vars(options), **change}))
    assert says in str(error.value)


def test_a_damaged_file_is_no_missing_task(options):
    path = pathlib.Path(options.data_dir) / "RTE" / "dev.tsv"
    path.write_text(path.read_text().replace("entailment", "entailed"))
    with pytest.raises(UserError, match="label 'entailed' is unknown"):
        GlueJob(options)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--workdir=W", "--data_dir=D"], "--init_from is not given"),
        (["--workdir=W", "--init_from=P"], "--data_dir is not given"),
        (["--workdir=W", "--data_dir=D", "--from_scratch", "--init_from=P"], "exclude each other"),
        (["--workdir=W", "--init_from=P", "--data_dir=D", "--tasks=cola,sst"], "--tasks=sst is unknown"),
        (["--workdir=W", "--init_from=P", "--data_dir=D", "--learning_rates=a"], "must be numbers"),
        (["--workdir=W", "--init_from=P", "--data_dir=D", "--tasks=rte", "--from_mnli=rte"], "needs mnli"),
        (["--init_from=P", "--data_dir=D"], "--workdir is not given"),
        (["--config.model.d_modl=3"], "did you mean d_model"),
    ],
)
def test_bad_flags_are_one_line_and_exit_code_2(flags, says):
    found = run_in_process("fnet_jax.tools.glue", *flags)
    assert found.returncode == 2
    assert found.stderr.startswith("error: ")
    assert found.stderr.count("\n") == 1
    assert says in found.stderr


def test_validate(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("CoLA.tsv", "index\tprediction\n0\t2\n")
    found = run_in_process("fnet_jax.tools.glue", f"--validate={path}")
    assert found.returncode == 1
    assert "SST-2.tsv is missing" in found.stdout


def test_a_real_run(overrides, tmp_path):
    """From a pretrained model to a table and a submission, with one task and one setting."""
    write_glue(tmp_path / "glue")
    with jax.numpy_dtype_promotion("standard"):
        assert train(smoke_config(overrides), f"{tmp_path}/P") == 0
    flags = [
        "--config=configs/glue.py:smoke", f"--init_from={tmp_path}/P", f"--data_dir={tmp_path}/glue",
        f"--workdir={tmp_path}/W", "--tasks=stsb,rte", "--seeds=1", "--learning_rates=1e-2",
    ]  # fmt: skip
    found = run(sys.executable, "-m", "fnet_jax.tools.glue", *flags)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "RTE is skipped" in found.stdout
    (row,) = json.loads((tmp_path / "W" / "results.json").read_text())["tasks"]
    assert (row["title"], row["examples"], row["runs"]) == ("STS-B", 20, 1)
    assert row["not_whole"] == ["train", "validation"]
    assert row["score"] == pytest.approx(statistics.fmean(row["metrics"].values()))
    assert row["paper_score"] == row["metrics"]["spearman"]
    assert "STS-B test has 20 examples here, not the official 1,379; left out" in found.stdout
    assert validate(str(tmp_path / "W" / "submission.zip")) == []
