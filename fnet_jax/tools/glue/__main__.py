"""Fine-tunes a pretrained model on all tasks of GLUE and makes one table: see docs/glue.md.

    python -m fnet_jax.tools.glue --init_from=PRETRAINED --data_dir=GLUE_DIR --workdir=W
    python -m fnet_jax.tools.glue --validate=W/submission.zip

The same command goes on where an earlier one ended. Exit codes: 0 all done, 1 some runs are not, 2 bad
input, 130 and 143 stopped by Ctrl-C or SIGTERM with everything saved.
"""

import os
import sys
from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from fnet_jax.core.errors import UserError
from fnet_jax.runtime import cli
from fnet_jax.tasks.table import GLUE
from fnet_jax.tools.glue.conclude import conclude
from fnet_jax.tools.glue.job import GlueJob, GlueOptions
from fnet_jax.tools.glue.submission import FILES, validate

RUNNABLE = tuple(name for name in GLUE if name != "ax")
MEANING = {
    "init_from": "name the --workdir of a pretraining run, or give --from_scratch",
    "data_dir": "name the folder that holds CoLA, SST-2, ... with GLUE's .tsv files",
}


def options_of_flags() -> GlueOptions:
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
    return GlueOptions(
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


def main(argv: Sequence[str]) -> int:
    """Runs what is not done, and shows the table."""
    del argv
    flag = flags.FLAGS
    if flag.validate:
        faults = validate(flag.validate)
        print("\n".join(faults) or f"{flag.validate}: {len(FILES)} files, complete and well-formed")
        return int(bool(faults))
    job = GlueJob(options_of_flags())
    os.makedirs(job.options.workdir, exist_ok=True)
    job.run()
    return conclude(job)


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
    _define_flags()
    if not any(arg == "--config" or arg.startswith("--config=") for arg in sys.argv):
        sys.argv.insert(1, "--config=glue")
    cli.run(main)
