"""Runs the sweep that a config file defines with `get_sweep`: see docs/sweeps.md.

    python -m fnet_jax.tools.sweep --config=configs/x.py --workdir=S

The same command goes on where an earlier one ended. Exit codes: 0 all points done, 1 some are not,
2 bad input, 130 and 143 stopped by Ctrl-C or SIGTERM with everything saved.
"""

import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from fnet_jax.core import sweep as sweep_lib
from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.runtime import cli
from fnet_jax.tools.sweep.point import Point, fingerprint, make_point
from fnet_jax.tools.sweep.results import PICTURE_FILE, TABLE_FILE, Results
from fnet_jax.tools.sweep.run import Stopped, run_points

POINTS_DIR = "points"
DATA_DIR = "data"


def make_points(sweep: sweep_lib.Sweep, config: Any, fixed: Sequence[str], workdir: str) -> list[Point]:
    """All points with their configs and folders; those of pretraining share their data sets.

    Args:
        sweep: a dict of overrides per point.
        config: ConfigDict, with what is common to all points.
        fixed: dotted keys that the user set for all points.
        workdir: of the sweep.

    Raises:
        UserError: if the sweep or the config of a point cannot work.
    """
    sweep_lib.check(sweep, fixed)
    made = [
        make_point(
            config, fixed, overrides, os.path.join(workdir, POINTS_DIR, sweep_lib.point_name(overrides))
        )
        for overrides in sweep
    ]
    return [dataclasses.replace(point, config=_share_data(point.config, workdir)) for point in made]


def _share_data(config: Config, workdir: str) -> Config:
    """Puts the data set where every point that needs the same one looks for it."""
    if not config.is_pretraining or config.data.dir:
        return config
    data = config.data
    made_of = {
        "corpus": data.corpus,
        "text_field": data.text_field,
        "tokenizer": data.tokenizer or [data.tokenizer_pieces, data.tokenizer_algorithm],
        "holdout_fraction": data.holdout_fraction,
        "max_seq_length": config.model.max_seq_length,
    }
    directory = os.path.join(workdir, DATA_DIR, fingerprint(made_of))
    return dataclasses.replace(config, data=dataclasses.replace(data, dir=directory))


def conclude(results: Results, workdir: str) -> int:
    """Prints and writes the table; returns the exit code of the sweep."""
    results.save(workdir)
    print(f"\n{results.table()}\n\n{results.summary()}".rstrip())
    files = [TABLE_FILE] + ([PICTURE_FILE] if results.main else [])
    print("table: " + " ".join(os.path.join(workdir, file) for file in files))
    return 1 if any(results.unfinished()) else 0


def main(argv: Sequence[str]) -> int:
    """Runs what is not done, and shows the table of all points."""
    del argv
    flag = flags.FLAGS
    if flag.config is None:
        raise UserError("--config is not given; name a config file that defines get_sweep()")
    workdir = cli.workdir()
    sweep = sweep_lib.load(config_flags.get_config_filename(flag["config"]))
    overrides = config_flags.get_override_values(flag["config"])
    made = make_points(sweep, flag.config, list(overrides), workdir)
    if flag.index is not None and not 0 <= flag.index < len(made):
        raise UserError(f"--index={flag.index} names no point; the sweep has points 0 to {len(made) - 1}")
    os.makedirs(workdir, exist_ok=True)
    if not flag.only_table:
        try:
            run_points(made, sweep_lib.varying(sweep), flag.index)
        except Stopped as stopped:
            print(stopped, file=sys.stderr)
            return stopped.exit_code
    if flag.index is not None:
        return conclude_one(made[flag.index])
    return conclude(Results.read(made), workdir)


def conclude_one(point: Point) -> int:
    """The exit code of a single point; the table is left to the command without `--index`."""
    return 1 if any(Results.read([point]).unfinished()) else 0


if __name__ == "__main__":
    config_flags.DEFINE_config_file("config", None, "Config file that defines get_sweep().")
    flags.DEFINE_string("workdir", None, "Folder of the sweep: its points, their data, the table.")
    flags.DEFINE_integer("index", None, "Run this point alone, from 0: for array jobs.")
    flags.DEFINE_bool("only_table", False, "Run nothing; show the table of what is done.")
    cli.run(main)
