"""Runs the sweep that a config file defines with `get_sweep`: see docs/sweeps.md.

    python -m fnet_jax.tools.sweep --config=configs/x.py --workdir=S

The same command goes on where an earlier one ended. Exit codes: 0 all points done, 1 some are not,
2 bad input, 130 and 143 stopped by Ctrl-C or SIGTERM with everything saved.
"""

import os
from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from fnet_jax.core import sweep as sweep_lib
from fnet_jax.core.errors import UserError
from fnet_jax.runtime import cli
from fnet_jax.tools.sweep.point import SweepPoint, make_points
from fnet_jax.tools.sweep.results import PICTURE_FILE, TABLE_FILE, SweepResults
from fnet_jax.tools.sweep.run import run_points


def conclude(points: Sequence[SweepPoint], workdir: str) -> int:
    """Writes and draws what is done, prints the table; returns the exit code of the sweep."""
    results = SweepResults.read(points)
    results.save(workdir)
    files = [os.path.join(workdir, TABLE_FILE)]
    if results.main:
        from fnet_jax.tools.sweep.plot import draw_sweep

        files.append(os.path.join(workdir, PICTURE_FILE))
        draw_sweep(results, files[-1])
    print(f"\n{results.table()}\n\n{results.summary()}".rstrip())
    print("table: " + " ".join(files))
    return int(len(results.done) < len(points))


def main(argv: Sequence[str]) -> int:
    """Runs what is not done, and shows the table of all points."""
    del argv
    flag = flags.FLAGS
    if flag.config is None:
        raise UserError("--config is not given; name a config file that defines get_sweep()")
    workdir = cli.workdir()
    sweep = sweep_lib.load(config_flags.get_config_filename(flag["config"]))
    overrides = config_flags.get_override_values(flag["config"])
    points = make_points(sweep, flag.config, list(overrides), workdir)
    if flag.index is not None and not 0 <= flag.index < len(points):
        raise UserError(f"--index={flag.index} names no point; the sweep has points 0 to {len(points) - 1}")
    os.makedirs(workdir, exist_ok=True)
    if not flag.only_table:
        run_points(points, sweep_lib.varying(sweep), flag.index)
    if flag.index is not None:  # the table is left to the command without --index
        return int(points[flag.index].done_result() is None)
    return conclude(points, workdir)


if __name__ == "__main__":
    config_flags.DEFINE_config_file("config", None, "Config file that defines get_sweep().")
    flags.DEFINE_string("workdir", None, "Folder of the sweep: its points, their data, the table.")
    flags.DEFINE_integer("index", None, "Run this point alone, from 0: for array jobs.")
    flags.DEFINE_bool("only_table", False, "Run nothing; show the table of what is done.")
    cli.run(main)
