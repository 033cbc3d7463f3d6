"""Fine-tunes a pretrained model on all tasks of GLUE and makes one table: see docs/glue.md.

    python -m fnet_jax.tools.glue --init_from=PRETRAINED --data_dir=GLUE_DIR --workdir=W
    python -m fnet_jax.tools.glue --validate=W/submission.zip

The same command goes on where an earlier one ended. Exit codes: 0 all done, 1 some runs are not, 2 bad
input, 130 and 143 stopped by Ctrl-C or SIGTERM with everything saved.
"""

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from fnet_jax.core.errors import UserError
from fnet_jax.core.files import write_atomically
from fnet_jax.runtime import cli
from fnet_jax.tasks.table import GLUE
from fnet_jax.tools.glue import table as glue_table
from fnet_jax.tools.glue.job import Job, Plan
from fnet_jax.tools.glue.submission import FILES, validate
from fnet_jax.tools.sweep.results import PICTURE_FILE, RESULTS_FILE, TABLE_FILE, state
from fnet_jax.tools.sweep.run import Stopped

SUBMISSION_FILE = "submission.zip"
RUNNABLE = tuple(name for name in GLUE if name != "ax")


def plan_of_flags() -> Plan:
    """What the flags ask for.

    Raises:
        UserError: for a flag that is missing or cannot work.
    """
    flag = flags.FLAGS
    if flag.from_scratch and flag.init_from:
        raise UserError(f"--from_scratch and --init_from={flag.init_from} exclude each other; leave one out")
    for name in ("data_dir",) if flag.from_scratch else ("init_from", "data_dir"):
        if not getattr(flag, name) and not (name == "data_dir" and flag.config.data.corpus):
            raise UserError(f"--{name} is not given; {MEANING[name]}")
    file, _, arg = config_flags.get_config_filename(flag["config"]).partition(":")
    tasks = RUNNABLE if flag.tasks == ["all"] else _tasks("tasks", flag.tasks)
    from_mnli = _tasks("from_mnli", flag.from_mnli)
    if from_mnli and ("mnli" in from_mnli or not {"mnli", *from_mnli} <= set(tasks)):
        raise UserError(
            f"--from_mnli={','.join(from_mnli)} needs mnli and these tasks in --tasks={','.join(tasks)}"
        )
    return Plan(
        config_file=file,
        config_arg=arg,
        overrides=config_flags.get_override_values(flag["config"]),
        workdir=cli.workdir(),
        init_from=os.path.abspath(os.path.expanduser(flag.init_from)) if flag.init_from else "",
        data_dir=os.path.abspath(os.path.expanduser(flag.data_dir)) if flag.data_dir else "",
        tasks=tasks,
        from_mnli=from_mnli,
        learning_rates=_numbers("learning_rates", flag.learning_rates),
        batch_sizes=[int(size) for size in _numbers("batch_sizes", flag.batch_sizes)],
        seeds=flag.seeds,
        epochs=flag.epochs,
    )


def _tasks(name: str, found: Sequence[str]) -> tuple[str, ...]:
    for task in found:
        if task not in RUNNABLE:
            raise UserError(f"--{name}={task} is unknown; valid: all or some of {', '.join(RUNNABLE)}")
    return tuple(dict.fromkeys(found))


def _numbers(name: str, found: Sequence[str]) -> list[float]:
    try:
        return [float(text) for text in dict.fromkeys(found)]
    except ValueError:
        raise UserError(f"--{name}={','.join(found)} must be numbers with commas between them") from None


def conclude(job: Job) -> int:
    """Writes and prints the table and the submission; returns the exit code."""
    paths = {
        name: os.path.join(job.plan.workdir, name)
        for name in (TABLE_FILE, PICTURE_FILE, RESULTS_FILE, SUBMISSION_FILE)
    }
    faults = job.predict()
    warnings = job.write_submission(paths[SUBMISSION_FILE])
    rows, grid = job.rows(), job.grid()
    text = "\n".join([glue_table.table(rows), "", *_averages(rows), *_what_is_missing(job)])
    settings = f"All settings:\n\n{glue_table.all_settings(grid)}"
    write_atomically(paths[TABLE_FILE], f"{text}\n\n{settings}\n".encode())
    write_atomically(paths[RESULTS_FILE], (json.dumps(_content(job, rows), indent=2) + "\n").encode())
    from fnet_jax.tools.sweep.plot import draw_glue

    draw_glue(rows, paths[PICTURE_FILE])
    print(f"\n{text}\n")
    print("\n".join(f"submission: {warning}" for warning in [*faults, *warnings]))
    print(f"files: {' '.join(paths.values())}")
    is_done = all(result and result.is_done for _, result in job.results())
    return 0 if is_done and not faults else 1


def _averages(rows: Sequence[glue_table.Row]) -> list[str]:
    return [
        f"GLUE average: {glue_table.glue_average(rows)}",
        f"paper's average: {glue_table.paper_average(rows)}",
    ]


def _what_is_missing(job: Job) -> list[str]:
    """A sentence on each task without data and each run that failed, one on those that wait."""
    lines = [f"{title} is not in the table: {why}" for title, why in job.skipped.items()]
    results = job.results()
    lines += [
        f"{point.name} {state(result)}: {result.error}"
        for point, result in results
        if result and not result.is_done
    ]
    waiting = sum(result is None for _, result in results)
    return [*lines, *([f"{waiting} runs are not done yet; the same command goes on"] if waiting else [])]


def _content(job: Job, rows: Sequence[glue_table.Row]) -> dict[str, Any]:
    """Everything that the table is made from."""
    averages = {"glue": glue_table.glue_average(rows), "paper": glue_table.paper_average(rows)}
    return {
        "tasks": [glue_table.to_json(row) for row in rows],
        "averages": {
            name: {"value": average.value, "of": list(average.of), "total": average.total}
            for name, average in averages.items()
        },
        "runs": [
            {
                "overrides": point.overrides,
                "state": state(result),
                "seconds": result.seconds if result else None,
                "values": result.values if result else {},
            }
            for point, result in job.results()
        ],
        "skipped": job.skipped,
    }


def main(argv: Sequence[str]) -> int:
    """Runs what is not done, and shows the table."""
    del argv
    flag = flags.FLAGS
    if flag.validate:
        return report(flag.validate)
    job = Job(plan_of_flags())
    os.makedirs(job.plan.workdir, exist_ok=True)
    try:
        job.run()
        return conclude(job)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code


def report(path: str) -> int:
    """Says whether GLUE's server can score a zip; exit code 1 if not."""
    faults = validate(path)
    print("\n".join(faults) or f"{path}: {len(FILES)} files, complete and well-formed")
    return 1 if faults else 0


MEANING = {
    "init_from": "name the --workdir of a pretraining run, or give --from_scratch",
    "data_dir": "name the folder that holds CoLA, SST-2, ... with GLUE's .tsv files",
}


def _define_flags() -> None:
    config_flags.DEFINE_config_file("config", None, "Config file; configs/glue.py by default.")
    flags.DEFINE_string("workdir", None, "Folder of the job: its runs, the table, the submission.")
    flags.DEFINE_string("init_from", None, MEANING["init_from"].capitalize() + ".")
    flags.DEFINE_bool("from_scratch", False, "Random parameters, to see what pretraining brings.")
    flags.DEFINE_string("data_dir", None, MEANING["data_dir"].capitalize() + ".")
    flags.DEFINE_list("tasks", ["all"], f"all, or some of {', '.join(RUNNABLE)}.")
    flags.DEFINE_list("from_mnli", [], "Tasks that start from the best run of MNLI.")
    flags.DEFINE_list("learning_rates", ["1e-5", "5e-5", "1e-4"], "To choose from on validation.")
    flags.DEFINE_list("batch_sizes", [], "To choose from on validation; the config's by default.")
    flags.DEFINE_integer("seeds", 3, "Runs of each setting.", lower_bound=1)
    flags.DEFINE_float("epochs", None, "Of each run; the config's by default.", lower_bound=0.0)
    flags.DEFINE_string("validate", None, "Check this submission and do nothing else.")


if __name__ == "__main__":
    from fnet_jax import configs

    _define_flags()
    if not any(arg == "--config" or arg.startswith("--config=") for arg in sys.argv):
        sys.argv.insert(1, f"--config={os.path.join(os.path.dirname(str(configs.__file__)), 'glue.py')}")
    cli.run(main)
