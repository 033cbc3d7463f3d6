"""Kills a training run many times at random moments, and checks that nothing is lost.

    python -m fnet_jax.tools.drill --kills=100 --out=runs/drill

A small model is trained twice by train.py: undisturbed, and killed again and again with SIGKILL, SIGTERM and
SIGINT in every phase, each time started anew; now and then the newest checkpoint is damaged between two
starts, or the prepared data are deleted. In the end every loss, every example of every step and the final
parameters must be the same, bit by bit. Exit codes: 0 nothing lost, 1 something was; see docs/faults.md.

The drill is one of the tests (tests/tools/drill), so it runs from the root of a checkout only.
"""

import importlib
import os
from collections.abc import Sequence

from absl import flags

from fnet_jax.core.errors import UserError
from fnet_jax.runtime import cli

flags.DEFINE_integer("kills", 100, "How many times to kill the run.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Of the moments, signals and damages.")
flags.DEFINE_string(
    "out", "runs/drill", "Folder for both runs and drill.json; one of an earlier drill is emptied."
)


def main(_: Sequence[str]) -> int:
    """Runs the drill that the flags name."""
    flag = flags.FLAGS
    try:
        tests = importlib.import_module("tests.tools.drill.run")
    except ModuleNotFoundError as error:
        raise UserError("the drill is one of the tests; run it from the root of a checkout") from error
    return 1 if tests.drill(os.path.abspath(flag.out), flag.kills, flag.seed) else 0


if __name__ == "__main__":
    cli.run(main)
