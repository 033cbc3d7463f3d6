"""Compiles the training or evaluation step for a TPU slice, without a TPU, and says what it would need.

    python -m fnet_jax.tools.aot --config=configs/pretrain.py:size=base --topology=v5e:4x4 \\
        --config.model.dtype=bfloat16

Neither data nor accelerators are needed, only libtpu: pip install "fnet_jax[tpu]". Any key of the config can
be set as for train.py. Exit codes: 0 fits; 1 does not fit, or gathers an activation-sized array on every
device; 2 bad input. What the figures mean: docs/aot.md.
"""

import json
import os

from fnet_jax.tools.aot.env import ENVIRONMENT

os.environ.update(ENVIRONMENT)

import sys
from collections.abc import Sequence

from absl import flags

from fnet_jax.core.errors import UserError
from fnet_jax.core.files import write_atomically
from fnet_jax.runtime import cli
from fnet_jax.tools.aot import compile as aot_compile
from fnet_jax.tools.aot.report import analyse, chip_of
from fnet_jax.tools.aot.text import describe
from fnet_jax.train.concrete import facts_without_data, read_config
from fnet_jax.train.setup import set_up

EXIT_UNFIT = 1

FLAGS = flags.FLAGS
cli.define_run_flags()
flags.DEFINE_string("topology", None, "TPU slice, such as v5e:4x4, v5p:2x2x4, v6e:16x16.")
flags.DEFINE_integer(
    "slices", 1, "Number of such slices; the mesh axis data is a multiple of it.", lower_bound=1
)
flags.DEFINE_enum("step", "train", ["train", "eval"], "Which step to compile.")
flags.DEFINE_string(
    "mesh", "", "Sizes of mesh axes, such as data=4,fsdp=4; all devices along data by default."
)
flags.DEFINE_string("json", None, "Also write the figures to this file.")


def main(argv: Sequence[str]) -> int:
    """Compiles, prints the report, and says by the exit code whether the step fits."""
    del argv
    if not FLAGS.topology:
        raise UserError("--topology is not given; name a TPU slice, such as v5e:4x4")
    if FLAGS.json and not os.path.isdir(os.path.dirname(os.path.abspath(FLAGS.json))):
        raise UserError(f"--json={FLAGS.json} is in no folder; make the folder first")
    config = aot_compile.with_mesh(read_config(), FLAGS.mesh)
    facts = facts_without_data(config)
    devices = aot_compile.topology_devices(FLAGS.topology, FLAGS.slices)
    chip_of(devices[0].device_kind, FLAGS.topology)
    setup = set_up(config, training=FLAGS.step == "train", devices=devices, facts=facts)
    print(
        f"compiling the {FLAGS.step} step for {len(devices)} devices; published sizes take 1 to 10 minutes",
        file=sys.stderr,
        flush=True,
    )
    try:
        compiled = aot_compile.compile_step(setup, FLAGS.step)
    except aot_compile.DoesNotFitError as error:
        print(f"{FLAGS.topology}: {error}", file=sys.stderr)
        return EXIT_UNFIT
    name = FLAGS.topology if FLAGS.slices == 1 else f"{FLAGS.slices} slices of {FLAGS.topology}"
    report = analyse(compiled, name)
    if FLAGS.json:
        write_atomically(FLAGS.json, (json.dumps(report.to_dict(), indent=2) + "\n").encode())
    print(describe(report))
    return 0 if report.fits and not report.gathered else EXIT_UNFIT


if __name__ == "__main__":
    cli.run(main)
